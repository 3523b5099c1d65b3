# SPDX-License-Identifier: Apache-2.0
"""The arm's looks and its contact surfaces, made of primitives.

Shapes are given at the arm's zero pose in the axes of the base (x forward, y left, z up),
relative to the joint that moves their link and to the arm's middle plane. The chains of the
SO-100 and the SO-101 differ by a few millimeters only, so one list serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin

from smolvla_sim.world.arm import Vector
from smolvla_sim.world.kinematics import TCP_FORWARD

# Opening at which the pads are parallel, 25 mm apart, and hold a cube, radians.
GRASP_ANGLE = 0.30
# Half of the gap between the pads at `GRASP_ANGLE`, meters.
HALF_GAP = 0.0125

# The gripper joint relative to wrist_roll in the gripper's axes (x along the fingers).
_PIVOT_X = 0.0239
_PIVOT_Z = 0.0202

PRINTED = "printed"
PRINTED_DARK = "printed_dark"
SERVO = "servo"
METAL = "metal"
RUBBER = "rubber"
BOARD = "board"


@dataclass(frozen=True)
class Shape:
    """One primitive.

    Attributes:
        link: joint name whose link carries it, or ``base``.
        kind: MuJoCo geom type.
        position: center relative to the joint, meters; for the base relative to the foot of
            the shoulder_pan axis on the table.
        size: MuJoCo's half sizes, meters.
        material: name of a material of the scene.
        tilt: turn about +y (left), radians.
        axis: for cylinders, the axis ``x``, ``y`` or ``z``.
        touches: whether it collides with the scene; the pads are ``grips`` instead.
        grips: high-friction contact surface.
    """

    link: str
    kind: str
    position: Vector
    size: tuple[float, ...]
    material: str
    tilt: float = 0.0
    axis: str = "z"
    touches: bool = False
    grips: bool = False


def _box(link: str, at: Vector, half: Vector, material: str, tilt: float = 0.0) -> Shape:
    return Shape(link, "box", at, half, material, tilt)


def _disk(
    link: str, at: Vector, radius: float, half: float, material: str, axis: str = "y"
) -> Shape:
    return Shape(link, "cylinder", at, (radius, half), material, axis=axis)


def _beam(
    link: str, start: tuple[float, float], end: tuple[float, float], y: float, half: Vector
) -> Shape:
    """A plate in the arm's plane from `start` to `end` (x, z), `half` = (overhang, y, z)."""
    dx, dz = end[0] - start[0], end[1] - start[1]
    middle = ((start[0] + end[0]) / 2, y, (start[1] + end[1]) / 2)
    size = (hypot(dx, dz) / 2 + half[0], half[1], half[2])
    return Shape(link, "box", middle, size, PRINTED, tilt=-atan2(dz, dx))


def on_jaw(x: float, z: float, half: Vector, material: str, *, grips: bool = False) -> Shape:
    """Return a box of the moving jaw, placed as it sits when the jaw holds a cube.

    Args:
        x: along the fingers from wrist_roll, meters.
        z: from the roll axis toward the moving jaw, meters.
        half: half sizes, meters.
        material, grips: as in `Shape`.
    """
    dx, dz = x - _PIVOT_X, z - _PIVOT_Z
    # Closing turns the jaw about +y: zero is `GRASP_ANGLE` further closed.
    at = (
        dx * cos(GRASP_ANGLE) + dz * sin(GRASP_ANGLE),
        0.0,
        dz * cos(GRASP_ANGLE) - dx * sin(GRASP_ANGLE),
    )
    return Shape(
        "gripper", "box", at, half, material, tilt=GRASP_ANGLE, touches=not grips, grips=grips
    )


_UPPER = (0.0280, 0.1126)
_FORE = (0.1349, 0.0052)
_PAD = (0.016, 0.010, 0.0020)
# Middle of the pads and end of the fingers: 10 mm beyond the TCP, clear of the table.
_PAD_X = TCP_FORWARD - 0.006
_TIP = TCP_FORWARD + 0.010


