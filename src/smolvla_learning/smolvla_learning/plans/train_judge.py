# SPDX-License-Identifier: Apache-2.0
"""``smolvla train-judge``: a small network learns from recordings when a sentence is done.

The mark of success is the end of an episode, as who records saves a success and discards a
failure; or the column ``next.success``, where the dataset has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from smolvla_core.console import command_parser, could_not_run
from smolvla_core.settings import (
    REQUIRED,
    SettingError,
    Settings,
    add_arguments,
    from_arguments,
    setting,
)
from smolvla_policy.model.sizes import choose_device
from torch.nn.functional import binary_cross_entropy_with_logits, pad
from tqdm import tqdm

from smolvla_learning.dataset import Dataset, DatasetError
from smolvla_learning.describing.relabel import Segment, segments
from smolvla_learning.plans.classifier import HEIGHT, WIDTH, About, shown
from smolvla_learning.plans.network import JudgeNetwork, as_input, save

PROG = "smolvla train-judge"
SUCCESS = "next.success"
_KEPT_APART = 5
"""One episode of so many is not learned from."""
_SHIFT = 4
"""Pictures are shifted by up to so many pixels, at random."""


@dataclass(frozen=True, kw_only=True)
class JudgeTraining(Settings):
    """What a judge learns from, and how."""

    output: Path = setting(REQUIRED, "Folder of the judge, a new one.")
    cameras: tuple[str, ...] = setting((), "Cameras that it looks through (default: all).")
    success_seconds: float = setting(
        0.2, "So long at the end of an episode the sentence is done [s].", 0.0, 60.0
    )
    gap_seconds: float = setting(
        0.4, "So long before that nothing is learned, as nobody knows [s].", 0.0, 60.0
    )
    frames_per_second: float = setting(
        5.0, "So many frames of the rest are learned from [Hz].", above=0.0
    )
    others: bool = setting(
        True,
        "The end of an episode is not done for the other sentences. Not where sentences mean the "
        "same, nor where the work of others is seen at the end.",
    )
    false_yes: float = setting(
        0.005,
        "Share of the unseen frames that are not done for which the answer may be yes; it makes "
        "the threshold.",
        0.0,
        0.5,
    )
    epochs: int = setting(30, "Times that all frames are shown.", 1)
    batch_size: int = setting(64, "Frames in a step.", 1)
    learning_rate: float = setting(1e-3, "Of AdamW, at the begin.", above=0.0)
    seed: int = setting(0, "Of weights and order.", 0)
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, mps.")


@dataclass(frozen=True)
class Samples:
    """Labeled frames.

    Attributes:
        pictures: (n, cameras, `HEIGHT`, `WIDTH`, 3) uint8 RGB.
        frames: (m,) row in `pictures` of each label.
        sentences: (m,) index of the sentence that it is about.
        done: (m,) whether that is done.
        apart: (m,) whether it is of an episode that is not learned from.
    """

    pictures: NDArray[np.uint8]
    frames: NDArray[np.int64]
    sentences: NDArray[np.int64]
    done: NDArray[np.bool_]
    apart: NDArray[np.bool_]


@dataclass(frozen=True)
class _Work:
    """A segment with its labels: row by row the frame and whether it is done."""

    dataset: Dataset
    segment: Segment
    frames: tuple[int, ...]
    done: tuple[bool, ...]


def collect(
    datasets: Sequence[Dataset], settings: JudgeTraining
) -> tuple[Samples, tuple[str, ...], tuple[str, ...]]:
    """Return the samples of datasets, the sentences and the names of the cameras.

    Raises:
        DatasetError: a dataset lacks a camera, is damaged, or there are too few successes.
    """
    cameras = _cameras(datasets, settings.cameras)
    works = [work for dataset in datasets for work in _works(dataset, settings)]
    sentences = tuple(sorted({_words(work.segment.task) for work in works} - {""}))
    works = [work for work in works if _words(work.segment.task)]
    if len(works) < _KEPT_APART:
        raise DatasetError(
            f"there are {len(works)} episodes with a sentence, but at least {_KEPT_APART} are "
            f"needed: one of {_KEPT_APART} is kept apart to find the threshold"
        )
    pictures: list[NDArray[np.uint8]] = []
    labels: list[tuple[int, int, bool, bool]] = []
    for number, work in enumerate(tqdm(works, unit="episode", disable=None)):
        own, apart = sentences.index(_words(work.segment.task)), number % _KEPT_APART == 0
        images = _images(work, cameras)
        for image, done in zip(images, work.done, strict=True):
            labels.append((len(pictures), own, done, apart))
            if done and settings.others:
                rest = [index for index in range(len(sentences)) if index != own]
                labels += [(len(pictures), index, False, apart) for index in rest]
            pictures.append(image)
    columns = [np.array(column) for column in zip(*labels, strict=True)]
    samples = Samples(np.stack(pictures), *columns)
    for where, chosen in (("learned from", ~samples.apart), ("kept apart", samples.apart)):
        if len(set(samples.done[chosen].tolist())) < 2:
            raise DatasetError(
                f"the episodes that are {where} show only one of done and not done; record more, "
                "or change --success-seconds and --gap-seconds"
            )
    return samples, sentences, cameras


def _words(sentence: str) -> str:
    return " ".join(sentence.lower().rstrip(".! ").split())


def _cameras(datasets: Sequence[Dataset], wished: Sequence[str]) -> tuple[str, ...]:
    known = [{name.rpartition(".")[2] for name in dataset.cameras} for dataset in datasets]
    common = set.intersection(*known)
    chosen = tuple(wished) or tuple(sorted(common))
    for dataset, names in zip(datasets, known, strict=True):
        if lacking := [name for name in chosen if name not in names]:
            raise DatasetError(
                f"{dataset.folder}: has no camera {', '.join(lacking)}; it has "
                f"{', '.join(sorted(names)) or 'none'}"
            )
    if not chosen:
        raise DatasetError("the datasets have no camera in common, through which to look")
    return chosen


def _works(dataset: Dataset, settings: JudgeTraining) -> list[_Work]:
    marks = None
    if SUCCESS in dataset.features:
        marks = dataset.column(SUCCESS).reshape(-1).astype(bool)
    stride = max(1, round(dataset.fps / settings.frames_per_second))
    last = max(1, round(settings.success_seconds * dataset.fps))
    gap = round(settings.gap_seconds * dataset.fps)
    works = []
    for segment in segments(dataset):
        frames = segment.frames
        if marks is not None:
            begin = dataset.episodes[segment.episode].from_index
            done = [bool(marks[begin + frame]) for frame in frames]
            kept = [at for at in range(len(frames)) if done[at] or at % stride == 0]
        else:
            done = [at >= len(frames) - last for at in range(len(frames))]
            end = len(frames) - last - gap
            kept = [at for at in range(len(frames)) if done[at] or (at < end and at % stride == 0)]
        works.append(
            _Work(
                dataset,
                segment,
                tuple(frames[at] for at in kept),
                tuple(done[at] for at in kept),
            )
        )
    return works


def _images(work: _Work, cameras: Sequence[str]) -> NDArray[np.uint8]:
    """Return (frames, cameras, `HEIGHT`, `WIDTH`, 3)."""
    features = {name.rpartition(".")[2]: name for name in work.dataset.cameras}
    made = np.empty((len(work.frames), len(cameras), HEIGHT, WIDTH, 3), np.uint8)
    rows = {frame: row for row, frame in enumerate(work.frames)}
    for column, camera in enumerate(cameras):
        images = work.dataset.frames(features[camera], work.segment.episode)
        for frame, image in enumerate(images):
            if frame in rows:
                made[rows[frame], column] = shown(image)
    return made


def fit(samples: Samples, sentences: int, cameras: int, settings: JudgeTraining) -> JudgeNetwork:
    """Train a network on the samples that are not kept apart.

    Raises:
        ValueError: there is no such device.
    """
    device = choose_device(settings.device)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    network = JudgeNetwork(sentences, cameras).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=0.01)
    rows = np.flatnonzero(~samples.apart)
    steps = settings.epochs * -(-len(rows) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, steps)
    done = samples.done[rows]
    # As if both answers came equally often.
    weight = torch.tensor((~done).sum() / done.sum(), dtype=torch.float32, device=device)
    bar = tqdm(range(settings.epochs), unit="epoch", disable=None)
    for _ in bar:
        network.train()
        total = 0.0
        order = rng.permutation(rows)
        for begin in range(0, len(order), settings.batch_size):
            batch = order[begin : begin + settings.batch_size]
            pictures = torch.from_numpy(samples.pictures[samples.frames[batch]]).to(device)
            logits = network(
                _varied(as_input(pictures), rng),
                torch.from_numpy(samples.sentences[batch]).to(device),
            )
            target = torch.from_numpy(samples.done[batch]).to(device, torch.float32)
            loss = binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        bar.set_postfix_str(f"loss {total / len(order):.3f}")
    return network


def _varied(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Shift pictures, and make them brighter or darker, all cameras of a frame differently."""
    flat = pictures.flatten(0, 1)
    light = torch.from_numpy(rng.uniform(0.85, 1.15, (len(flat), 1, 1, 1)).astype(np.float32))
    padded = pad(flat * light.to(flat.device), (_SHIFT,) * 4, mode="replicate")
    right, down = rng.integers(0, 2 * _SHIFT + 1, 2)
    height, width = pictures.shape[-2:]
    return padded[..., down : down + height, right : right + width].clamp(0, 1).view_as(pictures)


