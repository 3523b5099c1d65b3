# SPDX-License-Identifier: Apache-2.0
"""Tell, before anything moves, whether a checkpoint fits this robot.

    ros2 run smolvla_policy check --checkpoint my/checkpoint --task "pick up the red cube"

Parameters come as for `policy_node` and `executor_node`, so that what is checked is what runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from smolvla_core.ros.parameter_names import check_arguments
from smolvla_core.ros.parameters import Parameter, read
from smolvla_core.ros.policy_parameters import POLICY_PARAMETERS
from smolvla_executor.executor_node.parameters import EXECUTOR_PARAMETERS

from smolvla_policy.backends.units_choice import ChosenUnits
from smolvla_policy.checkpoint.contents import CheckpointContents
from smolvla_policy.checkpoint.processors import expected_cameras
from smolvla_policy.checks import checkpoint_checks, robot_checks
from smolvla_policy.checks.heard import Heard
from smolvla_policy.checks.listener import RobotListener
from smolvla_policy.checks.rows import Row, Status, as_json, exit_code, summary, table

PARAMETER_OPTIONS = (
    "checkpoint",
    "stats",
    "tokenizer",
    "units",
    "calibration",
    "cameras",
    "joints",
    "device",
    "dtype",
)
"""Options that are parameters of `policy_node` by the same name."""
BAD_USAGE = 2


@dataclass(frozen=True)
class Settings:
    """What `policy_node` and `executor_node` would be started with.

    Attributes:
        policy: values of `policy_node`'s parameters by name.
        executor: values of `executor_node`'s parameters by name.
    """

    policy: Mapping[str, Any]
    executor: Mapping[str, Any]


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into this program's options and those of ROS."""
    own, ros = list(arguments), []
    if "--ros-args" in own:
        cut = own.index("--ros-args")
        own, ros = own[:cut], own[cut:]
    parser = argparse.ArgumentParser(
        prog="check",
        description="Tell, before anything moves, whether a checkpoint fits this robot.",
        epilog="All parameters of policy_node and executor_node may follow after --ros-args. "
        "Exit code: 0 ready, 1 something must be done, 2 cannot be checked.",
    )
    parser.add_argument("--checkpoint", help="folder or hub id")
    parser.add_argument("--task", default="", help="the instruction, to count its tokens")
    parser.add_argument("--stats", help="statistics to use instead of the checkpoint's own")
    parser.add_argument("--tokenizer", help="folder, file or hub id instead of the checkpoint's")
    parser.add_argument("--units", help="auto, degrees, normalized, degrees_old or radians")
    parser.add_argument("--calibration", help="the arm's LeRobot calibration: a file or an id")
    parser.add_argument("--cameras", nargs="+", metavar="NAME[:FEATURE]", help="as policy_node's")
    parser.add_argument("--joints", nargs="+", help="in the checkpoint's order")
    parser.add_argument("--device", help="auto, cpu, cuda, …")
    parser.add_argument("--dtype", help="auto, float32 or bfloat16")
    parser.add_argument(
        "--params-file", action="append", default=[], help="parameters in YAML; repeatable"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="to listen to the robot")
    parser.add_argument("--offline", action="store_true", help="do not listen to the robot")
    parser.add_argument("--no-speed", action="store_true", help="do not load and time the model")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(own)
    if not 0.1 <= options.seconds <= 60.0:
        parser.error(f"--seconds is {options.seconds:g}; it must be 0.1 to 60")
    for file in options.params_file:
        ros += [*([] if ros else ["--ros-args"]), "--params-file", file]
    return options, ros


def read_settings(context: rclpy.Context, options: argparse.Namespace) -> Settings:
    """Read the parameters as both nodes would, and the options that stand for some.

    Raises:
        ValueError: a value does not fit; also the two exceptions of rclpy for parameters.
    """
    given = {
        name: getattr(options, name)
        for name in PARAMETER_OPTIONS
        if getattr(options, name) is not None
    }
    return Settings(
        _values(context, "policy_node", POLICY_PARAMETERS, given),
        _values(context, "executor_node", EXECUTOR_PARAMETERS, {}),
    )


