# SPDX-License-Identifier: Apache-2.0
"""The robot's description: URDF made by xacro, the node that publishes it, the arm's port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from smolvla_bringup.system.environment import apt_line, installed, require, shared_file
from smolvla_bringup.system.node_spec import NodeSpec, make_spec
from smolvla_bringup.system.options import Options, SetupError

_PUBLISHER = "robot_state_publisher"
_ROOT = "world"  # the URDF's default
_PORTS = ("serial/by-id/*", "ttyACM*", "ttyUSB*")


def robot_description(options: Options, with_drivers: bool = True, leader: bool = False) -> str:
    """Return the URDF of the arm.

    Args:
        options: what shall be started.
        with_drivers: with the ros2_control tag, for which a real arm's port must be there.
        leader: whether it is a leader arm, which is only read.

    Raises:
        SetupError: port or calibration of a real arm are missing, xacro is not installed, or the
            description does not expand.
    """
    arguments = {
        "model": options.model,
        "hardware": options.hardware if with_drivers else "sim",
        "xyz": options.xyz,
        "rpy": options.rpy,
    }
    if arguments["hardware"] == "real":
        calibration = options.existing_calibration()
        if not calibration:
            raise SetupError(
                "a real arm needs its calibration: calibration:= the path of LeRobot's JSON file "
                "or its --robot.id; `smolvla arm calibrate` makes one"
            )
        kind = "calibration_file" if options.calibration_is_path else "calibration_id"
        other = options.leader if options.leader_arm else ""
        arguments |= {
            "port": choose_port(options.port, leader=other),
            kind: calibration,
            "on_stop": options.on_stop,
            "leader": str(leader).lower(),
        }
    file = shared_file("smolvla_description", "urdf/so100.urdf.xacro")
    try:
        # Not at the top: `smolvla run --help` does without, and its absence is explained.
        import xacro
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the Python module xacro is missing: {apt_line('xacro')}, or pip install xacro"
        ) from error
    try:
        # xacro keeps and completes the mapping that it gets.
        return str(xacro.process_file(str(file), mappings=arguments).toxml())
    except (xacro.XacroException, OSError, ValueError) as error:
        message = " ".join(str(error).split())
        raise SetupError(f"{file} does not expand: {message}") from error


def description_nodes(options: Options, log: Callable[[str], object]) -> list[NodeSpec]:
    """Return the node that publishes ``robot_description``, ``/tf`` and ``/tf_static``.

    With `parent_frame` also the one that makes the root of the arm's frames its child. The pose
    in that frame stands in the URDF, so that both roots coincide.

    Raises:
        SetupError: see `robot_description`; or ros2_control would wait for a description that
            nobody can publish.
    """
    if options.hardware != "sim":
        require(_PUBLISHER, f"hardware '{options.hardware}'", "choose hardware 'sim'")
    elif not installed(_PUBLISHER):
        log(f"no frames on /tf: {_PUBLISHER} is not installed ({apt_line(_PUBLISHER)})")
        return []
    nodes = [
        make_spec(
            options,
            _PUBLISHER,
            _PUBLISHER,
            texts={"robot_description": robot_description(options)},
            # Frames are global in a graph of several arms, topics and joints are not.
            parameters={"frame_prefix": options.frame_prefix},
            # The arm goes on without frames. A driver that never got its description is missed by
            # the spawner.
            critical=False,
        )
    ]
    root = f"{options.frame_prefix}{_ROOT}"
    if options.parent_frame not in ("", root):
        require("tf2_ros", f"parent_frame '{options.parent_frame}'", "leave it out")
        nodes.append(
            make_spec(
                options,
                "tf2_ros",
                "static_transform_publisher",
                arguments=("--frame-id", options.parent_frame, "--child-frame-id", root),
                critical=False,
            )
        )
    return nodes


def choose_port(given: str | None, dev: Path = Path("/dev"), leader: str = "") -> str:
    """Return the whole path of the port `given`, or the only port there is.

    Args:
        given: empty for the only one.
        dev: where ports are.
        leader: that of a leader arm, which is another one; empty for none.

    Raises:
        SetupError: there is no such port, none at all, or several.
    """
    taken = Path(leader).expanduser().resolve() if leader else None
    if given:
        port = Path(given).expanduser().absolute()
        if not port.exists():
            raise SetupError(
                f"no such port {port}; plug the arm in, `smolvla arm scan` lists the ports"
            )
        if port.resolve() == taken:
            raise SetupError(
                f"{port} is the port of the arm and of its leader; `smolvla arm scan` lists the "
                "ports"
            )
        return str(port)
    found: dict[Path, str] = {}  # device -> its most lasting name
    for pattern in _PORTS:
        for path in sorted(dev.glob(pattern)):
            if path.resolve() != taken:
                found.setdefault(path.resolve(), str(path))
    ports = list(found.values())
    if not ports:
        raise SetupError(
            "no serial port found; plug in the USB cable of the arm, give the port (port:=…), "
            "or choose hardware 'sim'"
        )
    if len(ports) > 1:
        raise SetupError(f"several serial ports found; choose one with port:= {', '.join(ports)}")
    return ports[0]
