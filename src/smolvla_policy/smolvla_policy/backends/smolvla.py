# SPDX-License-Identifier: Apache-2.0
"""The backend that runs a SmolVLA checkpoint."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from smolvla_core.backend import ChunkRequest, Observation
from smolvla_core.robot import VELOCITY, VELOCITY_SUFFIX, Robot, load_robot
from smolvla_core.units.joint_units import JointUnits

from smolvla_policy.backends.completion import choose_units, complete
from smolvla_policy.backends.continuation import (
    FUTURE_STATE,
    check_chunking,
    chosen_method,
    continuation,
)
from smolvla_policy.backends.smolvla_settings import JACOBIAN, SmolVLASettings
from smolvla_policy.checkpoint.config import ACTION, STATE, SmolVLAConfig
from smolvla_policy.checkpoint.contents import (
    CheckpointContents,
    constant_notes,
    read_contents,
)
from smolvla_policy.checkpoint.processors import camera_feature, default_cameras
from smolvla_policy.model.engine import choose_engine, gradient_engine, missing_openvino
from smolvla_policy.model.sizes import choose_device
from smolvla_policy.policy import SmolVLAPolicy


def chunk_noise(seed: int, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw the noise that a chunk is made from, the same on every machine.

    Args:
        seed: of the run, at least 0.
        index: of the chunk, at least 0; each has noise of its own, whatever the order.
        shape: (chunk_size, max_action_dim).

    Returns:
        Standard normal float32.
    """
    return np.random.default_rng((seed, index)).standard_normal(shape, dtype=np.float32)


def engine_for(settings: SmolVLASettings) -> str:
    """Return the parameter ``engine``, ``auto`` decided where gradients are needed.

    Raises:
        ValueError: no engine computes them as asked for, or the device is absent.
    """
    if settings.real_time_chunking != JACOBIAN:
        return settings.engine
    return gradient_engine(
        settings.engine,
        choose_device(settings.device),
        dtype=settings.dtype,
        cuda_graph=settings.cuda_graph,
    )


