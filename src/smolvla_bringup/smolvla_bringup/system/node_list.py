# SPDX-License-Identifier: Apache-2.0
"""The one list of nodes that launch files, starter and demo share, so that they cannot drift."""

from __future__ import annotations

import dataclasses
import importlib
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from ament_index_python import has_resource
from smolvla_core.controllers import BROADCASTER, controller_name, controllers
from smolvla_core.controllers import packages as packages_of
from smolvla_core.node_settings import RECORDING
from smolvla_core.ros.parameter_names import check_file
from smolvla_core.ros.parameters import wrong_type
from smolvla_core.settings import Setting, settings_of
from smolvla_policy.backends.registry import policy_parameters
from smolvla_sim.settings import CHECKPOINT
from smolvla_sim.world.scene import DEFAULT_CAMERAS

from smolvla_bringup.system.description import description_nodes, robot_description
from smolvla_bringup.system.environment import apt_line, installed, require, shared_file
from smolvla_bringup.system.node_spec import (
    LEADER_DRIVER,
    NodeSpec,
    make_spec,
    node_environment,
    temporary_file,
)
from smolvla_bringup.system.options import JOY, PARTS, RERUN, RVIZ, SIM, Options, SetupError

_MANAGER = "controller_manager"
_COMPONENT = "so100"  # of the URDF
FOLLOWING_RATE = 100.0
"""At which the arm follows a person where there is no policy [Hz], that of the arm's driver."""
_MANAGER_TIMEOUT = 60  # [s] for the controller manager to come up and load the arm
_CAMERA_EXECUTABLES = {"usb_cam": "usb_cam_node_exe", "v4l2_camera": "v4l2_camera_node"}
_COMPRESSION = "compressed_image_transport"
_RVIZ = "rviz2"


def node_list(
    options: Options,
    parts: Sequence[str] = PARTS,
    log: Callable[[str], object] = lambda line: None,
) -> tuple[NodeSpec, ...]:
    """Return the nodes that `options` ask for, in the order of their start.

    Args:
        options, parts: what shall be started, and which of `PARTS` of it.
        log: called with each line about what is left out, and the reason.

    Raises:
        SetupError: something is missing or contradictory; nothing was started.
    """
    makers: dict[str, Callable[[], list[NodeSpec]]] = {
        "arm": lambda: arm_nodes(options),
        "description": lambda: description_nodes(options, log),
        "cameras": lambda: camera_nodes(options),
        "leader": lambda: leader_nodes(options),
        "policy": lambda: policy_nodes(options),
        "visualization": lambda: visualization_nodes(options, log),
    }
    specs = tuple(
        dataclasses.replace(node, part=part, restart_command=_restart_command(options, part))
        for part in sorted(parts, key=PARTS.index)
        for node in makers[part]()
    )
    if options.params_path:
        _check_file(options.params_path, specs)
    return specs


def simulation_nodes(options: Options) -> tuple[NodeSpec, ...]:
    """Return what a run in the simulation needs: arm, policy, and Rerun where it is asked for."""
    shown = ("visualization",) if options.viewer_asked == RERUN else ()
    return node_list(options, ("arm", "policy", *shown))


def _restart_command(options: Options, part: str) -> str:
    """Return the command that starts `part` beside the rest; empty where there is none."""
    if part not in ("cameras", "leader", "policy", "visualization") or not shutil.which("ros2"):
        return ""
    given = [
        f"{name}:={str(value).lower() if isinstance(value, bool) else value}"
        for name, option in settings_of(Options).items()
        if part in option.tags and (value := getattr(options, name)) != option.default
    ]
    return shlex.join(["ros2", "launch", "smolvla_bringup", f"{part}.launch.py", *given])


def _check_file(file: Path, specs: Sequence[NodeSpec]) -> None:
    """Look for typing errors and wrong types in the user's parameter file.

    Raises:
        SetupError: there are some; the text names what was probably meant.
    """
    parameters = {}
    wrong: dict[str, None] = {}
    for spec in specs:
        if declared := _parameters(spec.executable):
            parameters[spec.full_name] = declared
            wrong |= {
                f"{spec.full_name}: {problem}": None
                for values in spec.values_in(file)
                for name, setting in declared.items()
                if (problem := wrong_type(setting, values.get(name)))
            }
    try:
        check_file(file, parameters)
    except ValueError as error:
        raise SetupError(str(error)) from error
    if wrong:
        raise SetupError(f"{file}: {'; '.join(wrong)}")


