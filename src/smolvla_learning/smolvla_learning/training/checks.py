# SPDX-License-Identifier: Apache-2.0
"""Whether datasets fit each other and the policy: asked before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_policy.checkpoint.contents import read_contents
from smolvla_policy.checkpoint.robot import CONVERSION, RobotFacts, parse_facts
from smolvla_policy.policy import SmolVLAPolicy

from smolvla_learning.dataset import Dataset
from smolvla_learning.dataset.features import INTERVENTION
from smolvla_learning.training.fit import chosen_cameras
from smolvla_learning.training.grounding import PREFIX
from smolvla_learning.training.options import TrainingError, TrainSettings

_MOST_TASKS = 1000  # a policy of more is one for any sentence


def dataset_facts(dataset: Dataset) -> RobotFacts:
    """Return what a dataset says about its robot.

    Raises:
        CheckpointError: an entry does not fit.
    """
    about = dataset.info.raw.get("features", {})
    noted = about.get(ACTION, {}).get("info") or about.get(STATE, {}).get("info") or {}
    where = f"{dataset.folder}/meta/info.json, info of {ACTION!r}"
    facts = parse_facts({name: noted[name] for name in CONVERSION if name in noted}, where)
    return replace(
        facts,
        joints=dataset.features[ACTION].names or (),
        fps=float(dataset.fps),
        cameras=tuple(dataset.cameras),
    )


def common_facts(datasets: Sequence[Dataset], cameras: Sequence[str]) -> tuple[RobotFacts, str]:
    """Return what datasets say of their robot together, and a note on what they leave open.

    Args:
        datasets: whose actions are learned; rates and joints agree already.
        cameras: names in the datasets, in the network's order.

    Raises:
        TrainingError: they are in different units.
    """
    every = [dataset_facts(dataset) for dataset in datasets]
    for facts, dataset in zip(every, datasets, strict=True):
        if facts.units and every[0].units and facts.units != every[0].units:
            raise TrainingError(
                f"{dataset.folder} is in {facts.units} and {datasets[0].folder} in "
                f"{every[0].units}; a policy knows only one: record both in the same units"
            )
    tasks = dict.fromkeys(task for dataset in datasets for task in dataset.tasks)
    learned = tuple(tasks) if len(tasks) <= _MOST_TASKS else ()
    common = replace(every[0], cameras=tuple(cameras), tasks=learned)
    # Robots that are wired otherwise may be mixed: which of them will be driven is not known.
    for name in CONVERSION:
        if any(getattr(facts, name) != getattr(common, name) for facts in every):
            common = replace(common, **{name: type(getattr(common, name))()})
    if common.units:
        return common, ""
    silent = next(d for d, facts in zip(datasets, every, strict=True) if not facts.units)
    return common, (
        f"units: {silent.folder} does not say them; policy_node will infer them from the "
        "statistics, or ask for the parameter units"
    )


QUANTILES = (1, 10, 50, 90, 99)
Pooled = dict[str, dict[str, np.ndarray[Any, Any]]]


def check_datasets(datasets: Sequence[Dataset], cameras: Sequence[str] = ()) -> None:
    """Check that datasets are of one robot.

    Args:
        datasets: that are trained on.
        cameras: that are used, see `chosen_cameras`.

    Raises:
        TrainingError: cameras, joints, units or rates differ, or values are not finite.
    """
    first = datasets[0]
    for dataset in datasets:
        for name in (STATE, ACTION):
            if name not in dataset.features:
                raise TrainingError(f"{dataset.folder}: feature {name!r} is missing")
            dataset.column(name)  # refuses NaN and infinity
        _check_cameras(dataset)
        _check_tasks(dataset)
        _check_same(dataset, first, cameras)


def _check_same(dataset: Dataset, first: Dataset, cameras: Sequence[str]) -> None:
    here, there = dataset.folder, first.folder
    if dataset.fps != first.fps:
        raise TrainingError(
            f"{here} has {dataset.fps:g} frames per second and {there} {first.fps:g}; record "
            "both at one rate, a policy knows only one"
        )
    if chosen_cameras(dataset, cameras) != chosen_cameras(first, cameras):
        raise TrainingError(
            f"{here} has the cameras {_list(dataset.cameras)} and {there} {_list(first.cameras)}; "
            "names and order must agree; choose common ones with --cameras"
        )
    for name in (STATE, ACTION):
        mine, theirs = dataset.features[name].names, first.features[name].names
        if dataset.features[name].shape != first.features[name].shape or mine != theirs:
            raise TrainingError(
                f"{name!r} of {here} is {_list(mine or ())} and of {there} {_list(theirs or ())}; "
                "number and order of the joints must agree"
            )


def _check_cameras(dataset: Dataset) -> None:
    if dataset.cameras:
        return
    depth = dataset.depth_cameras
    raise TrainingError(
        f"{dataset.folder}: has no color camera"
        + (f" (depth is not read: {_list(depth)})" if depth else "")
        + "; a policy needs at least one"
    )


def _check_tasks(dataset: Dataset) -> None:
    numbers = dataset.column("task_index")
    bad = np.flatnonzero((numbers < 0) | (numbers >= len(dataset.tasks)))
    if bad.size:
        raise TrainingError(
            f"{dataset.folder}: task_index is {numbers[bad[0]]} in frame {bad[0]}, but "
            f"meta/tasks.parquet has {len(dataset.tasks)} tasks; see what else is wrong with "
            f"smolvla dataset inspect {dataset.folder}"
        )


def check_base(
    base: RobotFacts, folder: Path, datasets: Sequence[Dataset], *, kept: bool
) -> list[str]:
    """Check a base against the datasets; return notes on its joints.

    Args:
        base: what the checkpoint says of its robot.
        folder: of the checkpoint.
        datasets: whose actions are learned.
        kept: whether the checkpoint's statistics are kept.

    Raises:
        TrainingError: the joints are the checkpoint's in another order, or its statistics are in
            other units.
    """
    first = dataset_facts(datasets[0])
    if kept and base.units and first.units and base.units != first.units:
        raise TrainingError(
            f"the statistics of {folder} are in {base.units}, {datasets[0].folder} is in "
            f"{first.units}; leave out --keep-statistics"
        )
    if not base.joints or not first.joints or base.joints == first.joints:
        return []
    if sorted(base.joints) == sorted(first.joints):
        raise TrainingError(
            f"the joints of {datasets[0].folder} are {_list(first.joints)}, those of {folder} "
            f"{_list(base.joints)}; the order must agree"
        )
    return [f"joints: {_list(first.joints)}, otherwise than in {folder}: {_list(base.joints)}"]


def check_kept(folder: Path, dataset: Dataset) -> None:
    """Check that a checkpoint's own statistics are of as many numbers as a dataset has.

    Raises:
        TrainingError: they are not.
        CheckpointError: the checkpoint has none.
    """
    statistics = read_contents(folder).statistics
    for name in (STATE, ACTION):
        size = int(np.prod(dataset.features[name].shape))
        for values in statistics.get(name, {}).values():
            if np.size(values) not in (1, size):  # one number: how many frames were counted
                raise TrainingError(
                    f"the statistics of {folder} are of {np.size(values)} numbers for {name!r}, "
                    f"{dataset.folder} has {size}; leave out --keep-statistics"
                )


def check_policy(policy: SmolVLAPolicy, options: TrainSettings, longest: int) -> None:
    """Check that a policy can be trained here, as the options say.

    Args:
        policy: that is trained.
        options: of the training.
        longest: frames of the longest episode.

    Raises:
        TrainingError: the text says what to do.
    """
    if policy.processors.norm_map.get("VISUAL", "IDENTITY") != "IDENTITY":
        raise TrainingError(
            f"{policy.folder} normalizes the values of its images; training such a "
            "policy is not supported, start from another checkpoint"
        )
    if options.state_offset >= longest:
        raise TrainingError(
            f"--state-offset is {options.state_offset}, but the longest episode has {longest} "
            "frames; give what the longest delay takes: 1 s at 30 Hz are 30"
        )
    if options.state_offset and policy.config.state_dim != policy.config.action_dim:
        raise TrainingError(
            "--state-offset moves the state by the actions; leave it out, as a state has "
            f"{policy.config.state_dim} numbers and an action {policy.config.action_dim}"
        )
    if options.rtc_delay >= policy.chunk_size:
        raise TrainingError(
            f"--rtc-delay is {options.rtc_delay}, but a chunk has {policy.chunk_size} actions, of "
            "which at least one is to be learned; give less"
        )


def check_interventions(datasets: Sequence[Dataset]) -> None:
    """Check that there are frames in which a human commanded, so that they can weigh more.

    Raises:
        TrainingError: no dataset has the column.
    """
    if not any(INTERVENTION in dataset.features for dataset in datasets):
        raise TrainingError(
            f"--intervention-weight needs the column '{INTERVENTION}', which none of the datasets "
            "has; record with --intervention, or leave the weight at 1"
        )


def check_labels(datasets: Sequence[Dataset]) -> None:
    """Check that there are labels for the grounding loss.

    Raises:
        TrainingError: there are none, or they differ.
    """
    found = {
        dataset.folder: {
            name: dataset.features[name].names
            for name in dataset.features
            if name.startswith(PREFIX)
        }
        for dataset in datasets
    }
    if not any(found.values()):
        raise TrainingError(
            f"--grounding-weight needs features {PREFIX}<camera>, which none of the datasets "
            "has; record with --grounding, or leave the weight at 0"
        )
    kinds = {str(labels) for labels in found.values() if labels}
    if len(kinds) > 1:
        raise TrainingError(
            f"the features {PREFIX}<camera> of the datasets name different objects"
        )


def pooled_statistics(datasets: Sequence[Dataset]) -> Pooled:
    """Return the statistics of state and action over all frames of all datasets.

    Mean, std, min, max and the quantiles that LeRobot's modes of normalization read.

    A dimension that never changes gets a standard deviation of 1, so that it stays finite.
    """
    pooled: Pooled = {}
    for name in (STATE, ACTION):
        values = np.concatenate([dataset.column(name) for dataset in datasets]).astype(np.float64)
        std = values.std(0)
        pooled[name] = {
            "mean": values.mean(0),
            "std": np.where(std < 1e-6, 1.0, std),
            "min": values.min(0),
            "max": values.max(0),
            **{f"q{share:02d}": np.quantile(values, share / 100, 0) for share in QUANTILES},
        }
    return pooled


def as_mapping(statistics: Pooled) -> Mapping[str, Any]:
    """Return statistics in the form of ``meta/stats.json``."""
    return {
        feature: {name: values.tolist() for name, values in entries.items()}
        for feature, entries in statistics.items()
    }


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
