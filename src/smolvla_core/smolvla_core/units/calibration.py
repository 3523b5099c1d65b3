# SPDX-License-Identifier: Apache-2.0
"""LeRobot's calibration of an arm: what it holds, what is wrong with it, what is odd.

Rules, limits and messages stand in ``calibration_rules.json``, the rule book that the driver is
built with (``so100_hardware/config``): a file that one of them takes, the other takes as well.
An id is looked up where LeRobot keeps its files, under the folder names of all its versions; a
name with a ``/`` or ending in ``.json`` is a path.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
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
range (LeRobot's ±100) are other angles than on the arm; only worth a note."""


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
    def half_range(self) -> float:
        """Radians from the middle of the range to either end."""
        return self.width / 2.0 * RADIANS_PER_TICK


KEYS = tuple(field.name for field in fields(JointCalibration))

Calibration = Mapping[str, JointCalibration]
"""Joint -> calibration, by LeRobot's joint names."""


class CalibrationError(ValueError):
    """A calibration cannot be found, read or used; the text has the reason and what to do."""


@dataclass(frozen=True)
class LoadedCalibration:
    """A calibration and where it comes from.

    Attributes:
        file: that was read.
        joints: LeRobot's joint name -> calibration.
        notes: what is odd but no hindrance, a line each.
    """

    file: Path
    joints: Calibration
    notes: tuple[str, ...] = ()


def message(name: str, /, **fields: object) -> str:
    """Return a message of the rule book, filled in."""
    return str(RULE_BOOK["texts"][name]).format(**fields)


def _problems(calibration: Calibration, joints: Sequence[str]) -> list[str]:
    """Return what makes a calibration unusable: the joints must be there, no more, no fewer."""
    missing = [joint for joint in joints if joint not in calibration]
    if not set(calibration) <= set(joints):
        return [message("other_joints", names=", ".join(calibration), joints=", ".join(joints))]
    problems = [message("missing_joints", missing=", ".join(missing))] if missing else []
    owners: dict[int, str] = {}
    for name, joint in calibration.items():
        owner = owners.setdefault(joint.id, name)
        if owner != name:
            text = message("same_id", id=joint.id, other=owner)
            problems.append(message("joint", joint=name, text=text))
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
        reported = set()
        for rule in RULE_BOOK["rules"]:
            # A limit is a number, or the name of a number that each known joint has.
            low, high = (known.get(rule.get(end), rule.get(end)) for end in ("min", "max"))
            value = values[rule["value"]]
            below = isinstance(low, int) and value < low
            above = isinstance(high, int) and value > high
            if not (below or above) or rule["value"] in reported:
                continue
            reported.add(rule["value"])
            if rule["level"] in levels:
                fields = {**known, **values, "joint": name, "min": low, "max": high}
                lines.append(message("joint", joint=name, text=rule["text"].format(**fields)))
    return lines


def _other_format(keys: Collection[str], file: Path) -> str:
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


def calibration_roots() -> list[Path]:
    """Return LeRobot's calibration folders in the order of search, of the variables that are set.

    They are $HF_LEROBOT_CALIBRATION, $HF_LEROBOT_HOME/calibration, $HF_HOME/lerobot/calibration,
    $XDG_CACHE_HOME/huggingface/lerobot/calibration and ~/.cache/huggingface/lerobot/calibration.
    """
    roots = [
        Path(os.path.normpath(Path(os.environ[variable]).expanduser() / rest))
        for variable, rest in RULE_BOOK["roots"]
        if os.environ.get(variable)
    ]
    return list(dict.fromkeys(roots))


