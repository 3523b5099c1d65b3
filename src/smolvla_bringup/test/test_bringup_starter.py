# SPDX-License-Identifier: Apache-2.0
"""The starter leaves no process behind, however it or a node ends.

The nodes are shell scripts that say when they are ready; every wait is for a line of output
or for the end of a process, within a limit.
"""

from __future__ import annotations

import os
import queue
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Mark
from smolvla_bringup.system import starter as module
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import SetupError
from smolvla_bringup.system.starter import Starter

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 90.0  # [s]; only a broken starter comes near, or a crowded machine

POLITE = "trap 'echo bye; exit 0' INT; echo ready; while :; do sleep 0.05; done"
STUBBORN = "trap '' INT TERM; echo ready; while :; do sleep 0.05; done"
# A child outlives its parent. A shell starts background jobs with SIGINT ignored; programs do not,
# and that is what matters here.
CHILD = "env --default-signal=INT sleep 1000 &"
PARENT = f"{CHILD} echo ready; while :; do sleep 0.05; done"

Make = Callable[..., Starter]


class Lines(queue.Queue):
    """Collects lines of output."""

    def until(self, *wanted: str) -> None:
        """Wait until each of `wanted` was a line, in any order."""
        deadline = time.monotonic() + LIMIT
        missing = set(wanted)
        while missing:
            missing.discard(self.get(timeout=max(deadline - time.monotonic(), 0.0)))


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def mark() -> Mark:
    return Mark()


@pytest.fixture
def starter(executable: Callable[..., None], tmp_path: Path, lines: Lines, mark: Mark) -> Make:
    """Return a function that makes a starter of nodes given as name=shell script."""

    def make(critical: bool = True, one_shot: bool = False, **scripts: str) -> Starter:
        specs = []
        for name, script in scripts.items():
            executable("smolvla_sim", name, "/bin/sh", "-c", script)
            specs.append(NodeSpec("smolvla_sim", name, name, critical=critical, one_shot=one_shot))
        return Starter(specs, tmp_path / "log", lines.put, mark.variables)

    return make


def test_output_is_prefixed_and_kept(starter: Make, lines: Lines, tmp_path: Path) -> None:
    with starter(one=POLITE, two=POLITE) as running:
        lines.until("[one] ready", "[two] ready")
        running.stop()
        lines.until("[one] bye", "[two] bye")
    assert (tmp_path / "log/two.log").read_text() == "ready\nbye\n"
    assert running.tail("one", 9) == ("ready", "bye")


def test_stop_ends_nodes_with_sigint(starter: Make, lines: Lines) -> None:
    with starter(one=POLITE) as running:
        lines.until("[one] ready")
        running.stop()
        assert running.wait(LIMIT).code == 0


