# SPDX-License-Identifier: Apache-2.0
"""Checks of what is on the disk: checkpoint, joints, statistics, units, calibration, text."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from smolvla_core.robot import VELOCITY, Joint, Robot, base_name
from smolvla_core.units.calibration import GRIPPER, UNSAFE, LoadedCalibration, broken_rules

from smolvla_policy.backends.completion import (
    ChosenUnits,
    Completed,
    choose_units,
    complete,
    read_calibrations,
)
from smolvla_policy.backends.continuation import check_chunking
from smolvla_policy.backends.smolvla import (
    camera_note,
    checkpoint_joints,
    fit_joints,
    match_cameras,
    requested_cameras,
)
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_policy.checkpoint.contents import (
    CheckpointContents,
    constant_notes,
    read_contents,
)
from smolvla_policy.checkpoint.robot import unlearned
from smolvla_policy.checkpoint.source import CheckpointError
from smolvla_policy.checkpoint.text import find_tokenizer
from smolvla_policy.checkpoint.vlm import model_sizes, read_vlm_config
from smolvla_policy.checkpoint.weights import TensorFile
from smolvla_policy.checks.rows import Row
from smolvla_policy.model.sizes import ModelSizes

STILL_SHARE = 0.02
"""A joint whose deviation is below this share of the others' hardly moved in the data."""
LIMIT_SLACK = math.radians(3.0)


def check_checkpoint(settings: SmolVLASettings) -> tuple[list[Row], CheckpointContents | None]:
    """Check that the checkpoint can be read; without it nothing else can be checked."""
    name = settings.checkpoint
    if not name:
        advice = "give --checkpoint: a folder, or a hub id such as lerobot/smolvla_base"
        return [Row.fix("checkpoint", "none is named", advice)], None
    try:
        contents = read_contents(name, settings.stats or None)
    except ValueError as error:
        return [Row.fix("checkpoint", error)], None
    config = contents.config
    megabytes = contents.weights.stat().st_size / 1e6
    found = (
        f"{name}: chunks of {config.chunk_size} actions, {config.num_steps} steps, "
        f"{megabytes:.0f} MB"
    )
    unknown = ", ".join(config.unknown)
    advice = f"ignored fields of config.json: {unknown}" if unknown else ""
    robot = contents.robot
    if robot.rtc_delay:
        found += f"; trained to continue {robot.rtc_delay} actions (rtc_delay)"
    if robot.state_offset:
        found += f"; trained for a state {robot.state_offset} actions ahead (state_offset)"
    found = "\n".join([found, *contents.notes])
    try:
        check_chunking(settings.real_time_chunking, robot.rtc_delay, robot.state_offset)
    except ValueError as error:
        return [Row.fix("checkpoint", found, str(error))], contents
    return [Row.ok_or_warn("checkpoint", found, advice)], contents


def check_vlm(contents: CheckpointContents) -> list[Row]:
    """Return a row when the VLM's sizes are not to be had, without which nothing runs."""
    try:
        _sizes(contents)
    except ValueError as error:
        return [Row.fix("VLM", error)]
    return []


def _sizes(contents: CheckpointContents) -> ModelSizes:
    config, folder = contents.config, contents.folder
    with TensorFile(contents.weights) as file:
        return model_sizes(config, read_vlm_config(config, folder, file), str(folder))


def check_joint_names(robot: Robot, contents: CheckpointContents) -> tuple[list[Row], Robot]:
    """Check the joints; return the robot with them in the checkpoint's order."""
    try:
        robot = fit_joints(robot, contents)
    except ValueError as error:
        return [Row.fix("joints", error)], robot
    rows = []
    still = [joint.name for joint in robot.joints if joint.role == VELOCITY]
    if still:
        advice = "the arm is run alone: the base stands still, whatever the policy wants of it"
        rows.append(Row.warn("velocities", f"{', '.join(still)} are no positions", advice))
    listed = ", ".join(joint.name for joint in robot.joints)
    own = checkpoint_joints(contents)
    kinds = tuple(joint.kind for joint in robot.joints)
    theirs = tuple(map(base_name, own))
    one_arm = len(set(kinds)) == len(kinds)
    if not own:
        found = f"{listed}; the checkpoint does not name its own to compare"
    elif own == tuple(j.lerobot for j in robot.joints) or (one_arm and theirs == kinds):
        found = f"{listed}: the checkpoint's order"
    else:
        found = f"the robot's joints are {listed}, the checkpoint's {', '.join(own)}"
        advice = (
            "is each in its place? Say with lerobot in the robot file which of the checkpoint's "
            "joints each is, then the order is found"
        )
        make = Row.fix if sorted(theirs) == sorted(kinds) else Row.warn
        return [make("joints", found, advice), *rows], robot
    return [Row.ok("joints", found), *rows], robot


def check_cameras(
    settings: SmolVLASettings, robot: Robot, contents: CheckpointContents
) -> tuple[list[Row], dict[str, str]]:
    """Check that the cameras are the checkpoint's; return name -> feature too."""
    config, processors = contents.config, contents.processors
    pair = f"front:{config.cameras[0]}"
    # Without quotes the colon ends ROS 2's reading of the list.
    example = f"--cameras {pair}, for policy_node -p \"cameras:=['{pair}']\""
    given = requested_cameras(settings.cameras, robot, contents)
    try:
        matched = match_cameras(contents, given)
    except ValueError as error:
        advice = f"give cameras as name:feature, e.g. {example}"
        return [Row.fix("cameras", error, advice)], {}
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
            f"are, e.g. {example}"
        )
    return [Row.ok_or_warn("cameras", found, advice)], matched


