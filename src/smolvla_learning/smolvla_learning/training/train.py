# SPDX-License-Identifier: Apache-2.0
"""``python -m smolvla_learning.training.train``: from datasets to a checkpoint."""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import IO, Any

import torch
from smolvla_core.console import could_not_run, raise_on_interrupt
from smolvla_core.settings import SettingError
from smolvla_policy.checkpoint.config import ACTION, STATE, SmolVLAConfig
from smolvla_policy.checkpoint.processors import Processors
from smolvla_policy.checkpoint.robot import read_robot
from smolvla_policy.checkpoint.source import CheckpointError, find_checkpoint
from smolvla_policy.model.names import set_trainable
from smolvla_policy.policy import SmolVLAPolicy
from torch import distributed
from tqdm import tqdm

from smolvla_learning.dataset import Dataset, DatasetError
from smolvla_learning.training.checks import (
    as_mapping,
    check_base,
    check_datasets,
    check_interventions,
    check_kept,
    check_labels,
    check_policy,
    common_facts,
    pooled_statistics,
)
from smolvla_learning.training.fit import chosen_cameras, dataset_cameras, fit, sized
from smolvla_learning.training.frame_cache import cache_folder, fitted_frames
from smolvla_learning.training.learner import Augmentation, Learner
from smolvla_learning.training.options import (
    CONFIG,
    TrainingError,
    TrainSettings,
    parse,
    parse_rename_map,
)
from smolvla_learning.training.samples import (
    Batches,
    SampleOrder,
    Source,
    intervention_repeats,
)
from smolvla_learning.training.scratch import Robot, new_policy
from smolvla_learning.training.state import (
    CHECKPOINTS,
    LAST,
    MODEL,
    last_checkpoint,
    load_state,
    whole_checkpoints,
)
from smolvla_learning.training.trainer import FILE as METRICS
from smolvla_learning.training.trainer import (
    TENSORBOARD,
    DistributedContext,
    OptimizerOptions,
    Trainer,
    close_distributed,
    init_distributed,
    make_optimizer,
)

FREEZING = ("freeze_vision_encoder", "train_expert_only", "train_state_proj")


def train(options: TrainSettings) -> None:
    """Run a training from its options to its last checkpoint.

    Raises:
        TrainingError: something does not fit; see also `DatasetError` and `CheckpointError`.
    """
    context = init_distributed(options.device, options.precision)
    with ExitStack() as stack:
        stack.callback(close_distributed, context)
        if options.threads:
            torch.set_num_threads(options.threads)
        datasets = [Dataset.open(folder) for folder in [*options.dataset, *options.scenes]]
        check_datasets(datasets, options.cameras)
        if options.intervention_weight > 1:
            check_interventions(datasets)
        if options.grounding_weight > 0:
            check_labels(datasets)
        if context.first and not options.resume:
            prepare(options.output)
            options.save()
        if context.first:
            stack.enter_context(lock(options.output))
        policy = _policy(options, datasets, context)
        longest = max(episode.length for data in datasets for episode in data.episodes)
        check_policy(policy, options, longest)
        policy.network.to(context.device)
        set_trainable(policy.network, **{name: _field(options, policy, name) for name in FREEZING})
        sources = _sources(options, datasets, policy, context)
        batches = Batches(sources, policy, options.state_offset)
        torch.manual_seed(options.seed)  # the auxiliary heads start at random
        learner = Learner(
            policy,
            Augmentation(
                options.brightness, options.contrast, options.color, options.noise, options.shift
            ),
            len(batches.objects),
            flow_weight=options.flow_weight,
            grounding_weight=options.grounding_weight,
            draws=options.draws,
            rtc_delay=options.rtc_delay,
        ).to(context.device)
        optimization = _optimization(options, policy)
        optimizer = make_optimizer(learner.parameters(), optimization)
        step = 0
        if options.resume:
            step = load_state(last_checkpoint(options.output), learner, optimizer)
        order = SampleOrder(
            [source.length for source in sources],
            options.shares or None,
            options.seed,
            [intervention_repeats(dataset, options.intervention_weight) for dataset in datasets],
        )
        if context.first:
            _announce(options, policy, learner, datasets, context, step)
        Trainer(options, optimization, policy, learner, optimizer, batches, order, context).run(
            step
        )
        if context.first:
            print(f"trained: {last_checkpoint(options.output) / MODEL}")