def _parameters(executable: str) -> dict[str, Setting]:
    """Return the parameters of one of the suite's nodes; none of another one."""
    if executable == "policy_node":
        return policy_parameters()
    # Imported when needed: not every machine has all of it.
    module, name = {
        "executor_node": ("smolvla_core.node_settings", "ExecutorSettings"),
        "plan_node": ("smolvla_core.node_settings", "PlanSettings"),
        "rerun_node": ("smolvla_core.node_settings", "RerunSettings"),
        "teleop_node": ("smolvla_core.node_settings", "TeleopSettings"),
        "visualization_node": (
            "smolvla_executor.visualization_node.markers",
            "VisualizationSettings",
        ),
        "human_node": ("smolvla_sim.human.settings", "HumanSettings"),
        "sim_node": ("smolvla_sim.node.parameters", "SimSettings"),
    }.get(executable, ("smolvla_core.settings", "Settings"))
    return settings_of(getattr(importlib.import_module(module), name))


# The arm.


def arm_nodes(options: Options) -> list[NodeSpec]:
    """Return what publishes ``joint_states`` and takes commands: sim_node, or ros2_control.

    Raises:
        SetupError: a package that the hardware needs is not installed.
    """
    if options.hardware == "sim":
        parameters = {
            "robot": options.loaded_robot.source,
            "seed": options.seed,
            "task": options.task,
            "viewer": options.viewer,
        }
        if options.frame_prefix:
            parameters["frame_prefix"] = options.frame_prefix
        if options.plan:
            parameters["follow_instruction"] = True
        return [
            make_spec(options, "smolvla_sim", "sim_node", parameters=parameters, restarts=False)
        ]
    _require_ros2_control(
        packages_of(options.outputs),
        options.hardware == "real",
        f"hardware '{options.hardware}'",
        "choose hardware 'sim', which needs none of ros2_control",
    )
    # It names itself and takes the URDF from the topic robot_description.
    manager = make_spec(
        options,
        _MANAGER,
        "ros2_control_node",
        name=_MANAGER,
        files={"controllers": controllers(options.loaded_robot, options.outputs)},
        renamed=False,
        # A new one would not know what the arm was doing, and the controllers would be gone.
        restarts=False,
        holds_arm=True,
    )
    spawner = NodeSpec(
        package=_MANAGER,
        executable="spawner",
        name="spawner",
        namespace=options.node_namespace,
        # In this order: whoever sees joint states may count on a controller that takes commands.
        arguments=(
            *map(controller_name, options.outputs),
            BROADCASTER,
            "--controller-manager",
            manager.full_name,
            "--controller-manager-timeout",
            str(_MANAGER_TIMEOUT),
        ),
        renamed=False,
        restarts=False,
        one_shot=True,
        # It only sees that the arm is not there; the manager knows the reason.
        error_source=_MANAGER,
        env=node_environment(options),
    )
    return [manager, spawner]


def _require_ros2_control(packages: Sequence[str], driver: bool, user: str, rest: str) -> None:
    """Make sure that ros2_control is there.

    Args:
        packages: needed beside it.
        driver: whether that of the arm is needed.
        user: what needs it.
        rest: what to do instead.

    Raises:
        SetupError: something is missing.
    """
    for package in (_MANAGER, BROADCASTER, *packages, *(["so100_hardware"] if driver else [])):
        require(package, user, rest)
    if driver and not has_resource("hardware_interface__pluginlib__plugin", "so100_hardware"):
        raise SetupError(
            "so100_hardware was built without ros2_control, so the arm's driver is missing: "
            f"{apt_line('hardware_interface', 'pluginlib')}, then build the workspace again"
        )


# What a person moves the arm with.