def check_statistics(robot: Robot, contents: CheckpointContents) -> list[Row]:
    """Check that the statistics are there, finite and of joints that moved."""
    try:
        normalizers = contents.normalizers
    except ValueError as error:
        advice = "give --stats: the data set's meta/stats.json, or a set of the checkpoint"
        return [Row.fix("statistics", error, advice)]
    rows = []
    names = [joint.name for joint in robot.joints]
    joints = names if len(names) == contents.config.action_dim else None
    constant = constant_notes(contents.config, normalizers, joints)
    for feature, kind in ((STATE, "STATE"), (ACTION, "ACTION")):
        mode = contents.processors.norm_map.get(kind, "IDENTITY")
        there: Mapping[str, ArrayLike] = contents.statistics.get(feature, {})
        name = f"statistics of {'state' if feature == STATE else 'action'}"
        still = _still(there, robot)
        if mode == "IDENTITY":
            rows.append(Row.warn(name, "not normalized", "is that what it was trained with?"))
        elif feature in constant:
            rows.append(Row.warn(name, f"{mode}; {constant[feature]}"))
        elif still:
            advice = (
                "a position a little away from the data's is far out for the network: bring the "
                "arm into the pose that the data were recorded in"
            )
            rows.append(Row.warn(name, f"{', '.join(still)} hardly moved in the data", advice))
        else:
            known = ", ".join(k for k in ("mean", "std", "min", "max") if k in there)
            rows.append(Row.ok(name, f"{mode} by {known}"))
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
    settings: SmolVLASettings, robot: Robot, contents: CheckpointContents
) -> tuple[list[Row], ChosenUnits | None]:
    """Check that the units can be found and are not contradicted; return them."""
    try:
        chosen = choose_units(settings, robot, contents.statistics, contents.robot.units)
    except ValueError as error:
        return [Row.fix("units", error)], None
    odd = [note for note in chosen.notes if note.startswith("allowed by")]
    odd += [chosen.warning] if chosen.warning else []
    found = chosen.notes[0].removeprefix("units: ")
    return [Row.ok_or_warn("units", found, "\n".join(odd))], chosen


def check_period(
    settings: SmolVLASettings, robot: Robot, contents: CheckpointContents
) -> tuple[list[Row], Completed | None]:
    """Say which period is taken and why; return parameters and robot with what was left open."""
    try:
        completed = complete(settings, robot, contents.robot)
    except ValueError as error:
        return [Row.fix("period", error)], None
    return [Row.ok_or_warn("period", completed.period, completed.warning)], completed


def check_calibration(settings: SmolVLASettings, robot: Robot) -> list[Row]:
    """Check the calibrations of the arms by themselves and against the robot's limits."""
    try:
        calibrations = read_calibrations(robot, settings.calibration)
    except ValueError as error:
        return [Row.fix("calibration", error)]
    if not calibrations:
        return [Row.skipped("calibration", "none given; only units 'normalized' need it")]
    allowed = settings.allow_units_mismatch
    return [
        _check_arm(loaded, [joint for joint in robot.moving if joint.prefix == prefix], allowed)
        for prefix, loaded in calibrations.items()
    ]


def _check_arm(loaded: LoadedCalibration, joints: Sequence[Joint], allowed: bool) -> Row:
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
        return Row.ok("calibration", found)
    make = Row.fix if unsafe and not allowed else Row.warn
    return make("calibration", str(loaded.file), advice)


def check_instruction(task: str, contents: CheckpointContents, given: str = "") -> list[Row]:
    """Check that the tokenizer (or the given one) is there and cuts nothing off."""
    check = "instruction"
    config, processors = contents.config, contents.processors
    try:
        tokenizer = find_tokenizer(contents.folder, config, processors, given or None)
    except ValueError as error:
        return [Row.fix(check, error)]
    highest = max(tokenizer.encode(task.strip() or "pick it up"))
    with contextlib.suppress(CheckpointError):  # another row reports it
        known = _sizes(contents).vocabulary
        if highest >= known:
            found = f"{tokenizer.path} makes token {highest}, but the network knows only {known}"
            advice = "it is not this checkpoint's tokenizer: give the right one, or none"
            return [Row.fix(check, found, advice)]
    most = tokenizer.max_length
    if not task.strip():
        return [Row.skipped(check, f"no --task given; the checkpoint takes {most} tokens")]
    count = tokenizer.count(task)
    found = f"{count} of at most {most} tokens"
    if count <= most:
        unknown = unlearned(task, contents.robot.tasks)
        if unknown:
            return [Row.warn(check, unknown, "give a sentence that it learned")]
        return [Row.ok(check, found)]
    if not tokenizer.truncate:
        return [Row.warn(check, found, "longer than any in training: shorten it")]
    lost = "begins" if tokenizer.truncation_side == "left" else "ends"
    found = f"{found}: where it {lost}, {count - most} are cut off"
    return [Row.fix(check, found, "shorten it")]
