# SPDX-License-Identifier: Apache-2.0
"""Checks of what was received of the robot against what the checkpoint needs, without ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from smolvla_core.node_settings import SensorSettings
from smolvla_core.observation import GRAY, SIMULATED
from smolvla_core.robot import VELOCITY, Robot

from smolvla_policy.backends.completion import ChosenUnits
from smolvla_policy.checkpoint.config import STATE, SmolVLAConfig
from smolvla_policy.checks.rows import Row

SLOW_RATE = 10.0
"""Below so many images or joint states a second observations are older than need be [Hz]."""
FUTURE = 0.05
"""A stamp so far ahead of this machine's clock is of another clock [s]."""
OTHER_SHAPE = 0.03
"""Pictures whose width to height differs by more than this share look squeezed or padded."""
FAR = 5.0
"""So many standard deviations from the data's mean are no pose of the data."""
ROUNDING = 1e-5
"""Share of a number that conversions between float32 and other units may lose."""
OR_NOT = "or match_by:=reception where not all that publish have one clock"
OUTSIDE = 0.1
"""Share of the data's range by which a pose may lie outside of it."""


@dataclass(frozen=True)
class ReceivedCamera:
    """What came from one camera.

    Attributes:
        topic: that was listened to.
        publishers: how many there are of it.
        types: message types that it is published with.
        images: how many arrived.
        rate: images per second; NaN below two.
        age: since the newest arrived [s]; infinite before the first.
        stamp_age: median of arrival minus stamp [s]; NaN where there are no stamps.
        pixels: the newest, uint8 (height, width, 3); None if there is none to be read.
        gray: whether the newest has no color.
        error: why the newest cannot be read.
    """

    topic: str
    publishers: int = 0
    types: tuple[str, ...] = ()
    images: int = 0
    rate: float = math.nan
    age: float = math.inf
    stamp_age: float = math.nan
    pixels: NDArray[np.uint8] | None = None
    gray: bool = False
    error: str = ""


@dataclass(frozen=True)
class ReceivedJoints:
    """What came of the joint states.

    Attributes:
        topic: that was listened to; several with commas.
        publishers: how many there are of it.
        messages: how many arrived.
        rate: states of the slowest joint per second; NaN below two.
        names: those of the joints that the policy moves that were received.
        positions: (joints,) [rad] of the joints that the policy moves; None if there are none.
        problem: why the newest cannot be used.
        stamp_age: median of arrival minus stamp [s]; NaN where there are no stamps.
    """

    topic: str
    publishers: int = 0
    messages: int = 0
    rate: float = math.nan
    names: tuple[str, ...] = ()
    positions: NDArray[np.float64] | None = None
    problem: str = ""
    stamp_age: float = math.nan


@dataclass(frozen=True)
class Received:
    """What was received in `seconds`.

    Attributes:
        seconds: of listening, after the first messages of all were waited for.
        cameras: camera name -> what came.
        joints: what came of the joint states.
        image_topics: all topics in the graph that carry images of the wanted kind.
        missing: what keeps an observation from being made of it all; empty when nothing does.
    """

    seconds: float
    cameras: Mapping[str, ReceivedCamera]
    joints: ReceivedJoints
    image_topics: tuple[str, ...] = ()
    missing: str = ""


def check_silence(received: Received) -> list[Row]:
    """Return a row when nothing at all was received: the robot is not running."""
    cameras, joints = received.cameras.values(), received.joints
    if joints.messages or any(camera.images for camera in cameras):
        return []
    if joints.publishers or any(camera.publishers for camera in cameras):
        cause = "published, but nothing arrives: check the network and the drivers"
    else:
        cause = "start the arm and the cameras (same ROS_DOMAIN_ID and namespace?)"
    found = f"no {joints.topic} and no image received in {received.seconds:g} s"
    return [Row.fix("robot", found, f"{cause}; or check without them: --offline")]