def leader_nodes(options: Options) -> list[NodeSpec]:
    """Return what publishes ``leader/joint_states``, where a person wants the joints.

    A leader arm has the driver of any arm, which is never activated: it reads, and the torque
    stays off. `leader_node` starts its parts and starts them again after a failure.

    Raises:
        SetupError: its calibration, its port or a package is missing.
    """
    # The arm holds without any of them, and the executor says why.
    if options.leader == SIM:
        parameters = {"robot": options.loaded_robot.source, "task": options.task}
        return [
            make_spec(options, "smolvla_sim", "human_node", parameters=parameters, critical=False)
        ]
    if options.leader == JOY:
        require(JOY, "leader 'joy'", "choose another leader")
        return [make_spec(options, JOY, "joy_node", critical=False), _teleop(options)]
    if not options.leader_arm:
        return []
    _require_ros2_control([], True, "a leader arm", "choose another leader, such as joy")
    arm = options.of_leader_arm()
    inactive = controllers(arm.loaded_robot, (), inactive=[_COMPONENT])
    return [
        make_spec(
            options,
            "smolvla_bringup",
            "leader_node",
            texts={"robot_description": robot_description(arm, leader=True)},
            critical=False,
        ),
        # It names itself.
        make_spec(
            options,
            _MANAGER,
            "ros2_control_node",
            name=LEADER_DRIVER,
            namespace="leader",
            files={"controllers": inactive},
            renamed=False,
            critical=False,
        ),
    ]


def _teleop(options: Options) -> NodeSpec:
    spec = make_spec(options, "smolvla_executor", "teleop_node", critical=False)
    parameters: dict[str, Any] = {"robot": options.loaded_robot.source}
    if options.teleoperated and not spec.has("rate"):
        parameters["rate"] = options.rate or FOLLOWING_RATE  # that of the executor
    if not options.loaded_robot.model:
        return dataclasses.replace(spec, parameters=parameters)
    # Also where no robot_state_publisher is installed.
    texts = {"robot_description": robot_description(options, with_drivers=False)}
    return make_spec(
        options,
        "smolvla_executor",
        "teleop_node",
        texts=texts,
        parameters=parameters,
        critical=False,
    )


# The cameras.


def camera_nodes(options: Options) -> list[NodeSpec]:
    """Return a driver for each camera of the robot that has one; the simulation draws its own.

    Raises:
        SetupError: a device or the driver's package is missing.
    """
    if options.hardware == "sim":
        return []
    nodes = []
    for camera in options.loaded_robot.cameras:
        if camera.driver == "none":
            continue
        where = f"camera '{camera.name}'"
        require(camera.driver, where, "let another driver publish (driver: none)")
        if camera.transport == "compressed":
            require(_COMPRESSION, f"{where} with transport 'compressed'", "choose transport 'raw'")
        if not Path(camera.device).exists():
            raise SetupError(
                f"{where}: there is no device {camera.device}; plug it in, or correct device in "
                f"{options.robot} (ls /dev/v4l/by-id/ lists them)"
            )
        frame = options.frame_prefix + (camera.frame_id or f"{camera.name}_camera_optical_frame")
        parameters: dict[str, Any] = {"video_device": camera.device}
        if camera.driver == "usb_cam":  # 0.8
            parameters |= {
                "image_width": camera.width,
                "image_height": camera.height,
                "framerate": float(camera.fps),
                "pixel_format": camera.pixel_format or "mjpeg2rgb",
                "camera_name": camera.name,
                "frame_id": frame,
                # By itself it sets a brightness of 50, which is dark on most cameras.
                "brightness": -1,
            }
        else:  # v4l2_camera, 0.6 to 0.8
            parameters |= {
                "image_size": [camera.width, camera.height],
                "time_per_frame": [1, camera.fps],
                "pixel_format": camera.pixel_format or "YUYV",
                "output_encoding": "rgb8",
                "camera_frame_id": frame,
            }
        nodes.append(
            make_spec(
                options,
                camera.driver,
                _CAMERA_EXECUTABLES[camera.driver],
                name=f"{camera.name}_camera",
                namespace=f"camera/{camera.name}",
                parameters=parameters,
                critical=False,  # the policy waits for it, and names it
            )
        )
    return nodes