def find_calibration(
    id_or_path: str, joints: Sequence[str] = LEROBOT_JOINTS, leader: bool = False
) -> LoadedCalibration:
    """Find and read the calibration of an arm.

    Args:
        id_or_path: an id as LeRobot's ``--robot.id``; with a ``/`` or ending in ``.json``, a
            path. The first of `calibration_roots` that has the id decides; files of several
            versions of LeRobot in it must say the same.
        joints: that must be in it, by LeRobot's names.
        leader: whether it is a leader arm: the id is then LeRobot's ``--teleop.id``, or else that
            of an arm that `smolvla arm calibrate` has calibrated.

    Raises:
        CalibrationError: not found, unreadable, of another arm, or there twice and different.
    """
    if "/" in id_or_path or id_or_path.endswith(".json"):
        return load_calibration(Path(id_or_path).expanduser(), joints)
    if not id_or_path.strip():
        raise CalibrationError(message("empty_id"))
    searched: list[Path] = []
    for root in calibration_roots():
        kinds = [("robots", "folders")]
        if leader:
            kinds.insert(0, ("teleoperators", "leader_folders"))
        for kind, folders in kinds:
            places = [root / kind / name / f"{id_or_path}.json" for name in RULE_BOOK[folders]]
            found = [place for place in places if place.exists()]
            if found:
                return _agreeing(id_or_path, found, joints)
            searched += places
    looked_for = ", ".join(map(str, searched)) or message("nowhere")
    raise CalibrationError(message("not_found", name=id_or_path, places=looked_for))


def _agreeing(name: str, found: Sequence[Path], joints: Sequence[str]) -> LoadedCalibration:
    first = load_calibration(found[0], joints)
    notes = list(first.notes)
    for other in found[1:]:
        if other.samefile(found[0]):
            continue  # a link
        both = {"name": name, "first": found[0], "second": other}
        if load_calibration(other, joints).joints != first.joints:
            raise CalibrationError(message("differs", **both))
        notes.append(message("same", **both))
    return LoadedCalibration(first.file, first.joints, tuple(notes))


def load_calibration(file: Path, joints: Sequence[str] = LEROBOT_JOINTS) -> LoadedCalibration:
    """Read and check a calibration file.

    Raises:
        CalibrationError: see `find_calibration`; the text has all problems, a line each, with
            file, joint, key and what to do.
    """
    twice: list[str] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.extend(dict.fromkeys(name for name in names if names.count(name) > 1))
        return dict(pairs)

    try:
        if file.is_dir():
            raise CalibrationError(f"{file}: {message('folder')}")
        content = json.loads(file.read_bytes(), object_pairs_hook=remember)
    except OSError as error:
        reason = message("unreadable", reason=error.strerror)
        raise CalibrationError(f"{file}: {reason}") from error
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise CalibrationError(f"{file}: {message('not_json', line=line)}") from error
    except json.JSONDecodeError as error:
        raise CalibrationError(f"{file}: {message('not_json', line=error.lineno)}") from error

    calibration: dict[str, JointCalibration] = {}
    if not isinstance(content, dict):
        problems = [message("not_joints", value=_shown(content))]
    elif other := _other_format(content, file):
        problems = [other]
    else:
        # A name that is there twice would silently win over the first.
        texts = {
            joint: [message("twice")] * (joint in twice) + _wrong(content[joint])
            for joint in content
        }
        problems = [
            message("joint", joint=joint, text=text) for joint in texts for text in texts[joint]
        ]
        if not problems:
            calibration = {name: JointCalibration(**joint) for name, joint in content.items()}
            problems = _problems(calibration, joints)
    if problems:
        raise CalibrationError("\n".join(f"{file}: {problem}" for problem in problems))
    notes = tuple(f"{file}: {note}" for note in broken_rules(calibration, [DOUBTFUL, ODD]))
    return LoadedCalibration(file, calibration, notes)


def _wrong(joint: Any) -> list[str]:
    """Return what keeps JSON from being a joint's calibration, a text each."""
    if not isinstance(joint, dict):
        return [message("not_joint", value=_shown(joint))]
    texts = [
        message("not_whole", key=key, value=_shown(joint[key]))
        if key in joint
        else message("missing_key", key=key)
        for key in KEYS
        if type(joint.get(key)) is not int
    ]
    return texts + [message("unknown_key", key=key) for key in joint if key not in KEYS]


def _shown(value: Any) -> str:
    """Return the JSON of a value for a message, short."""
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
