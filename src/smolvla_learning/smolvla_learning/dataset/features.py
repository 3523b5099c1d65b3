# SPDX-License-Identifier: Apache-2.0
"""What a dataset holds per frame: the features, their types, shapes and names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smolvla_learning.dataset.layout import DatasetError

Array = NDArray[Any]

_SIZES = {"float": (32, 64), "int": (8, 16, 32, 64), "uint": (8, 16, 32, 64)}
NUMERIC = ("bool", *(f"{kind}{size}" for kind, sizes in _SIZES.items() for size in sizes))
"""Types of a feature that is kept as numbers in the parquet files."""
CAMERA_TYPES = ("video", "image")
"""Types of a feature that is kept as images: in video files, or as pictures inside parquet."""


def is_depth_format(pix_fmt: str) -> bool:
    """Whether images of a video's pixel format hold distances: gray of more than 8 bits."""
    return pix_fmt.startswith("gray") and pix_fmt != "gray"


_AXES = {
    "height": ("height", "h"),
    "width": ("width", "w"),
    "channels": ("channels", "channel", "c", "rgb", "color", "colors"),
}
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Feature:
    """One feature of a dataset.

    Attributes:
        dtype: NumPy's name of the type for numbers; "video" for a camera. Datasets of others
            may also hold "image" (pictures inside parquet), "string" and "language"
            (annotations of `lerobot-annotate`).
        shape: sizes, without the frames: (6,) for six joints, (height, width, 3) for a camera.
        names: what the entries of the first axis are called, or None.
        is_depth: whether it is a camera whose pixels are distances.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None
    is_depth: bool = False

    @property
    def is_video(self) -> bool:
        """Whether its frames are in video files, all others are in the parquet files."""
        return self.dtype == "video"

    @property
    def is_camera(self) -> bool:
        """Whether its frames are color images."""
        return self.dtype in CAMERA_TYPES and not self.is_depth

    @property
    def is_annotation(self) -> bool:
        """Whether it is added to finished recordings: no frame has it while it is recorded."""
        return self.dtype == "language"

    @property
    def has_statistics(self) -> bool:
        """Whether the dataset has statistics of it."""
        return self.dtype in NUMERIC or self.dtype in CAMERA_TYPES

    def __str__(self) -> str:
        names = f" {list(self.names)}" if self.names and self.dtype not in CAMERA_TYPES else ""
        return f"{self.dtype} {list(self.shape)}{names}"


FRAME_COLUMNS: Mapping[str, Feature] = {
    "timestamp": Feature("float32", (1,)),
    "frame_index": Feature("int64", (1,)),
    "episode_index": Feature("int64", (1,)),
    "index": Feature("int64", (1,)),
    "task_index": Feature("int64", (1,)),
}
"""What every dataset holds besides the user's features; written by the writer."""


INTERVENTION = "intervention"
"""LeRobot's name of the column that tells the frames in which a human commanded."""


def joint_features(names: Sequence[str]) -> dict[str, Feature]:
    """State and action of an arm: float32, one entry for each joint, in LeRobot's units.

    Args:
        names: of the joints, for example "shoulder_pan.pos".
    """
    feature = Feature("float32", (len(names),), tuple(names))
    return {"observation.state": feature, "action": feature}


def camera_feature(height: int, width: int) -> Feature:
    """Make the feature of a camera with uint8 RGB images of (height, width, 3) pixels."""
    return Feature("video", (height, width, 3), ("height", "width", "channels"))


def image_shape(shape: Sequence[int], names: Sequence[str] | None) -> tuple[int, ...]:
    """Bring the sizes of a camera into the order height, width, channels.

    Args:
        shape: in the dataset's order; converters of simulated sets write channels first.
        names: of the axes; where they say nothing, or contradict the sizes, the axis of 1, 3
            or 4 entries is that of the channels.

    Returns:
        (height, width, channels); the shape as it is where no axis can be that of the channels.
    """
    if len(shape) != 3:
        return tuple(shape)
    called = [str(name).lower() for name in names or ()]
    found = {
        axis: called.index(name)
        for axis, known in _AXES.items()
        for name in known
        if len(called) == 3 and name in called
    }
    channels = found.get("channels", -1)
    if channels < 0 or shape[channels] not in _CHANNELS:
        channels = next((axis for axis in (2, 0, 1) if shape[axis] in _CHANNELS), -1)
        if channels < 0:
            return tuple(shape)
    height, width = (axis for axis in range(3) if axis != channels)
    if found.get("height") == width and found.get("width") == height:
        height, width = width, height
    return shape[height], shape[width], shape[channels]


def numeric_feature(
    shape: Sequence[int], names: Sequence[str] | None = None, dtype: str = "float32"
) -> Feature:
    """Make a feature of numbers.

    Args:
        shape: sizes of one frame; (1,) for a single number.
        names: of the entries of the first axis.
        dtype: NumPy's name of the type.
    """
    return Feature(dtype, tuple(shape), None if names is None else tuple(names))