# Policy and executor.


def policy_nodes(options: Options) -> list[NodeSpec]:
    """Return policy, executor and what runs plans; with policy 'none' what a person needs.

    Raises:
        SetupError: the policy cannot work with this hardware, or needs a checkpoint.
    """
    if options.policy == "none":
        return [_executor(options)] if options.teleoperated else []
    if options.policy == "scripted" and options.hardware != "sim":
        raise SetupError(
            "policy 'scripted' knows where things are in the simulation only; choose hardware "
            "'sim', or a checkpoint"
        )
    return [_policy(options), _executor(options), *([_plan(options)] if options.plan else [])]


def _policy(options: Options) -> NodeSpec:
    spec = make_spec(options, "smolvla_policy", "policy_node")
    parameters: dict[str, Any] = {
        "backend": options.policy,
        "robot": options.loaded_robot.source,
        **{k: list(v) if isinstance(v, tuple) else v for k, v in options.backend.items()},
    }
    if options.calibration:
        parameters["calibration"] = options.existing_calibration()
    if options.checkpoint:
        parameters["checkpoint"] = _checkpoint(options.checkpoint)
    elif options.policy == "smolvla" and not spec.has("checkpoint"):
        if not options.shipped_checkpoint:
            raise SetupError(
                f"policy 'smolvla' with hardware '{options.hardware}' needs a checkpoint: "
                "checkpoint:= a folder or an id on the Hugging Face hub; or choose policy 'none' "
                "to start without one"
            )
        parameters["checkpoint"] = str(CHECKPOINT)
    parameters |= _flags(options, spec, "autostart")
    return dataclasses.replace(spec, parameters=parameters)


def _plan(options: Options) -> NodeSpec:
    # Without it the arm stops at the time limit of the step.
    spec = make_spec(options, "smolvla_executor", "plan_node", critical=False)
    parameters: dict[str, Any] = {"robot": options.loaded_robot.source}
    if options.hardware == "sim" and not options.loaded_robot.cameras and not spec.has("cameras"):
        parameters["cameras"] = list(DEFAULT_CAMERAS)
    parameters |= _flags(options, spec, "autostart")
    return dataclasses.replace(spec, parameters=parameters)


def _checkpoint(given: str) -> str:
    """Return `given` with a whole path where it is one; a hub id stays as it is.

    Raises:
        SetupError: it is a path and there is nothing.
    """
    path = Path(given).expanduser()
    if path.exists():
        return str(path.resolve())
    # A hub id is a name or owner/name; everything else can only be a path.
    if given.startswith((".", "/", "~")) or given.count("/") > 1:
        raise SetupError(f"no such checkpoint {path.absolute()}; give a folder or a hub id")
    return given


def _executor(options: Options) -> NodeSpec:
    spec = make_spec(options, "smolvla_executor", "executor_node")
    parameters: dict[str, Any] = {"robot": options.loaded_robot.source}
    for name in ("output", "rate", "chunk_size_threshold", "aggregate"):
        if (value := getattr(options, name)) is not None:
            parameters[name] = value
    if options.hardware == "real" and not spec.has("drivers"):
        parameters["drivers"] = [f"{_COMPONENT}_driver"]
    if options.hardware == "sim" and not spec.has("success_topic"):
        parameters["success_topic"] = "sim/success"
    if options.teleoperated:
        parameters |= {
            name: value
            for name, value in (("source", "human"), ("rate", FOLLOWING_RATE))
            if name not in parameters and not spec.has(name)
        }
    parameters |= _flags(options, spec, "autostart", "wait_for_start", "dry_run")
    if options.teleoperated and options.leader == JOY and not spec.has("wait_for_start"):
        parameters["wait_for_start"] = True  # for the dead-man button
    return dataclasses.replace(spec, parameters=parameters)


def _flags(options: Options, spec: NodeSpec, *names: str) -> dict[str, bool]:
    """Return the options `names`, less those that were not given where a parameter file has them.

    What is not asked for must not end a dry run that the user's file asks for.
    """
    declared = settings_of(Options)
    return {
        name: flag
        for name in names
        if (flag := getattr(options, name)) != declared[name].default or not spec.has(name)
    }


