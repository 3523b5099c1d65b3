# SPDX-License-Identifier: Apache-2.0
"""LeRobot's calibration of an arm: what it holds, what is wrong with it, what is odd.

Rules, limits and messages stand in ``calibration_rules.json``, the rule book that the driver is
built with (``so100_hardware/config``): a file that one of them takes, the other takes as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RULE_BOOK: Mapping[str, Any] = json.loads(
    Path(__file__).with_name("calibration_rules.json").read_text(encoding="utf-8")
)

LEROBOT_JOINTS: tuple[str, ...] = tuple(RULE_BOOK["joints"])
"""LeRobot's names of the joints of an SO-100 or SO-101; their servos have the ids 1 to 6."""

GRIPPER = "gripper"

TICKS_PER_TURN = 4096
MAX_TICK = TICKS_PER_TURN - 1
REACH = {
    name: math.radians(joint["turn"] / 2.0)
    for name, joint in RULE_BOOK["joints"].items()
    if name != GRIPPER
}
"""Joint -> the farthest that an SO-100 or SO-101 turns from the middle of its range [rad]; the
wider of both arms. LeRobot gives wrist_roll the full turn."""
ZERO_SLACK = 35.0
"""How far a careless sweep was seen to move the zero of LeRobot's degrees [degrees]."""
RADIANS_PER_TICK = 2.0 * math.pi / TICKS_PER_TURN

UNUSABLE = "unusable"
UNSAFE = "unsafe"
DOUBTFUL = "doubtful"
ODD = "odd"
"""What a broken rule means: the file is refused; the arm must not move with it; shares of its
range (LeRobot's ±100) are other angles than on the arm; only to be told."""


@dataclass(frozen=True)
class JointCalibration:
    """What the calibration says about one joint; positions in ticks, 4096 a turn.

    Attributes:
        id: of the servo.
        drive_mode: 1 turns LeRobot's ±100 and 0–100 round; degrees and radians ignore it.
        homing_offset: Present_Position = encoder - homing_offset.
        range_min: lowest Present_Position.
        range_max: highest Present_Position.
    """

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int

    @property
    def width(self) -> int:
        """Ticks from one end of the range to the other."""
        return self.range_max - self.range_min

    @property
    def middle(self) -> float:
        """The tick at 0 rad and at 0 degrees; a half tick where the ends' sum is odd."""
        return (self.range_min + self.range_max) / 2.0

    @property
    def half_range(self) -> float:
        """Radians from the middle of the range to either end."""
        return self.width / 2.0 * RADIANS_PER_TICK


Calibration = Mapping[str, JointCalibration]
"""Joint -> calibration, by LeRobot's joint names."""


def say(name: str, /, **fields: object) -> str:
    """Return a message of the rule book, filled in."""
    return str(RULE_BOOK["texts"][name]).format(**fields)


def calibration_problems(
    calibration: Calibration, joints: Sequence[str] = LEROBOT_JOINTS
) -> list[str]:
    """Return what makes a calibration unusable, a line each; empty when it is good.

    Args:
        calibration: to check.
        joints: that must be there, no more and no fewer.
    """
    missing = [joint for joint in joints if joint not in calibration]
    if not set(calibration) <= set(joints):
        return [say("other_joints", names=", ".join(calibration), joints=", ".join(joints))]
    problems = [say("missing_joints", missing=", ".join(missing))] if missing else []
    owners: dict[int, str] = {}
    for name, joint in calibration.items():
        owner = owners.setdefault(joint.id, name)
        if owner != name:
            text = say("same_id", id=joint.id, other=owner)
            problems.append(say("joint", joint=name, text=text))
    return problems + broken_rules(calibration, [UNUSABLE])


def broken_rules(calibration: Calibration, levels: Collection[str]) -> list[str]:
    """Return which rules of these levels the joints break, a line each.

    Of the rules on one value of a joint the first that is broken speaks.
    """
    lines = []
    for name, joint in calibration.items():
        known = RULE_BOOK["joints"].get(name, {})
        ticks = joint.width
        degrees = (ticks * 360 + TICKS_PER_TURN // 2) // TICKS_PER_TURN
        values = {**vars(joint), "ticks": ticks, "degrees": degrees}
        told = set()
        for rule in RULE_BOOK["rules"]:
            # A limit is a number, or the name of a number that each known joint has.
            low, high = (known.get(rule.get(end), rule.get(end)) for end in ("min", "max"))
            value = values[rule["value"]]
            below = isinstance(low, int) and value < low
            above = isinstance(high, int) and value > high
            if not (below or above) or rule["value"] in told:
                continue
            told.add(rule["value"])
            if rule["level"] in levels:
                fields = {**known, **values, "joint": name, "min": low, "max": high}
                lines.append(say("joint", joint=name, text=rule["text"].format(**fields)))
    return lines


def other_format(keys: Collection[str], file: Path) -> str:
    """Return the line that names a known other format by a file's keys; empty if it is none."""
    first = LEROBOT_JOINTS[0]
    prefixes = [
        prefix
        for prefix in (key.removesuffix(first) for key in keys if key.endswith(first))
        if prefix and all(prefix + joint in keys for joint in LEROBOT_JOINTS)
    ]
    files = [f"{file.stem}_{prefix.rstrip('_/')}.json" for prefix in prefixes]
    fields = {
        "file": file,
        "stem": file.stem,
        "prefixes": " ".join(prefixes),
        "files": " ".join(files),
    }
    for form in RULE_BOOK["formats"]:
        if all(key in keys for key in form["keys"]) and (prefixes or not form["prefixed"]):
            split = RULE_BOOK["split"].format(**fields)
            return str(form["text"].format(**fields, split=split))
    return ""