def test_stubborn_node_is_killed(
    starter: Make, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tuple((signum, min(limit, 0.2)) for signum, limit in module.ESCALATION[:2])
    monkeypatch.setattr(module, "ESCALATION", (*quick, (signal.SIGKILL, LIMIT)))
    with starter(one=STUBBORN) as running:
        lines.until("[one] ready")
    ending = running.wait(LIMIT)
    assert ending.code == -signal.SIGKILL
    assert "was killed by SIGKILL" in ending.message


def test_grandchildren_are_ended_too(starter: Make, lines: Lines, mark: Mark) -> None:
    with starter(one=PARENT):
        lines.until("[one] ready")
        assert len(mark.living()) >= 2
    assert not mark.living()


def test_grandchildren_of_a_dead_node_are_ended_too(starter: Make, mark: Mark) -> None:
    with starter(one=f"{CHILD} echo ready; exit 4") as running:
        assert running.wait(LIMIT).code == 4
        assert mark.living()
    assert not mark.living()


def test_node_that_dies_is_reported_once_with_its_output(starter: Make, tmp_path: Path) -> None:
    with starter(one="echo this is why; exit 7", two=POLITE) as running:
        ending = running.wait(LIMIT)
        assert (ending.name, ending.code, ending.critical) == ("one", 7, True)
        assert "one failed with exit status 7" in ending.message
        assert "this is why" in ending.message
        assert str(tmp_path / "log/one.log") in ending.message
        assert running.wait() is None


def test_a_node_that_has_done_its_work_is_no_news(starter: Make, lines: Lines) -> None:
    late = "sleep 1; echo cannot; exit 3"  # by then the other has ended, not only stderr so
    with starter(done="echo done; exit 0", failed=late, one_shot=True) as running:
        lines.until("[done] done", "[failed] cannot")
        ending = running.wait(LIMIT)
        assert (ending.name, ending.code, ending.critical) == ("failed", 3, True)
    assert running.wait() is None


def test_nothing_is_started_when_an_executable_is_missing(
    starter: Make, lines: Lines, workspace: Path
) -> None:
    running = starter(one=POLITE, two=POLITE)
    (workspace / "lib/smolvla_sim/two").unlink()
    with pytest.raises(SetupError, match=r"two: there is no executable .*make build"), running:
        pass
    assert lines.empty()


def test_unknown_package_is_explained() -> None:
    with pytest.raises(SetupError, match="package no_such_package is not installed"):
        NodeSpec("no_such_package", "x", "x").command()


@pytest.fixture
def start_command(executable: Callable[..., None], tmp_path: Path) -> list[str]:
    """Return the command line of the console script with shell scripts as nodes."""
    executable("smolvla_sim", "sim_node", "/bin/sh", "-c", PARENT)
    executable("smolvla_policy", "policy_node", "/bin/sh", "-c", POLITE)
    executable("smolvla_executor", "executor_node", "/bin/sh", "-c", POLITE)
    executable("smolvla_executor", "visualization_node", "/bin/sh", "-c", POLITE)
    command = [sys.executable, "-m", "smolvla_bringup.cli", "run", "--hardware", "sim"]
    return [*command, "--view", "none", "--log-dir", str(tmp_path / "log")]


def run_until_ready(command: list[str], mark: Mark) -> subprocess.Popen[str]:
    """Start the console script; return it when all nodes are ready."""
    process = subprocess.Popen(
        # As from a terminal, also where the tests themselves run under nohup.
        ["env", "--default-signal=HUP", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        env={**os.environ, **mark.variables},
    )
    assert process.stdout is not None
    waiting = {"sim_node", "policy_node", "executor_node"}
    while waiting:
        line = process.stdout.readline()
        assert line, "the starter ended early"
        waiting = {name for name in waiting if f"[{name}] ready" not in line}
    return process


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_console_script_cleanly(
    start_command: list[str], signum: signal.Signals, mark: Mark
) -> None:
    process = run_until_ready(start_command, mark)
    process.send_signal(signum)
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "[policy_node] bye" in output
    assert not mark.living()


def test_a_start_whose_output_nobody_reads_any_more_ends(
    start_command: list[str], executable: Callable[..., None], mark: Mark
) -> None:
    executable(
        "smolvla_policy", "policy_node", "/bin/sh", "-c", "while :; do sleep .1; echo a; done"
    )
    process = subprocess.Popen(
        ["env", "--default-signal=HUP", *start_command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **mark.variables},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    while "[policy_node] a" not in process.stdout.readline():
        pass
    process.stdout.close()  # as `| head` does
    stderr = process.stderr.read()
    assert process.wait(LIMIT) == 0
    assert stderr.count("nobody reads the output") == 1
    assert "Traceback" not in stderr
    assert not mark.living()


def test_console_script_goes_on_without_what_only_draws(
    start_command: list[str], executable: Callable[..., None]
) -> None:
    executable(
        "smolvla_executor", "visualization_node", "/bin/sh", "-c", "echo no screen; exit 78"
    )
    executable("smolvla_policy", "policy_node", "/bin/sh", "-c", "sleep 1; exit 78")
    process = subprocess.run(start_command, capture_output=True, text=True, timeout=LIMIT)
    assert "visualization_node failed with exit status 78" in process.stdout
    assert "policy_node failed with exit status 78" in process.stdout


class Arm:
    """A start of an arm on ros2_control whose nodes are shell scripts that print their pid."""

    NODES = (
        ("controller_manager", "ros2_control_node"),
        ("robot_state_publisher", "robot_state_publisher"),
        ("smolvla_policy", "policy_node"),
        ("smolvla_executor", "executor_node"),
        ("smolvla_executor", "visualization_node"),
    )

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self.output = ""
        self.pids: dict[str, int] = {}
        self.until(lambda: len(self.pids) == len(self.NODES))

    def until(self, condition: Callable[[], bool]) -> None:
        assert self.process.stdout is not None
        while not condition():
            line = self.process.stdout.readline()
            assert line, f"it has ended:\n{self.output}"
            self.output += line
            if found := re.match(r"\[(\w+?)(-\d+)?\] ready (\d+)", line):
                # Launch calls it by its executable.
                name = found[1].replace("ros2_control_node", "controller_manager")
                self.pids[name] = int(found[3])

    def interrupt(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)  # as a terminal does; launch relies on it
        output, _ = self.process.communicate(timeout=LIMIT)
        self.output += output
        return self.process.returncode


def lives(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes() != b""  # empty for a zombie
    except FileNotFoundError:
        return False


@pytest.fixture
def run_arm(executable: Callable[..., None], workspace: Path, tmp_path: Path) -> list[str]:
    """Return the command line of `smolvla run` with an arm."""
    node = "trap 'echo bye; exit 0' INT; echo ready $$; while :; do sleep 0.05; done"
    index = workspace / "share/ament_index/resource_index/packages"
    for package, name in Arm.NODES:
        (index / package).touch()
        executable(package, name, "/bin/sh", "-c", node)
    for package in ("joint_state_broadcaster", "forward_command_controller"):
        (index / package).touch()
    executable("controller_manager", "spawner", "/bin/sh", "-c", "exit 0")
    command = [sys.executable, "-m", "smolvla_bringup.cli", "run", "--hardware", "mock"]
    log = str(tmp_path / "log")
    return [*command, "--checkpoint", "owner/name", "--view", "none", "--log-dir", log]


@pytest.fixture(params=["run", "launch"])
def arm(request: pytest.FixtureRequest, run_arm: list[str]) -> Iterator[Arm]:
    """Yield an arm that `smolvla run` or launch has started."""
    command = run_arm
    if request.param == "launch":
        pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed")
        command = [sys.executable, str(ROOT / "tests/launch_runner.py")]
        command += [str(ROOT / "src/smolvla_bringup/launch/so100.launch.py"), "hardware:=mock"]
        command += ["checkpoint:=owner/name", "view:=none"]
    started = Arm(*command)
    yield started
    if started.process.poll() is None:
        started.interrupt()


def test_all_but_the_driver_of_an_arm_may_be_killed_and_come_back(arm: Arm) -> None:
    before = dict(arm.pids)
    killed = set(before) - {"controller_manager"}
    for name in killed:
        os.kill(before[name], signal.SIGKILL)
    arm.until(lambda: all(arm.pids[name] != before[name] for name in killed))
    assert arm.output.count("the arm holds meanwhile") == 2  # while policy and executor are gone
    assert lives(arm.pids["controller_manager"])
    assert arm.interrupt() == 0
    assert arm.output.count("] bye") == len(before)


def test_a_policy_that_is_given_up_leaves_the_arm_held_and_is_reported(
    arm: Arm, executable: Callable[..., None]
) -> None:
    executable("smolvla_policy", "policy_node", "/bin/sh", "-c", "echo error: no disk; exit 78")
    os.kill(arm.pids["policy_node"], signal.SIGKILL)
    arm.until(lambda: "policy_node failed" in arm.output and "[ERROR] [" in arm.output)
    last = arm.output.splitlines()[-1]
    assert "policy_node failed with exit status 78: error: no disk; as long as its driver" in last
    assert lives(arm.pids["controller_manager"])
    assert arm.interrupt() == 0


def test_the_end_of_the_driver_is_the_end_of_everything(arm: Arm) -> None:
    os.kill(arm.pids["controller_manager"], signal.SIGKILL)
    arm.output += arm.process.communicate(timeout=LIMIT)[0]
    assert arm.process.returncode == 1
    assert "controller_manager was killed by SIGKILL" in arm.output
    assert arm.output.count("] bye") == len(arm.pids) - 1


def test_the_driver_of_an_arm_outlives_a_killed_starter_and_is_named(run_arm: list[str]) -> None:
    arm = Arm(*run_arm)
    driver = arm.pids["controller_manager"]
    assert "controller_manager holds the arm: were this program killed" in arm.output
    assert f"kill -INT {driver}\n" in arm.output
    ends = {name: os.pidfd_open(pid) for name, pid in arm.pids.items()}
    arm.process.kill()
    held = ends.pop("controller_manager")
    for end in ends.values():
        assert select.select([end], [], [], LIMIT)[0]  # it has ended
    assert not select.select([held], [], [], 0.0)[0]
    os.kill(driver, signal.SIGINT)
    assert select.select([held], [], [], LIMIT)[0]
    for end in (held, *ends.values()):
        os.close(end)
    arm.process.communicate(timeout=LIMIT)


def test_console_script_explains_wrong_options(start_command: list[str]) -> None:
    process = subprocess.run(
        [*start_command, "--params-file", "/nowhere.yaml"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert process.returncode == 2
    assert "params_file /nowhere.yaml does not exist" in process.stderr
