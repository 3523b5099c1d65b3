# SPDX-License-Identifier: Apache-2.0
"""LeRobot's evaluator beside one of the suite, on the same episodes.

Each draws noise of its own, so only the rates can agree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from smolvla_sim.play.measures import clopper_pearson

from .steps import Check, StepError

EPISODES = int(os.environ.get("EPISODES", "20"))
"""Of each task."""
SEED = 1000
# An episode of Meta-World that fails takes LeRobot 500 steps with one or two pictures each.
_LONGEST_EPISODE = 300.0


def install(check: Check, folder: str, what: Sequence[str | Path]) -> dict[str, str]:
    """Have LeRobot's pip install into a folder; return the variables that show it to LeRobot."""
    site = check.work / folder
    pip = [check.lerobot, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    check.run(f"install_{folder}", [*pip, "--target", site, *what], lerobot=True)
    return {"PYTHONPATH": str(site)}


def lerobot_eval(
    check: Check, env: str, task: str, checkpoint: Path, shown: Mapping[str, str]
) -> int:
    """Return how many of the `EPISODES` of a task LeRobot's evaluator finds successful."""
    output = check.work / "eval" / env / task
    check.run(
        f"lerobot_eval_{task}",
        [
            check.lerobot.parent / "lerobot-eval",
            f"--env.type={env}",
            f"--env.task={task}",
            "--policy.path=.",
            "--policy.device=cpu",
            f"--eval.n_episodes={EPISODES}",
            "--eval.batch_size=1",
            f"--seed={SEED}",
            f"--output_dir={output}",
        ],
        lerobot=True,
        cwd=checkpoint,  # it names its VLM relative to itself
        more=shown,
        timeout=_LONGEST_EPISODE * EPISODES,
    )
    theirs = json.loads((output / "eval_info.json").read_text())
    return round(theirs["overall"]["pc_success"] / 100 * EPISODES)


def compared(theirs: int, ours: int, episodes: int = EPISODES) -> str:
    """Return both successes as text.

    Raises:
        StepError: their 95 % intervals do not overlap.
    """
    low, high = clopper_pearson(theirs, episodes)
    our_low, our_high = clopper_pearson(ours, episodes)
    told = (
        f"LeRobot {theirs}/{episodes} ({100 * low:.1f}–{100 * high:.1f} %), "
        f"here {ours}/{episodes} ({100 * our_low:.1f}–{100 * our_high:.1f} %)"
    )
    if max(low, our_low) > min(high, our_high):
        raise StepError(f"the intervals do not overlap: {told}")
    return told
