# SPDX-License-Identifier: Apache-2.0
"""LeRobot's calibration files: found and read as the driver's tools do it.

As with the driver's tools an id is looked up where LeRobot keeps its files, under the folder names
of all its versions; a name with a ``/`` or ending in ``.json`` is a path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from smolvla_core.units.calibration import (
    DOUBTFUL,
    LEROBOT_JOINTS,
    ODD,
    RULE_BOOK,
    Calibration,
    JointCalibration,
    broken_rules,
    calibration_problems,
    other_format,
    say,
)

KEYS = tuple(field.name for field in fields(JointCalibration))


class CalibrationError(ValueError):
    """A calibration cannot be found, read or used; the text says why and what to do."""


@dataclass(frozen=True)
class LoadedCalibration:
    """A calibration and where it comes from.

    Attributes:
        file: that was read.
        joints: LeRobot's joint name -> calibration.
        remarks: what is odd but no hindrance, a line each.
    """

    file: Path
    joints: Calibration
    remarks: tuple[str, ...] = ()


def calibration_roots() -> list[Path]:
    """Return LeRobot's calibration folders in the order of search.

    They are $HF_LEROBOT_CALIBRATION, $HF_LEROBOT_HOME/calibration, $HF_HOME/lerobot/calibration,
    $XDG_CACHE_HOME/huggingface/lerobot/calibration and ~/.cache/huggingface/lerobot/calibration;
    variables that are not set are left out.
    """
    roots: list[Path] = []
    for variable, rest in RULE_BOOK["roots"]:
        base = os.environ.get(variable, "")
        root = Path(os.path.normpath(Path(base).expanduser() / rest)) if base else None
        if root is not None and root not in roots:
            roots.append(root)
    return roots


def find_calibration(id_or_path: str, joints: Sequence[str] = LEROBOT_JOINTS) -> LoadedCalibration:
    """Find and read the calibration of an arm.

    Args:
        id_or_path: an id as LeRobot's ``--robot.id``; with a ``/`` or ending in ``.json``, a
            path. The first of `calibration_roots` that has the id decides; files of several
            versions of LeRobot in it must say the same.
        joints: that must be in it, by LeRobot's names.

    Raises:
        CalibrationError: not found, unreadable, of another arm, or there twice and different.
    """
    if "/" in id_or_path or id_or_path.endswith(".json"):
        return load_calibration(Path(id_or_path).expanduser(), joints)
    if not id_or_path.strip():
        raise CalibrationError(say("empty_id"))
    searched: list[Path] = []
    for root in calibration_roots():
        folders = RULE_BOOK["folders"]
        places = [root / "robots" / folder / f"{id_or_path}.json" for folder in folders]
        found = [place for place in places if place.exists()]
        if found:
            return _agreeing(id_or_path, found, joints)
        searched += places
    looked_for = ", ".join(map(str, searched)) or say("nowhere")
    raise CalibrationError(say("not_found", name=id_or_path, places=looked_for))


def _agreeing(name: str, found: Sequence[Path], joints: Sequence[str]) -> LoadedCalibration:
    first = load_calibration(found[0], joints)
    remarks = list(first.remarks)
    for other in found[1:]:
        if other.samefile(found[0]):
            continue  # a link
        fields = {"name": name, "first": found[0], "second": other}
        if dict(load_calibration(other, joints).joints) != dict(first.joints):
            raise CalibrationError(say("differs", **fields))
        remarks.append(say("same", **fields))
    return LoadedCalibration(first.file, first.joints, tuple(remarks))


def load_calibration(file: Path, joints: Sequence[str] = LEROBOT_JOINTS) -> LoadedCalibration:
    """Read and check a calibration file.

    Raises:
        CalibrationError: see `find_calibration`; the text has all problems, a line each, with
            file, joint, key and what to do.
    """
    if file.is_dir():
        raise CalibrationError(f"{file}: {say('folder')}")
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        reason = say("unreadable", reason=error.strerror)
        raise CalibrationError(f"{file}: {reason}") from error
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise CalibrationError(f"{file}: {say('not_json', line=line)}") from error
    return parse_calibration(text, file, joints)


def parse_calibration(
    text: str, file: Path, joints: Sequence[str] = LEROBOT_JOINTS
) -> LoadedCalibration:
    """Read and check the text of a calibration file; `file` names it in messages.

    Raises:
        CalibrationError: see `load_calibration`.
    """
    problems: list[str] = []
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise CalibrationError(f"{file}: {say('not_json', line=error.lineno)}") from error
    calibration: dict[str, JointCalibration] = {}
    if not isinstance(pairs, _Pairs):
        problems.append(say("not_joints", value=_shown(pairs)))
    elif other := other_format([name for name, _ in pairs], file):
        problems.append(other)
    else:
        for name, value in pairs:
            # A name that is there twice would silently win over the first.
            if [other for other, _ in pairs].count(name) > 1:
                problems.append(say("joint", joint=name, text=say("twice")))
            joint = _read_joint(name, value, problems)
            if joint is not None:
                calibration[name] = joint
        problems = list(dict.fromkeys(problems)) or calibration_problems(calibration, joints)
    if problems:
        raise CalibrationError("\n".join(f"{file}: {problem}" for problem in problems))
    remarks = tuple(f"{file}: {remark}" for remark in broken_rules(calibration, [DOUBTFUL, ODD]))
    return LoadedCalibration(file, calibration, remarks)


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON with all of its keys, also those that are there twice."""


def _read_joint(name: str, value: Any, problems: list[str]) -> JointCalibration | None:
    content = dict(value) if isinstance(value, _Pairs) else {}
    texts = []
    if not isinstance(value, _Pairs):
        texts.append(say("not_joint", value=_shown(value)))
    else:
        for key in KEYS:
            number = content.get(key)
            if key not in content:
                texts.append(say("missing_key", key=key))
            elif not isinstance(number, int) or isinstance(number, bool):
                texts.append(say("not_whole", key=key, value=_shown(number)))
        texts += [say("unknown_key", key=key) for key in content if key not in KEYS]
    problems += [say("joint", joint=name, text=text) for text in texts]
    return None if texts else JointCalibration(**content)


def _shown(value: Any) -> str:
    """Return the JSON of a value for a message, short."""

    def plain(part: Any) -> Any:
        if isinstance(part, _Pairs):
            return {key: plain(inner) for key, inner in part}
        return [plain(inner) for inner in part] if isinstance(part, list) else part

    text = json.dumps(plain(value))
    return text if len(text) <= 40 else text[:37] + "..."