class SmolVLABackend:
    """Runs a checkpoint as a backend of `policy_node`.

    Args:
        settings: with a period.
        contents: the checkpoint; its weights are loaded here.
        joint_names: joints in the order of the checkpoint's state and action.
        units: converts between radians and the checkpoint's own units.
        cameras: camera name -> feature name, of those that there are; if None, of those that
            the checkpoint expects, see `default_cameras`.
        notes: see the attribute.
        warnings: see the attribute.

    Attributes:
        policy: the checkpoint.
        notes: lines for the log: units, period and cameras and why, and what else is to be known
            of the checkpoint.
        warnings: warnings for the log.
        tasks: the instructions that it learned; empty where the checkpoint does not say.
        continues: how the newest chunk continues the queued actions, see
            ``smolvla_msgs/ActionChunk``.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ValueError: cameras do not fit the checkpoint, or the device is absent.
    """

    name = "smolvla"
    needs_objects = False

    def __init__(
        self,
        settings: SmolVLASettings,
        contents: CheckpointContents,
        joint_names: Sequence[str],
        units: JointUnits,
        cameras: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
        warnings: Sequence[str] = (),
    ) -> None:
        torch.set_num_threads(settings.threads or max((os.cpu_count() or 2) - 1, 1))
        self.description = contents.source
        # Before the weights: a contradiction is reported at once.
        check_chunking(
            settings.real_time_chunking, contents.robot.rtc_delay, contents.robot.state_offset
        )
        engine = engine_for(settings)
        features = match_cameras(contents, cameras)
        self.policy = SmolVLAPolicy.from_contents(
            contents,
            device=settings.device,
            dtype=settings.dtype,
            tokenizer=settings.tokenizer or None,
            cameras=features,
            engine=engine,
            cuda_graph=settings.cuda_graph,
        )
        self.policy.engine.steps = settings.num_steps
        self.policy.engine.solver = settings.solver
        self.notes = (*notes, camera_note(features, contents.config))
        usual, chosen = (choose_engine(e, self.policy.device) for e in (settings.engine, engine))
        if chosen != usual:
            self.notes += (f"engine: {chosen}, because real_time_chunking is '{JACOBIAN}'",)
        self.warnings = (*warnings, *missing_openvino(engine, self.policy.device))
        self.tasks = contents.robot.tasks
        self._trained_for = contents.robot.rtc_delay, contents.robot.state_offset
        self.device = self.policy.engine.place
        self.dtype = self.policy.dtype
        self.cameras = tuple(features)
        self.joint_names = tuple(joint_names)
        self.chunk_size = self.policy.chunk_size
        self.period = settings.period
        self.real_time_chunking = settings.real_time_chunking
        self._units = units
        self._noise_scale = settings.noise_scale
        self._instruction = self.continues = ""
        self._seed, self._index = settings.seed, 0
        self.policy.warm_up(tuple(features.values()))

    @property
    def state_offset(self) -> int:
        """How many rows longer a late chunk may be."""
        able = self.real_time_chunking in ("auto", FUTURE_STATE)
        return self._trained_for[1] if able else 0

    def infer(self, observation: Observation, request: ChunkRequest) -> NDArray[np.float64]:
        """Predict a chunk.

        Args:
            observation: with an image of each of `cameras`.
            request: its queued actions are continued with `real_time_chunking`, unless they
                were made for another instruction.

        Returns:
            (rows, joints) radians: the chunk, behind the queued actions that lead to its state.

        Raises:
            ValueError: a camera or joint is missing, or something else does not fit.
        """
        missing = [name for name in self.cameras if name not in observation.images]
        if missing:
            raise ValueError(f"no image of camera {', '.join(missing)}")
        if observation.joint_names != self.joint_names:
            raise ValueError(
                f"joints are {', '.join(observation.joint_names)}, "
                f"expected {', '.join(self.joint_names)}"
            )
        same = observation.instruction == self._instruction
        method = self.real_time_chunking if same else "off"
        check_chunking(method, *self._trained_for)
        method = chosen_method(method, *self._trained_for)
        before = continuation(method, *self._trained_for, request)
        # Increments go on from the command, not from the arm, which is behind it.
        command = observation.positions if request.command is None else request.command
        self.policy.engine.jacobian = method == JACOBIAN
        actions = self.policy.predict_chunk(
            observation.images,
            self._units.to_policy(observation.positions + before.motion),
            observation.instruction,
            self._noise(),
            decided=self._units.to_actions(before.decided, command)
            if len(before.decided)
            else None,
            delay=before.delay,
            trained=before.trained,
        )
        self._index += 1
        self._instruction = observation.instruction
        self.continues = method if len(request.committed) else "off"
        base = before.first[-1] if len(before.first) else command
        return np.concatenate((before.first, self._units.to_joints(actions, base)))

    def _noise(self) -> NDArray[np.float32] | None:
        """Return the next chunk's noise; None where the policy shall draw it."""
        shape = (self.chunk_size, int(self.policy.config.max_action_dim))
        if self._seed >= 0:
            noise = chunk_noise(self._seed, self._index, shape)
        elif self._noise_scale == 1.0:
            return None
        else:
            noise = np.random.default_rng().standard_normal(shape, dtype=np.float32)
        return noise * np.float32(self._noise_scale)

    def check(self, changes: Mapping[str, Any]) -> None:
        """Check new values of the live settings.

        Raises:
            ValueError: checkpoint or engine do not fit one; the text says what to do.
        """
        method = changes.get("real_time_chunking", "off")
        check_chunking(method, *self._trained_for)
        if method == JACOBIAN:
            self.policy.engine.check_jacobian()

    def tune(self, changes: Mapping[str, Any]) -> None:
        """Take new values of the live settings.

        A seed begins a new sequence of noise, as at the start of an episode.
        """
        if "seed" in changes:
            self._seed, self._index = changes["seed"], 0
        engine = self.policy.engine
        engine.steps = changes.get("num_steps", engine.steps)
        engine.solver = changes.get("solver", engine.solver)
        self._noise_scale = changes.get("noise_scale", self._noise_scale)
        self.real_time_chunking = changes.get("real_time_chunking", self.real_time_chunking)

    def close(self) -> None:
        """Free the weights, on a GPU too; the backend cannot be used afterwards."""
        device = self.policy.device
        del self.policy
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def fit_joints(robot: Robot, contents: CheckpointContents) -> Robot:
    """Return the robot with its joints in the checkpoint's order.

    Where the checkpoint names others, or none, they stay in their own.

    Raises:
        ValueError: the checkpoint is not for as many joints, in state and action, of the same
            roles; the message says what to do.
    """
    config, checkpoint = contents.config, contents.source
    if config.state_dim != config.action_dim:
        raise ValueError(
            f"{checkpoint} has a state of {config.state_dim} and actions of "
            f"{config.action_dim} numbers; here both are of the same joints, and what the other "
            "numbers are is not known: run it from Python, SmolVLAPolicy takes any state"
        )
    named = checkpoint_joints(contents)
    moving = [name for name in named if name.endswith(VELOCITY_SUFFIX)]
    known = [joint.lerobot for joint in robot.joints if joint.role == VELOCITY]
    lacking = [name for name in moving if name not in known]
    if config.action_dim == len(robot.joints) and (not lacking or len(known) == len(moving)):
        joints = {joint.lerobot: joint for joint in robot.joints}
        if sorted(joints) != sorted(named):
            return robot
        return replace(robot, joints=tuple(joints[name] for name in named))
    listed = ", ".join(joint.name for joint in robot.joints)
    count = (
        f"{checkpoint} has a state of {config.state_dim} and actions of {config.action_dim} "
        f"numbers, but the robot '{robot.source}' has {len(robot.joints)} joints: {listed}"
    )
    if lacking:
        entries = ", ".join(f"{name}: {{role: velocity}}" for name in lacking)
        where = checkpoint if config.action_dim == len(robot.joints) else count
        raise ValueError(
            f"{where}: {', '.join(moving)} are velocities, and only positions are commanded here. "
            "To run the arm alone, while the base stands still, name them in the robot file, as "
            f"in joints: {{{entries}}}; robot:=lekiwi is LeKiwi's"
        )
    of = f"; the checkpoint's are {', '.join(named)}" if named else ""
    raise ValueError(
        f"{count}{of}. Choose another robot:=, or write a robot file with its joints; velocities "
        "of a base are joints with role: velocity, as LeKiwi's three are in robot:=lekiwi"
    )


