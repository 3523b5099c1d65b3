# SPDX-License-Identifier: Apache-2.0
"""Records Meta-World's scripted experts as a LeRobot dataset.

    scripts/with_metaworld.sh python -m smolvla_metaworld.record --episodes 400 --output data/mw

The episodes go round the tasks; each depends on its seed alone.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from smolvla_core.console import command_parser, could_not_run
from smolvla_core.settings import REQUIRED, Settings, add_arguments, from_arguments, setting
from smolvla_learning.dataset import (
    DatasetWriter,
    Feature,
    VideoOptions,
    camera_feature,
    holds_dataset,
    numeric_feature,
)
from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_sim.play.workers import run_in_processes
from smolvla_sim.world.rendering import choose_gl
from tqdm import tqdm

from smolvla_metaworld.environment import (
    ACTION_NAMES,
    CAMERA,
    FIVE,
    FPS,
    OBJECTS,
    SIZE,
    STATE_NAMES,
    TASKS,
    MetaWorld,
)
from smolvla_metaworld.play import Player

Frame = dict[str, NDArray[np.generic]]

LABELS = "grounding.image"
# The expert takes 40 to 110 steps.
_LIMIT = 250
# When the filming of a part begins, at the latest [steps].
_LATEST = 60
# Steps after the success, in which it stays there.
_AFTER = 8
# Longest time before the expert begins: at random, and by a checkpoint [steps].
_DRIFT, _LEAD_IN = 40, 120
# Time constant of the disturbance [steps].
_NOISE_TIME = 15.0


@dataclass(frozen=True, kw_only=True)
class RecordSettings(Settings):
    """What is recorded of Meta-World's experts."""

    output: Path = setting(REQUIRED, "Folder of the new dataset.")
    episodes: int = setting(REQUIRED, "Successful ones that the dataset has in the end.", 1)
    tasks: tuple[str, ...] = setting(FIVE, "Tasks that take turns.", choices=tuple(TASKS))
    # Far from the seeds that evaluations use.
    seed: int = setting(1_000_000, "Of the first episode; a failure moves on to the next one.", 0)
    random_starts: float = setting(
        0.5, "Share of episodes before which the hand is moved at random.", 0, 1
    )
    noise: float = setting(
        0.3,
        "Standard deviation of a smooth disturbance of the executed motion, of its largest value; "
        "the recorded actions are the undisturbed ones (DART, arXiv 1703.09327).",
        0,
        1,
    )
    longest: int = setting(
        0,
        "Film the expert for so many steps at most, from a moment on that is drawn: more scenes "
        "for the same time of drawing, which is what takes long. 0: to the end.",
        0,
    )
    lead_in: str = setting(
        "",
        f"A checkpoint that drives for up to {_LEAD_IN} steps before the expert takes over; only "
        "the expert is recorded.",
    )
    grounding: bool = setting(False, "Label where the objects are in each picture.")
    workers: int = setting(2, "Processes that simulate.", 1)


def features(*, grounding: bool) -> dict[str, Feature]:
    """Return the features of the dataset: those of LeRobot's protocol, perhaps labels."""
    made = {
        STATE: numeric_feature((len(STATE_NAMES),), STATE_NAMES),
        ACTION: numeric_feature((len(ACTION_NAMES),), ACTION_NAMES),
        CAMERA: camera_feature(SIZE, SIZE),
    }
    if grounding:
        names = [f"{name}.{part}" for name in OBJECTS for part in ("u", "v", "visible")]
        made[LABELS] = numeric_feature((len(names),), names=names)
    return made


@dataclass
class Demonstration:
    """One episode: its instruction, and its frames, none where the expert failed."""

    sentence: str
    frames: list[Frame] = field(default_factory=list)