def check_features(features: Mapping[str, Feature]) -> None:
    """Refuse features that cannot be written.

    Raises:
        DatasetError: no feature, a reserved or bad name, a type, shape or names that do not fit.
    """
    if not features:
        raise DatasetError("a dataset needs at least one feature")
    for name, feature in features.items():
        if not name or "/" in name or name.startswith("."):
            raise DatasetError(f"feature {name!r}: a name must not be empty or contain '/'")
        if name in FRAME_COLUMNS or name == "task":
            raise DatasetError(f"feature {name!r}: the writer makes it itself; leave it out")
        if feature.is_annotation:
            continue
        if feature.is_depth:
            raise DatasetError(
                f"feature {name!r} is a depth camera, which cannot be written here; record it "
                "with LeRobot, or leave it out"
            )
        if feature.dtype == "image":
            raise DatasetError(
                f"feature {name!r} is kept as pictures inside parquet, which is not written "
                "here; convert the dataset first: lerobot-edit-dataset --operation.type "
                "convert_image_to_video"
            )
        if feature.is_camera:
            _check_camera(name, feature)
            continue
        if feature.dtype not in NUMERIC:
            raise DatasetError(
                f"feature {name!r} has type {feature.dtype!r}; one of {', '.join(NUMERIC)} or "
                "'video' can be written"
            )
        if not feature.shape or min(feature.shape) < 1:
            raise DatasetError(
                f"feature {name!r} has shape {list(feature.shape)}; a single number has shape [1]"
            )
        if feature.names is not None and len(feature.names) != feature.shape[0]:
            raise DatasetError(
                f"feature {name!r} has {len(feature.names)} names for {feature.shape[0]} entries"
            )


def _check_camera(name: str, feature: Feature) -> None:
    if len(feature.shape) != 3 or feature.shape[2] != 3 or min(feature.shape) < 1:
        raise DatasetError(
            f"camera {name!r} has shape {list(feature.shape)}, not [height, width, 3]"
        )
    height, width, _ = feature.shape
    if height % 2 or width % 2:
        raise DatasetError(
            f"camera {name!r} is {width}x{height}: the video format (yuv420p) needs an even "
            f"width and height; crop to {width - width % 2}x{height - height % 2}"
        )


def checked_frame(
    features: Mapping[str, Feature], frame: Mapping[str, object], where: str
) -> dict[str, Array]:
    """Check the values of one frame and convert them to the features' types.

    Args:
        features: what is expected.
        frame: name -> value.
        where: names frame and episode in errors.

    Returns:
        name -> array of exactly the feature's shape and type, a copy for numbers.

    Raises:
        DatasetError: a feature too few or too many, another shape or type, NaN or infinity.
    """
    missing = [name for name in features if name not in frame]
    extra = [name for name in frame if name not in features]
    if missing or extra:
        found = [f"without {missing}"] * bool(missing) + [f"with unknown {extra}"] * bool(extra)
        raise DatasetError(f"{where}: {' and '.join(found)}; the dataset has {list(features)}")
    return {name: _checked(name, item, frame[name], where) for name, item in features.items()}


def _checked(name: str, feature: Feature, value: object, where: str) -> Array:
    array = np.asarray(value)
    if feature.is_camera:
        if array.shape != feature.shape:
            raise DatasetError(
                f"{where}: camera {name!r} gave an image of shape {list(array.shape)}, the "
                f"dataset was made for {list(feature.shape)} (height, width, channels); the size "
                "of a camera cannot change within a dataset"
            )
        if array.dtype != np.uint8:
            raise DatasetError(f"{where}: camera {name!r} gave {array.dtype}, not uint8 RGB")
        return array
    if array.shape != feature.shape:
        raise DatasetError(
            f"{where}: {name!r} has shape {list(array.shape)}, the dataset was made for "
            f"{list(feature.shape)}"
        )
    if not np.can_cast(array.dtype, feature.dtype, "same_kind"):
        raise DatasetError(f"{where}: {name!r} holds {array.dtype}, not {feature.dtype}")
    with np.errstate(over="ignore"):
        typed = array.astype(feature.dtype)
    if typed.dtype.kind == "f" and not np.isfinite(typed).all():
        raise DatasetError(f"{where}: {name!r} holds NaN or infinity: {array.tolist()}")
    return typed


def feature_differences(
    wanted: Mapping[str, Feature], present: Mapping[str, Feature]
) -> Iterable[str]:
    """Say what differs between two sets of features; annotations do not count."""
    present = {name: item for name, item in present.items() if not item.is_annotation}
    for name in [*wanted, *(name for name in present if name not in wanted)]:
        if name not in present:
            yield f"the dataset lacks {name!r} ({wanted[name]})"
        elif name not in wanted:
            yield f"the dataset also has {name!r} ({present[name]})"
        elif not _same(wanted[name], present[name]):
            yield f"{name!r} is {present[name]} in the dataset, wanted {wanted[name]}"


def _same(one: Feature, other: Feature) -> bool:
    """Whether two features hold the same; a camera's axes are called this or that."""
    return one == other or (one.is_camera and other.is_camera and one.shape == other.shape)
