# SPDX-License-Identifier: Apache-2.0
"""Statistics of states and actions, all the places where checkpoints keep them; normalization.

Since LeRobot 0.4 they are in files of the processors, before that they were buffers among the
weights. A checkpoint trained on several datasets can hold several sets, or, like
``lerobot/smolvla_base``, sets for the action alone under names that LeRobot itself does not
find; it then silently takes normalized numbers for degrees. Here such a checkpoint is refused
until a set is chosen.

States, actions and images are normalized with LeRobot's formulas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smolvla_policy.checkpoint.config import ACTION, STATE, SmolVLAConfig
from smolvla_policy.checkpoint.processors import Processors
from smolvla_policy.checkpoint.source import CheckpointError, read_json
from smolvla_policy.checkpoint.weights import BUFFER, TensorFile

Floats = NDArray[np.float32]
FeatureStatistics = Mapping[str, Floats]

NEEDED: dict[str, tuple[str, ...]] = {
    "IDENTITY": (),
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
"""Statistics that each mode reads."""


def statistics_size(mode: str, statistics: FeatureStatistics) -> int | None:
    """Return how many numbers a feature has by its statistics; None if they contradict.

    Args:
        mode: one of `NEEDED`; what it reads decides, and for ``IDENTITY`` any of them.
        statistics: of the feature.
    """
    names = NEEDED[mode] or {name for needed in NEEDED.values() for name in needed}
    sizes = {np.size(statistics[name]) for name in names if name in statistics}
    return sizes.pop() if len(sizes) == 1 else None


@dataclass(frozen=True)
class Normalizer:
    """Turns a feature's own units into the network's numbers and back.

    Attributes:
        mode: one of `NEEDED`.
        low: the mean, or the lower bound.
        high: the standard deviation, or the upper bound.
        epsilon: LeRobot's guard against division by zero.
    """

    mode: str
    low: Floats
    high: Floats
    epsilon: float

    def normalize(self, values: Floats) -> Floats:
        """Map own units to about [-3, 3] (mean and deviation) or [-1, 1] (bounds)."""
        if self.mode == "IDENTITY":
            return values
        if self.mode == "MEAN_STD":
            return (values - self.low) / (self.high + np.float32(self.epsilon))
        return np.float32(2.0) * (values - self.low) / self._range() - np.float32(1.0)

    def unnormalize(self, values: Floats) -> Floats:
        """Map the network's numbers back to own units.

        As in LeRobot, the inverse of mean and deviation is without the epsilon.
        """
        if self.mode == "IDENTITY":
            return values
        if self.mode == "MEAN_STD":
            return values * self.high + self.low
        return (values + np.float32(1.0)) / np.float32(2.0) * self._range() + self.low

    @property
    def constant(self) -> tuple[int, ...]:
        """Dimensions that never changed in the data: deviation 0, or equal bounds."""
        if self.mode == "MEAN_STD":
            return tuple(np.flatnonzero(self.high == 0).tolist())
        return tuple(np.flatnonzero(self.high == self.low).tolist())

    def _range(self) -> Floats:
        span = self.high - self.low
        return np.where(span == 0, np.float32(self.epsilon), span).astype(np.float32)


def make_normalizer(
    feature: str, mode: str, statistics: FeatureStatistics, size: int, epsilon: float
) -> Normalizer:
    """Check a feature's statistics and build its normalizer.

    Args:
        feature: name, for errors.
        mode: one of `NEEDED`.
        statistics: of this feature.
        size: numbers in the feature (images: color channels).
        epsilon: see `Normalizer`.

    Returns:
        The normalizer.

    Raises:
        CheckpointError: statistics are missing, of the wrong length, not finite, or make no
            sense.
    """
    empty = np.zeros(0, np.float32)
    if mode == "IDENTITY":
        return Normalizer(mode, empty, empty, epsilon)
    found: list[Floats] = []
    for name in NEEDED[mode]:
        if name not in statistics:
            raise CheckpointError(
                f"statistics of {feature!r} lack {name!r}, which normalization {mode} needs; "
                f"there are {', '.join(sorted(statistics)) or 'none'}"
            )
        values = np.asarray(statistics[name], dtype=np.float32).reshape(-1)
        if values.size != size:
            raise CheckpointError(
                f"statistic {name!r} of {feature!r} has {values.size} numbers, the feature {size}"
            )
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"statistic {name!r} of {feature!r} holds NaN or infinity ({values.tolist()}); "
                "the checkpoint was saved without statistics, or they were computed wrongly"
            )
        found.append(values)
    low, high = found
    if mode == "MEAN_STD" and (high < 0).any():
        raise CheckpointError(
            f"standard deviation of {feature!r} is negative in dimensions "
            f"{np.flatnonzero(high < 0).tolist()}: {high.tolist()}"
        )
    if mode != "MEAN_STD" and (high < low).any():
        raise CheckpointError(
            f"{NEEDED[mode][1]!r} of {feature!r} is below {NEEDED[mode][0]!r} in dimensions "
            f"{np.flatnonzero(high < low).tolist()}"
        )
    return Normalizer(mode, low, high, epsilon)


def make_normalizers(
    config: SmolVLAConfig, processors: Processors, statistics: Mapping[str, FeatureStatistics]
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


Statistics = dict[str, dict[str, Floats]]
"""Feature name -> statistic -> values."""

DEFAULT_SET = ""
MIGRATED = re.compile(r"(?P<set>.+?)\.buffer\.(?P<feature>.+)")


def find_statistics(
    config: SmolVLAConfig, processors: Processors, weights: TensorFile | None
) -> dict[str, Statistics]:
    """Collect all sets of statistics that a checkpoint holds.

    Args:
        config: of the checkpoint; its feature names resolve names that lost their dots.
        processors: of the checkpoint.
        weights: the weights, for buffers of old checkpoints.

    Returns:
        Set name -> statistics. The set that needs no choice is `DEFAULT_SET`.
    """
    known = {_plain(name): name for name in (*config.inputs, *config.outputs)}
    sets: dict[str, Statistics] = {}

    def add(set_name: str, feature: str, statistic: str, values: Floats) -> None:
        name = known.get(_plain(feature))
        if name is not None:
            sets.setdefault(set_name, {}).setdefault(name, {})[statistic] = values

    for path, outputs in ((processors.input_state, False), (processors.output_state, True)):
        if path is None:
            continue
        with TensorFile(path) as file:
            for key in file.shapes:
                feature, _, statistic = key.rpartition(".")
                match = MIGRATED.fullmatch(feature)
                set_name = match["set"] if match else DEFAULT_SET
                feature = match["feature"] if match else feature
                values = file.read(key).float().numpy()
                # Actions are un-normalized with the statistics of the post-processor.
                if outputs == (known.get(_plain(feature)) in config.outputs) or match:
                    add(set_name, feature, statistic, values)
    if weights is not None:
        for key in weights.shapes:
            match = BUFFER.fullmatch(key)
            if match:
                values = weights.read(key).float().numpy()
                add(match["set"] or DEFAULT_SET, match["feature"], match["statistic"], values)
    return sets


def _plain(name: str) -> str:
    return re.sub(r"[._]", " ", name)


def choose_statistics(
    sets: Mapping[str, Statistics],
    choice: str | Path | Mapping[str, Any] | None,
    needed: tuple[str, ...],
    where: str,
) -> tuple[Statistics, frozenset[str]]:
    """Decide which statistics are used.

    Args:
        sets: from `find_statistics`.
        choice: None for the checkpoint's own; the name of a set, optionally with
            ``,state=action`` (use the set's action statistics for the state too) or
            ``,state=identity`` (pass the state on as it is), which without a name are about
            the checkpoint's only set; a dataset's folder or its ``meta/stats.json``; or a
            mapping of that form.
        needed: features that are normalized by statistics.
        where: names the checkpoint in errors.

    Returns:
        The statistics, and the features that the user asked to be passed on unchanged.

    Raises:
        CheckpointError: a needed feature has none; the text lists the choices.
    """
    unchanged: frozenset[str] = frozenset()
    if choice is None:
        only = next(iter(sets.values())) if len(sets) == 1 else {}
        chosen, origin = dict(sets.get(DEFAULT_SET, only)), "it"
    elif isinstance(choice, Mapping):
        chosen, origin = _from_mapping(choice, "stats"), "the given stats"
    else:
        path = _statistics_file(choice)
        if path is not None:
            chosen, origin = _from_mapping(read_json(path), str(path)), str(path)
        else:
            chosen, unchanged = _from_name(sets, str(choice), where)
            origin = f"stats {str(choice)!r}"
    missing = [name for name in needed if name not in chosen and name not in unchanged]
    if missing:
        raise CheckpointError(
            f"{where}: {origin} has no statistics for {' and '.join(map(repr, missing))}; "
            "without them the network's normalized numbers would be taken for joint angles. "
            + _choices(sets, needed)
        )
    return chosen, unchanged


def _choices(sets: Mapping[str, Statistics], needed: tuple[str, ...]) -> str:
    lines = []
    for name, statistics in sorted(sets.items()):
        prefix = "" if name == DEFAULT_SET else f"{name},"
        if all(feature in statistics for feature in needed):
            lines += [f"stats={name!r}"] if name != DEFAULT_SET else []
        elif ACTION in statistics and STATE in needed:
            lines += [
                f"stats='{prefix}state=action' (the action's statistics for the state too)",
                f"stats='{prefix}state=identity' (the state as it is, what LeRobot does)",
            ]
    lines.append("stats=<folder of a LeRobot dataset, or its meta/stats.json>")
    return "Choose one of: " + "; ".join(lines)


def _from_name(
    sets: Mapping[str, Statistics], choice: str, where: str
) -> tuple[Statistics, frozenset[str]]:
    name, _, rest = choice.partition(",")
    if name.startswith("state="):
        name, rest = DEFAULT_SET, name
    if not choice or name not in sets:
        there = ", ".join(repr(key) for key in sorted(sets) if key) or "none"
        raise CheckpointError(
            f"{where}: there is no set of statistics {name!r} and no such file; sets in this "
            f"checkpoint: {there}"
        )
    chosen = dict(sets[name])
    if rest == "state=action":
        chosen[STATE] = chosen.get(ACTION, {})
    elif rest == "state=identity":
        return chosen, frozenset({STATE})
    elif rest:
        raise CheckpointError(
            f"stats {choice!r}: {rest!r} is unknown; use 'state=action' or 'state=identity'"
        )
    return chosen, frozenset()


def _statistics_file(choice: str | Path) -> Path | None:
    path = Path(choice).expanduser()
    for candidate in (path / "meta" / "stats.json", path / "stats.json", path):
        if candidate.is_file():
            return candidate
    return None


def _from_mapping(content: Mapping[str, Any], where: str) -> Statistics:
    chosen: Statistics = {}
    for feature, statistics in content.items():
        if not isinstance(statistics, Mapping):
            raise CheckpointError(f"{where}: {feature!r} must map statistics to numbers")
        try:
            chosen[feature] = {
                str(name): np.asarray(values, dtype=np.float32)
                for name, values in statistics.items()
            }
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{where}: {feature!r} holds no numbers ({error})") from error
    return chosen
