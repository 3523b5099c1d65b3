# SPDX-License-Identifier: Apache-2.0
"""Whether datasets fit each other and the policy: asked before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.config import ACTION, STATE, SmolVLAConfig
from ..dataset import Dataset
from ..policy import SmolVLAPolicy
from .errors import TrainingError
from .grounding import PREFIX

Pooled = dict[str, dict[str, np.ndarray[Any, Any]]]


def check_datasets(datasets: Sequence[Dataset]) -> None:
    """Check that datasets are of one robot.

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
        _check_same(dataset, first)


def _check_same(dataset: Dataset, first: Dataset) -> None:
    here, there = dataset.folder, first.folder
    if dataset.fps != first.fps:
        raise TrainingError(
            f"{here} has {dataset.fps:g} frames per second and {there} {first.fps:g}; record "
            "both at one rate, a policy knows only one"
        )
    if dataset.cameras != first.cameras:
        raise TrainingError(
            f"{here} has the cameras {_list(dataset.cameras)} and {there} {_list(first.cameras)}; "
            "names and order must agree"
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
            f"python -m smolvla_policy.dataset.inspect {dataset.folder}"
        )


def check_config(config: SmolVLAConfig, folder: Path, dataset: Dataset) -> None:
    """Check that a checkpoint is for a robot with as many joints.

    Raises:
        TrainingError: it is not.
    """
    for name, size in ((STATE, config.state_dim), (ACTION, config.action_dim)):
        shape = dataset.features[name].shape
        if shape != (size,):
            raise TrainingError(
                f"{name!r} has shape {list(shape)} in {dataset.folder} and [{size}] in {folder}; "
                "start from a checkpoint for that robot, or with --architecture"
            )


def check_policy(policy: SmolVLAPolicy, dataset: Dataset) -> None:
    """Check that a dataset has what the policy reads, in the order in which it reads it.

    Raises:
        TrainingError: the text names the feature and the remedy.
    """
    where = policy.load_report.folder
    expected = {policy.processors.rename_map.get(name, name): name for name in dataset.cameras}
    missing = [name for name in policy.cameras if name not in expected]
    unused = [name for name in expected if name not in policy.cameras]
    if missing or unused:
        raise TrainingError(
            f"cameras differ: {where} reads {_list(policy.cameras)}, {dataset.folder} has "
            f"{_list(dataset.cameras)}; rename the dataset's cameras, or start from a checkpoint "
            "with these"
        )
    joints = dataset.features[ACTION].names
    if policy.joint_names and joints and tuple(joints) != tuple(policy.joint_names):
        raise TrainingError(
            f"the joints of {dataset.folder} are {_list(joints)}, those of {where} "
            f"{_list(policy.joint_names)}; the order must agree"
        )
    if any(policy.normalizers[camera].mode != "IDENTITY" for camera in policy.cameras):
        raise TrainingError(
            f"{where} normalizes the values of its images; training such a policy is not "
            "supported, start from another checkpoint"
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
    """Return mean, std, min and max of state and action over all frames of all datasets.

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
