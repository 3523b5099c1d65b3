# SPDX-License-Identifier: Apache-2.0
"""``smolvla check``: does a checkpoint fit this robot? Before anything moves.

Parameters come as for `policy_node` and `executor_node`, so that what is checked is what runs.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from smolvla_core.console import COULD_NOT_RUN, write_json
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.robot import Robot, load_robot
from smolvla_core.ros.parameter_names import check_arguments
from smolvla_core.ros.parameters import read
from smolvla_core.settings import AnySettings, from_arguments, settings_of

from smolvla_policy.backends.completion import ChosenUnits
from smolvla_policy.backends.registry import policy_parameters
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.checkpoint.contents import CheckpointContents
from smolvla_policy.checkpoint.processors import expected_cameras
from smolvla_policy.checks import checkpoint_checks, robot_checks
from smolvla_policy.checks.listener import RobotListener
from smolvla_policy.checks.options import PARAMETERS, CheckSettings, parser
from smolvla_policy.checks.robot_checks import Received
from smolvla_policy.checks.rows import Row, as_json, exit_code, summary, table


@dataclass(frozen=True)
class Settings:
    """What `policy_node` and `executor_node` would be started with, and the robot file's robot."""

    policy: SmolVLASettings
    executor: ExecutorSettings
    robot: Robot


def parse(arguments: Sequence[str]) -> tuple[CheckSettings, dict[str, Any], list[str]]:
    """Read the command line.

    Returns:
        The settings of the check, the parameters of `policy_node` that were given as options, and
        the arguments of ROS.
    """
    own, ros = list(arguments), []
    if "--ros-args" in own:
        cut = own.index("--ros-args")
        own, ros = own[:cut], own[cut:]
    given = parser().parse_args(own)
    options = from_arguments(CheckSettings, given)
    for file in options.params_file:
        ros += [*([] if ros else ["--ros-args"]), "--params-file", file]
    return options, {name: v for name, v in vars(given).items() if name in PARAMETERS}, ros


def read_settings(context: rclpy.Context, given: Mapping[str, Any]) -> Settings:
    """Read the parameters as both nodes would, and the options that stand for some.

    Raises:
        ValueError: a value does not fit; also the two exceptions of rclpy for parameters.
    """
    policy = _values(context, "policy_node", SmolVLASettings, given)
    executor = _values(context, "executor_node", ExecutorSettings, {})
    return Settings(policy, executor, load_robot(policy.robot))


def _values(
    context: rclpy.Context, name: str, cls: type[AnySettings], given: Mapping[str, Any]
) -> AnySettings:
    # A node by that name is what sections of parameter files are chosen by.
    node = Node(
        name,
        context=context,
        enable_rosout=False,
        start_parameter_services=False,
        parameter_overrides=[RosParameter(key, value=value) for key, value in given.items()],
    )
    try:
        return read(node, cls)
    finally:
        node.destroy_node()


def check_all(context: rclpy.Context, settings: Settings, options: CheckSettings) -> list[Row]:
    """Run all checks, those that need the others' results only where these are there."""
    policy = settings.policy
    rows, contents = checkpoint_checks.check_checkpoint(policy)
    if contents is None:
        return rows
    rows += checkpoint_checks.check_vlm(contents)
    joints_rows, robot = checkpoint_checks.check_joint_names(settings.robot, contents)
    camera_rows, cameras = checkpoint_checks.check_cameras(policy, robot, contents)
    rows += joints_rows + camera_rows + checkpoint_checks.check_statistics(robot, contents)
    units = None
    if not exit_code(joints_rows):
        period_rows, completed = checkpoint_checks.check_period(policy, robot, contents)
        rows += period_rows
        if completed is not None:
            policy, robot = completed.settings, completed.robot
        settings = replace(settings, policy=policy, robot=robot)
        units_rows, units = checkpoint_checks.check_units(policy, robot, contents)
        rows += units_rows
        rows += checkpoint_checks.check_calibration(policy, robot)
    rows += checkpoint_checks.check_instruction(options.task, contents, policy.tokenizer)
    received = None
    if options.offline:
        rows.append(Row.skipped("robot", "not listened to (--offline)"))
    elif not exit_code(joints_rows):
        received = listen(context, list(cameras), settings, options.seconds)
        rows += check_robot(received, settings, cameras, contents, units)
    needed = ("checkpoint", "VLM", "joints", "cameras", "statistics", "period")
    if not exit_code([row for row in rows if row.check in needed]):
        rows += check_speed(settings, contents, received, options)
    return rows


