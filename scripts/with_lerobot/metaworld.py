# SPDX-License-Identifier: Apache-2.0
"""Meta-World: LeRobot reads its recordings, and judges the checkpoint that was trained on them."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

from smolvla_sim.world.rendering import choose_gl

from .dataset import equal_frames, inspect, train_there
from .graders import GRADERS, ON_PURPOSE
from .judged import EPISODES, SEED, compared, install, lerobot_eval
from .steps import ROOT, Check

PART = "metaworld"
CHECKPOINT = ROOT / "plugins/smolvla_metaworld/checkpoint"
OF_EXPERTS = re.compile(
    ON_PURPOSE.pattern
    # They go at full speed, turn at once and keep the gripper closed.
    + r"|action frozen|^Action Quality: action|^integrity\.snr_db .* of d[xyz] in "
)
"""Findings that are about what Meta-World's experts do, too."""
REQUIREMENTS = ROOT / "requirements/metaworld.txt"
# A task of the suite's own evaluation takes minutes.
_LONGEST = 3600.0


def here(check: Check, name: str, module: str, *arguments: str | Path) -> None:
    """Run a module of plugins/smolvla_metaworld."""
    runner = ROOT / "scripts/with_metaworld.sh"
    command = [runner, "python", "-m", f"smolvla_metaworld.{module}", *arguments]
    check.run(name, command, timeout=_LONGEST)


def recording(check: Check) -> Path:
    """Record an episode of each of the checkpoint's five tasks."""
    folder = check.work / "metaworld"
    shutil.rmtree(folder, ignore_errors=True)
    here(check, "metaworld_record", "record", "--episodes", "5", "--output", folder)
    inspect(check, "metaworld_inspect", folder)
    return folder


def run(check: Check) -> None:
    """Let LeRobot and the graders judge the recording, and LeRobot the checkpoint."""
    dataset: Path | None = None
    with check.step(PART, "record an episode of each task"):
        dataset = recording(check)
    if dataset is not None:
        with check.step(PART, "LeRobot reads the recording") as notes:
            notes.append(equal_frames(check, "metaworld", dataset))
        with check.step(PART, "lerobot-train on it") as notes:
            notes.append(train_there(check, "metaworld_train_there", dataset, CHECKPOINT))
        for grader, judge in GRADERS.items():
            with check.step(PART, f"recording: {grader}") as notes:
                notes.append(judge(check, "metaworld", dataset, OF_EXPERTS))
    shown: dict[str, str] = {}
    with check.step(PART, "Meta-World's MuJoCo"):
        lines = REQUIREMENTS.read_text().splitlines()
        mujoco = [line for line in lines if line.startswith("mujoco==")]
        shown = install(check, "metaworld_site", mujoco)
        shown["MUJOCO_GL"] = choose_gl()
    if not shown:
        return
    ours: Counter[str] = Counter()
    with check.step(PART, "evaluate here"):
        report = check.work / "eval" / "metaworld.json"
        numbers = ("--episodes", str(EPISODES), "--seed", str(SEED))
        here(check, "metaworld_eval", "evaluate", "--json", report, *numbers)
        for episode in json.loads(report.read_text())["episodes"]:
            ours[episode["task"]] += episode["success"]
    theirs = 0
    for task in ours:
        with check.step(PART, f"lerobot-eval {task}") as notes:
            found = lerobot_eval(check, "metaworld", task, CHECKPOINT, shown)
            theirs += found
            notes.append(compared(found, ours[task]))
    with check.step(PART, "all tasks") as notes:
        notes.append(compared(theirs, sum(ours.values()), len(ours) * EPISODES))
