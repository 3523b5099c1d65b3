# SPDX-License-Identifier: Apache-2.0
"""The files of the benchmark: runs that continue, table, picture, and what the next step reads.

Runs are one JSON line each, so that an interrupted benchmark continues.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
from smolvla_core.console import write_json
from smolvla_core.settings import settings_of
from smolvla_policy.checkpoint.source import WEIGHTS, find_checkpoint

from smolvla_sim.bench import report, summary
from smolvla_sim.bench.runs import BLENDED, CLAIM_DELAY, EPISODE, MINUTE, NAIVE, Cell, Job
from smolvla_sim.bench.summary import Result, Row
from smolvla_sim.play.loop import USUAL, Execution
from smolvla_sim.play.policies import PolicyFacts
from smolvla_sim.settings import BenchSettings, PlaySettings

NAME = "sync_async"
"""Of all files, before their endings."""

_COMMON = {
    *settings_of(PlaySettings),
    *("backend", "minute", "rate", "delay_spread", "lost"),
} - {"workers", "n_action_steps"}
# The settings that all runs of a file have in common.


def setup(settings: BenchSettings) -> dict[str, Any]:
    """Return what all runs have in common, as plain data, with the checkpoint's fingerprint.

    Raises:
        ValueError: there is no such checkpoint.
    """
    common = {name: getattr(settings, name) for name in sorted(_COMMON)}
    common["mujoco"] = mujoco.__version__
    if settings.policy == "smolvla":
        weights = find_checkpoint(settings.checkpoint) / WEIGHTS
        common["weights"] = _digest(weights) if weights.exists() else None
    return common


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_report(
    rows: Sequence[Row],
    seeds: Sequence[int],
    settings: BenchSettings,
    facts: PolicyFacts,
    folder: Path,
) -> str:
    """Write table, JSON and picture of the rows into `folder`; return the table's text."""
    lines = [
        f"{settings.player}; task {settings.asked}; {len(seeds)} seeds from {seeds[0]}",
        f"actions at {settings.fps:g} Hz in chunks of {facts.chunk_size}, control loop at "
        f"{settings.rate:g} Hz, simulated time",
        f"the noise that chunks are made from is scaled by {settings.noise_scale:g}",
        f"time limit of a task {settings.limit:g} s"
        + (f"; continuous operation {settings.minute:g} s" if settings.minute else ""),
    ]
    if any(row.cell.jitter for row in rows):
        lines.append(
            "jitter: the delay is the median of a log-normal distribution, sigma "
            f"{settings.delay_spread:g}; {100 * settings.lost:g} % of the answers are lost"
        )
    sync, best = summary.synchronous(rows), summary.best_asynchronous(rows)
    checks, notes = summary.lasting(rows), []
    if sync and best and sync.minutes:
        checks = summary.criteria(sync, best) + checks
        notes = summary.comparisons(rows, sync, best, facts, settings.fps)
    text = report.markdown(
        "Synchronous against asynchronous execution",
        lines,
        rows,
        checks,
        settings.minute,
        notes,
    )
    at_claim = [row for row in rows if row.cell == Cell(BLENDED, CLAIM_DELAY)]
    claim = [row for row in dict.fromkeys((sync, best, *at_claim)) if row is not None]
    (folder / f"{NAME}.md").write_text(text, encoding="utf-8")
    write_json(
        folder / f"{NAME}.json",
        {
            "setup": setup(settings),
            "seeds": list(seeds),
            "facts": dataclasses.asdict(facts),
            "rows": [row.plain() for row in rows],
            "claim": [row.cell.key for row in claim] if sync and best else [],
            "bars": [dataclasses.asdict(check) for check in checks],
        },
    )
    wanted = (NAIVE, BLENDED, USUAL, best.cell.execution if best else None)
    measured = dict.fromkeys(row.cell.execution for row in rows)
    drawn = [one for one in measured if one.synchronous or one in wanted]
    title = f"{settings.asked}, {len(seeds)} seeds, 95 % intervals"
    report.plot(rows, drawn, title, folder / f"{NAME}.png")
    return text


