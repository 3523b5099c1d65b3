# SPDX-License-Identifier: Apache-2.0
"""The command `smolvla`: what it finds, how it ends, and what it completes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from smolvla_bringup.task import ORDERS
from smolvla_core.client import SmolVLAClient
from smolvla_executor.core.plan_file import read_plan
from smolvla_executor.plan_node.node import PlanNode
from std_msgs.msg import Bool

from smolvla_bringup import cli
from smolvla_msgs.msg import ExecutorStatus

COMPLETION = Path(__file__).parents[1] / "completion" / "smolvla-argcomplete.bash"


def commands(
    table: dict[str, object], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, cli.Command | cli.Tool]]:
    """Yield each command with what a user types."""
    for name, entry in table.items():
        if isinstance(entry, cli.Group):
            yield from commands(dict(entry.commands), (*path, name))
        else:
            assert isinstance(entry, (cli.Command, cli.Tool))
            yield " ".join((*path, name)), entry


ALL = dict(commands(dict(cli.COMMANDS)))
PROGRAMS = {command: entry for command, entry in ALL.items() if isinstance(entry, cli.Command)}


def run(
    *arguments: str, environment: dict[str, str] | None = None, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "smolvla_bringup.cli", *arguments],
        env={**os.environ, "COLUMNS": "100", **(environment or {})},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_imports_neither_network_nor_ros() -> None:
    code = (
        "import sys; from smolvla_bringup import cli; cli.main(['--help']); "
        "cli.main(['train', '--help']); "
        "sys.exit(bool({'torch', 'rclpy', 'numpy', 'mujoco'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"    {name}" in done.stdout for name in cli.COMMANDS)
    assert "example: smolvla train" in done.stdout


@pytest.mark.parametrize("command", PROGRAMS)
def test_every_program_has_a_help_with_an_example_of_its_own(command: str) -> None:
    parser = PROGRAMS[command].parser()
    assert parser.prog == f"smolvla {command}"
    assert re.search(rf"example: smolvla {command}( |\n)", parser.format_help())
    shown = set(re.findall(r"--[a-z-]+", parser.format_help()))
    assert not shown & {"--out", "--seeds", "--first-seed", "--dtypes", "--blend"}


@pytest.mark.parametrize("command", ["bench", "arm", "dataset", "record"])
def test_a_group_lists_its_commands(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    group = cli.COMMANDS[command]
    assert isinstance(group, cli.Group)
    shown = capsys.readouterr().out
    assert all(f"    {name}" in shown for name in group.commands)
    assert cli.main([command]) == 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["recrod", "node"], "no command 'recrod'; did you mean 'record'?"),
        (["arm", "calibrat"], "smolvla arm: there is no command 'calibrat'"),
        (["xyz"], "there are demo, run"),
    ],
)
def test_a_command_that_is_none(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_tool_is_found_in_the_workspace_and_gets_all_arguments(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "so100_hardware"
    folder.mkdir(parents=True)
    (folder / "so100_scan").write_text('#!/bin/sh\necho "got $*"\nexit 7\n')
    (folder / "so100_scan").chmod(0o755)
    prefixes = f"/nowhere:{tmp_path}"
    done = run("arm", "scan", "--deep", "a b", environment={"AMENT_PREFIX_PATH": prefixes})
    assert (done.stdout, done.returncode) == ("got --deep a b\n", 7)


def test_a_tool_that_is_not_built_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["arm", "monitor"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "so100_monitor is not installed" in line
    assert "so100_hardware" in line


@pytest.mark.parametrize("domain", ["seven", "-3", "233", "1.5"])
@pytest.mark.parametrize("command", ["run", "task", "record save", "check"])
def test_a_domain_that_does_not_exist(
    command: str, domain: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    assert cli.main(command.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"smolvla {command}: ROS_DOMAIN_ID is '{domain}', but must be a whole ")


def test_a_pipe_that_nobody_reads_ends_in_one_line() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("dataset", "--help", environment={"PYTHONUNBUFFERED": ""}, stdout=writing)
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr.splitlines() == ["smolvla dataset: nobody reads the output any more"]


def test_a_folder_without_the_right_to_write_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "out.json"  # a part of its path is no folder, also for root
    golden = Path(__file__).parents[2] / "smolvla_policy" / "test" / "golden" / "ckpt"
    done = run(
        *("bench", "inference", "--checkpoint", str(golden), "--num-cameras", "1"),
        *("--dtype", "float32", "--repeats", "1", "--threads", "1", "--json", str(target)),
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("smolvla bench inference: ")
    assert "file" in line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("smolvla da", {"dataset"}),
        ("smolvla arm c", {"calibrate"}),
        ("smolvla record st", {"start"}),
        ("smolvla train --precision b", {"bfloat16"}),
        ("smolvla task --ti", {"--time-limit"}),
        ("smolvla bench inference --first", set()),
    ],
)
def test_completion_in_bash(line: str, expected: set[str], tmp_path: Path) -> None:
    program = tmp_path / "smolvla"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m smolvla_bringup.cli "$@"\n')
    program.chmod(0o755)
    script = f"""
        . {COMPLETION}
        COMP_LINE="$1" COMP_POINT=${{#1}} COMP_TYPE=9
        _smolvla_complete
        [ $? = 124 ] && _python_argcomplete smolvla 2>/dev/null
        echo ${{COMPREPLY[@]}}
    """
    path = os.pathsep.join((str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-c", script, "bash", line],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(done.stdout.split()) == expected, done.stderr


@pytest.mark.parametrize("command", ["task", "plan"])
def test_ctrl_c_cancels_what_runs(graph, make_robot, tmp_path, command):
    robot = make_robot(instruction="", wait_for_start=True)
    node = graph.add(PlanNode(context=graph.context))
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    file = tmp_path / "plan.yaml"
    file.write_text("steps: [pick, place]")
    process = subprocess.Popen(
        [sys.executable, "-m", "smolvla_bringup.cli", command, str(file)],
        stderr=subprocess.PIPE,
        text=True,
    )
    graph.until(robot.state(ExecutorStatus.RUNNING))
    process.send_signal(signal.SIGINT)
    graph.until(robot.state(ExecutorStatus.IDLE))
    graph.until(lambda: process.poll() is not None)
    assert process.returncode == 130
    assert "canceled" in process.communicate()[1]


def test_a_plan_is_run_to_its_end_and_reported(graph, make_robot, tmp_path):
    robot = make_robot(instruction="", wait_for_start=True, success_topic="done")
    node = graph.add(PlanNode(context=graph.context))
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    file = tmp_path / "plan.yaml"
    file.write_text("steps: [pick, {instruction: place, time_limit: 0.3, tries: 1}]")
    process = subprocess.Popen(
        [sys.executable, "-m", "smolvla_bringup.cli", "plan", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    graph.until(robot.state(ExecutorStatus.RUNNING))
    done = graph.node.create_publisher(Bool, "done", 10)
    graph.until(lambda: done.get_subscription_count() > 0)
    done.publish(Bool(data=True))
    graph.until(lambda: process.poll() is not None)
    shown, told = process.communicate()
    assert process.returncode == 1
    assert "step 1/2, try 1: pick" in told
    first, second, last = shown.splitlines()
    assert first.startswith("  pick: done, tries 1, ")
    assert second.startswith("  place: not judged, tries 1, 0.")
    assert last.startswith("step 2 of 2, 'place', was not done in 1 try of 0.3 s")


def test_a_plan_that_cannot_be_read_is_named_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("steps: [pick, {tries: 3}]")
    ended = run("plan", str(file))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line == f"smolvla plan: {file}: step 2: it has no 'instruction'"


def test_a_request_becomes_a_plan_of_what_the_checkpoint_knows(
    serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [f"put the {color} cube into the bowl" for color in ("blue", "red", "green")]
    stub = serve(lambda *_: "\n".join(wanted))
    target = tmp_path / "plan.yaml"
    line = ["plan", "--request", "put all cubes into the bowl", "--server", stub.address]
    line += ["--output", str(target)]
    assert cli.main(line) == 0
    assert [step.instruction for step in read_plan(target)] == wanted
    assert f"run it by: smolvla plan {target}" in capsys.readouterr().out
    assert cli.main(line) == 2  # it is not written over
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "give either a FILE or a --request"),
        (["plan.yaml", "--request", "tidy up"], "give either a FILE or a --request"),
        (["--request", "tidy up"], "model is not given"),
        (["--request", "tidy up", "--server", "localhost:1"], "must begin with http"),
        (["--request", "x", "--checkpoint", "/none", "--server", "http://x"], "/none"),
    ],
)
def test_a_plan_that_cannot_be_made_is_said_in_one_line(options, problem, capsys) -> None:
    assert cli.main(["plan", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


def test_keys_are_taken_from_a_terminal_only() -> None:
    ended = run("teleop")
    assert ended.returncode == 2
    assert "terminal" in ended.stderr


def test_every_order_is_one_of_the_client():
    assert all(callable(getattr(SmolVLAClient, name.replace("-", "_"))) for name in ORDERS)
