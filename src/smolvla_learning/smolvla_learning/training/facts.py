# SPDX-License-Identifier: Apache-2.0
"""What datasets say about their robot, for the checkpoint that is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_policy.checkpoint.robot import CONVERSION, RobotFacts, parse_facts

from smolvla_learning.dataset import Dataset
from smolvla_learning.training.errors import TrainingError

_MOST_TASKS = 1000  # a policy of more is one for any sentence


def dataset_facts(dataset: Dataset) -> RobotFacts:
    """Return what a dataset says about its robot.

    Raises:
        CheckpointError: an entry does not fit.
    """
    about = dataset.info.raw.get("features", {})
    told = about.get(ACTION, {}).get("info") or about.get(STATE, {}).get("info") or {}
    where = f"{dataset.folder}/meta/info.json, info of {ACTION!r}"
    facts = parse_facts({name: told[name] for name in CONVERSION if name in told}, where)
    return replace(
        facts,
        joints=dataset.features[ACTION].names or (),
        fps=float(dataset.fps),
        cameras=tuple(dataset.cameras),
    )


def common_facts(datasets: Sequence[Dataset], cameras: Sequence[str]) -> tuple[RobotFacts, str]:
    """Return what datasets say of their robot together, and a remark on what they leave open.

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
        f"units: {silent.folder} does not say them; policy_node will tell them from the "
        "statistics, or ask for the parameter units"
    )
