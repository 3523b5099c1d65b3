# SPDX-License-Identifier: Apache-2.0
"""Records demonstrations of the scripted expert as a LeRobot dataset.

    smolvla dataset simulate --kind reach --episodes 1000 --output data/reach

Worker processes simulate and draw; this process writes the episodes in the order of their
seeds, so the dataset does not depend on the number of workers.
"""

from __future__ import annotations

import argparse
import functools
import json
import signal
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from smolvla_core.console import command_parser, could_not_run, raise_on_interrupt
from smolvla_core.settings import add_arguments, from_arguments, settings_of
from smolvla_learning.dataset import (
    DatasetWriter,
    Feature,
    VideoOptions,
    camera_feature,
    clear_begun,
    holds_dataset,
    joint_features,
    numeric_feature,
)
from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_policy.checkpoint.robot import CONVERSION
from tqdm import tqdm

from smolvla_sim.demonstrations.demonstrator import ROBOT, Demonstrator
from smolvla_sim.play.workers import run_in_processes
from smolvla_sim.settings import DemonstrationSettings, RecordingSettings
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.rendering import choose_gl
from smolvla_sim.world.scene import OBJECTS
from smolvla_sim.world.simulation import substeps

# What a dataset was recorded with and from which seeds, next to LeRobot's own files.
NOTES = Path("meta") / "simulation.json"


def features(settings: DemonstrationSettings) -> dict[str, Feature]:
    """Return the features of the dataset that `settings` make."""
    made = dict(joint_features([f"{name}.pos" for name in JOINT_NAMES]))
    names = [f"{name}.{part}" for name in OBJECTS for part in ("u", "v", "visible")]
    width, height = settings.size
    for camera in settings.cameras:
        made[f"observation.images.{camera}"] = camera_feature(height, width)
        if settings.grounding:
            made[f"grounding.{camera}"] = numeric_feature((len(names),), names=names)
    return made


def record(settings: RecordingSettings) -> int:
    """Record until the dataset has so many episodes; return how many seeds failed.

    With ``resume`` the dataset is continued at the seed after its last one; with no episode in
    it, it is begun.

    Raises:
        ValueError: a setting does not fit, or the dataset to be continued does not.
        OSError: the dataset cannot be written.
        RuntimeError: a worker died.
    """
    folder = settings.output
    substeps(settings.fps)  # raises before a folder is made
    clear_begun(folder, str(NOTES))
    resume = settings.resume and folder.exists() and any(folder.iterdir())
    seeds = _read_notes(settings) if resume else []
    writer = _open(settings, resume)
    failed = 0
    with writer:
        # An interruption may have come between the notes and the episode.
        seeds = seeds[: writer.num_episodes]
        first = seeds[-1] + 1 if seeds else settings.seed
        bar = tqdm(
            total=settings.episodes, initial=writer.num_episodes, unit="episode", disable=None
        )
        make = functools.partial(Demonstrator, settings)
        with bar, run_in_processes(make, count(first), settings.workers, in_order=True) as made:
            while writer.num_episodes < settings.episodes:
                _, demonstration = next(made)
                if not demonstration.success:
                    failed += 1
                    bar.set_postfix(failed=failed)
                    continue
                for task, frame in zip(demonstration.tasks, demonstration.frames, strict=True):
                    writer.add_frame(frame, task)
                seeds.append(demonstration.seed)
                _write_notes(settings, seeds)
                writer.save_episode()
                bar.update()
    return failed


def _open(settings: RecordingSettings, resume: bool) -> DatasetWriter:
    folder = settings.output
    about: dict[str, Any] = {
        "fps": settings.fps,
        "robot_type": f"{settings.model}_follower",
        "features": features(settings),
        "video": VideoOptions() if settings.cameras else None,
    }
    if resume:
        return DatasetWriter.resume(folder, **about)
    if holds_dataset(folder):
        raise ValueError(
            f"{folder} holds something already; --resume continues a dataset of this program, or "
            "give another --output"
        )
    robot = ROBOT.known(*CONVERSION)
    return DatasetWriter.create(folder, **about, about={STATE: robot, ACTION: robot})


def _contents(settings: RecordingSettings) -> dict[str, Any]:
    """Return the settings that decide what is in an episode, as they are read back."""
    names = settings_of(DemonstrationSettings)
    contents: dict[str, Any] = json.loads(json.dumps({n: getattr(settings, n) for n in names}))
    return contents


def _write_notes(settings: RecordingSettings, seeds: Sequence[int]) -> None:
    path = settings.output / NOTES
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"options": _contents(settings), "seeds": list(seeds)}))
    part.replace(path)


def _read_notes(settings: RecordingSettings) -> list[int]:
    folder, path = settings.output, settings.output / NOTES
    try:
        notes = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} was not recorded by this program ({path} is missing); record into a new "
            "folder, without --resume"
        ) from error
    wanted = _contents(settings)
    # A setting that is younger than the dataset had its default.
    usual = _contents(RecordingSettings(output=folder, episodes=settings.episodes))
    found = {name: notes["options"].get(name, usual[name]) for name in wanted}
    other = [name for name in wanted if found[name] != wanted[name]]
    if other:
        was = ", ".join(f"{name}={found[name]!r}" for name in other)
        raise ValueError(
            f"{folder} was recorded with {was}; resume it with the same options, or record "
            "into a new folder"
        )
    return [int(seed) for seed in notes["seeds"]]


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla dataset simulate",
        "Record demonstrations of the scripted expert as a LeRobot dataset.",
        "smolvla dataset simulate --kind reach --episodes 100 --output data/reach",
        "0 recorded, 2 it could not be, 130 Ctrl-C, the same command with --resume continues",
    )
    add_arguments(made, RecordingSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Record; return the exit status: 0 done, 2 impossible, 130 Ctrl-C or SIGTERM."""
    prog = parser().prog
    arguments = parser().parse_args(argv)
    raise_on_interrupt()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = from_arguments(RecordingSettings, arguments)
        if settings.cameras:
            # Once here instead of in every worker.
            choose_gl()
        failed = record(settings)
    except (ValueError, OSError, RuntimeError) as error:  # RenderingError is a RuntimeError
        return could_not_run(prog, error)
    except KeyboardInterrupt:
        print(
            f"{prog}: interrupted; the same command with --resume continues {arguments.output}",
            file=sys.stderr,
        )
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"{settings.episodes} episodes in {settings.output}; {failed} seeds failed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
