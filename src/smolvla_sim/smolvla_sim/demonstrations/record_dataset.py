# SPDX-License-Identifier: Apache-2.0
"""Records demonstrations of the scripted expert as a LeRobot dataset.

    python -m smolvla_sim.demonstrations.record_dataset --task reach --episodes 1000 \\
        --out data/reach

Worker processes simulate and draw; this process writes the episodes in the order of their
seeds, so the dataset does not depend on the number of workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

from smolvla_sim.demonstrations.demonstration import KINDS, ROBOT, SCENES, DemonstrationOptions
from smolvla_sim.demonstrations.lead_in import LONGEST
from smolvla_sim.demonstrations.pool import demonstrations
from smolvla_sim.world.arm import ARMS, JOINT_NAMES
from smolvla_sim.world.rendering import RenderingError, choose_gl
from smolvla_sim.world.scene import CAMERAS, OBJECTS

# Far from the seeds that evaluations use.
FIRST_SEED = 1_000_000
# What a dataset was recorded with and from which seeds, next to LeRobot's own files.
NOTES = Path("meta") / "simulation.json"


def features(options: DemonstrationOptions) -> dict[str, Feature]:
    """Return the features of the dataset that `options` make."""
    made = dict(joint_features([f"{name}.pos" for name in JOINT_NAMES]))
    names = [f"{thing}.{part}" for thing in OBJECTS for part in ("u", "v", "visible")]
    for camera in options.cameras:
        made[f"observation.images.{camera}"] = camera_feature(options.height, options.width)
        if options.grounding:
            made[f"grounding.{camera}"] = numeric_feature((len(names),), names=names)
    return made


def record(
    options: DemonstrationOptions,
    folder: Path,
    episodes: int,
    *,
    seed: int = FIRST_SEED,
    workers: int = 2,
    resume: bool = False,
    progress: bool = True,
) -> int:
    """Record until the dataset has so many episodes; return how many seeds failed.

    Args:
        options: how to record.
        folder: of the dataset.
        episodes: that the dataset shall have in the end.
        seed: of the first episode; each failure moves on to the next seed.
        workers: processes that simulate.
        resume: continue the dataset in `folder`, at the seed after its last one. With no
            episode in it, it is begun.
        progress: draw a progress bar.

    Raises:
        ValueError: an option does not fit, or not the dataset that is to be continued.
        OSError: the dataset cannot be written.
        RuntimeError: a worker died.
    """
    clear_begun(folder, str(NOTES))
    resume = resume and folder.exists() and any(folder.iterdir())
    seeds = _read_notes(folder, options) if resume else []
    writer = _open(folder, options, resume)
    failed = 0
    with writer:
        # An interruption may have come between the notes and the episode.
        seeds = seeds[: writer.num_episodes]
        first = seeds[-1] + 1 if seeds else seed
        bar = tqdm(
            total=episodes, initial=writer.num_episodes, unit="episode", disable=not progress
        )
        with bar, demonstrations(options, first, workers) as made:
            while writer.num_episodes < episodes:
                demonstration = next(made)
                if not demonstration.success:
                    failed += 1
                    bar.set_postfix(failed=failed)
                    continue
                for task, frame in zip(demonstration.tasks, demonstration.frames, strict=True):
                    writer.add_frame(frame, task)
                seeds.append(demonstration.seed)
                _write_notes(folder, options, seeds)
                writer.save_episode()
                bar.update()
    return failed


def _open(folder: Path, options: DemonstrationOptions, resume: bool) -> DatasetWriter:
    about: dict[str, Any] = {
        "fps": options.fps,
        "robot_type": f"{options.model}_follower",
        "features": features(options),
        "video": VideoOptions() if options.cameras else None,
    }
    if resume:
        return DatasetWriter.resume(folder, **about)
    if holds_dataset(folder):
        raise ValueError(
            f"{folder} holds something already; --resume continues a dataset of this program, or "
            "give another --out"
        )
    robot = ROBOT.known(*CONVERSION)
    return DatasetWriter.create(folder, **about, about={STATE: robot, ACTION: robot})


def _write_notes(folder: Path, options: DemonstrationOptions, seeds: Sequence[int]) -> None:
    notes = {"options": dataclasses.asdict(options), "seeds": list(seeds)}
    path = folder / NOTES
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(notes))
    part.replace(path)


def _read_notes(folder: Path, options: DemonstrationOptions) -> list[int]:
    path = folder / NOTES
    try:
        notes = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} was not recorded by this program ({path} is missing); record into a new "
            "folder, without --resume"
        ) from error
    wanted = json.loads(json.dumps(dataclasses.asdict(options)))
    # An option that is younger than the dataset had its default.
    usual = json.loads(json.dumps(dataclasses.asdict(DemonstrationOptions(options.kind))))
    found = {name: notes["options"].get(name, usual[name]) for name in wanted}
    other = [name for name in wanted if found[name] != wanted[name]]
    if other:
        was = ", ".join(f"{name}={found[name]!r}" for name in other)
        raise ValueError(
            f"{folder} was recorded with {was}; resume it with the same options, or record "
            "into a new folder"
        )
    return [int(seed) for seed in notes["seeds"]]


def _parser() -> argparse.ArgumentParser:
    usual = DemonstrationOptions("reach")
    parser = argparse.ArgumentParser(
        prog="record_dataset",
        description="Record demonstrations of the scripted expert as a LeRobot dataset.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--task", required=True, choices=KINDS, help=f"kind; {SCENES}: still pictures to label"
    )
    parser.add_argument("--episodes", type=int, required=True, help="successful ones")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of the first episode")
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    parser.add_argument("--model", choices=sorted(ARMS), default=usual.model)
    parser.add_argument(
        "--cameras",
        default=",".join(usual.cameras),
        help=f"any of {', '.join(CAMERAS)}; empty for none",
    )
    parser.add_argument("--width", type=int, default=usual.width, help="pixels")
    parser.add_argument("--height", type=int, default=usual.height, help="pixels")
    parser.add_argument("--fps", type=int, default=usual.fps, help="frames per second")
    parser.add_argument(
        "--random-starts",
        type=float,
        default=usual.random_starts,
        metavar="SHARE",
        help="share of episodes that do not start from home",
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=usual.noise,
        metavar="RAD",
        help="disturb the executed commands, not the recorded actions; 0.01 to 0.03 helps",
    )
    parser.add_argument(
        "--grounding", action="store_true", help="label where the things are in each picture"
    )
    parser.add_argument(
        "--paraphrases", action="store_true", help="vary the words of the instructions"
    )
    parser.add_argument(
        "--lead-in",
        default="",
        metavar="CHECKPOINT",
        help=f"a checkpoint drives for up to {LONGEST:g} s, then the expert takes over; only the "
        "expert is recorded",
    )
    parser.add_argument(
        "--scene-tasks",
        default=",".join(usual.scene_tasks),
        metavar="KINDS",
        help=f"whose instructions the pictures of {SCENES} get",
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _options(arguments: argparse.Namespace) -> DemonstrationOptions:
    for name, low in (("episodes", 1), ("workers", 1), ("seed", 0), ("width", 16), ("height", 16)):
        if getattr(arguments, name) < low:
            raise ValueError(f"--{name} must be at least {low}: {getattr(arguments, name)}")
    return DemonstrationOptions(
        kind=arguments.task,
        model=arguments.model,
        cameras=_names(arguments.cameras),
        width=arguments.width,
        height=arguments.height,
        fps=arguments.fps,
        random_starts=arguments.random_starts,
        noise=arguments.noise,
        grounding=arguments.grounding,
        paraphrases=arguments.paraphrases,
        lead_in=arguments.lead_in,
        scene_tasks=_names(arguments.scene_tasks),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Record; return the exit status: 0 done, 2 impossible, 130 Ctrl-C or SIGTERM."""
    arguments = _parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options = _options(arguments)
        if options.cameras:
            # Once here instead of in every worker.
            choose_gl()
        failed = record(
            options,
            arguments.out,
            arguments.episodes,
            seed=arguments.seed,
            workers=arguments.workers,
            resume=arguments.resume,
        )
    except (ValueError, OSError, RenderingError, RuntimeError) as error:
        print(f"record_dataset: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"record_dataset: interrupted; the same command with --resume continues "
            f"{arguments.out}",
            file=sys.stderr,
        )
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"{arguments.episodes} episodes in {arguments.out}; {failed} seeds failed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