# What there is to see: Rerun; or the predicted path, and RViz.


def visualization_nodes(options: Options, log: Callable[[str], object]) -> list[NodeSpec]:
    """Return the nodes that show the run; the arm works without them.

    Raises:
        SetupError: what is asked for cannot be opened.
    """
    if options.viewer_asked == RERUN:
        return [_rerun(options)]
    nodes = []
    if options.policy != "none":
        nodes.append(
            make_spec(
                options,
                "smolvla_executor",
                "visualization_node",
                texts={"robot_description": robot_description(options, with_drivers=False)},
                parameters={"frame_prefix": options.frame_prefix},
                critical=False,
            )
        )
    if _wants_rviz(options, log):
        nodes.append(
            make_spec(
                options,
                _RVIZ,
                _RVIZ,
                arguments=("--display-config", str(_rviz_file(options.frame_prefix))),
                remappings={
                    f"camera/{camera.name}/image_raw": camera.topic
                    for camera in options.loaded_robot.cameras
                    if camera.topic
                },
                critical=False,
            )
        )
    return nodes


def _rerun(options: Options) -> NodeSpec:
    # Imported when needed: not every machine has the executor.
    from smolvla_executor.rerun_node.installed import rerun_problem

    if problem := rerun_problem():
        raise SetupError(f"view 'rerun': {problem}")
    parameters: dict[str, Any] = {
        "robot": options.loaded_robot.source,
        "frame_prefix": options.frame_prefix,
    }
    if options.rerun_show:
        parameters["show"] = options.rerun_show
    if options.hardware == "sim" and not options.loaded_robot.cameras:
        parameters["cameras"] = list(DEFAULT_CAMERAS)
    return make_spec(
        options,
        "smolvla_executor",
        "rerun_node",
        texts={"robot_description": robot_description(options, with_drivers=False)},
        parameters=parameters,
        critical=False,
        # A file would begin anew, and the one that was written be lost.
        restarts=not options.rerun_show.endswith(RECORDING),
    )


def _wants_rviz(options: Options, log: Callable[[str], object]) -> bool:
    problem = ""
    if not installed(_RVIZ):
        problem = f"{_RVIZ} is not installed ({apt_line(_RVIZ)})"
    elif not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        problem = "there is no display (DISPLAY is not set)"
    if options.view == RVIZ and problem:
        raise SetupError(f"RViz is asked for, but {problem}; or leave it out: view:=none")
    if options.view is None and problem:
        log(f"no RViz: {problem}; view:=rerun shows the run without")
    return not problem and options.view in (None, RVIZ)


def _rviz_file(frame_prefix: str) -> Path:
    """Return RViz's display file; with a prefix a temporary copy whose frames begin with it.

    An arm in a namespace has frames of other names. Topics need no change: RViz resolves relative
    names in its namespace.

    Raises:
        SetupError: the file cannot be read.
    """
    file = shared_file("smolvla_description", "rviz/so100.rviz")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"{file} cannot be read: {error.strerror}") from error
    if not frame_prefix:
        return file
    text = yaml.safe_dump(_with_prefix(content, frame_prefix), sort_keys=False)
    return temporary_file(file.name, text)


def _with_prefix(content: Any, frame_prefix: str) -> Any:
    """Return RViz's display file `content` (parsed YAML) with `frame_prefix` at its frames."""
    if isinstance(content, list):
        return [_with_prefix(element, frame_prefix) for element in content]
    if not isinstance(content, dict):
        return content
    result = {key: _with_prefix(value, frame_prefix) for key, value in content.items()}
    for key in ("Fixed Frame", "Target Frame", "Reference Frame"):
        frame = result.get(key)
        if isinstance(frame, str) and frame and not frame.startswith("<"):
            result[key] = frame_prefix + frame
    if result.get("Class") == "rviz_default_plugins/RobotModel":
        # RViz adds the slash.
        result["TF Prefix"] = frame_prefix.rstrip("/")
    return result