def listen(
    context: rclpy.Context, cameras: Sequence[str], settings: Settings, seconds: float
) -> Received:
    """Listen to the robot as `policy_node` would."""
    node = Node("smolvla_check", context=context, enable_rosout=False)
    try:
        return RobotListener(node, cameras, settings.robot, settings.policy).listen(seconds)
    finally:
        node.destroy_node()


def check_robot(
    received: Received,
    settings: Settings,
    cameras: Mapping[str, str],
    contents: CheckpointContents,
    units: ChosenUnits | None,
) -> list[Row]:
    """Check what was received."""
    rows = robot_checks.check_silence(received)
    if rows:
        return rows
    policy, robot = settings.policy, settings.robot
    config, processors = contents.config, contents.processors
    others = expected_cameras(config, processors) != config.cameras
    # Then config.json describes the base model's cameras.
    fine_tuned = others or any(new in config.cameras for new in processors.rename_map.values())
    rows = [
        robot_checks.check_camera(name, feature, received, config, policy, not fine_tuned)
        for name, feature in cameras.items()
    ]
    rows.append(robot_checks.check_joint_states(received.joints, received.seconds, policy))
    position = received.joints.positions
    if position is not None:
        rows.append(robot_checks.check_limits(position, robot))
        if units is not None:
            rows.append(robot_checks.check_pose(position, robot, units, contents.statistics))
    if not exit_code(rows):
        rows.append(robot_checks.check_observation(received))
    return rows


def check_speed(
    settings: Settings,
    contents: CheckpointContents,
    received: Received | None,
    options: CheckSettings,
) -> list[Row]:
    """Check device and memory, and time the model on the images that were received."""
    from smolvla_policy.checks import speed

    rows = speed.check_device(settings.policy, contents.weights)
    if exit_code(rows):
        return rows
    if not options.speed:
        return [*rows, Row.skipped("latency", "not measured (--no-speed)")]
    seen = {} if received is None else received.cameras
    images = {name: camera.pixels for name, camera in seen.items() if camera.pixels is not None}
    try:
        measured = speed.measure(settings.policy, images, options.task)
    except ValueError as error:
        return [*rows, Row.fix("model", error)]
    ahead = contents.robot.state_offset
    return rows + speed.check_latency(
        measured,
        settings.policy.period,
        settings.executor.chunk_size_threshold,
        settings.executor.actions_per_chunk,
        ahead if settings.policy.real_time_chunking in ("auto", "future_state") else 0,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and print; return 0 ready, 1 something must be done, 2 cannot be checked."""
    options, given, ros = parse(sys.argv[1:] if arguments is None else arguments)
    context = rclpy.Context()
    try:
        check_arguments(
            ros,
            {
                "policy_node": policy_parameters(),
                "executor_node": settings_of(ExecutorSettings),
            },
        )
        rclpy.init(args=ros, context=context)
        settings = read_settings(context, given)
        backend = settings.policy.backend
        if backend != "smolvla":
            raise ValueError(
                f"backend is '{backend}'; only checkpoints of 'smolvla' can be checked"
            )
    except (
        ValueError,
        RuntimeError,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as error:
        print(f"smolvla check: {error}", file=sys.stderr)
        rclpy.try_shutdown(context=context)
        return COULD_NOT_RUN
    try:
        rows = check_all(context, settings, options)
    finally:
        rclpy.try_shutdown(context=context)
    if options.json is not None:
        write_json(options.json, as_json(rows))
    if str(options.json) != "-":
        print(table(rows, shutil.get_terminal_size((100, 24)).columns))
        print(f"\n{summary(rows)}")
    return exit_code(rows)
