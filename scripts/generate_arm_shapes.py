# SPDX-License-Identifier: Apache-2.0
"""Write the shapes of smolvla_description from the ones that the simulation draws.

The simulation's table (smolvla_sim/arm_shapes.py) is the only place where the arm's looks are
described; this puts it into the link frames of each arm as xacro macros. The simplified
collision boxes are described here, in the same axes, as the simulation has no use for them.

Usage, in a shell with ``. ./env.sh``:
    python scripts/generate_arm_shapes.py            # write the files
    python scripts/generate_arm_shapes.py --check    # exit code 1 where a file is out of date
"""

from __future__ import annotations

import argparse
import sys
from math import asin, atan2
from pathlib import Path

import numpy as np
from smolvla_sim.world.arm import ARMS, ArmSpec, Vector, arm_spec
from smolvla_sim.world.arm_shapes import HALF_GAP, PRINTED, Shape, arm_shapes, on_jaw, quarter_turn
from smolvla_sim.world.kinematics import TCP_FORWARD, Array, link_frames, rotation_about
from smolvla_sim.world.mjcf import shape_placement

FOLDER = Path(__file__).resolve().parent.parent / "src/smolvla_description/urdf"
# The simulation names a link after the joint that moves it.
LINKS = {
    "base": "base_link",
    "shoulder_pan": "shoulder_link",
    "shoulder_lift": "upper_arm_link",
    "elbow_flex": "lower_arm_link",
    "wrist_flex": "wrist_link",
    "wrist_roll": "gripper_link",
    "gripper": "moving_jaw_link",
}
_UPPER = (0.0280, 0.1126)
_FORE = (0.1349, 0.0052)
_FINGER_END = TCP_FORWARD + 0.010


def collision_boxes() -> list[Shape]:
    """Return a few boxes per link around what is drawn; axes as in `arm_shapes`.

    Nothing sticks out by more than 2 mm; wider boxes would touch each other in the rest pose.
    The inner faces of the two fingers are those of the pads, so that the gripper can grasp.
    """
    return [
        _between("base", (-0.070, -0.050, 0.0), (0.046, 0.050, 0.010)),
        _between("base", (-0.066, -0.031, 0.010), (0.030, 0.031, 0.062)),
        _between("shoulder_pan", (-0.055, -0.030, -0.057), (0.018, 0.030, -0.026)),
        # Tower and servo apart: the folded forearm lies close above them.
        _between("shoulder_pan", (-0.038, -0.026, -0.026), (-0.029, 0.026, 0.002)),
        Shape("shoulder_pan", "box", (-0.006, 0.0, -0.010), (0.013, 0.018, 0.023), "", 0.24),
        _along("shoulder_lift", (0.0, 0.0), _UPPER, (0.0140, 0.0290, 0.0140)),
        _along("elbow_flex", (0.0, 0.0), _FORE, (0.0170, 0.0290, 0.0150)),
        _between("wrist_flex", (-0.015, -0.018, -0.013), (0.024, 0.018, 0.013)),
        _between("wrist_flex", (0.024, -0.020, -0.016), (0.058, 0.020, 0.018)),
        _between("wrist_roll", (-0.002, -0.020, -0.028), (0.053, 0.020, 0.019)),
        _between("wrist_roll", (0.053, -0.013, -0.029), (_FINGER_END, 0.013, -HALF_GAP)),
        _between_on_jaw((0.011, -0.023, 0.0075), (0.061, 0.023, 0.033)),
        _between_on_jaw((0.061, -0.011, HALF_GAP), (_FINGER_END, 0.011, 0.025)),
    ]


def _between(link: str, low: Vector, high: Vector) -> Shape:
    middle, half = np.add(low, high) / 2, np.subtract(high, low) / 2
    return Shape(link, "box", tuple(middle), tuple(half), "")


def _between_on_jaw(low: Vector, high: Vector) -> Shape:
    """Return a box of the moving jaw, placed as it sits when the jaw holds a cube."""
    middle, half = np.add(low, high) / 2, np.subtract(high, low) / 2
    box = on_jaw(middle[0], middle[2], tuple(half), "")
    return Shape(box.link, "box", box.position, box.size, "", tilt=box.tilt)


