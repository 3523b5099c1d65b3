# SPDX-License-Identifier: Apache-2.0
"""LeRobot's calibration files: found and read as the driver's tools do it.

The rules are those of ``so100_hardware/calibration_files.hpp``: an id is looked up where
LeRobot keeps its files, under the folder names of all its versions; a name with a ``/`` or
ending in ``.json`` is a path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from smolvla_policy.control.joint_calibration import (
    LEROBOT_JOINTS,
    Calibration,
    JointCalibration,
    calibration_problems,
    calibration_remarks,
)

ROBOT_FOLDERS = ("so_follower", "so101_follower", "so100_follower")
"""Newest name first: LeRobot 0.4.4 merged the other two."""

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
    for variable, rest in (
        ("HF_LEROBOT_CALIBRATION", ""),
        ("HF_LEROBOT_HOME", "calibration"),
        ("HF_HOME", "lerobot/calibration"),
        ("XDG_CACHE_HOME", "huggingface/lerobot/calibration"),
        ("HOME", ".cache/huggingface/lerobot/calibration"),
    ):
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
        raise CalibrationError(
            "the calibration's id is empty; give LeRobot's --robot.id or a path"
        )
    searched: list[Path] = []
    for root in calibration_roots():
        places = [root / "robots" / folder / f"{id_or_path}.json" for folder in ROBOT_FOLDERS]
        found = [place for place in places if place.exists()]
        if found:
            return _agreeing(id_or_path, found, joints)
        searched += places
    looked_for = ", ".join(map(str, searched)) or "nothing, as HOME is not set"
    raise CalibrationError(
        f"no calibration '{id_or_path}' found; looked for {looked_for}; calibrate with "
        "so100_calibrate, or give the path of the file"
    )


def _agreeing(name: str, found: Sequence[Path], joints: Sequence[str]) -> LoadedCalibration:
    first = load_calibration(found[0], joints)
    remarks = list(first.remarks)
    for other in found[1:]:
        if other.samefile(found[0]):
            continue  # a link
        if dict(load_calibration(other, joints).joints) != dict(first.joints):
            raise CalibrationError(
                f"the calibration '{name}' is there twice and differs: {found[0]} and {other}; "
                "give the path of the right one or remove the other"
            )
        remarks.append(
            f"the calibration '{name}' is there twice with the same values; taken: {found[0]}"
        )
    return LoadedCalibration(first.file, first.joints, tuple(remarks))


def load_calibration(file: Path, joints: Sequence[str] = LEROBOT_JOINTS) -> LoadedCalibration:
    """Read and check a calibration file.

    Raises:
        CalibrationError: see `find_calibration`; the text has all problems, a line each, with
            file, joint, key and what to do.
    """
    if file.is_dir():
        raise CalibrationError(f"{file}: is a folder; give the calibration file in it")
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CalibrationError(f"{file}: not JSON, as it is not text") from error
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
        raise CalibrationError(
            f"{file}: not JSON, see line {error.lineno}; restore the file from its .bak or "
            "calibrate again"
        ) from error
    calibration: dict[str, JointCalibration] = {}
    if not isinstance(pairs, _Pairs):
        problems.append(f"must be an object with a joint each, but is {_shown(pairs)}")
    else:
        for name, value in pairs:
            # A name that is there twice would silently win over the first.
            if [other for other, _ in pairs].count(name) > 1:
                problems.append(f"joint '{name}': is there twice")
            joint = _read_joint(name, value, problems)
            if joint is not None:
                calibration[name] = joint
        problems = list(dict.fromkeys(problems)) or calibration_problems(calibration, joints)
    if problems:
        raise CalibrationError("\n".join(f"{file}: {problem}" for problem in problems))
    remarks = tuple(f"{file}: {remark}" for remark in calibration_remarks(calibration))
    return LoadedCalibration(file, calibration, remarks)


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON with all of its keys, also those that are there twice."""


def _read_joint(name: str, value: Any, problems: list[str]) -> JointCalibration | None:
    label = f"joint '{name}': "
    if not isinstance(value, _Pairs):
        problems.append(
            f"{label}must be an object with {', '.join(KEYS[:-1])} and {KEYS[-1]}, but is "
            f"{_shown(value)}"
        )
        return None
    before, content = len(problems), dict(value)
    for key in KEYS:
        number = content.get(key)
        if key not in content:
            problems.append(f"{label}the key '{key}' is missing")
        elif not isinstance(number, int) or isinstance(number, bool):
            problems.append(f"{label}'{key}' must be a whole number, but is {_shown(number)}")
    problems += [
        f"{label}unknown key '{key}'; LeRobot would refuse this file"
        for key in content
        if key not in KEYS
    ]
    return JointCalibration(**content) if len(problems) == before else None


def _shown(value: Any) -> str:
    """Return the JSON of a value for a message, short."""

    def plain(part: Any) -> Any:
        if isinstance(part, _Pairs):
            return {key: plain(inner) for key, inner in part}
        return [plain(inner) for inner in part] if isinstance(part, list) else part

    text = json.dumps(plain(value))
    return text if len(text) <= 40 else text[:37] + "..."
