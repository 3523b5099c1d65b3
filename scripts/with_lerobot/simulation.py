# SPDX-License-Identifier: Apache-2.0
"""The simulation as an environment of LeRobot: its evaluator judges the shipped checkpoint.

Both evaluate it on the same scenes; each draws noise of its own, so only the rates can agree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from smolvla_sim.play.measures import clopper_pearson

from .checkpoint import SHIPPED
from .steps import ROOT, Check, StepError

PART = "simulation"
KINDS = ("reach", "pick_place")
EPISODES = int(os.environ.get("EPISODES", "20"))
SEED = 1000
PACKAGES = ("src/smolvla_core", "src/smolvla_sim", "plugins/lerobot_env_smolvla_sim")
"""What LeRobot's Python needs; MuJoCo and Gymnasium it has."""


def install(check: Check) -> dict[str, str]:
    """Install the plugin into a folder of its own; return the variables that show it."""
    site = check.work / "site"
    pip = [check.lerobot, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    check.run("install", [*pip, "--target", site, *(ROOT / p for p in PACKAGES)], lerobot=True)
    return {"PYTHONPATH": str(site)}


def environment(check: Check, shown: Mapping[str, str]) -> str:
    """Gymnasium's own checker: spaces, seeds, types."""
    code = (
        "from gymnasium.utils.env_checker import check_env\n"
        "from lerobot_env_smolvla_sim.env import SmolVLASimLeRobotEnv\n"
        "env = SmolVLASimLeRobotEnv('reach', width=160, height=120)\n"
        "check_env(env)\nenv.close()\n"
    )
    check.run("env", [check.lerobot, "-c", code], lerobot=True, more=shown)
    return "gymnasium.utils.env_checker accepts it"


def judged(check: Check, kind: str, shown: Mapping[str, str]) -> str:
    """Compare the success that LeRobot's evaluator and ours find."""
    output = check.work / "eval" / kind
    check.run(
        f"lerobot_eval_{kind}",
        [
            check.lerobot.parent / "lerobot-eval",
            "--env.type=smolvla_sim",
            f"--env.task={kind}",
            "--policy.path=.",
            "--policy.device=cpu",
            f"--eval.n_episodes={EPISODES}",
            "--eval.batch_size=1",
            f"--seed={SEED}",
            f"--output_dir={output}",
        ],
        lerobot=True,
        cwd=SHIPPED,  # it names its VLM relative to itself
        more=shown,
    )
    theirs = json.loads((output / "eval_info.json").read_text())
    successes = round(theirs["overall"]["pc_success"] / 100 * EPISODES)
    report = check.work / "eval" / f"{kind}.json"
    check.ours(
        f"eval_{kind}",
        *("eval", "--kind", kind, "--episodes", str(EPISODES), "--seed", str(SEED)),
        *("--json", Path(report)),
    )
    ours = json.loads(report.read_text())["summary"]["successes"]
    low, high = clopper_pearson(successes, EPISODES)
    our_low, our_high = clopper_pearson(ours, EPISODES)
    told = (
        f"LeRobot {successes}/{EPISODES} ({100 * low:.1f}–{100 * high:.1f} %), "
        f"here {ours}/{EPISODES} ({100 * our_low:.1f}–{100 * our_high:.1f} %)"
    )
    if max(low, our_low) > min(high, our_high):
        raise StepError(f"the intervals do not overlap: {told}")
    return told


def run(check: Check) -> None:
    """Let LeRobot's evaluator judge."""
    shown: dict[str, str] = {}
    with check.step(PART, "install the plugin"):
        shown = install(check)
    if not shown:
        return
    with check.step(PART, "environment") as notes:
        notes.append(environment(check, shown))
    for kind in KINDS:
        with check.step(PART, f"lerobot-eval {kind}") as notes:
            notes.append(judged(check, kind, shown))
