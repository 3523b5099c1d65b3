# SPDX-License-Identifier: Apache-2.0
"""``smolvla replay``: an episode of a dataset on a running arm, or one in the simulation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from smolvla_core.console import DONE, INTERRUPTED, NO, command_parser, could_not_run
from smolvla_core.node_settings import RobotSettings
from smolvla_core.robot import Robot
from smolvla_core.settings import SettingError, add_arguments, from_arguments, setting
from smolvla_core.units.implied import implied_units
from smolvla_core.units.joint_units import AUTO, REGIMES, joint_units

if TYPE_CHECKING:
    from smolvla_learning.dataset.reader import Dataset


@dataclass(frozen=True, kw_only=True)
class ReplaySettings(RobotSettings):
    """Of the program."""

    dataset: str = setting("", "Folder of a LeRobot dataset, or its hub id.")
    episode: int = setting(0, "Which one.", 0)
    units: str = setting(
        AUTO,
        "Of the dataset's actions; auto: as it says, else as its statistics show.",
        choices=(AUTO, *REGIMES),
    )
    go_home: bool = setting(False, "Go to the home pose afterwards.")
    namespace: str = setting("", "Of the arm.")


@dataclass(frozen=True)
class Recorded:
    """The actions of an episode, as a robot is commanded.

    Attributes:
        actions: (rows, joints) [rad].
        joint_names: of the columns, as the robot file has them.
        period: time between two rows [s].
        instruction: the episode's; empty where it has none.
        units: that the actions were in.
    """

    actions: NDArray[np.float64]
    joint_names: tuple[str, ...]
    period: float
    instruction: str
    units: str


def recorded_actions(dataset: Dataset, episode: int, robot: Robot, units: str = AUTO) -> Recorded:
    """Return the actions of an episode for a robot.

    Args:
        dataset: where it is.
        episode: its index.
        robot: that shall repeat it.
        units: of the dataset, as `ReplaySettings.units`.

    Raises:
        ValueError: there is no such episode, the dataset is of another robot or damaged, or its
            units do not fit, contradict it or are not known.
    """
    from smolvla_policy.backends.completion import complete, read_calibrations
    from smolvla_policy.backends.smolvla_settings import SmolVLASettings
    from smolvla_policy.checkpoint.config import ACTION

    from smolvla_learning.training.checks import dataset_facts

    if robot.increments:
        raise ValueError(
            f"the robot '{robot.source}' drives {', '.join(robot.increments)} by increments "
            "(increment in the robot file): from another pose they would lead elsewhere, so they "
            "are not replayed"
        )
    where = f"{dataset.folder}:"
    if episode >= dataset.num_episodes:
        raise ValueError(f"{where} episodes are 0 to {dataset.num_episodes - 1}, not {episode}")
    facts = dataset_facts(dataset)
    joints = {joint.feature: joint for joint in robot.joints}
    if sorted(joints) != sorted(facts.joints):
        raise ValueError(
            f"{where} the actions are of {', '.join(facts.joints) or 'joints without names'}, but "
            f"the robot '{robot.source}' has {', '.join(joints)}: choose another --robot"
        )
    arranged = replace(robot, joints=tuple(joints[name] for name in facts.joints))
    arranged = complete(SmolVLASettings(), arranged, facts).robot
    loaded = read_calibrations(robot)
    calibrations = {prefix: arm.joints for prefix, arm in loaded.items()}
    implied = implied_units({ACTION: dataset.stats[ACTION]}, arranged.joints, calibrations)
    regime = facts.units or implied.regime
    if units not in (AUTO, regime) and regime:
        reason = "it says so" if facts.units else implied.reason
        raise ValueError(f"{where} the actions are in {regime}, not {units}: {reason}")
    if units == AUTO and not regime:
        raise ValueError(
            f"{where} its units are not known, as it does not say them and the statistics do not "
            f"show them: give --units, one of {', '.join(REGIMES)}"
        )
    regime = regime or units
    conversion = joint_units(regime, arranged.joints, calibrations)
    span = dataset.episodes[episode]
    rows = dataset.column(ACTION)[span.from_index : span.to_index]
    return Recorded(
        conversion.to_joints(rows),
        conversion.joints,
        1.0 / dataset.fps,
        next(iter(span.tasks), ""),
        regime,
    )


def other_robot(dataset: Dataset, robot: Robot) -> str:
    """Return a warning where the dataset says that it is of another type of robot; else nothing.

    No more than that: LeRobot's names of one arm have changed over time.
    """
    if dataset.robot_type in (None, "", "unknown", robot.robot_type):
        return ""
    return (
        f"the dataset is of robot_type {dataset.robot_type}, but robot '{robot.source}' is "
        f"{robot.robot_type}: its joints have the same names, but the motion may not fit; Ctrl-C "
        "stops it"
    )


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``smolvla replay``."""
    made = command_parser(
        "smolvla replay",
        "Let a running arm, or one in the simulation, execute the actions of a recorded episode "
        "through the executor, as a goal of the action smolvla/run_task; Ctrl-C stops it.",
        "smolvla replay --dataset ~/datasets/cubes --episode 3",
        "0 replayed, 1 it came to no end (stopped, a person took over), 2 it could not begin, "
        "130 Ctrl-C",
    )
    add_arguments(made, ReplaySettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Replay an episode; return the exit status."""
    arguments = parser().parse_args(argv)
    from smolvla_core.client import ClientError, SmolVLAClient

    from smolvla_learning.dataset.reader import Dataset
    from smolvla_msgs.action import RunTask

    try:
        settings = from_arguments(ReplaySettings, arguments)
        if not settings.dataset:
            raise SettingError("dataset", "is empty: give --dataset FOLDER")
        dataset = Dataset.open(settings.dataset)
        recorded = recorded_actions(dataset, settings.episode, settings.body, settings.units)
        seconds = len(recorded.actions) * recorded.period
        print(f"{len(recorded.actions)} actions, {seconds:.1f} s, in {recorded.units}", flush=True)
        if warning := other_robot(dataset, settings.body):
            print(f"smolvla replay: warning: {warning}", file=sys.stderr, flush=True)
        with SmolVLAClient.connect("smolvla_replay", settings.namespace) as client:
            result = client.replay(
                recorded.actions,
                recorded.joint_names,
                recorded.period,
                recorded.instruction,
                go_home=settings.go_home,
            )
    except (ClientError, ValueError, OSError) as error:
        return could_not_run("smolvla replay", error)
    except KeyboardInterrupt:
        print("\nsmolvla replay: canceled")
        return INTERRUPTED
    print(f"{result.message} ({result.elapsed:.1f} s)")
    return DONE if result.reason == RunTask.Result.SUCCEEDED else NO
