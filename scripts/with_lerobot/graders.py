# SPDX-License-Identifier: Apache-2.0
"""Dataset graders that others wrote, on the recordings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .demonstrations import recordings
from .steps import Check, StepError, last_line

PART = "graders"
ON_PURPOSE = re.compile(
    r"shorter than|too short|recommended"  # the recordings are few and short
    r"|^task_index: "  # an index of instructions, which no policy normalizes
    r"|(^|\D)\d% of .*frozen|episode\(s\) flagged"  # a busy machine repeats a command at times
)
"""Findings that are not about what is written here; the reasons of a flag are findings, too."""
CHUNK = "16"
"""Of the shipped checkpoint; the doctor supposes 100."""


def doctor(check: Check, name: str, dataset: Path, accepted: re.Pattern[str] = ON_PURPOSE) -> str:
    """``lerobot-doctor check``: nothing but what is accepted may be wrong."""
    content = judged(check, f"doctor_{name}", dataset, "lerobot-doctor", "check", "--json")
    findings = [
        f"{one['name']}: {said['message']}"
        for one in content["checks"]
        for said in one["messages"]
        if said["severity"] != "PASS"
    ]
    counts = content["summary"]
    return (
        f"{counts['PASS']} pass, {counts['WARN']} warn, {counts['FAIL']} fail; "
        f"{refuse(findings, accepted)} findings, accepted ones alone"
    )


def gate(check: Check, name: str, dataset: Path, accepted: re.Pattern[str] = ON_PURPOSE) -> str:
    """``lerobot-doctor gate``: nothing but what is accepted may be wrong."""
    content = judged(
        check,
        f"gate_{name}",
        dataset,
        *("lerobot-doctor", "gate", "--policy", "smolvla", "--chunk-size", CHUNK, "--json"),
    )
    findings = [*content["blockers"], *content["warnings"]]
    return f"{refuse(findings, accepted)} findings, accepted ones alone"


def deepen(check: Check, name: str, dataset: Path, accepted: re.Pattern[str] = ON_PURPOSE) -> str:
    """``deepen grade``: the grade counts defects of the data alone."""
    content = graded(check, "deepen", name, dataset, "-o", "--json", "--min-grade", "A")
    defects = {
        one["name"]: one["defective"]
        for one in content["defect_classes"].values()
        if one["defective"]
    }
    if defects:
        raise StepError(f"defects: {defects}")
    overall = content["overall"]
    return f"grade {overall['grade']}, {overall['score']} of 100, no defects"


def kalanos(check: Check, name: str, dataset: Path, accepted: re.Pattern[str] = ON_PURPOSE) -> str:
    """``kalanos grade``: ready, without findings that are not accepted."""
    content = graded(check, "kalanos", name, dataset, "--report", "--fail-on", "blocked,unknown")
    findings = [
        f"{one['metric_id']} {one['value']} of {one['channel']} in {one['episode_id']}"
        for one in content["findings"]
    ]
    count = refuse(findings, accepted)
    score = content["score"]
    told = f"{count} findings, accepted ones alone" if count else "no findings"
    return f"grade {score['grade']}, {score['score']:.0f} of 100, {told}"


def graded(
    check: Check, program: str, name: str, dataset: Path, report_option: str, *options: str
) -> Any:
    """Run a grader that writes its report, JSON, into a file."""
    report = check.work / "grades" / f"{program}_{name}.json"
    report.parent.mkdir(exist_ok=True)
    command = [check.graders / program, "grade", dataset, report_option, report, *options]
    check.run(f"{program}_{name}", command, lerobot=True)
    return json.loads(report.read_text())


def judged(check: Check, log: str, dataset: Path, *command: str) -> Any:
    """Run a grader that prints JSON; its exit code repeats what the JSON says."""
    program, verb, *options = command
    text = check.run(
        log,
        [check.graders / program, verb, dataset, *options],
        lerobot=True,
        allowed=(0, 1),
    )
    start = text.find("\n{")
    try:
        return json.JSONDecoder().raw_decode(text[start + 1 :])[0]
    except ValueError:
        raise StepError(f"no report: {last_line(text)}") from None


def refuse(findings: list[str], accepted: re.Pattern[str]) -> int:
    """Return how many findings there are.

    Raises:
        StepError: one is not accepted.
    """
    others = [text for text in findings if not accepted.search(text)]
    if others:
        raise StepError("; ".join(others))
    return len(findings)


GRADERS: dict[str, Callable[..., str]] = {
    "lerobot-doctor check": doctor,
    "lerobot-doctor gate": gate,
    "deepen grade": deepen,
    "kalanos grade": kalanos,
}


def run(check: Check) -> None:
    """Let the graders judge."""
    found: dict[str, Path] = {}
    with check.step(PART, "recordings"):
        found = recordings(check)
    if not found:
        return
    for name, dataset in found.items():
        for grader, judge in GRADERS.items():
            with check.step(PART, f"{name}: {grader}") as notes:
                notes.append(judge(check, name, dataset))
    with check.step(PART, "lerobot-doctor merge-check") as notes:
        check.run(
            "merge_check",
            [check.graders / "lerobot-doctor", "merge-check", *found.values()],
            lerobot=True,
        )
        notes.append(f"{len(found)} recordings together")