def _along(link: str, start: tuple[float, float], end: tuple[float, float], over: Vector) -> Shape:
    """Return a box around the line from `start` to `end` (x, z), larger by `over`."""
    dx, dz = end[0] - start[0], end[1] - start[1]
    middle = ((start[0] + end[0]) / 2, 0.0, (start[1] + end[1]) / 2)
    size = (float(np.hypot(dx, dz)) / 2 + over[0], over[1], over[2])
    return Shape(link, "box", middle, size, "", tilt=-atan2(dz, dx))


def placement(spec: ArmSpec, link: str) -> tuple[Array, Array]:
    """Return origin (3,) and rotation (3, 3) of a link's shapes in the URDF's link frame."""
    if link == "base":
        # The URDF's base_link has the axes in which the shapes are given, for both arms.
        pan = link_frames(spec, np.zeros(6))[0][0]
        return np.array([pan[0], pan[1], 0.0]), np.eye(3)
    return shape_placement(spec, list(LINKS).index(link) - 1)


def rpy_from_rotation(rotation: Array) -> tuple[float, float, float]:
    """Return URDF's fixed-axis roll, pitch, yaw in radians of a (3, 3) rotation."""
    r = rotation
    pitch = asin(float(np.clip(-r[2, 0], -1.0, 1.0)))
    if abs(r[2, 0]) > 1.0 - 1e-9:  # roll and yaw turn about the same axis: yaw takes it all
        return 0.0, pitch, atan2(-r[0, 1], r[1, 1])
    return atan2(r[2, 1], r[2, 2]), pitch, atan2(r[1, 0], r[0, 0])


def _numbers(values: object) -> str:
    # Micrometers and microradians; adding 0.0 turns -0.0 into 0.0.
    rounded = np.round(np.ravel(np.asarray(values, dtype=float)), 6) + 0.0
    return " ".join(f"{value:.6f}".rstrip("0").rstrip(".") for value in rounded)


def _element(spec: ArmSpec, shape: Shape) -> str:
    origin, to_link = placement(spec, shape.link)
    rotation = to_link @ rotation_about(np.array([0.0, 1.0, 0.0]), shape.tilt)
    turn = np.array(quarter_turn(shape.axis))
    if turn.any():
        angle = float(np.linalg.norm(turn))
        rotation = rotation @ rotation_about(turn / angle, angle)
    rpy = rpy_from_rotation(np.where(np.abs(rotation) < 1e-12, 0.0, rotation))
    pose = f'xyz="{_numbers(origin + to_link @ np.array(shape.position))}" rpy="{_numbers(rpy)}"'
    if not shape.material:
        return f'<xacro:so_arm_collision {pose} size="{_numbers(2 * np.array(shape.size))}"/>'
    if shape.kind == "box":
        size = f'size="{_numbers(2 * np.array(shape.size))}"'
    else:
        radius, half = shape.size
        size = f'radius="{_numbers(radius)}" length="{_numbers(2 * half)}"'
    return f'<xacro:so_arm_{shape.kind} {pose} {size} material="{shape.material}"/>'


def shapes_xacro(model: str) -> str:
    """Return the text of ``<model>_shapes.xacro``."""
    spec = arm_spec(model)
    lines = [
        '<?xml version="1.0"?>',
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "<!-- Written by scripts/generate_arm_shapes.py from the shapes that the simulation draws",
        "     (smolvla_sim/arm_shapes.py): change them there, then run the script. -->",
        '<robot xmlns:xacro="http://www.ros.org/wiki/xacro">',
        '  <xacro:include filename="so_arm_common.xacro"/>',
    ]
    for shapes_of, link in LINKS.items():
        lines += ["", f'  <xacro:macro name="{model}_{link}_shapes">']
        # RViz paints all primitives of a link in the color of the first.
        drawn = sorted(arm_shapes(), key=lambda shape: not shape.material.startswith(PRINTED))
        for shape in (*drawn, *collision_boxes()):
            if shape.link == shapes_of:
                lines.append(f"    {_element(spec, shape)}")
        lines.append("  </xacro:macro>")
    return "\n".join([*lines, "</robot>", ""])


def main() -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    stale = 0
    for model in sorted(ARMS):
        path, text = FOLDER / f"{model}_shapes.xacro", shapes_xacro(model)
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        if not check:
            path.write_text(text)
        print(f"{path.name}: {'out of date' if check else 'written'}")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
