# SPDX-License-Identifier: Apache-2.0
"""Camera frames of a dataset, decoded once and kept at the size that the network reads.

Decoding video costs more than a small network's step. Each camera of a dataset therefore
becomes one file of raw pixels, which is mapped into memory; the operating system keeps in
memory what there is room for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from smolvla_policy.model.preprocess import fitted_size
from torch.nn import functional

from smolvla_learning.dataset import Dataset
from smolvla_learning.training.options import TrainingError

Frames = NDArray[np.uint8]
_ROOM = 1 << 28
"""Bytes that are left free on the disk."""


def cache_folder() -> Path:
    """Return where frames are kept unless the user says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "smolvla_ros2" / "frames"


def fit(images: Frames, side: int | None) -> Frames:
    """Shrink or enlarge images to fit into a square as the network's preprocessing does.

    Args:
        images: (batch, height, width, 3) RGB.
        side: of the square in pixels; None leaves them as they are.

    Returns:
        (batch, fitted height, fitted width, 3), rounded to whole numbers.
    """
    height, width = images.shape[1:3]
    if side is None or (height, width) == (side, side):
        return images
    size = fitted_size(height, width, (side, side))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    # In whole numbers: ten times as quick as in float, and at most 1 of 255 off.
    fitted = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
    return np.ascontiguousarray(fitted.permute(0, 2, 3, 1).numpy())


def fitted_frames(
    dataset: Dataset,
    camera: str,
    side: int | None,
    folder: Path,
    report: Callable[[int], None] = lambda frames: None,
) -> Frames:
    """Return all frames of a camera, from the cache if they are there.

    Args:
        dataset: from `Dataset.open`.
        camera: feature name.
        side: see `fit`.
        folder: of the cache.
        report: called with the number of frames that were added.

    Returns:
        (frames, fitted height, fitted width, 3) uint8, mapped read-only.

    Raises:
        TrainingError: the disk has no room, or the images are not all of one size.
        DatasetError: the images cannot be decoded.
    """
    height, width = dataset.image_size(camera)
    if side is not None:
        height, width = fitted_size(height, width, (side, side))
    shape = (dataset.num_frames, height, width, 3)
    path = folder / f"{_key(dataset, camera, side)}.rgb"
    if not path.is_file():
        _check_room(path, int(np.prod(shape)))
        _fill(dataset, camera, side, path, shape, report)
    else:
        report(dataset.num_frames)
    return np.memmap(path, np.uint8, "r", shape=shape)


def _key(dataset: Dataset, camera: str, side: int | None) -> str:
    """Name the content: another dataset, or a longer one, gets another name."""
    info = (dataset.folder / "meta" / "info.json").stat()
    facts = [str(dataset.folder.resolve()), camera, side, dataset.num_frames, info.st_mtime_ns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _check_room(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < size + _ROOM:
        raise TrainingError(
            f"the decoded frames need {size / 1e9:.2f} GB in {path.parent} and {free / 1e9:.2f} "
            f"GB are free, of which {_ROOM / 1e9:.2f} GB stay free; make room, or choose another "
            "disk with --cache"
        )


def _fill(
    dataset: Dataset,
    camera: str,
    side: int | None,
    path: Path,
    shape: tuple[int, ...],
    report: Callable[[int], None],
) -> None:
    # Written aside, so that an interrupted run leaves nothing that looks complete.
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        target = np.memmap(part, np.uint8, "w+", shape=shape)
        for index, episode in enumerate(dataset.episodes):
            decoded = list(dataset.frames(camera, index))
            sizes = {image.shape for image in decoded}
            fitted = fit(np.stack(decoded), side) if len(sizes) == 1 else None
            if fitted is None or fitted.shape[1:] != shape[1:]:
                found = ", ".join(f"{size[1]}x{size[0]}" for size in sorted(sizes))
                raise TrainingError(
                    f"{dataset.folder}: the images of {camera!r} in episode {index} are {found}, "
                    "others are not; all images of a camera must be of one size"
                )
            target[episode.from_index : episode.to_index] = fitted
            report(episode.length)
        target.flush()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