def checkpoint_joints(contents: CheckpointContents) -> tuple[str, ...]:
    """Return LeRobot's names of the checkpoint's joints, in its order; empty if not known."""
    config = contents.config
    names = contents.robot.joints or config.outputs[ACTION].names or config.inputs[STATE].names
    # The recordings of some call shoulder_pan main_shoulder_pan.pos.
    return tuple(name.rpartition("main_")[2].removesuffix(".pos") for name in names or ())


def requested_cameras(
    entries: Sequence[str], robot: Robot, contents: CheckpointContents
) -> dict[str, str] | None:
    """Return camera name -> feature, of the cameras that there are; None: the checkpoint's own.

    Args:
        entries: parameter ``cameras``: 'name' or 'name:feature'; empty: the robot's.
        robot: whose file may say the features.
        contents: of the checkpoint.
    """
    if entries:
        pairs = [entry.partition(":") for entry in entries]
        return {name: feature or robot.camera(name).feature or name for name, _, feature in pairs}
    stated = {camera.name: camera.feature for camera in robot.cameras if camera.feature}
    if stated:
        return stated
    # A file may list more cameras than the policy uses, and fewer.
    own = default_cameras(contents.config, contents.processors)
    there = {camera.name for camera in robot.cameras}
    return {name: feature for name, feature in own.items() if name in there} or None


def match_cameras(
    contents: CheckpointContents, cameras: Mapping[str, str] | None
) -> dict[str, str]:
    """Return camera name -> feature name, in the checkpoint's order.

    Args:
        contents: of the checkpoint.
        cameras: see `SmolVLABackend`.

    Raises:
        ValueError: a camera is none of the checkpoint's, or two are for the same feature.
    """
    config, processors = contents.config, contents.processors
    try:
        requested = default_cameras(config, processors) if cameras is None else cameras
        matched: dict[str, str] = {}
        for name, target in requested.items():
            feature = camera_feature(config, processors, target)
            if feature in matched:
                raise ValueError(f"{matched[feature]} and {name} are both for {feature}")
            matched[feature] = name
    except ValueError as error:
        raise ValueError(f"{contents.source}: {error}") from error
    return {matched[feature]: feature for feature in config.images if feature in matched}


def camera_note(cameras: Mapping[str, str], config: SmolVLAConfig) -> str:
    """Say which cameras of a checkpoint are used and which are left out, as in LeRobot.

    Args:
        cameras: from `match_cameras`.
        config: of the checkpoint.
    """
    used = ", ".join(f"{name} is {feature}" for name, feature in cameras.items())
    absent = [name for name in config.cameras if name not in cameras.values()]
    return f"cameras: {used}" + (f"; left out: {', '.join(absent)}" if absent else "")


def create(settings: SmolVLASettings) -> SmolVLABackend:
    """Create the backend.

    Returns:
        The backend, warmed up.

    Raises:
        ValueError: a parameter does not fit; see also `SmolVLABackend`.
    """
    if not settings.checkpoint:
        raise ValueError(
            "parameter 'checkpoint' is empty; give a folder or a hub id such as "
            "lerobot/smolvla_base"
        )
    robot = load_robot(settings.robot)
    contents = read_contents(settings.checkpoint, settings.stats or None)
    robot = fit_joints(robot, contents)
    cameras = requested_cameras(settings.cameras, robot, contents)
    completed = complete(settings, robot, contents.robot)
    robot = completed.robot
    joints = [joint.name for joint in robot.joints]
    constant = constant_notes(contents.config, contents.normalizers, joints)
    chosen = choose_units(settings, robot, contents.statistics, contents.robot.units)
    notes = [
        *contents.notes,
        *(f"{feature}: {note}" for feature, note in constant.items()),
        *chosen.notes,
        *completed.notes,
    ]
    warnings = [chosen.warning] if chosen.warning else []
    period = f"period: {completed.period}"
    if completed.warning:
        warnings.append(f"{period}. {completed.warning}")
    else:
        notes.append(period)
    return SmolVLABackend(
        completed.settings, contents, robot.joint_names, chosen.units, cameras, notes, warnings
    )