@dataclass(frozen=True)
class Claim:
    """What was measured in simulated time, as far as real nodes repeat it.

    Attributes:
        settings: what all runs had in common.
        setup: the same, as it stands in the file of runs.
        facts: of the policy.
        seeds: of the scenes.
        sync: synchronous execution at the delay of the claim.
        best: the best asynchronous one at that delay.
        usual: the paper's, where it is another.
    """

    settings: BenchSettings
    setup: dict[str, Any]
    facts: PolicyFacts
    seeds: tuple[int, ...]
    sync: Cell
    best: Cell
    usual: Cell | None = None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All of them."""
        return (self.sync, self.best, *((self.usual,) if self.usual else ()))


def read_claim(folder: Path) -> Claim:
    """Read what `write_report` wrote.

    Raises:
        ValueError: the file is not there, or holds no two rows at the delay of the claim.
    """
    path = folder / f"{NAME}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} is not there; run 'smolvla bench sim --output {folder}' first"
        ) from error
    if not content["claim"]:
        raise ValueError(
            f"{path} holds no synchronous and asynchronous row at {CLAIM_DELAY} ms; run the "
            f"benchmark in simulated time with that delay"
        )
    common = {name: value for name, value in content["setup"].items() if name in _COMMON}
    facts = content["facts"]
    claim = [_cell(**key) for key in content["claim"]]
    return Claim(
        settings=BenchSettings(**common),
        setup=content["setup"],
        facts=PolicyFacts(**{**facts, "cameras": tuple(facts["cameras"])}),
        seeds=tuple(content["seeds"]),
        sync=claim[0],
        best=claim[1],
        usual=claim[2] if len(claim) > 2 else None,
    )


def _cell(delay_ms: int, jitter: bool, **execution: Any) -> Cell:
    return Cell(Execution(**execution), delay_ms, jitter)


class ResultsFile:
    """Runs that are done, on disk.

    The first line says what all runs have in common. A last line that an interruption cut off
    is dropped.

    Args:
        path: created if needed, with its folder.
        setup: what all runs have in common, as plain data.

    Raises:
        ValueError: the file holds runs of another setup, or is no such file; the text names
            what differs.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path, setup: Mapping[str, Any]) -> None:
        self._path = path
        self._done: dict[str, Result] = {}
        # As it will be read back, so that tuples equal lists.
        wanted = json.loads(json.dumps(setup))
        lines = self._lines()
        # A setup without runs binds nobody: it may have been a mistyped option.
        if not lines or (len(lines) == 1 and _is_setup(lines[0])):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_line({"setup": wanted}), encoding="utf-8")
            return
        if not _is_setup(lines[0]):
            raise ValueError(f"{path} is no file of results; give another --output")
        found = lines[0]["setup"]
        other = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        if other:
            details = "; ".join(f"{name} {found.get(name)} there" for name in other)
            raise ValueError(
                f"{path} holds runs of another setup ({details}): give another --output, or "
                "--fresh to begin anew"
            )
        self._done = {_key(line): line["figures"] for line in lines[1:]}
        path.write_text("".join(_line(line) for line in lines), encoding="utf-8")

    def _lines(self) -> list[Any]:
        if not self._path.exists():
            return []
        lines = []
        texts = self._path.read_text(encoding="utf-8").splitlines()
        for number, text in enumerate(texts, 1):
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError as error:
                if number < len(texts):
                    raise ValueError(
                        f"{self._path} is damaged in line {number} ({error}): mend it, or "
                        "--fresh to begin anew"
                    ) from error
        return lines

    def __len__(self) -> int:
        return len(self._done)

    def add(self, job: Job, result: Result) -> None:
        """Note the result of a run."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line({**job.key, "figures": result}))
        self._done[_key(job.key)] = result

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs that are still to be done."""
        return [job for job in jobs if _key(job.key) not in self._done]

    def row(self, cell: Cell, seeds: Sequence[int]) -> Row:
        """Return the row of a cell over the seeds.

        Raises:
            KeyError: a run is missing.
        """
        episodes, minutes = (
            [_key(Job(cell, measurement, seed).key) for seed in seeds]
            for measurement in (EPISODE, MINUTE)
        )
        found = [self._done[key] for key in minutes if key in self._done]
        return summary.row(cell, [self._done[key] for key in episodes], found)


def _is_setup(line: Any) -> bool:
    return isinstance(line, dict) and isinstance(line.get("setup"), dict)


def _key(run: Mapping[str, Any]) -> str:
    return json.dumps([run["cell"], run["measurement"], run["seed"]], sort_keys=True)


def _line(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
