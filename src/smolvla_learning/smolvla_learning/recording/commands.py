# SPDX-License-Identifier: Apache-2.0
"""The topics that commands come on, by their source, and how a message becomes a command.

The messages are those of ROS, whoever has deserialized them: rclpy, or what reads a bag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smolvla_core.node_settings import RecordSettings
from smolvla_core.robot import FORWARD, TRAJECTORY, Output

from smolvla_learning.recording.inputs import CommandBuffer

ARRAY = "std_msgs/msg/Float64MultiArray"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
JOINT_STATE = "sensor_msgs/msg/JointState"
LEADER = "leader/joint_states"
"""Topic of a leader arm."""


@dataclass(frozen=True)
class CommandTopic:
    """A topic of commands.

    Attributes:
        topic: its name.
        type: ROS's name of its messages' type.
        take: takes a message in, the time at which it came [s, monotonic], and the same time by
            the clock of the stamps [ns].
    """

    topic: str
    type: str
    take: Callable[[Any, float, int], None]


def command_topics(
    settings: RecordSettings, resolve: Callable[[str], str]
) -> tuple[CommandBuffer | None, list[CommandTopic]]:
    """Return where the commands of ``action_source`` are collected, and the topics to listen to.

    Args:
        settings: of the recorder.
        resolve: gives the whole name of a topic, for messages.

    Returns:
        No buffer and no topics where commands are not recorded.

    Raises:
        ValueError: commands go out as goals of an action, which nobody else receives.
    """
    source, names = settings.action_source, settings.joints
    if source == "next_state":
        return None, []
    outputs = settings.body.chosen_outputs("" if source == "command" else TRAJECTORY)
    if source == "leader":
        what = f"leader arm on {resolve(LEADER)}"
    else:
        what = f"commands on {', '.join(resolve(output.topic) for output in outputs)}"
    buffer = CommandBuffer(names, settings.max_command_age, what)
    if source == "leader":

        def on_leader(message: Any, now: float, clock_ns: int) -> None:
            buffer.add(message.position, now, list(message.name))

        return buffer, [CommandTopic(LEADER, JOINT_STATE, on_leader)]
    return buffer, [_of_output(output, buffer) for output in outputs]


def _of_output(output: Output, buffer: CommandBuffer) -> CommandTopic:
    def on_array(message: Any, now: float, clock_ns: int) -> None:
        buffer.add(message.data, now, output.joints)

    def on_trajectory(message: Any, now: float, clock_ns: int) -> None:
        begin_ns = _nanoseconds(message.header.stamp) or clock_ns  # without, it begins at once
        buffer.add_trajectory(
            [output.prefix + name for name in message.joint_names],
            [_nanoseconds(point.time_from_start) * 1e-9 for point in message.points],
            [point.positions for point in message.points],
            now + (begin_ns - clock_ns) * 1e-9,
        )

    if output.type == FORWARD:
        return CommandTopic(output.topic, ARRAY, on_array)
    if output.type == TRAJECTORY:
        return CommandTopic(output.topic, JOINT_TRAJECTORY, on_trajectory)
    raise ValueError(
        f"{output.topic} of the robot file is an action, whose goals cannot be recorded: set "
        "action_source:=next_state"
    )


def _nanoseconds(time: Any) -> int:
    """Return a Time or Duration of ROS [ns]."""
    return int(time.sec) * 10**9 + int(time.nanosec)