def calibrate(
    probability: NDArray[np.float32], done: NDArray[np.bool_], false_yes: float
) -> tuple[float, float, float]:
    """Find from which probability on the answer is yes.

    Args:
        probability: (n,) of frames that were not learned from.
        done: (n,) whether they are done.
        false_yes: share of those that are not done for which the answer may be yes.

    Returns:
        The threshold, at least 0.5; and the shares of the frames that are not done, and done, for
        which the answer is yes.
    """
    wrong = np.sort(probability[~done])
    allowed = int(false_yes * len(wrong))
    highest = float(wrong[-1 - allowed])
    threshold = max(0.5, float(np.nextafter(np.float32(highest), np.float32(2.0))))
    yes = probability >= threshold
    return threshold, float(yes[~done].mean()), float(yes[done].mean())


def train(sources: Sequence[str], settings: JudgeTraining) -> About:
    """Train a judge and write its folder; return what is known of it.

    Raises:
        DatasetError: see `collect`.
        ValueError: the output exists, or there is no such device.
    """
    if settings.output.exists():
        raise SettingError("output", f"is {settings.output}, which exists; choose a new folder")
    samples, sentences, cameras = collect([Dataset.open(one) for one in sources], settings)
    network = fit(samples, len(sentences), len(cameras), settings)
    apart = np.flatnonzero(samples.apart)
    probability = network.probabilities(
        samples.pictures[samples.frames[apart]], samples.sentences[apart].tolist()
    )
    threshold, false_yes, recall = calibrate(probability, samples.done[apart], settings.false_yes)
    frames_of = [len(np.unique(samples.frames[chosen])) for chosen in (~samples.apart, apart)]
    frames = frames_of[0], frames_of[1]
    about = About(sentences, cameras, threshold, false_yes, recall, frames)
    settings.output.mkdir(parents=True)
    save(network, settings.output)
    about.write(settings.output)
    return about


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        PROG,
        "Train the judge 'classifier' of plans on LeRobot datasets (v3.0) whose episodes end with "
        "a success.",
        f"{PROG} data/cubes --output out/judge",
    )
    made.add_argument("dataset", nargs="+", help="folder, or owner/name[@revision] on the hub")
    add_arguments(made, JudgeTraining)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = parser().parse_args(argv)
    try:
        settings = from_arguments(JudgeTraining, arguments)
        about = train(arguments.dataset, settings)
    except (ValueError, OSError) as error:  # DatasetError is a ValueError
        return could_not_run(PROG, error)
    except KeyboardInterrupt:
        return 130
    print(
        f"{settings.output}: {len(about.sentences)} sentences, cameras "
        f"{', '.join(about.cameras)}; of unseen frames yes for {about.recall:.1%} of those that "
        f"are done and for {about.false_yes:.2%} of the others, from a probability of "
        f"{about.threshold:.2f} on"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
