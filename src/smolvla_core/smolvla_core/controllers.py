# SPDX-License-Identifier: Apache-2.0
"""The parameters of ros2_control that a robot's outputs need.

The launch files use it; by hand, e.g. on a robot's computer without them:

    python3 -m smolvla_core.controllers so100 > controllers.yaml
    ros2 run controller_manager ros2_control_node --ros-args --params-file controllers.yaml
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from smolvla_core.robot import (
    FORWARD,
    GRIPPER_COMMAND,
    SHIPPED,
    Output,
    Robot,
    RobotError,
    load_robot,
)
from smolvla_core.units.calibration import GRIPPER

BROADCASTER = "joint_state_broadcaster"
PACKAGES = {FORWARD: "forward_command_controller", GRIPPER_COMMAND: "gripper_controllers"}
"""Type of output -> package of its controller; of the others joint_trajectory_controller."""
_TYPES = {
    FORWARD: "forward_command_controller/ForwardCommandController",
    GRIPPER_COMMAND: "position_controllers/GripperActionController",
}
_MANAGER = {
    # Cycles per second: the arm is read, the controllers work, the arm is written [Hz]. One read
    # and write of six servos takes 2 ms of the wire at 1 Mbit/s.
    "update_rate": 100,
    # The driver keeps goals within the joints' limits, the executor within limits, speed and step.
    # ros2_control's own limiter would end the whole process, torque on, as soon as a joint stands
    # 0.5 degrees outside its limits, as an arm that rests against its stops does.
    "enforce_command_limits": False,
    BROADCASTER: {"type": "joint_state_broadcaster/JointStateBroadcaster"},
}


def controller_name(output: Output) -> str:
    """Return the name of the controller that an output's topic or action belongs to."""
    return output.topic.rpartition("/")[0].rpartition("/")[2] or "arm_controller"


def packages(outputs: Sequence[Output]) -> list[str]:
    """Return the packages that the controllers of `outputs` are in."""
    others = "joint_trajectory_controller"
    return list(dict.fromkeys(PACKAGES.get(output.type, others) for output in outputs))


def controllers(
    robot: Robot, outputs: Sequence[Output], inactive: Sequence[str] = ()
) -> dict[str, Any]:
    """Return parameters of the controller manager and of a controller for each of `outputs`.

    The names have wildcards, so that they fit any namespace.

    Args:
        robot: whose.
        outputs: of it.
        inactive: hardware components that are read, but not activated.
    """
    manager: dict[str, Any] = dict(_MANAGER)
    if inactive:
        manager["hardware_components_initial_state"] = {
            "inactive": list(inactive),
            # It is tried again.
            "shutdown_on_initial_state_failure": False,
        }
    content: dict[str, Any] = {"/**/controller_manager": {"ros__parameters": manager}}
    grippers = {joint.name for joint in robot.moving if joint.role == GRIPPER}
    for output in outputs:
        name = controller_name(output)
        default = "joint_trajectory_controller/JointTrajectoryController"
        manager[name] = {"type": _TYPES.get(output.type, default)}
        content[f"/**/{name}"] = {"ros__parameters": dict(_parameters(output, grippers))}
    return content


def _parameters(output: Output, grippers: set[str]) -> Mapping[str, Any]:
    if output.type == FORWARD:
        return {"joints": output.names, "interface_name": "position"}
    if output.type == GRIPPER_COMMAND:
        return {"joint": output.names[0], "allow_stalling": True}
    return {
        "joints": output.names,
        "command_interfaces": ["position"],
        "state_interfaces": ["position"],
        # A new trajectory begins at the last command, not at the measured position: servos
        # without an I gain lag their goals, and each new chunk would pull the arm back by that.
        "interpolate_from_desired_state": True,
        # The executor's chunks go on beyond their last point.
        "allow_nonzero_velocity_at_trajectory_end": True,
        # Beyond them a goal of follow_joint_trajectory is aborted, and a trajectory of the topic
        # is given up: the controller holds the arm until the next one.
        "constraints": {
            # How long after its end a trajectory may still be on its way [s].
            "goal_time": 1.0,
            # Below this speed the arm counts as standing [rad/s]; one tick of a servo in one
            # cycle of 100 Hz is 0.15 rad/s.
            "stopped_velocity_tolerance": 0.2,
            # Largest distance from the trajectory [rad], on the way and at its end; 0: any. A
            # gripper stops at whatever it holds.
            **{
                name: {"trajectory": 0.0, "goal": 0.0}
                if joint in grippers
                else {"trajectory": 0.5, "goal": 0.05}
                for joint, name in zip(output.joints, output.names, strict=True)
            },
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the parameters of a robot's controllers."""
    parser = argparse.ArgumentParser(
        prog="python3 -m smolvla_core.controllers",
        description="Print the parameters of a robot's controllers.",
    )
    parser.add_argument("robot", help=f"{', '.join(SHIPPED)}, or the path of a robot file")
    try:
        robot = load_robot(parser.parse_args(arguments).robot)
    except RobotError as error:
        print(error, file=sys.stderr)
        return 2
    print(yaml.safe_dump(controllers(robot, robot.outputs), sort_keys=False), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
