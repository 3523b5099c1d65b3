# SPDX-License-Identifier: Apache-2.0
"""The arm: the simulation, or ros2_control with its controllers."""

from __future__ import annotations

from smolvla_core.controllers import BROADCASTER, controller_name, controllers
from smolvla_core.controllers import packages as packages_of

from smolvla_bringup.system.environment import apt_line, has_resource, require
from smolvla_bringup.system.node_spec import NodeSpec, make_spec, node_environment
from smolvla_bringup.system.options import Options, SetupError

_MANAGER = "controller_manager"
_DRIVER_RESOURCE = "hardware_interface__pluginlib__plugin"
_MANAGER_TIMEOUT = 60  # [s] for the controller manager to come up and load the arm


def arm_nodes(options: Options) -> list[NodeSpec]:
    """Return the nodes that speak ``joint_states`` and take the commands.

    Raises:
        SetupError: a package that the hardware needs is not installed.
    """
    if options.hardware == "sim":
        return [_sim(options)]
    reason = f"hardware '{options.hardware}'"
    otherwise = "choose hardware 'sim', which needs none of ros2_control"
    packages = ["controller_manager", BROADCASTER, *packages_of(options.outputs)]
    if options.hardware == "real":
        packages.append("so100_hardware")
    for package in packages:
        require(package, reason, otherwise)
    if options.hardware == "real" and not has_resource(_DRIVER_RESOURCE, "so100_hardware"):
        raise SetupError(
            "so100_hardware was built without ros2_control, so the arm's driver is missing: "
            f"{apt_line('hardware_interface', 'pluginlib')}, then build the workspace again"
        )
    return [_manager(options), _spawner(options)]


def _sim(options: Options) -> NodeSpec:
    parameters = {
        "robot": options.robot_source,
        "seed": options.seed,
        "task": options.task,
        "viewer": options.viewer,
    }
    if options.frame_prefix:
        parameters["frame_prefix"] = options.frame_prefix
    return make_spec(
        options,
        "smolvla_sim",
        "sim_node",
        parameters=parameters,
        restarts=False,
    )


def _manager(options: Options) -> NodeSpec:
    # It names itself and takes the URDF from the topic robot_description.
    return make_spec(
        options,
        "controller_manager",
        "ros2_control_node",
        name=_MANAGER,
        files={"controllers": controllers(options.body, options.outputs)},
        renamed=False,
        # A new one would not know what the arm was doing, and the controllers would be gone.
        restarts=False,
        holds_arm=True,
    )


def _spawner(options: Options) -> NodeSpec:
    return NodeSpec(
        package="controller_manager",
        executable="spawner",
        name="spawner",
        namespace=options.node_namespace,
        # In this order: whoever sees joint states may count on a controller that takes commands.
        arguments=(
            *map(controller_name, options.outputs),
            BROADCASTER,
            "--controller-manager",
            options.full_name(_MANAGER),
            "--controller-manager-timeout",
            str(_MANAGER_TIMEOUT),
        ),
        renamed=False,
        restarts=False,
        one_shot=True,
        # It only sees that the arm is not there; the manager knows why.
        blames=_MANAGER,
        env=node_environment(options),
    )