def _policy(
    options: TrainSettings, datasets: Sequence[Dataset], context: DistributedContext
) -> SmolVLAPolicy:
    output = options.output
    if options.resume:
        return SmolVLAPolicy.from_pretrained(last_checkpoint(output) / MODEL, dtype="float32")
    acting = datasets[: len(options.dataset)] or datasets
    if options.checkpoint is not None:
        policy, notes = _adapted(options, acting)
    else:
        policy, notes = _new(options, datasets, acting, context), []
    used = dataset_cameras(policy.config, policy.processors, acting[0], options.cameras)
    facts, open_ends = common_facts(acting, list(used.values()))
    policy.robot = replace(facts, rtc_delay=options.rtc_delay, state_offset=options.state_offset)
    if context.first:
        for note in filter(None, [*notes, open_ends]):
            print(note)
    return policy


def _adapted(
    options: TrainSettings, acting: Sequence[Dataset]
) -> tuple[SmolVLAPolicy, Sequence[str]]:
    """Load the checkpoint that is fine-tuned, made to fit the first dataset; and notes."""
    folder = find_checkpoint(str(options.checkpoint))
    if options.keep_statistics:
        check_kept(folder, acting[0])
    stats = None if options.keep_statistics else as_mapping(pooled_statistics(acting))
    notes: list[str] = []

    def adapt(config: SmolVLAConfig, processors: Processors) -> tuple[SmolVLAConfig, Processors]:
        base = read_robot(folder)
        base = replace(base, joints=base.joints or config.outputs[ACTION].names or ())
        notes.extend(check_base(base, folder, acting, kept=options.keep_statistics))
        config, processors, differences = fit(
            config,
            processors,
            acting[0],
            str(folder),
            cameras=options.cameras,
            rename_map=parse_rename_map(options.rename_map),
            empty_cameras=options.empty_cameras,
        )
        notes.extend(differences)
        return sized(config, options.chunk_size, str(folder)), processors

    policy = SmolVLAPolicy.from_pretrained(folder, dtype="float32", stats=stats, adapt=adapt)
    return policy, notes


def _new(
    options: TrainSettings,
    datasets: Sequence[Dataset],
    acting: Sequence[Dataset],
    context: DistributedContext,
) -> SmolVLAPolicy:
    """Make a checkpoint with random weights for the datasets."""
    first = datasets[0]
    robot = Robot(
        cameras={name: first.image_size(name) for name in chosen_cameras(first, options.cameras)},
        state=first.features[STATE].shape[0],
        action=first.features[ACTION].shape[0],
        statistics=pooled_statistics(acting),
        sentences=[task for dataset in datasets for task in dataset.tasks],
    )
    folder = options.output / INITIAL
    if context.first:
        new_policy(str(options.architecture), robot, folder, seed=options.seed)
    if context.world > 1:
        distributed.barrier()
    return SmolVLAPolicy.from_pretrained(folder, dtype="float32")


def _sources(
    options: TrainSettings,
    datasets: Sequence[Dataset],
    policy: SmolVLAPolicy,
    context: DistributedContext,
) -> list[Source]:
    folder = Path(options.cache).expanduser() if options.cache else cache_folder()
    if context.world > 1 and not context.first:
        distributed.barrier()  # the first process decodes, the others find it done
    sources = []
    side = policy.config.image_side
    for index, dataset in enumerate(datasets):
        cameras = dataset_cameras(policy.config, policy.processors, dataset, options.cameras)
        total = dataset.num_frames * len(policy.cameras)
        with tqdm(
            total=total,
            unit="frame",
            desc=f"frames of {dataset.folder.name}",
            disable=None if context.first else True,  # off where no terminal watches
        ) as bar:
            images = [
                fitted_frames(dataset, camera, side, folder, bar.update)
                for camera in cameras.values()
            ]
        sources.append(
            Source(
                dataset,
                policy,
                images,
                list(cameras.values()),
                acts=index < len(options.dataset),
                grounded=options.grounding_weight > 0,
            )
        )
    if context.world > 1 and context.first:
        distributed.barrier()
    return sources


