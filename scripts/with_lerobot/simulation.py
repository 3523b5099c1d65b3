# SPDX-License-Identifier: Apache-2.0
"""The simulation as an environment of LeRobot: its evaluator judges the shipped checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .checkpoint import SHIPPED
from .judged import EPISODES, SEED, compared, install, lerobot_eval
from .steps import ROOT, Check

PART = "simulation"
KINDS = ("reach", "pick_place")
PACKAGES = ("src/smolvla_core", "src/smolvla_sim", "plugins/lerobot_env_smolvla_sim")
"""What LeRobot's Python needs; MuJoCo and Gymnasium it has."""


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
    successes = lerobot_eval(check, "smolvla_sim", kind, SHIPPED, shown)
    report = check.work / "eval" / f"{kind}.json"
    check.ours(
        f"eval_{kind}",
        *("eval", "--kind", kind, "--episodes", str(EPISODES), "--seed", str(SEED)),
        *("--json", Path(report)),
    )
    return compared(successes, json.loads(report.read_text())["summary"]["successes"])


def run(check: Check) -> None:
    """Let LeRobot's evaluator judge."""
    shown: dict[str, str] = {}
    with check.step(PART, "install the plugin"):
        shown = install(check, "site", [ROOT / package for package in PACKAGES])
    if not shown:
        return
    with check.step(PART, "environment") as notes:
        notes.append(environment(check, shown))
    for kind in KINDS:
        with check.step(PART, f"lerobot-eval {kind}") as notes:
            notes.append(judged(check, kind, shown))
