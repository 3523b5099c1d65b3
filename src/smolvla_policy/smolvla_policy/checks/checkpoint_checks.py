# SPDX-License-Identifier: Apache-2.0
"""Checks of what is on the disk: checkpoint, joints, statistics, units, calibration, text."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from smolvla_core.robot import VELOCITY, Joint, Robot, base_name
from smolvla_core.units.calibration import GRIPPER, UNSAFE, LoadedCalibration, broken_rules

from smolvla_policy.backends.parameter_defaults import Completed, complete
from smolvla_policy.backends.smolvla import (
    camera_note,
    checkpoint_joints,
    fit_joints,
    match_cameras,
    requested_cameras,
)
from smolvla_policy.backends.units_choice import ChosenUnits, choose_units, read_calibrations
from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_policy.checkpoint.contents import (
    CheckpointContents,
    constant_notes,
    read_contents,
)
from smolvla_policy.checkpoint.robot import unlearned
from smolvla_policy.checkpoint.source import CheckpointError
from smolvla_policy.checkpoint.tensor_file import TensorFile
from smolvla_policy.checkpoint.text import find_tokenizer
from smolvla_policy.checkpoint.vlm import model_sizes, read_vlm_config
from smolvla_policy.checks.rows import Row, Status
from smolvla_policy.model.sizes import ModelSizes

STILL_SHARE = 0.02
"""A joint whose deviation is below this share of the others' hardly moved in the data."""
LIMIT_SLACK = math.radians(3.0)
Options = Mapping[str, Any]
"""The values of `policy_node`'s parameters by name."""


def check_checkpoint(options: Options) -> tuple[list[Row], CheckpointContents | None]:
    """Check that the checkpoint can be read; without it nothing else can be checked."""
    name = str(options["checkpoint"])
    if not name:
        return [
            Row(
                "checkpoint",
                Status.FIX,
                "none is named",
                "give --checkpoint: a folder, or a hub id such as lerobot/smolvla_base",
            )
        ], None
    try:
        contents = read_contents(name, options.get("stats") or None)
    except ValueError as error:
        return [Row("checkpoint", Status.FIX, str(error))], None
    config = contents.config
    megabytes = contents.weights.stat().st_size / 1e6
    found = (
        f"{name}: chunks of {config.chunk_size} actions, {config.num_steps} steps, "
        f"{megabytes:.0f} MB"
    )
    found = "\n".join([found, *contents.notes])
    unknown = ", ".join(config.unknown)
    if unknown:
        return [
            Row("checkpoint", Status.WARN, found, f"ignored fields of config.json: {unknown}")
        ], contents
    return [Row("checkpoint", Status.OK, found)], contents


def check_vlm(contents: CheckpointContents) -> list[Row]:
    """Return a row when the VLM's sizes are not to be had, without which nothing runs."""
    try:
        _sizes(contents)
    except ValueError as error:
        return [Row("VLM", Status.FIX, str(error))]
    return []


def _sizes(contents: CheckpointContents) -> ModelSizes:
    config, folder = contents.config, contents.folder
    with TensorFile(contents.weights) as file:
        return model_sizes(config, read_vlm_config(config, folder, file), str(folder))


def check_joint_names(
    options: Options, robot: Robot, contents: CheckpointContents
) -> tuple[list[Row], Robot]:
    """Check the joints; return the robot with them in the checkpoint's order."""
    try:
        robot = fit_joints(str(options["checkpoint"]), robot, contents)
    except ValueError as error:
        return [Row("joints", Status.FIX, str(error))], robot
    rows = []
    still = [joint.name for joint in robot.joints if joint.role == VELOCITY]
    if still:
        rows.append(
            Row(
                "velocities",
                Status.WARN,
                f"{', '.join(still)} are no positions",
                "the arm is run alone: the base stands still, whatever the policy wants of it",
            )
        )
    listed = ", ".join(joint.name for joint in robot.joints)
    own = checkpoint_joints(contents)
    if not own:
        found = f"{listed}; the checkpoint does not name its own to compare"
        return [Row("joints", Status.OK, found), *rows], robot
    kinds = tuple(joint.kind for joint in robot.joints)
    theirs = tuple(map(base_name, own))
    one_arm = len(set(kinds)) == len(kinds)
    if own == tuple(j.lerobot for j in robot.joints) or (one_arm and theirs == kinds):
        return [Row("joints", Status.OK, f"{listed}: the checkpoint's order"), *rows], robot
    differs = f"the robot's joints are {listed}, the checkpoint's {', '.join(own)}"
    advice = (
        "is each in its place? Say with lerobot in the robot file which of the checkpoint's "
        "joints each is, then the order is found"
    )
    wrong = sorted(theirs) == sorted(kinds)
    return [Row("joints", Status.FIX if wrong else Status.WARN, differs, advice), *rows], robot


