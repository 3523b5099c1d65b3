# SPDX-License-Identifier: Apache-2.0
"""The demo from end to end with fake nodes: success, every failure, Ctrl-C, nothing left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Mark

pytest.importorskip("rclpy")
pytest.importorskip("smolvla_msgs", reason="the workspace is not sourced: . ./env.sh")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from smolvla_msgs.msg import ActionChunk, InferenceRequest

LIMIT = 240.0  # [s] for one demo; only a broken one comes near, or a crowded machine

# Fault of the fakes -> arguments of the demo. All run at once: mostly they wait for discovery.
FAILURES = {
    "sim_never_succeeds": ("--time-limit", "5", "--no-video"),
    "policy_dies": ("--no-video",),
    "policy_error": (),
    "policy_loads_for_ever": ("--ready-limit", "15"),
    "executor_start_refused": ("--no-video",),
}


class Demo:
    """A demo in a process of its own."""

    def __init__(self, environment: dict[str, str], out: Path, fault: str, *arguments: str):
        self.out = out
        self.mark = Mark()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "smolvla_bringup.demo", "--output", str(out), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, **self.mark.variables, "FAKE_FAULT": fault},
        )

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end; return exit status, output and errors. Nothing may be left."""
        try:
            output, errors = self.process.communicate(timeout=LIMIT)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.communicate()
        assert not self.mark.living()
        return self.process.returncode, output, errors


class Bystander:
    """An executor in the user's graph that asks for chunks and waits to be started."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = node = Node("executor_node", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        node.create_service(Trigger, "~/start", self._on_start)
        node.create_subscription(
            ActionChunk, "smolvla/action_chunk", lambda _: self.seen.add("a chunk"), 10
        )
        node.create_subscription(
            Float64MultiArray, "arm_controller/commands", lambda _: self.seen.add("a command"), 10
        )
        requests = node.create_publisher(InferenceRequest, "smolvla/inference_request", 10)
        node.create_timer(0.1, lambda: requests.publish(InferenceRequest(request_id=1)))
        node.create_timer(0.1, self._look)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.seen.add("an order to start")
        return response

    def _look(self) -> None:
        others = set(self._node.get_node_names()) - {self._node.get_name()}
        self.seen.update(others & {"sim_node", "policy_node", "smolvla_demo"})

    def end(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


@pytest.fixture(scope="module")
def bystander() -> Iterator[Bystander]:
    """Return an executor that has seen all of `failures`."""
    bystander = Bystander()
    yield bystander
    bystander.end()


@pytest.fixture(scope="module")
def failures(
    fake_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    bystander: Bystander,
) -> dict[str, tuple[int, str, str]]:
    """Run all demos that must fail in the shell of the bystander; return their ends by fault."""
    folder = tmp_path_factory.mktemp("failures")
    users = {"ROS_DOMAIN_ID": os.environ["ROS_DOMAIN_ID"], "ROS_STATIC_PEERS": "127.0.0.1"}
    demos = {
        fault: Demo({**fake_environment, **users}, folder / fault, fault, *arguments)
        for fault, arguments in FAILURES.items()
    }
    return {fault: demo.finish() for fault, demo in demos.items()}


def test_success_leaves_video_picture_and_figures(
    fake_environment: dict[str, str], tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    demo = Demo(fake_environment, tmp_path, "", "--seed", "7", "--json", "-")
    status, output, progress = demo.finish()
    assert status == 0, progress
    summary = json.loads(output)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["success"] is True
    assert 0 < summary["time_to_success"] < summary["duration"]
    assert summary["chunks_merged"] >= 2
    assert summary["seed"] == 7
    assert "reset with seed 7" in (tmp_path / "log/sim_node.log").read_text()
    assert (tmp_path / "demo.png").stat().st_size > 20_000
    with av.open(str(tmp_path / "demo.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = [frame.time for frame in video.decode(stream)]
    assert len(frames) > 5
    assert frames[-1] == pytest.approx(summary["duration"], abs=1.0)
    assert "all nodes are ready" in progress


def test_a_robot_on_the_users_domain_neither_sees_nor_hears_a_demo(
    failures: dict, bystander: Bystander
) -> None:
    _, output, _ = failures["sim_never_succeeds"]
    assert "all nodes are ready" in output
    assert bystander.seen == set()


def test_task_that_is_not_done_in_time_fails(failures: dict) -> None:
    status, output, _ = failures["sim_never_succeeds"]
    assert status == 1
    assert re.search(r"NOT done in [5-9]\.", output)
    assert "best score 0.5 of 1" in output


def test_node_that_dies_ends_everything_with_its_last_lines(failures: dict) -> None:
    status, output, _ = failures["policy_dies"]
    assert status == 2
    assert "policy_node failed with exit status 3" in output
    assert "out of ideas" in output


def test_error_of_the_policy_ends_the_wait_at_once(failures: dict) -> None:
    status, output, _ = failures["policy_error"]
    assert status == 2
    assert "policy_node cannot go on: no such checkpoint" in output
    assert "all nodes are ready" not in output


def test_a_node_that_is_never_ready_is_named_with_its_last_lines(failures: dict) -> None:
    status, output, _ = failures["policy_loads_for_ever"]
    assert status == 2
    assert "policy_node: loading layer 3, it printed last: the fake policy has started" in output
    error = output[output.index("not ready after 15 s:") :]
    assert "policy_node: loading layer 3. Its last lines (all of them: " in error
    assert "/log/policy_node.log):\n    the fake policy has started" in error
    assert "all nodes are ready" not in output


def test_service_that_refuses_is_quoted(failures: dict) -> None:
    status, output, _ = failures["executor_start_refused"]
    assert status == 2
    assert "executor_node/start refused: the arm is asleep" in output


def test_ctrl_c_in_mid_run_ends_all_and_still_reports(
    fake_environment: dict[str, str], tmp_path: Path
) -> None:
    demo = Demo(fake_environment, tmp_path, "sim_never_succeeds")
    assert demo.process.stdout is not None
    while "instruction:" not in (line := demo.process.stdout.readline()):
        assert line, "the demo ended before it ran"
    demo.process.send_signal(signal.SIGINT)
    status, output, _ = demo.finish()
    assert status == 130
    assert "interrupted" in output
    assert json.loads((tmp_path / "summary.json").read_text())["success"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--policy", "scripted", "--checkpoint", "x"), "reads no checkpoint"),
        (("--policy", "none"), "nothing moves"),
        (("--task", "sing a song"), "the simulation does not understand 'sing a song'"),
        (("--time-limit", "0"), "must be above 0"),
        (("--time-limit", "nan"), "must be above 0"),
        (("--ready-limit", "-2"), "--ready-limit is -2 s; it must be above 0"),
    ],
)
def test_wrong_options_are_explained(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from smolvla_bringup.demo.__main__ import main

    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "warned"), [("reach for the red cube", 1), ("touch the red cube", 0)]
)
def test_a_sentence_that_was_not_learned_gets_a_warning(
    task: str, warned: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from smolvla_bringup.demo.__main__ import main

    (tmp_path / "file").write_text("")
    assert main(["--task", task, "--output", str(tmp_path / "file" / "out")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + warned
    assert ("never learned 'reach for the red cube'; nearest: '" in lines[0]) == warned
    assert "cannot write into" in lines[-1]
