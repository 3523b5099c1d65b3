# SPDX-License-Identifier: Apache-2.0
"""``smolvla quantize``: a checkpoint in int8, calibrated on observations of a dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from smolvla_core.console import DONE, INTERRUPTED, command_parser, could_not_run
from smolvla_core.settings import (
    REQUIRED,
    Settings,
    add_arguments,
    from_arguments,
    same,
    setting,
)
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_policy.checkpoint.contents import CheckpointContents, read_contents
from smolvla_policy.checkpoint.processors import camera_feature
from smolvla_policy.model.openvino_graphs import STAGES
from smolvla_policy.policy import SmolVLAPolicy
from smolvla_policy.quantization import (
    ActionError,
    Observation,
    action_error,
    import_nncf,
    quantize,
)
from tqdm import tqdm

from smolvla_learning.dataset import Dataset
from smolvla_learning.training.checks import dataset_facts
from smolvla_learning.training.options import RENAME, TrainSettings, parse_rename_map

HELD_OUT = 16
"""So many other observations show what int8 costs."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class QuantizeSettings(Settings):
    """What is quantized, by which observations."""

    checkpoint: str = setting(REQUIRED, "LeRobot checkpoint: a folder or a hub id.")
    dataset: tuple[str, ...] = setting(
        REQUIRED,
        "LeRobot datasets of the checkpoint's robot and tasks: folders, or owner/name[@revision] "
        "on the Hugging Face Hub.",
    )
    samples: int = setting(64, "Observations, spread over datasets and episodes.", 1)
    rename_map: tuple[str, ...] | None = same(TrainSettings, "rename_map", None)
    stats: str = same(SmolVLASettings, "stats", "")
    tokenizer: str = same(SmolVLASettings, "tokenizer", "")
    seed: int = setting(0, "Of the choice of observations and of the noise.", 0)