def check_cameras(
    options: Options, robot: Robot, contents: CheckpointContents
) -> tuple[list[Row], dict[str, str]]:
    """Check that the cameras are the checkpoint's; return name -> feature too."""
    config, processors = contents.config, contents.processors
    given = requested_cameras(options.get("cameras") or (), robot, contents)
    try:
        matched = match_cameras(str(options["checkpoint"]), given, config, processors)
    except ValueError as error:
        return [
            Row(
                "cameras",
                Status.FIX,
                str(error),
                f"give cameras as name:feature, e.g. {_named_camera(contents)}",
            )
        ], {}
    found = camera_note(matched, config).removeprefix("cameras: ")
    trained = processors.trained_cameras
    lacking = [name for name in trained if name not in matched.values()]
    advice = ""
    if lacking:
        advice = f"it was trained with {', '.join(lacking)} too: without, it sees less"
    elif not trained and len(matched) < len(config.cameras):
        advice = "the checkpoint does not tell which cameras it was trained with: these?"
    elif given is None and not trained and int(config.empty_cameras):
        # Declared by the base model perhaps: policy_node would wait for them.
        advice = (
            "it may have been trained with fewer, and does not tell: name the cameras that there "
            f"are, e.g. {_named_camera(contents)}"
        )
    return [Row("cameras", Status.WARN if advice else Status.OK, found, advice)], matched


def _named_camera(contents: CheckpointContents) -> str:
    pair = f"front:{contents.config.cameras[0]}"
    # Without quotes the colon ends ROS 2's reading of the list.
    return f"--cameras {pair}, for policy_node -p \"cameras:=['{pair}']\""


def check_statistics(robot: Robot, contents: CheckpointContents) -> list[Row]:
    """Check that the statistics are there, finite and of joints that moved."""
    try:
        normalizers = contents.normalizers
    except ValueError as error:
        return [
            Row(
                "statistics",
                Status.FIX,
                str(error),
                "give --stats: the data set's meta/stats.json, or a set of the checkpoint",
            )
        ]
    rows = []
    names = [joint.name for joint in robot.joints]
    joints = names if len(names) == contents.config.action_dim else None
    constant = constant_notes(contents.config, normalizers, joints)
    for feature, kind in ((STATE, "STATE"), (ACTION, "ACTION")):
        mode = contents.processors.norm_map.get(kind, "IDENTITY")
        there: Mapping[str, ArrayLike] = contents.statistics.get(feature, {})
        name = f"statistics of {'state' if feature == STATE else 'action'}"
        if mode == "IDENTITY":
            rows.append(
                Row(name, Status.WARN, "not normalized", "is that what it was trained with?")
            )
            continue
        still = _still(there, robot)
        known = ", ".join(kind for kind in ("mean", "std", "min", "max") if kind in there)
        if feature in constant:
            rows.append(Row(name, Status.WARN, f"{mode}; {constant[feature]}"))
        elif still:
            rows.append(
                Row(
                    name,
                    Status.WARN,
                    f"{', '.join(still)} hardly moved in the data",
                    "a position a little away from the data's is far out for the network: bring "
                    "the arm into the pose that the data were recorded in",
                )
            )
        else:
            rows.append(Row(name, Status.OK, f"{mode} by {known}"))
    return rows


def _still(statistics: Mapping[str, ArrayLike], robot: Robot) -> list[str]:
    std = np.asarray(statistics.get("std", []), dtype=np.float64).reshape(-1)
    if std.size != len(robot.joints):
        return []
    typical = float(np.median(std))
    return [
        joint.name
        for joint, value in zip(robot.joints, std, strict=True)
        if value < STILL_SHARE * typical and joint.role != VELOCITY
    ]