def arm_shapes() -> list[Shape]:
    """Return all primitives of the arm."""
    shapes = [
        # Base: foot, housing of servo 1, board behind it.
        _box("base", (-0.012, 0.0, 0.004), (0.058, 0.050, 0.004), PRINTED_DARK),
        _box("base", (-0.004, 0.0, 0.031), (0.034, 0.030, 0.023), PRINTED),
        _box("base", (0.0, 0.0, 0.034), (0.0226, 0.0310, 0.0125), SERVO),
        _box("base", (-0.052, 0.0, 0.016), (0.014, 0.027, 0.010), PRINTED),
        _box("base", (-0.052, 0.0, 0.0272), (0.011, 0.022, 0.0012), BOARD),
        _disk("base", (0.0, 0.0, 0.058), 0.026, 0.004, PRINTED_DARK, "z"),
    ]
    shapes += [
        _disk("base", (x, y, 0.0085), 0.0045, 0.001, METAL, "z")
        for x in (-0.058, 0.034)
        for y in (-0.040, 0.040)
    ]

    # Shoulder: turntable, fork and servo 2. Placed relative to the shoulder_lift axis.
    pan = (-0.0306, 0.0)
    shapes += [
        _disk("shoulder_pan", (pan[0], 0.0, -0.0535), 0.024, 0.0035, METAL, "z"),
        _box("shoulder_pan", (-0.018, 0.0, -0.046), (0.036, 0.030, 0.004), PRINTED),
        _box("shoulder_pan", (-0.034, 0.0, -0.022), (0.004, 0.026, 0.024), PRINTED),
        _box("shoulder_pan", (-0.006, 0.0, -0.010), (0.0125, 0.0175, 0.0226), SERVO, 0.24),
        _box("shoulder_pan", (-0.008, 0.0, -0.034), (0.020, 0.022, 0.008), PRINTED),
    ]

    # Upper arm: two plates, a web and servo 3 at the elbow.
    for side in (-0.0235, 0.0235):
        shapes += [
            _beam("shoulder_lift", (0.0, 0.0), _UPPER, side, (0.006, 0.0030, 0.013)),
            _disk("shoulder_lift", (0.0, side, 0.0), 0.0145, 0.0036, PRINTED),
            _disk("shoulder_lift", (0.0, side * 1.17, 0.0), 0.0095, 0.0014, METAL),
            _disk("shoulder_lift", (_UPPER[0], side, _UPPER[1]), 0.0155, 0.0036, PRINTED),
            _disk("shoulder_lift", (_UPPER[0], side * 1.17, _UPPER[1]), 0.0095, 0.0014, METAL),
        ]
    shapes.append(
        _beam("shoulder_lift", (0.006, 0.034), (0.020, 0.082), 0.0, (0.0, 0.0205, 0.004))
    )

    # Forearm: servo 3 at the elbow, a beam, a fork around the wrist.
    shapes += [
        _box("elbow_flex", (0.0060, 0.0, 0.0), (0.0226, 0.0175, 0.0125), SERVO, -0.0385),
        _beam("elbow_flex", (0.028, 0.0011), (0.094, 0.0036), 0.0, (0.002, 0.0135, 0.0145)),
        _box("elbow_flex", (0.060, 0.0, 0.0024), (0.018, 0.0142, 0.0075), PRINTED_DARK, -0.0385),
        _box("elbow_flex", (0.096, 0.0, 0.0037), (0.004, 0.0260, 0.0130), PRINTED, -0.0385),
    ]
    for side in (-0.0235, 0.0235):
        shapes += [
            _beam("elbow_flex", (0.096, 0.0037), _FORE, side, (0.003, 0.0028, 0.0115)),
            _disk("elbow_flex", (_FORE[0], side, _FORE[1]), 0.0130, 0.0034, PRINTED),
            _disk("elbow_flex", (_FORE[0], side * 1.16, _FORE[1]), 0.0085, 0.0014, METAL),
        ]

    # Wrist: servo 4 in the fork, servo 5 along the roll axis.
    shapes += [
        _box("wrist_flex", (0.006, 0.0, 0.0), (0.0200, 0.0175, 0.0125), SERVO),
        _box("wrist_flex", (0.030, 0.0, 0.0), (0.0050, 0.0200, 0.0160), PRINTED),
        _box("wrist_flex", (0.045, 0.0, 0.0), (0.0125, 0.0180, 0.0125), SERVO),
        _box("wrist_flex", (0.042, 0.0, 0.0150), (0.0110, 0.0170, 0.0030), PRINTED),
    ]

    # Gripper: horn, palm, servo 6, fixed jaw with its pad.
    fixed_pad = -HALF_GAP - _PAD[2]
    shapes += [
        _disk("wrist_roll", (0.001, 0.0, 0.0), 0.0130, 0.0025, METAL, "x"),
        _box("wrist_roll", (0.0080, 0.0, -0.003), (0.0045, 0.0200, 0.0220), PRINTED),
        _box("wrist_roll", (0.0270, 0.0, 0.004), (0.0145, 0.0175, 0.0125), SERVO),
        _box("wrist_roll", (0.0300, 0.0, -0.0210), (0.0220, 0.0160, 0.0060), PRINTED),
        Shape(
            "wrist_roll",
            "box",
            ((0.047 + _TIP) / 2, 0.0, fixed_pad - _PAD[2] - 0.0035),
            ((_TIP - 0.047) / 2, 0.0110, 0.0035),
            PRINTED,
            touches=True,
        ),
        _box("wrist_roll", (0.0530, 0.0, -0.0230), (0.0130, 0.0130, 0.0040), PRINTED, -0.1),
        Shape("wrist_roll", "box", (_PAD_X, 0.0, fixed_pad), _PAD, RUBBER, grips=True),
    ]
    for side in (-0.0190, 0.0190):
        shapes += [
            _disk("gripper", (0.0, side, 0.0), 0.0120, 0.0022, PRINTED_DARK),
            _disk("gripper", (0.0, side * 1.12, 0.0), 0.0070, 0.0012, METAL),
        ]
    moving_pad = HALF_GAP + _PAD[2]
    shapes += [
        on_jaw(
            (0.051 + _TIP) / 2,
            moving_pad + _PAD[2] + 0.0035,
            ((_TIP - 0.051) / 2, 0.0110, 0.0035),
            PRINTED_DARK,
        ),
        on_jaw(0.0430, _PIVOT_Z + 0.0020, (0.0170, 0.0190, 0.0045), PRINTED_DARK),
        on_jaw(_PAD_X, moving_pad, _PAD, RUBBER, grips=True),
    ]
    return shapes


def quarter_turn(axis: str) -> Vector:
    """Return the axis-angle rotation vector that turns MuJoCo's cylinder axis z to `axis`."""
    return {"x": (0.0, pi / 2, 0.0), "y": (pi / 2, 0.0, 0.0), "z": (0.0, 0.0, 0.0)}[axis]
