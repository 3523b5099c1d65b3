# SPDX-License-Identifier: Apache-2.0
"""Kinematics of a robot from its URDF: poses of whole chunks at once, and the Jacobian.

Reads the part of a URDF that says where things are (http://wiki.ros.org/urdf/XML/joint): links,
joints, origins, axes, mimic. No URDF library is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

TIP_LINK = "gripper_frame_link"
"""The link between the jaws, as SO-ARM100's own URDF calls it."""

_TURNING = ("revolute", "continuous")
_MOVING = (*_TURNING, "prismatic")


@dataclass(frozen=True)
class _Joint:
    """One joint of the chain.

    Attributes:
        name, kind: as in the URDF.
        origin: (4, 4) pose of the joint in its parent link.
        axis: (3,) unit vector in the joint's frame.
        source: name of the joint whose position moves this one: itself, or the one it mimics;
            empty for a fixed joint.
        multiplier, offset: its position is ``multiplier * position of source + offset``.
    """

    name: str
    kind: str
    origin: Array
    axis: Array
    source: str = ""
    multiplier: float = 1.0
    offset: float = 0.0


class KinematicChain:
    """The joints from a base link to a tip link.

    Args:
        urdf: the robot description, as on the topic ``robot_description``.
        tip: link whose pose is wanted.
        base: link in whose frame it is wanted, on the way from the root to `tip`; empty: the
            root.

    Attributes:
        base, tip: names of the links.
        joint_names: the joints whose positions are needed, from the base on.

    Raises:
        ValueError: no URDF, no such link, or a joint that is not understood; the text says
            what to do.
    """

    def __init__(self, urdf: str, tip: str = TIP_LINK, base: str = "") -> None:
        robot = _parse(urdf)
        links = [link.get("name", "") for link in robot.findall("link")]
        parents = _parents(robot, links)
        self.tip = _known(tip, links)
        self.base = _known(base, links) if base else ""
        elements = []
        link = tip
        while link != self.base and link in parents:
            elements.append(parents[link])
            if len(elements) > len(links):
                raise ValueError(f"URDF: the joints above link '{tip}' form a circle")
            link = _end(parents[link], "parent")
        if base and link != base:
            raise ValueError(f"URDF: link '{base}' is not on the way from the root to '{tip}'")
        self.base = link
        by_name = {joint.get("name", ""): joint for joint in robot.findall("joint")}
        self._joints = [_joint(element, by_name) for element in reversed(elements)]
        sources = [joint.source for joint in self._joints if joint.source]
        self.joint_names: tuple[str, ...] = tuple(dict.fromkeys(sources))

    def poses(self, names: Sequence[str], positions: ArrayLike) -> Array:
        """Return the poses (rows, 4, 4) of the tip in the base's frame.

        Args:
            names: of the columns; joints that the chain does not have are ignored.
            positions: (rows, len(names)) [rad; a prismatic joint m].

        Raises:
            ValueError: a joint of the chain is missing, or the shape does not fit.
        """
        columns = list(names)
        values = np.asarray(positions, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(columns):
            raise ValueError(
                f"positions of shape {values.shape} do not fit {len(columns)} joint names"
            )
        missing = [name for name in self.joint_names if name not in columns]
        if missing:
            raise ValueError(
                f"no {', '.join(missing)} among the joints {', '.join(columns) or '(none)'}, but "
                f"link '{self.tip}' of the URDF depends on it: check the robot description"
            )
        pose = np.broadcast_to(np.eye(4), (len(values), 4, 4))
        for joint in self._joints:
            pose = pose @ joint.origin
            if joint.source:
                position = values[:, columns.index(joint.source)]
                pose = pose @ _motion(joint, joint.multiplier * position + joint.offset)
        return np.array(pose)

    def jacobian(self, names: Sequence[str], positions: ArrayLike) -> Array:
        """Return (6, len(names)): how each joint moves the tip, in the base's frame.

        The first three rows are velocity [m/s], the others angular velocity [rad/s], for each
        rad/s of the joint [m/s of a prismatic one]; 0 for joints that the chain does not have.

        Args:
            names: of the columns.
            positions: (len(names),) [rad; a prismatic joint m].

        Raises:
            ValueError: see `poses`.
        """
        values = np.asarray(positions, dtype=np.float64)
        tip = self.poses(names, values[None])[0, :3, 3]
        columns = list(names)
        result = np.zeros((6, len(columns)))
        pose = np.eye(4)
        for joint in self._joints:
            pose = pose @ joint.origin
            if not joint.source:
                continue
            axis = joint.multiplier * pose[:3, :3] @ joint.axis
            column = columns.index(joint.source)
            if joint.kind in _TURNING:
                result[:3, column] += np.cross(axis, tip - pose[:3, 3])
                result[3:, column] += axis
            else:
                result[:3, column] += axis
            position = joint.multiplier * values[column : column + 1] + joint.offset
            pose = pose @ _motion(joint, position)[0]
        return result

    def positions(self, names: Sequence[str], positions: ArrayLike) -> Array:
        """Return the points (rows, 3) of the tip in the base's frame [m]; see `poses`."""
        return self.poses(names, positions)[:, :3, 3]


def rotation_rpy(roll: float, pitch: float, yaw: float) -> Array:
    """Return the (3, 3) rotation of URDF's fixed-axis roll, pitch, yaw [rad]."""
    x, y, z = np.eye(3)
    angles = np.array([yaw, pitch, roll])
    turns = [_rotations(axis, angles[i : i + 1])[0] for i, axis in enumerate((z, y, x))]
    return np.asarray(turns[0] @ turns[1] @ turns[2])


def _rotations(axis: Array, angles: Array) -> Array:
    """Return (n, 3, 3) rotations by (n,) angles about a unit vector (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    sine, versine = np.sin(angles)[:, None, None], 1.0 - np.cos(angles)[:, None, None]
    return np.asarray(np.eye(3) + sine * cross + versine * (cross @ cross))


def _motion(joint: _Joint, positions: Array) -> Array:
    """Return the (n, 4, 4) motions of a joint at (n,) positions."""
    motion = np.zeros((len(positions), 4, 4))
    motion[:] = np.eye(4)
    if joint.kind in _TURNING:
        motion[:, :3, :3] = _rotations(joint.axis, positions)
    else:
        motion[:, :3, 3] = positions[:, None] * joint.axis
    return motion


def _parse(urdf: str) -> ElementTree.Element:
    if not urdf.strip():
        raise ValueError("the URDF is empty")
    try:
        robot = ElementTree.fromstring(urdf)
    except ElementTree.ParseError as error:
        raise ValueError(
            f"this is no URDF ({error}); it must be the text of one, not the name of a file"
        ) from error
    if robot.tag != "robot":
        raise ValueError(f"this is no URDF: its root is <{robot.tag}> instead of <robot>")
    if any("xacro" in element.tag for element in robot.iter()):
        raise ValueError("this is xacro, no URDF: run it through the command xacro first")
    return robot


def _parents(robot: ElementTree.Element, links: list[str]) -> dict[str, ElementTree.Element]:
    """Return link -> the joint that it hangs on."""
    parents: dict[str, ElementTree.Element] = {}
    for joint in robot.findall("joint"):
        for end in ("parent", "child"):
            link = _end(joint, end)
            if link not in links:
                raise ValueError(f"URDF: joint '{joint.get('name')}' names no known {end} link")
        child = _end(joint, "child")
        if child in parents:
            raise ValueError(f"URDF: link '{child}' hangs on two joints")
        parents[child] = joint
    return parents


def _end(joint: ElementTree.Element, end: str) -> str:
    element = joint.find(end)
    return "" if element is None else element.get("link", "")


def _known(link: str, links: list[str]) -> str:
    if link not in links:
        raise ValueError(
            f"the URDF has no link '{link}'; it has {', '.join(links) or 'no links at all'}"
        )
    return link


def _joint(element: ElementTree.Element, by_name: dict[str, ElementTree.Element]) -> _Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    origin = np.eye(4)
    place = element.find("origin")
    if place is not None:
        origin[:3, :3] = rotation_rpy(*_vector(place, "rpy", name, "0 0 0"))
        origin[:3, 3] = _vector(place, "xyz", name, "0 0 0")
    if kind == "fixed":
        return _Joint(name, kind, origin, np.zeros(3))
    if kind not in _MOVING:
        raise ValueError(
            f"URDF: joint '{name}' is of type '{kind}'; understood are {', '.join(_MOVING)}, fixed"
        )
    axis = np.array([1.0, 0.0, 0.0])  # the URDF's default
    line = element.find("axis")
    if line is not None:
        axis = _vector(line, "xyz", name, "1 0 0")
    length = float(np.linalg.norm(axis))
    if length < 1e-9:
        raise ValueError(f"URDF: the axis of joint '{name}' has no direction")
    source, multiplier, offset = _source(name, by_name)
    return _Joint(name, kind, origin, axis / length, source, multiplier, offset)


def _source(name: str, by_name: dict[str, ElementTree.Element]) -> tuple[str, float, float]:
    """Return whose position moves joint `name`, and multiplier and offset to that position."""
    multiplier, offset = 1.0, 0.0
    followed = [name]
    while (mimic := by_name[followed[-1]].find("mimic")) is not None:
        target = mimic.get("joint", "")
        if target not in by_name or target in followed:
            raise ValueError(f"URDF: joint '{name}' mimics '{target}', which leads nowhere")
        offset += multiplier * _number(mimic.get("offset", "0"), followed[-1])
        multiplier *= _number(mimic.get("multiplier", "1"), followed[-1])
        followed.append(target)
    return followed[-1], multiplier, offset


def _vector(element: ElementTree.Element, attribute: str, joint: str, default: str) -> Array:
    numbers = [_number(text, joint) for text in element.get(attribute, default).split()]
    if len(numbers) != 3:
        raise ValueError(f"URDF: joint '{joint}': {attribute} must be three numbers")
    return np.array(numbers)


def _number(text: str, joint: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"URDF: joint '{joint}': '{text}' is no number")
    return value