def check_camera(
    name: str,
    feature: str,
    received: Received,
    config: SmolVLAConfig,
    settings: SensorSettings,
    own_shapes: bool = True,
) -> Row:
    """Check one camera: publisher, type, rate, stamps, size.

    Args:
        name: of the camera.
        feature: of the checkpoint that it is for.
        received: of the robot.
        config: of the checkpoint.
        settings: of `policy_node`.
        own_shapes: whether the configuration's shapes are the training data's; fine-tuning
            keeps the base model's.
    """
    camera, check = received.cameras[name], f"camera {name}"
    if camera.images == 0:
        return Row.fix(check, *_nothing_from(camera, received))
    if camera.pixels is None:
        return Row.fix(check, f"{camera.topic}: {camera.error}")
    height, width = camera.pixels.shape[:2]
    found = f"{camera.topic} for {feature}: {width}x{height}, {_rate(camera.rate)}"
    found += f", stamps {camera.stamp_age:.3f} s old" if math.isfinite(camera.stamp_age) else ""
    limit = settings.max_image_age
    # A single image has no rate, which is not enough either.
    if camera.age > limit or not 1.0 / camera.rate <= limit:
        advice = f"images must come within max_image_age, {limit:g} s: check driver and network"
        return Row.fix(check, found, advice)
    advices = _stamp_advice(camera.stamp_age, limit, settings)
    if camera.rate < SLOW_RATE:
        advices.append(f"fewer than {SLOW_RATE:g} a second: what the policy sees is old")
    if camera.gray:
        advices.append(GRAY)
    shape = config.inputs[feature].shape if own_shapes and feature in config.inputs else ()
    if len(shape) == 3:
        trained = shape[2] / shape[1]
        if abs(width / height - trained) > OTHER_SHAPE * trained:
            advices.append(
                f"trained with {shape[2]}x{shape[1]}: pictures of another shape are padded "
                "otherwise; set the camera to the same ratio"
            )
    return Row.ok_or_warn(check, found, "\n".join(advices))


def _nothing_from(camera: ReceivedCamera, received: Received) -> tuple[str, str]:
    compressed = camera.topic.endswith("/compressed")
    wanted = "sensor_msgs/msg/CompressedImage" if compressed else "sensor_msgs/msg/Image"
    if camera.publishers == 0:
        others = ", ".join(received.image_topics) or "nowhere"
        return (
            f"nobody publishes {camera.topic}",
            "start its driver, or give the camera's topic in the robot file; images are published "
            f"on {others}",
        )
    if camera.types and wanted not in camera.types:
        other = "raw" if compressed else "compressed"
        return (
            f"{camera.topic} is {', '.join(camera.types)}, not {wanted}",
            f"set the camera's transport in the robot file, or image_transport, to {other}",
        )
    return (
        f"{camera.topic} is published, but no image arrived in {received.seconds:g} s",
        "does its driver run, its cable hold? From another machine: is the network fast enough?",
    )


def check_joint_states(received: ReceivedJoints, seconds: float, settings: SensorSettings) -> Row:
    """Check the joint states: publisher, names, numbers, rate, stamps."""
    check = "joint states"
    if received.messages == 0:
        if received.publishers:
            found = f"{received.topic} is published, but nothing arrived in {seconds:g} s"
            advice = "check the arm's driver (joint_state_broadcaster active?) and the network"
        else:
            found = f"nobody publishes {received.topic}"
            advice = "start the arm's driver, or set the namespace: --ros-args -r __ns:=/..."
        return Row.fix(check, found, advice)
    if received.positions is None:
        return Row.fix(check, f"{received.topic}: {received.problem}")
    found = f"{received.topic}: {len(received.names)} joints, {_rate(received.rate)}"
    found += (
        f", stamps {received.stamp_age:.3f} s old" if math.isfinite(received.stamp_age) else ""
    )
    limit = settings.max_joint_state_age
    if not 1.0 / received.rate <= limit:
        advice = f"they must come within max_joint_state_age, {limit:g} s: raise their rate"
        return Row.fix(check, found, advice)
    advices = _stamp_advice(received.stamp_age, limit, settings)
    if received.rate < SLOW_RATE:
        advices.append(f"fewer than {SLOW_RATE:g} a second: what the policy feels is old")
    return Row.ok_or_warn(check, found, "\n".join(advices))


def _rate(rate: float) -> str:
    return f"{rate:.1f} Hz" if math.isfinite(rate) else "once"


