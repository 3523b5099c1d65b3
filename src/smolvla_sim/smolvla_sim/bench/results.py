# SPDX-License-Identifier: Apache-2.0
"""The file of results: one JSON line a run, so that an interrupted benchmark continues."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from smolvla_sim.bench.cells import Cell
from smolvla_sim.bench.runs import Job

Figures = Mapping[str, Any]


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
        self._done: dict[str, Figures] = {}
        # As it will be read back, so that tuples equal lists.
        wanted = json.loads(json.dumps(setup))
        lines = self._lines()
        # A setup without runs binds nobody: it may have been a mistyped option.
        if not lines or (len(lines) == 1 and _is_setup(lines[0])):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_line({"setup": wanted}), encoding="utf-8")
            return
        if not _is_setup(lines[0]):
            raise ValueError(f"{path} is no file of results; give another --out")
        found = lines[0]["setup"]
        other = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        if other:
            words = "; ".join(f"{name} {found.get(name)} there" for name in other)
            raise ValueError(
                f"{path} holds runs of another setup ({words}): give another --out, or --fresh "
                "to begin anew"
            )
        self._done = {_key(line["cell"], line): line["figures"] for line in lines[1:]}
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

    def add(self, job: Job, figures: Figures) -> None:
        """Note the figures of a run."""
        line = {
            "cell": job.cell.key,
            "measurement": job.measurement,
            "seed": job.seed,
            "figures": figures,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(line))
        self._done[_key(job.cell.key, line)] = figures

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs that are still to be done."""
        return [job for job in jobs if _job_key(job) not in self._done]

    def of(self, cell: Cell, measurement: str, seeds: Iterable[int]) -> list[Figures]:
        """Return the figures of a cell, in the order of the seeds.

        Raises:
            KeyError: a run is missing.
        """
        return [self._done[_job_key(Job(cell, measurement, seed))] for seed in seeds]


def _is_setup(line: Any) -> bool:
    return isinstance(line, dict) and isinstance(line.get("setup"), dict)


def _job_key(job: Job) -> str:
    return _key(job.cell.key, {"measurement": job.measurement, "seed": job.seed})


def _key(cell: Mapping[str, Any], line: Mapping[str, Any]) -> str:
    return json.dumps([cell, line["measurement"], line["seed"]], sort_keys=True)


def _line(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