def check_units(
    options: Options, robot: Robot, contents: CheckpointContents
) -> tuple[list[Row], ChosenUnits | None]:
    """Check that the units can be found and are not contradicted; return them."""
    try:
        chosen = choose_units(options, robot, contents.statistics, contents.robot.units)
    except ValueError as error:
        return [Row("units", Status.FIX, str(error))], None
    first = chosen.notes[0].removeprefix("units: ")
    odd = [note for note in chosen.notes if note.startswith("allowed by")]
    odd += [chosen.warning] if chosen.warning else []
    if odd:
        return [Row("units", Status.WARN, first, "\n".join(odd))], chosen
    return [Row("units", Status.OK, first)], chosen


def check_period(
    options: Options, robot: Robot, contents: CheckpointContents
) -> tuple[list[Row], Completed | None]:
    """Say which period is taken and why; return parameters and robot with what was left open."""
    try:
        completed = complete(options, robot, contents.robot)
    except ValueError as error:
        return [Row("period", Status.FIX, str(error))], None
    status = Status.WARN if completed.warning else Status.OK
    return [Row("period", status, completed.period, completed.warning)], completed


def check_calibration(options: Options, robot: Robot) -> list[Row]:
    """Check the calibrations of the arms by themselves and against the robot's limits.

    Args:
        options: values of `policy_node`'s parameters.
        robot: its joints and their limits.
    """
    try:
        calibrations = read_calibrations(robot, str(options.get("calibration") or ""))
    except ValueError as error:
        return [Row("calibration", Status.FIX, str(error))]
    if not calibrations:
        text = "none given; only units 'normalized' need it"
        return [Row("calibration", Status.SKIPPED, text)]
    return [
        _check_arm(loaded, [joint for joint in robot.moving if joint.prefix == prefix], options)
        for prefix, loaded in calibrations.items()
    ]


def _check_arm(loaded: LoadedCalibration, joints: Sequence[Joint], options: Options) -> Row:
    notes = [note.removeprefix(f"{loaded.file}: ") for note in loaded.notes]
    unsafe = broken_rules(loaded.joints, [UNSAFE])
    beyond = []
    for joint in joints:
        known = loaded.joints.get(joint.kind)
        if known is None or joint.role == GRIPPER:
            continue
        if max(-joint.lower, joint.upper) > known.half_range + LIMIT_SLACK:
            beyond.append(
                f"{joint.name} is calibrated to ±{math.degrees(known.half_range):.0f} degrees, "
                f"the robot file's limits are {math.degrees(joint.lower):.0f} to "
                f"{math.degrees(joint.upper):.0f}: the driver stops there"
            )
    advice = "\n".join([*unsafe, *notes, *beyond])
    if not advice:
        found = f"{loaded.file}: {len(loaded.joints)} joints, ranges as the arm's"
        return Row("calibration", Status.OK, found)
    stop = unsafe and not options.get("allow_units_mismatch", False)
    return Row("calibration", Status.FIX if stop else Status.WARN, str(loaded.file), advice)


def check_instruction(task: str, contents: CheckpointContents, given: str = "") -> list[Row]:
    """Check that the tokenizer (or the given one) is there and cuts nothing off."""
    try:
        tokenizer = find_tokenizer(
            contents.folder, contents.config, contents.processors, given or None
        )
    except ValueError as error:
        return [Row("instruction", Status.FIX, str(error))]
    highest = max(tokenizer.encode(task.strip() or "pick it up"))
    with contextlib.suppress(CheckpointError):  # another row reports it
        known = _sizes(contents).vocabulary
        if highest >= known:
            return [
                Row(
                    "instruction",
                    Status.FIX,
                    f"{tokenizer.path} makes token {highest}, but the network knows only {known}",
                    "it is not this checkpoint's tokenizer: give the right one, or none",
                )
            ]
    most = tokenizer.max_length
    if not task.strip():
        text = f"no --task given; the checkpoint takes {most} tokens"
        return [Row("instruction", Status.SKIPPED, text)]
    count = tokenizer.count(task)
    found = f"{count} of at most {most} tokens"
    if count <= most:
        unknown = unlearned(task, contents.robot.tasks)
        if unknown:
            return [Row("instruction", Status.WARN, unknown, "give a sentence that it learned")]
        return [Row("instruction", Status.OK, found)]
    if not tokenizer.truncate:
        return [Row("instruction", Status.WARN, found, "longer than any in training: shorten it")]
    lost = "begins" if tokenizer.truncation_side == "left" else "ends"
    return [
        Row(
            "instruction",
            Status.FIX,
            f"{found}: where it {lost}, {count - most} are cut off",
            "shorten it",
        )
    ]
