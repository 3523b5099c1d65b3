# SPDX-License-Identifier: Apache-2.0
"""The command ``smolvla``: every program of the suite under one name.

Nothing of a program is imported before it is asked for, so that ``smolvla --help`` is quick and
a machine that has only a part of the suite runs that part.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from smolvla_core.console import (
    COULD_NOT_RUN,
    DONE,
    INTERRUPTED,
    end_on_interrupt,
    guarded,
    ros_problem,
)
from smolvla_core.settings import instead_of


@dataclass(frozen=True)
class Command:
    """A program.

    Attributes:
        help: what it does, in a line.
        module: whose ``main(argv)`` is called.
        options: module whose ``parser()`` returns its command line, where `module` takes long to
            import.
        main: name of the function, where a module has several programs.
        subcommand: first argument of `main` and of ``parser``, where a program has several.
        ros: whether it joins the ROS graph of the environment.
        interrupted: exit status of a Ctrl-C while it is imported.
    """

    help: str
    module: str
    options: str = ""
    main: str = "main"
    subcommand: str = ""
    ros: bool = False
    interrupted: int = INTERRUPTED

    def run(self, name: str, arguments: Sequence[str]) -> int:
        """Run it with `arguments`; return its exit status."""
        end_on_interrupt(self.interrupted)
        if {"-h", "--help"} & set(arguments):  # needs nothing of what it starts
            return guarded(name, self.parser().print_help)
        problem = ros_problem() if self.ros else ""
        if problem:
            print(f"{name}: {problem}", file=sys.stderr)
            return COULD_NOT_RUN
        first = [self.subcommand] if self.subcommand else []
        return guarded(
            name, lambda: getattr(import_module(self.module), self.main)([*first, *arguments])
        )

    def parser(self) -> argparse.ArgumentParser:
        """Return its command line, for completion."""
        prefix = "" if self.main == "main" else f"{self.main}_"
        make = getattr(import_module(self.options or self.module), f"{prefix}parser")
        made: argparse.ArgumentParser = make(self.subcommand) if self.subcommand else make()
        return made


@dataclass(frozen=True)
class Tool:
    """A program of so100_hardware, which is written in C++."""

    help: str
    executable: str

    def path(self) -> str | None:
        """Return where it is; None where it is not installed."""
        for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
            path = Path(prefix, "lib", "so100_hardware", self.executable)
            if os.access(path, os.X_OK):
                return str(path)
        return shutil.which(self.executable)

    def run(self, name: str, arguments: Sequence[str]) -> int:
        """Become it; return only where it is not there."""
        path = self.path()
        if path is None:
            print(
                f"{name}: {self.executable} is not installed: it comes with the package "
                "so100_hardware; build it (make build, or colcon build) and source the workspace",
                file=sys.stderr,
            )
            return COULD_NOT_RUN
        sys.stdout.flush()
        os.execv(path, [path, *arguments])

    def parser(self) -> argparse.ArgumentParser:
        """Return the options that its help names, for completion."""
        made = argparse.ArgumentParser(add_help=False)
        path = self.path()
        if path is not None:
            text = subprocess.run([path, "--help"], capture_output=True, text=True).stdout
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - {"--help"}
            for option in sorted(options):
                made.add_argument(option)
        return made


@dataclass(frozen=True)
class Group:
    """Programs that belong together."""

    help: str
    commands: Mapping[str, Command | Tool]


_EPISODE = "smolvla_learning.record_node.episode"

COMMANDS: Mapping[str, Command | Tool | Group] = {
    "demo": Command(
        "watch the simulated arm do what a sentence asks; leaves a video, a plot and a summary",
        "smolvla_bringup.demo.__main__",
    ),
    "run": Command(
        "start arm, cameras, policy and RViz; a real arm, a mock or the simulation",
        "smolvla_bringup.system.start",
        ros=True,
        interrupted=0,
    ),
    "instruct": Command(
        "give a running arm an instruction, a sentence",
        "smolvla_bringup.task",
        main="instruct",
        ros=True,
    ),
    "task": Command(
        "run an instruction as a task, and wait until it is done",
        "smolvla_bringup.task",
        main="task",
        ros=True,
    ),
    "plan": Command(
        "run a plan, sentences one after the other, and wait until it is done",
        "smolvla_bringup.plan",
        ros=True,
    ),
    "order": Command(
        "give a running arm an order: take-over, give-back, home, stop, estop, …",
        "smolvla_bringup.task",
        main="order",
        ros=True,
    ),
    "teleop": Command(
        "move a running arm by the keys of this terminal", "smolvla_bringup.teleop", ros=True
    ),
    "replay": Command(
        "let a running arm execute a recorded episode", "smolvla_learning.replay", ros=True
    ),
    "check": Command(
        "check, before anything moves, whether a checkpoint fits this robot",
        "smolvla_policy.check",
        "smolvla_policy.checks.options",
        ros=True,
    ),
    "record": Group(
        "record episodes of any robot as a LeRobot dataset",
        {
            "node": Command("start the recorder", _EPISODE, main="node", ros=True, interrupted=0),
            **{
                name: Command(help, _EPISODE, subcommand=name, ros=True)
                for name, help in {
                    "session": "episode after episode, by keys",
                    "start": "begin an episode",
                    "save": "end the episode and save it",
                    "discard": "end the episode and forget it",
                    "reset": "put a simulation back",
                }.items()
            },
        },
    ),
    "train": Command(
        "train or fine-tune the network on LeRobot datasets",
        "smolvla_learning.training.train",
        "smolvla_learning.training.options",
    ),
    "train-judge": Command(
        "train a small network that sees when a step of a plan is done",
        "smolvla_learning.plans.train_judge",
    ),
    "quantize": Command(
        "make a checkpoint fast on CPUs: in int8, by observations of datasets",
        "smolvla_learning.quantize",
    ),
    "eval": Command(
        "how often a checkpoint, or the scripted expert, does a task in the simulation",
        "smolvla_sim.evaluate",
    ),
    "eval-plan": Command(
        "how often it does a plan of several sentences in the simulation",
        "smolvla_sim.evaluate_plan",
    ),
    "dataset": Group(
        "make, describe, inspect and repair LeRobot datasets",
        {
            "simulate": Command(
                "record demonstrations of the scripted expert in the simulation",
                "smolvla_sim.demonstrations.record_dataset",
            ),
            "from-bag": Command(
                "make one from rosbags, of any robot",
                "smolvla_learning.recording.from_bag",
            ),
            "describe": Command(
                "let a vision-language model write its sentences",
                "smolvla_learning.describing.describe",
            ),
            "inspect": Command(
                "show what a dataset holds and whether it is sound",
                "smolvla_learning.dataset.commands",
                main="inspect",
            ),
            "repair": Command(
                "complete a dataset whose recording was interrupted",
                "smolvla_learning.dataset.commands",
                main="repair",
            ),
        },
    ),
    "bench": Group(
        "measure this machine",
        {
            "inference": Command(
                "one chunk of the network, stage by stage, and beside LeRobot",
                "smolvla_policy.bench_inference",
            ),
            "executor": Command(
                "how well the control loop keeps its rate", "smolvla_bringup.bench.executor"
            ),
            "sim": Command(
                "synchronous against asynchronous execution, in simulated time",
                "smolvla_sim.bench.__main__",
            ),
            "sim-nodes": Command(
                "the rows of `sim` that matter, with the real nodes in real time",
                "smolvla_bringup.bench.sim_nodes",
            ),
            "teleop": Command(
                "how fast an arm follows a leader arm, both emulated",
                "smolvla_bringup.bench.teleop",
            ),
            "bus": Command(
                "the servo bus beside Feetech's SDK, at the servo emulator",
                "smolvla_bringup.bench.bus",
            ),
        },
    ),
    "arm": Group(
        "set up an SO-100 or SO-101 arm; needs no running ROS",
        {
            "scan": Tool("list serial ports and the servos on them", "so100_scan"),
            "setup": Tool("give the servos their ids and settings", "so100_setup"),
            "calibrate": Tool("make a calibration as LeRobot's", "so100_calibrate"),
            "monitor": Tool("show what the servos measure", "so100_monitor"),
            "emulate": Tool("six emulated servos on a pseudo-terminal", "so100_emulator"),
        },
    ),
}


def _parser(line: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the command line; with the options of the one command that `line` begins with."""
    top = argparse.ArgumentParser(
        prog="smolvla",
        description="SmolVLA for ROS 2: a sentence in, motion out.",
        epilog='example: smolvla demo --task "put the blue cube into the bowl" --seed 3\n'
        "`smolvla COMMAND --help` shows the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_commands(top, COMMANDS, line)
    return top


def _add_commands(
    parser: argparse.ArgumentParser,
    commands: Mapping[str, Command | Tool | Group],
    line: Sequence[str],
) -> None:
    added = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, entry in commands.items():
        chosen = line[:1] == [name]
        parents = [entry.parser()] if chosen and not isinstance(entry, Group) else []
        child = added.add_parser(
            name,
            help=entry.help,
            description=entry.help,
            parents=parents,
            add_help=not (parents and parents[0].add_help),
        )
        if isinstance(entry, Group):
            _add_commands(child, entry.commands, line[1:])


def _complete() -> None:
    """Answer the shell where it asks what may follow, and end."""
    try:
        import argcomplete
    except ModuleNotFoundError:
        raise SystemExit(1) from None
    argcomplete.autocomplete(_parser(os.environ.get("COMP_LINE", "").split()[1:]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names; return its exit status, 2 where there is none."""
    end_on_interrupt(INTERRUPTED)
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    line = list(sys.argv[1:] if argv is None else argv)
    path, commands = ["smolvla"], COMMANDS
    while line and line[0] not in ("-h", "--help"):
        command = line.pop(0)
        name, entry = " ".join(path), commands.get(command)
        if entry is None:
            hint = instead_of(command, commands)
            print(f"{name}: there is no command '{command}'; {hint}", file=sys.stderr)
            return COULD_NOT_RUN
        path.append(command)
        if not isinstance(entry, Group):
            return entry.run(f"{name} {command}", line)
        commands = entry.commands

    def show_help() -> None:
        with contextlib.suppress(SystemExit):
            _parser().parse_args([*path[1:], "--help"])

    return guarded(" ".join(path), show_help) or (DONE if line else COULD_NOT_RUN)


def start() -> int:
    """``ros2 run smolvla_bringup start``."""
    return main(["run", *sys.argv[1:]])


def demo() -> int:
    """``ros2 run smolvla_bringup demo``."""
    return main(["demo", *sys.argv[1:]])


if __name__ == "__main__":
    raise SystemExit(main())