def _stamp_advice(age: float, limit: float, settings: SensorSettings) -> list[str]:
    if math.isnan(age):
        return ["no stamps: parts of an observation are matched by their arrival"]
    if settings.match_by == "reception":
        return []
    if age > SIMULATED:
        return [f"stamped by a simulator's clock: set use_sim_time:=true for all nodes, {OR_NOT}"]
    if age < -SIMULATED:
        return [f"stamped by the wall clock, and use_sim_time is true here: one of both, {OR_NOT}"]
    if age < -FUTURE:
        return ["stamps lie in the future: synchronize the machines' clocks (chrony)"]
    if age > limit:
        return [
            "stamps are older than that on arrival: synchronize the machines' clocks (chrony), or "
            "the driver holds its data back"
        ]
    return []


def check_limits(positions: NDArray[np.float64], robot: Robot) -> Row:
    """Check that the arm, with its joints at (joints,) [rad], stands within its limits."""
    beyond = [
        f"{joint.name} stands at {position:.3f} rad, its limits are {joint.lower:.3f} to "
        f"{joint.upper:.3f}"
        for joint, position in zip(robot.moving, positions, strict=True)
        if not joint.lower - 0.01 <= position <= joint.upper + 0.01
    ]
    if not beyond:
        return Row.ok("joint limits", "the arm stands within the robot file's limits")
    advice = (
        "the first command will bring it within them: move it there by hand before, or check the "
        "calibration"
    )
    return Row.warn("joint limits", "; ".join(beyond), advice)


def check_pose(
    positions: NDArray[np.float64],
    robot: Robot,
    chosen: ChosenUnits,
    statistics: Mapping[str, Mapping[str, ArrayLike]],
) -> Row:
    """Check that the arm stands where the data's arm has stood, in the checkpoint's units.

    Args:
        positions: (joints,) [rad].
        robot: its joints in the checkpoint's order.
        chosen: the active units.
        statistics: of the checkpoint.
    """
    check = "pose"
    # A base's velocities are no part of a pose.
    places = [i for i, joint in enumerate(robot.joints) if joint.role != VELOCITY]
    joints = robot.joint_names
    state = chosen.units.to_policy(positions).astype(np.float64)[places]
    columns = {
        name: np.asarray(values, dtype=np.float64).reshape(-1)[places]
        for name, values in statistics.get(STATE, {}).items()
        if np.size(values) == len(robot.joints)
    }
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    if "min" in columns and "max" in columns:
        low, high = columns["min"], columns["max"]
        slack = OUTSIDE * (high - low)
    elif "mean" in columns and "std" in columns:
        low, high = (columns["mean"] + sign * 3.0 * columns["std"] for sign in (-1.0, 1.0))
        slack = np.zeros(len(joints))
    else:
        return Row.skipped(check, "no statistics of the state to compare with")
    slack = slack + ROUNDING * np.maximum(np.abs(low), np.abs(high))
    outside = np.flatnonzero((state < low - slack) | (state > high + slack))
    if not outside.size:
        text = ", ".join(f"{value:.1f}" for value in state)
        return Row.ok(check, f"within the data's ({chosen.regime}: {text})")
    found = "; ".join(
        f"{joints[i]} stands at {state[i]:.1f}, the data's went {low[i]:.1f} to {high[i]:.1f}"
        if low[i] < high[i]
        else f"{joints[i]} stands at {state[i]:.3f}, in the data always at {low[i]:.3f}"
        for i in outside
    )
    nothing = np.full(len(joints), np.nan)
    mean, std = columns.get("mean", nothing), columns.get("std", nothing)
    # A joint that never moved in the data has no deviation to measure by.
    far = [i for i in outside if std[i] > 0 and abs(state[i] - mean[i]) > FAR * std[i]]
    if far:
        advice = (
            f"{', '.join(joints[i] for i in far)}: more than {FAR:g} standard deviations from the "
            "data's mean. Other units, another zero, the wrong order or sign of joints? Or a pose "
            "that the data do not have: bring the arm near to where the data began"
        )
        return Row.fix(check, f"{found} ({chosen.regime})", advice)
    return Row.warn(
        check, f"{found} ({chosen.regime})", "bring the arm near to where the data began"
    )


def check_observation(received: Received) -> Row:
    """Check that images and joint state belong together, as `policy_node` wants them."""
    if received.missing:
        return Row.fix("observation", received.missing)
    return Row.ok("observation", "images and joint state belong together")
