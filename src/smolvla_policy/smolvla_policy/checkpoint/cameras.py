# SPDX-License-Identifier: Apache-2.0
"""Names of a checkpoint's cameras: features, and what users call them."""

from __future__ import annotations

from smolvla_policy.checkpoint.config import SmolVLAConfig
from smolvla_policy.checkpoint.processors import Processors

CAMERA_PREFIX = "observation.images."


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