def _values(
    context: rclpy.Context,
    name: str,
    parameters: Sequence[Parameter],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    # A node by that name is what sections of parameter files are chosen by.
    node = Node(
        name,
        context=context,
        enable_rosout=False,
        start_parameter_services=False,
        parameter_overrides=[RosParameter(key, value=value) for key, value in given.items()],
    )
    try:
        return read(node, parameters)
    finally:
        node.destroy_node()


def check_all(
    context: rclpy.Context, settings: Settings, options: argparse.Namespace
) -> list[Row]:
    """Run all checks, those that need the others' results only where these are there."""
    values, limits = settings.policy, settings.executor
    rows, contents = checkpoint_checks.check_checkpoint(values)
    if contents is None:
        return rows
    rows += checkpoint_checks.check_vlm(contents)
    joints_rows = checkpoint_checks.check_joint_names(values, contents)
    camera_rows, cameras = checkpoint_checks.check_cameras(values, contents)
    rows += joints_rows + camera_rows + checkpoint_checks.check_statistics(values, contents)
    units = None
    if not exit_code(joints_rows):
        period_rows, completed = checkpoint_checks.check_period(values, contents)
        rows += period_rows
        if completed is not None:
            values = completed.options
            settings = replace(settings, policy=values)
        units_rows, units = checkpoint_checks.check_units(values, contents)
        rows += units_rows
        rows += checkpoint_checks.check_calibration(
            values, limits["lower_limits"], limits["upper_limits"]
        )
    rows += checkpoint_checks.check_instruction(options.task, contents, values["tokenizer"])
    heard = None
    if options.offline:
        rows.append(Row("robot", Status.SKIPPED, "not listened to (--offline)"))
    elif not exit_code(joints_rows):
        heard = listen(context, list(cameras), values, options.seconds)
        rows += check_robot(heard, settings, cameras, contents, units)
    needed = ("checkpoint", "VLM", "joints", "cameras", "statistics", "period")
    if not exit_code(rows_of(rows, *needed)):
        rows += check_speed(settings, contents, heard, options)
    return rows


def rows_of(rows: Sequence[Row], *checks: str) -> list[Row]:
    """Return the rows of these checks."""
    return [row for row in rows if row.check in checks]


def listen(
    context: rclpy.Context, cameras: Sequence[str], values: Mapping[str, Any], seconds: float
) -> Heard:
    """Listen to the robot as `policy_node` would."""
    node = Node("smolvla_check", context=context, enable_rosout=False)
    try:
        return RobotListener(node, cameras, values["joints"], values).listen(seconds)
    finally:
        node.destroy_node()


def check_robot(
    heard: Heard,
    settings: Settings,
    cameras: Mapping[str, str],
    contents: CheckpointContents,
    units: ChosenUnits | None,
) -> list[Row]:
    """Check what was heard."""
    rows = robot_checks.check_silence(heard)
    if rows:
        return rows
    values, limits = settings.policy, settings.executor
    config, processors = contents.config, contents.processors
    others = expected_cameras(config, processors) != config.cameras
    # Then config.json describes the base model's cameras.
    fine_tuned = others or any(new in config.cameras for new in processors.rename_map.values())
    rows = [
        robot_checks.check_camera(name, feature, heard, config, values, not fine_tuned)
        for name, feature in cameras.items()
    ]
    rows.append(robot_checks.check_joint_states(heard.joints, heard.seconds, values))
    position = heard.joints.positions
    if position is not None:
        lower, upper = limits["lower_limits"], limits["upper_limits"]
        rows.append(robot_checks.check_limits(position, values["joints"], lower, upper))
        if units is not None:
            rows.append(
                robot_checks.check_pose(position, values["joints"], units, contents.statistics)
            )
    if not exit_code(rows):
        rows.append(robot_checks.check_observation(heard))
    return rows


def check_speed(
    settings: Settings,
    contents: CheckpointContents,
    heard: Heard | None,
    options: argparse.Namespace,
) -> list[Row]:
    """Check device and memory, and time the model on the images that were heard."""
    from smolvla_policy.checks import speed

    rows = speed.check_device(settings.policy, contents.weights)
    if exit_code(rows):
        return rows
    if options.no_speed:
        return [*rows, Row("latency", Status.SKIPPED, "not measured (--no-speed)")]
    seen = {} if heard is None else heard.cameras
    images = {name: camera.pixels for name, camera in seen.items() if camera.pixels is not None}
    try:
        measured = speed.measure(settings.policy, images, options.task)
    except ValueError as error:
        return [*rows, Row("model", Status.FIX, str(error))]
    return rows + speed.check_latency(
        measured,
        settings.policy["period"],
        settings.executor["chunk_size_threshold"],
        settings.executor["actions_per_chunk"],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and print; return 0 ready, 1 something must be done, 2 cannot be checked."""
    options, ros = parse(sys.argv[1:] if arguments is None else arguments)
    context = rclpy.Context()
    try:
        check_arguments(
            ros,
            {
                "policy_node": [parameter.name for parameter in POLICY_PARAMETERS],
                "executor_node": [parameter.name for parameter in EXECUTOR_PARAMETERS],
            },
        )
        rclpy.init(args=ros, context=context)
        settings = read_settings(context, options)
        if settings.policy["backend"] != "smolvla":
            raise ValueError(
                f"backend is '{settings.policy['backend']}'; only checkpoints of 'smolvla' can be "
                "checked"
            )
    except (
        ValueError,
        RuntimeError,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as error:
        print(f"check: {error}", file=sys.stderr)
        rclpy.try_shutdown(context=context)
        return BAD_USAGE
    try:
        rows = check_all(context, settings, options)
    except KeyboardInterrupt:
        return BAD_USAGE
    finally:
        rclpy.try_shutdown(context=context)
    if options.json:
        print(json.dumps(as_json(rows), indent=2))
    else:
        print(table(rows, shutil.get_terminal_size((100, 24)).columns))
        print(f"\n{summary(rows)}")
    return exit_code(rows)


if __name__ == "__main__":
    raise SystemExit(main())
