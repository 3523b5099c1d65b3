# SPDX-License-Identifier: Apache-2.0
"""Observations in a user's form to the inputs of the engine, with every check on the way."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from smolvla_policy.checkpoint.config import ACTION, STATE, SmolVLAConfig
from smolvla_policy.checkpoint.normalization import Normalizer, make_normalizer
from smolvla_policy.checkpoint.processors import Processors
from smolvla_policy.checkpoint.statistics import Statistics
from smolvla_policy.checkpoint.text import InstructionTokenizer
from smolvla_policy.model.engine import EngineInputs
from smolvla_policy.model.images import PixelScale
from smolvla_policy.model.sizes import ModelSizes

Floats = NDArray[np.float32]
Images = Mapping[str, NDArray[np.uint8]]
CAMERA_PREFIX = "observation.images."

logger = logging.getLogger(__name__)


def make_normalizers(
    config: SmolVLAConfig, processors: Processors, statistics: Statistics
) -> dict[str, Normalizer]:
    """Build the normalizers of state, action and cameras.

    Raises:
        CheckpointError: statistics are missing or unusable.
    """
    sizes = {STATE: ("STATE", config.state_dim), ACTION: ("ACTION", config.action_dim)}
    # As in LeRobot, images without statistics are passed on as they are.
    images = [name for name in config.images if name in statistics]
    sizes.update(dict.fromkeys(images, ("VISUAL", 3)))
    return {
        name: make_normalizer(
            name,
            processors.norm_map.get(kind, "IDENTITY"),
            statistics.get(name, {}),
            size,
            processors.epsilon,
        )
        for name, (kind, size) in sizes.items()
    }


def expected_cameras(config: SmolVLAConfig, processors: Processors) -> tuple[str, ...]:
    """Return the features of the cameras that a checkpoint expects, in the network's order.

    They are those that it was trained with, as far as its files tell, else all that it
    declares: fine-tuned checkpoints keep declaring the base model's.
    """
    trained = processors.trained_cameras
    return tuple(name for name in config.cameras if name in trained) or config.cameras


def default_cameras(config: SmolVLAConfig, processors: Processors) -> dict[str, str]:
    """Return camera name -> feature of `expected_cameras`.

    A camera is called as in the training data where ``rename_map`` says how, else by the last
    part of its feature's name.

    Raises:
        ValueError: two would be called the same.
    """
    data = {new: old for old, new in reversed(processors.rename_map.items())}
    expected = expected_cameras(config, processors)
    names = {data.get(feature, feature).rpartition(".")[2]: feature for feature in expected}
    if len(names) < len(expected):
        raise ValueError(
            f"cameras share their last names: {', '.join(expected)}; name them with 'name:feature'"
        )
    return names


def camera_feature(config: SmolVLAConfig, processors: Processors, name: str) -> str:
    """Return the feature name of a camera that may go by a shorter name.

    Raises:
        ValueError: the name is unknown or fits several cameras.
    """
    known = config.images
    for candidate in (name, CAMERA_PREFIX + name):
        renamed = processors.rename_map.get(candidate, candidate)
        if renamed in known:
            return renamed
    fitting = [feature for feature in known if feature.endswith("." + name)]
    if len(fitting) == 1:
        return fitting[0]
    trouble = f"fits several cameras: {fitting}" if fitting else "is unknown"
    raise ValueError(f"camera {name!r} {trouble}; this checkpoint has {', '.join(config.cameras)}")


@dataclass(frozen=True)
class ObservationEncoder:
    """Checks observations and brings them into the network's form.

    Attributes:
        config: of the checkpoint.
        processors: settings in force.
        tokenizer: of the instructions.
        normalizers: from `make_normalizers`.
        sizes: of the network.
        told: cameras whose absence has been logged.
    """

    config: SmolVLAConfig
    processors: Processors
    tokenizer: InstructionTokenizer
    normalizers: Mapping[str, Normalizer]
    sizes: ModelSizes
    told: set[tuple[str, ...]] = field(default_factory=set)

    def encode(
        self,
        images: Images,
        states: Floats,
        tasks: Sequence[str],
        noise: Floats | None,
        decided: Floats | None = None,
        delay: int = 0,
    ) -> EngineInputs:
        """Check and convert a batch; see `SmolVLAPolicy.predict_batch`.

        Raises:
            ValueError: something does not fit; the text says what.
        """
        batch = len(tasks)
        cameras = self._check_images(images, batch)
        values = self._check_state(states, batch)
        tokens, valid = self._encode(tasks)
        absent = len(self.config.images) - len(cameras)
        return EngineInputs(
            cameras=list(cameras.values()),
            scales=[self._pixel_scale(name) for name in cameras],
            # LeRobot fills so many absent cameras with an empty image, and leaves out the rest.
            absent=min(absent, int(self.config.empty_cameras)),
            tokens=tokens,
            token_valid=valid,
            state=self.normalizers[STATE].normalize(values),
            noise=self._check_noise(noise, batch),
            decided=self._check_decided(decided, batch),
            delay=delay,
        )

    def camera_feature(self, name: str) -> str:
        """Return the feature name of a camera that may go by a shorter name.

        Raises:
            ValueError: the name is unknown or fits several cameras.
        """
        return camera_feature(self.config, self.processors, name)

    def _check_images(self, images: Images, batch: int) -> dict[str, NDArray[np.uint8]]:
        found: dict[str, NDArray[np.uint8]] = {}
        for name, image in images.items():
            feature = self.camera_feature(name)
            array = np.asarray(image)
            if feature in found:
                raise ValueError(f"camera {feature!r} is given twice")
            if array.dtype != np.uint8:
                raise ValueError(
                    f"image of camera {name!r} is {array.dtype}, expected uint8 0-255"
                )
            if (
                array.ndim != 4
                or array.shape[3] != 3
                or array.shape[0] != batch
                or 0 in array.shape
            ):
                raise ValueError(
                    f"image of camera {name!r} has shape {array.shape[1:]}, "
                    f"expected (height, width, 3), times {batch}"
                )
            found[feature] = array
        if not found:
            raise ValueError(
                "no image is given; this checkpoint needs at least one of "
                f"{', '.join(self.config.cameras)}"
            )
        expected = expected_cameras(self.config, self.processors)
        missing = tuple(feature for feature in expected if feature not in found)
        if missing and missing not in self.told:
            self.told.add(missing)
            logger.warning(
                "no image of %s: left out, as LeRobot does, though the checkpoint expects it",
                ", ".join(missing),
            )
        return {feature: found[feature] for feature in self.config.images if feature in found}

    def _check_state(self, states: Floats, batch: int) -> Floats:
        values = np.array(states, dtype=np.float32)
        if values.shape != (batch, self.config.state_dim):
            raise ValueError(
                f"state has shape {values.shape[1:]} ({batch} wanted, {values.shape[0]} given), "
                f"this checkpoint needs ({self.config.state_dim},)"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"state holds NaN or infinity: {values.tolist()}")
        return values

    def _encode(self, tasks: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        for task in tasks:
            if not isinstance(task, str) or not task.strip():
                raise ValueError("the task is empty; say what the robot shall do")
        encoded = [self.tokenizer.encode(task) for task in tasks]
        highest = max(max(ids, default=0) for ids in encoded)
        if highest >= self.sizes.vocabulary:
            raise ValueError(
                f"{self.tokenizer.path} makes token {highest}, but the network knows only "
                f"{self.sizes.vocabulary}: it is not this checkpoint's tokenizer"
            )
        length = max(map(len, encoded))
        padded = [self.tokenizer.pad(ids, length) for ids in encoded]
        tokens = np.array([ids for ids, _ in padded], dtype=np.int64)
        valid = np.array([real for _, real in padded], dtype=np.bool_)
        return tokens, None if valid.all() else valid

    def _check_noise(self, noise: Floats | None, batch: int) -> Floats:
        shape = (batch, self.config.chunk_size, self.sizes.action_dim)
        if noise is None:
            return np.random.default_rng().standard_normal(shape, dtype=np.float32)
        values = np.array(noise, dtype=np.float32)
        if values.shape != shape:
            raise ValueError(f"noise has shape {values.shape[1:]}, expected {shape[1:]}")
        if not np.isfinite(values).all():
            raise ValueError("noise holds NaN or infinity")
        return values

    def _check_decided(self, decided: Floats | None, batch: int) -> Floats | None:
        if decided is None:
            return None
        values = np.asarray(decided, dtype=np.float32)
        if values.ndim != 3 or (values.shape[0], values.shape[2]) != (
            batch,
            self.config.action_dim,
        ):
            raise ValueError(
                f"decided actions have shape {values.shape[1:]}, expected (rows, "
                f"{self.config.action_dim})"
            )
        if not np.isfinite(values).all():
            raise ValueError("decided actions hold NaN or infinity")
        if not values.shape[1]:
            return None
        normalizer = self.normalizers[ACTION]
        normalized = normalizer.normalize(values)
        # Divided by the epsilon, rounding in a constant dimension would become a huge number.
        still = list(normalizer.constant)
        normalized[..., still] = normalizer.normalize(normalizer.low)[still]
        return normalized

    def _pixel_scale(self, camera: str) -> PixelScale | None:
        normalizer = self.normalizers.get(camera)
        if normalizer is None or normalizer.mode == "IDENTITY":
            return None
        # Every mode is affine, so two values give all of it.
        offset = normalizer.normalize(np.zeros(3, np.float32))
        return PixelScale(normalizer.normalize(np.ones(3, np.float32)) - offset, offset)