def _field(options: TrainSettings, policy: SmolVLAPolicy, name: str) -> bool:
    chosen = getattr(options, name)
    return bool(getattr(policy.config, name) if chosen is None else chosen)


def _optimization(options: TrainSettings, policy: SmolVLAPolicy) -> OptimizerOptions:
    """Take each number from the options, else from the checkpoint, else LeRobot's default."""
    raw = policy.config.raw
    kinds = {"warmup_steps": "scheduler_", "decay_steps": "scheduler_", "decay_lr": "scheduler_"}
    values: dict[str, Any] = {}
    for entry in fields(OptimizerOptions):
        given = getattr(options, entry.name, None)
        if given is None:
            given = raw.get(kinds.get(entry.name, "optimizer_") + entry.name)
        if given is not None:
            values[entry.name] = tuple(given) if entry.name == "betas" else given
    return OptimizerOptions(**values)


def _announce(
    options: TrainSettings,
    policy: SmolVLAPolicy,
    learner: Learner,
    datasets: Sequence[Dataset],
    context: DistributedContext,
    step: int,
) -> None:
    trained = sum(p.numel() for p in policy.network.parameters() if p.requires_grad)
    frames = sum(dataset.num_frames for dataset in datasets)
    episodes = sum(dataset.num_episodes for dataset in datasets)
    print(
        f"{policy.num_parameters / 1e6:.2f} M parameters, {trained / 1e6:.2f} M trained; "
        f"{episodes} episodes, {frames} frames at {datasets[0].fps:g} Hz; {context.world} x "
        f"{context.device} in {'bfloat16 autocast' if context.autocast else 'float32'}"
    )
    for dataset in datasets:
        if dataset.depth_cameras:
            print(f"{dataset.folder}: left out, as depth: {', '.join(dataset.depth_cameras)}")
    if learner.heads:
        print("auxiliary grounding heads: trained, and left out of the checkpoints")
    if step:
        print(f"resuming behind step {step} of {options.steps}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    raise_on_interrupt()
    options = None
    try:
        options = parse(arguments)
        # Before its first checkpoint a training has nothing to go on from.
        resume = options.resume and bool(whole_checkpoints(options.output))
        train(replace(options, resume=resume))
    except (TrainingError, SettingError, DatasetError, CheckpointError) as error:
        return could_not_run("smolvla train", error)
    except OSError as error:
        return could_not_run("smolvla train", error, "; make room or choose another --output")
    except KeyboardInterrupt:
        saved = options and whole_checkpoints(options.output)
        message = "before the first checkpoint: nothing was kept; the same command begins anew"
        message = "go on with --resume" if saved else message
        print(f"smolvla train: interrupted; {message}", file=sys.stderr)
        return 130
    return 0


INITIAL = "initial"
"""Folder of the random weights that a training from an architecture starts with."""


def prepare(folder: Path) -> None:
    """Make room for a new training.

    What an attempt left that ended before its first checkpoint is removed; other files stay.

    Raises:
        TrainingError: the folder holds a training that got farther, one that runs, or something
            else.
    """
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is a file; choose another --output")
    whole = whole_checkpoints(folder)
    if whole:
        raise TrainingError(
            f"{folder} holds a training with {whole[-1].name} as its newest checkpoint; go on "
            "with --resume, or choose another --output"
        )
    if folder.exists() and any(folder.iterdir()):
        if not (folder / CONFIG).is_file():
            raise TrainingError(
                f"{folder} is not empty and holds no training; choose another --output"
            )
        lock(folder).close()
        _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)


def lock(folder: Path) -> IO[bytes]:
    """Keep other trainings out of a folder for as long as the returned file is open.

    Raises:
        TrainingError: another training writes into it.
    """
    file = (folder / CONFIG).open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise TrainingError(
            f"another training is writing into {folder}; choose another --output, or end it"
        ) from error
    return file


def _clear(folder: Path) -> None:
    for file in (folder / CONFIG, folder / METRICS, folder / CHECKPOINTS / LAST):
        file.unlink(missing_ok=True)
    for event in (folder / TENSORBOARD).glob("events.out.tfevents.*"):
        event.unlink()
    for part in [*(folder / CHECKPOINTS).glob(".*.part"), folder / INITIAL]:
        shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