def choose_frames(
    total: int, samples: int, others: int, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """Choose frames at random, evenly over a dataset.

    Args:
        total: its frames.
        samples: how many to calibrate on, at least 1.
        others: how many to compare by.
        rng: that chooses.

    Returns:
        Both, sorted; different frames, and fewer where the dataset has fewer.
    """
    count = min(total, samples + others)
    edges = np.linspace(0, total, count + 1).astype(np.int64)
    frames = rng.permutation(rng.integers(edges[:-1], edges[1:]))
    split = max(count * samples // (samples + others), 1)
    return np.sort(frames[:split]), np.sort(frames[split:])


def match_cameras(
    contents: CheckpointContents, dataset: Dataset, mapping: Mapping[str, str]
) -> dict[str, str]:
    """Return camera of the checkpoint -> camera of the dataset.

    Args:
        contents: the checkpoint.
        dataset: that has the images.
        mapping: camera of the dataset -> camera of the checkpoint, where names differ; by feature
            names or their last parts.

    Raises:
        ValueError: none fits, or two are for the same.
    """
    config, processors = contents.config, contents.processors
    found: dict[str, str] = {}
    for name in dataset.cameras:
        target = mapping.get(name, mapping.get(name.rpartition(".")[2], name))
        try:
            feature = camera_feature(config, processors, target)
        except ValueError:
            if target != name:
                raise
            continue
        if feature in found:
            raise ValueError(f"{found[feature]} and {name} are both for {feature}")
        found[feature] = name
    if not found:
        raise ValueError(
            f"none of the cameras of {dataset.folder} ({', '.join(dataset.cameras) or 'none'}) is "
            f"one of {contents.source} ({', '.join(config.cameras)}); say which is which with "
            f"{RENAME} {_example(dataset.cameras)}={_example(config.cameras)}"
        )
    return found


def check_robot(contents: CheckpointContents, dataset: Dataset) -> None:
    """Check that a dataset is of a checkpoint's robot.

    Raises:
        ValueError: its state has other numbers, or is in other units.
    """
    state = dataset.features.get(STATE)
    if state is None or state.shape != (contents.config.state_dim,):
        raise ValueError(
            f"{STATE!r} of {dataset.folder} is {state or 'missing'}, that of {contents.source} "
            f"has {contents.config.state_dim} numbers; give a dataset of the same robot"
        )
    if ACTION not in dataset.features:
        return
    units = dataset_facts(dataset).units
    if units and contents.robot.units and units != contents.robot.units:
        raise ValueError(
            f"{dataset.folder} is in {units}, {contents.source} in {contents.robot.units}; give "
            "a dataset in the same units"
        )


def observations(
    dataset: Dataset, frames: Indices, cameras: Mapping[str, str]
) -> Iterator[Observation]:
    """Read observations of a dataset.

    Args:
        dataset: to be read.
        frames: sorted.
        cameras: see `match_cameras`.

    Raises:
        DatasetError: images are damaged.
    """
    states = dataset.column(STATE).astype(np.float32)
    tasks = dataset.column("task_index").astype(np.int64).reshape(-1)
    for episode in dataset.episodes:
        inside = frames[(frames >= episode.from_index) & (frames < episode.to_index)]
        wanted = (inside - episode.from_index).tolist()
        images = {
            feature: _pick(dataset.frames(camera, episode.index), wanted)
            for feature, camera in cameras.items()
            if wanted
        }
        for place, frame in enumerate(inside.tolist()):
            yield Observation(
                {feature: pictures[place] for feature, pictures in images.items()},
                states[frame].reshape(-1),
                dataset.tasks[tasks[frame]],
            )


def _pick(images: Iterator[NDArray[np.uint8]], wanted: Sequence[int]) -> list[NDArray[np.uint8]]:
    found = []
    for index, image in enumerate(images):
        found += [image] * wanted.count(index)
        if index == wanted[-1]:
            break
    return found


def report(error: ActionError, names: Sequence[str]) -> str:
    """Return a table of the joints."""
    lines = [f"{'joint':<20}{'largest':>10}{'mean':>10}{'spread':>10}{'mean/spread':>13}"]
    rows = zip(names, error.largest, error.mean, error.spread, strict=True)
    for name, largest, mean, spread in rows:
        share = f"{mean / spread:>13.2%}" if spread else f"{'-':>13}"
        lines.append(f"{name:<20}{largest:>10.3g}{mean:>10.3g}{spread:>10.3g}{share}")
    return "\n".join(lines)


def run(options: QuantizeSettings) -> None:
    """Quantize and print what it costs.

    Raises:
        ValueError: checkpoint or dataset cannot be used, they do not fit each other, or nncf is
            not installed.
        OSError: the cache cannot be written.
    """
    import_nncf()
    mapping = parse_rename_map(options.rename_map) or {}
    contents = read_contents(options.checkpoint, options.stats or None)
    rng = np.random.default_rng(options.seed)
    each = len(options.dataset)
    chosen: list[tuple[Dataset, Mapping[str, str], Indices, Indices]] = []
    for source in options.dataset:
        dataset = Dataset.open(source)
        check_robot(contents, dataset)
        cameras = match_cameras(contents, dataset, mapping)
        frames = choose_frames(
            dataset.num_frames, -(-options.samples // each), -(-HELD_OUT // each), rng
        )
        chosen.append((dataset, cameras, *frames))
        print(
            f"{dataset.folder}: {len(frames[0])} observations of {dataset.num_episodes} episodes; "
            + ", ".join(f"{camera} is {feature}" for feature, camera in cameras.items()),
            flush=True,
        )

    def load(dtype: str) -> SmolVLAPolicy:
        tokenizer = options.tokenizer or None
        return SmolVLAPolicy.from_contents(
            contents, dtype=dtype, engine="openvino", tokenizer=tokenizer
        )

    reference = load("auto")
    samples = chain.from_iterable(
        observations(dataset, frames, cameras) for dataset, cameras, frames, _ in chosen
    )
    count = sum(len(frames) for _, _, frames, _ in chosen)
    with tqdm(total=count + STAGES, desc="quantizing", unit="") as bar:
        made = quantize(reference, samples, seed=options.seed, done=bar.update)
    quantized = load("int8")
    expert = "" if made.expert else ", but for the expert, which is no faster in int8 here"
    print(f"int8 graphs made in {made.seconds:.0f} s{expert}; dtype int8 runs them", flush=True)
    others = chain.from_iterable(
        observations(dataset, frames, cameras) for dataset, cameras, _, frames in chosen
    )
    if not any(len(frames) for _, _, _, frames in chosen):
        return
    error = action_error(reference, quantized, others, options.seed + 1)
    names = contents.robot.joints or quantized.joint_names or ()
    if len(names) != quantized.action_dim:
        names = tuple(f"{index}" for index in range(quantized.action_dim))
    print(
        f"differences of the actions from those in {reference.dtype} on other observations, in "
        "the checkpoint's units"
    )
    print(report(error, names))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla quantize",
        "Quantize a checkpoint to int8 for CPUs, by observations of a LeRobot dataset. Afterwards "
        "it runs with dtype int8.",
        "smolvla quantize --checkpoint my/checkpoint --dataset data/my_task",
    )
    add_arguments(made, QuantizeSettings)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    try:
        run(from_arguments(QuantizeSettings, parser().parse_args(arguments)))
    except (ValueError, OSError) as error:
        return could_not_run("smolvla quantize", error)
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE


def _example(names: Sequence[str]) -> str:
    return names[0].rpartition(".")[2] if names else "NAME"


if __name__ == "__main__":
    sys.exit(main())