class Demonstrator:
    """Makes episodes, each from its seed alone."""

    def __init__(self, settings: RecordSettings) -> None:
        self._settings = settings
        self._worlds: dict[str, MetaWorld] = {}
        self._driver = Player(settings.lead_in) if settings.lead_in else None

    def __call__(self, seed: int) -> Demonstration:
        """Make the episode of a seed."""
        name = self._settings.tasks[seed % len(self._settings.tasks)]
        if name not in self._worlds:
            self._worlds[name] = MetaWorld(name, quick=True)
        world, rng = self._worlds[name], np.random.default_rng(seed)
        world.reset(seed)
        if self._driver is not None:
            self._driver.play(world, seed, int(rng.integers(_LEAD_IN)))
        if rng.random() < self._settings.random_starts:
            drift = rng.uniform(-1.0, 1.0, 4)
            for _ in range(rng.integers(_DRIFT)):
                world.step(drift)
        made = Demonstration(world.task.sentence)
        if not world.success:
            self._film(world, rng, made.frames)
        if not world.success and not self._settings.longest:
            made.frames.clear()
        return made

    def _film(self, world: MetaWorld, rng: Generator, frames: list[Frame]) -> None:
        longest = self._settings.longest or _LIMIT
        first = int(rng.integers(_LATEST)) if self._settings.longest else 0
        keep = np.exp(-1.0 / _NOISE_TIME)
        disturbance, after = np.zeros(4), 0
        for step in range(_LIMIT):
            action = world.expert_action()
            if step >= first:
                frames.append(self._frame(world, action))
            if len(frames) == longest:
                break
            disturbance = keep * disturbance + (
                np.sqrt(1.0 - keep**2) * self._settings.noise * rng.standard_normal(4)
            )
            # A disturbed gripper would lose what it holds instead of teaching anything.
            disturbance[3] = 0.0
            world.step(action + disturbance)
            after += world.success
            if after > _AFTER or world.over:
                break

    def _frame(self, world: MetaWorld, action: NDArray[np.float32]) -> Frame:
        frame: Frame = {STATE: world.state, ACTION: action, CAMERA: world.picture()}
        if self._settings.grounding:
            frame[LABELS] = world.labels().reshape(-1)
        return frame


def record(settings: RecordSettings) -> int:
    """Record until the dataset has so many episodes; return how many seeds failed.

    Raises:
        ValueError: the folder holds a dataset already.
        OSError: the dataset cannot be written.
        RuntimeError: a worker died.
    """
    if holds_dataset(settings.output):
        raise ValueError(f"{settings.output} holds something already; give another --output")
    failed = 0
    make = functools.partial(Demonstrator, settings)
    writer = DatasetWriter.create(
        settings.output,
        fps=FPS,
        robot_type="sawyer",
        features=features(grounding=settings.grounding),
        video=VideoOptions(keyframe_interval=8),
    )
    bar = tqdm(total=settings.episodes, unit="episode", disable=None)
    seeds = count(settings.seed)
    with writer, bar, run_in_processes(make, seeds, settings.workers, in_order=True) as made:
        while writer.num_episodes < settings.episodes:
            _, demonstration = next(made)
            if not demonstration.frames:
                failed += 1
                bar.set_postfix(failed=failed)
                continue
            for frame in demonstration.frames:
                writer.add_frame(frame, demonstration.sentence)
            writer.save_episode()
            bar.update()
    return failed


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla_metaworld.record",
        "Record Meta-World's scripted experts as a LeRobot dataset.",
        "scripts/with_metaworld.sh python -m smolvla_metaworld.record --episodes 400 "
        "--output data/metaworld",
    )
    add_arguments(made, RecordSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Record; return the exit status."""
    arguments = parser().parse_args(argv)
    try:
        settings = from_arguments(RecordSettings, arguments)
        choose_gl()
        failed = record(settings)
    except (ValueError, OSError, RuntimeError) as error:
        return could_not_run(parser().prog, error)
    except KeyboardInterrupt:
        print(f"interrupted; {settings.output} has the episodes that were done", file=sys.stderr)
        return 130
    print(f"{settings.episodes} episodes in {settings.output}; {failed} seeds failed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
