# SPDX-License-Identifier: Apache-2.0
"""The files that the benchmark leaves: table, picture, and JSON that the next step reads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
from smolvla_policy.checkpoint.source import WEIGHTS, find_checkpoint

from smolvla_sim.bench import bars, report
from smolvla_sim.bench.cells import CLAIM_DELAY, Cell
from smolvla_sim.bench.plot import plot
from smolvla_sim.bench.runs import BenchOptions
from smolvla_sim.bench.summary import Row
from smolvla_sim.play.assignments import Assignment
from smolvla_sim.play.execution import USUAL_AGGREGATE, USUAL_G, Execution
from smolvla_sim.play.policies import PolicyFacts, PolicySpec

NAME = "sync_async"
"""Of all files, before their endings."""


def setup(options: BenchOptions) -> dict[str, Any]:
    """Return what all runs have in common, as plain data, with the checkpoint's fingerprint.

    Raises:
        ValueError: there is no such checkpoint.
    """
    common = dataclasses.asdict(options)
    common["mujoco"] = mujoco.__version__
    if options.policy.name == "smolvla":
        weights = find_checkpoint(options.policy.checkpoint) / WEIGHTS
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
    options: BenchOptions,
    facts: PolicyFacts,
    folder: Path,
) -> str:
    """Write table, JSON and picture of the rows into `folder`; return the table's text."""
    lines = [
        f"{options.policy.description}; task {options.assignment.text}; "
        f"{len(seeds)} seeds from {seeds[0]}",
        f"actions at {options.policy.fps:g} Hz in chunks of {facts.chunk_size}, control loop at "
        f"{options.rate:g} Hz, simulated time",
        f"the noise that chunks are made from is scaled by {options.policy.noise_scale:g}",
        f"time limit of a task {options.seconds:g} s; continuous operation {options.minute:g} s",
    ]
    sync, best = bars.synchronous(rows), bars.best_asynchronous(rows)
    checks = bars.bars(sync, best) if sync and best else []
    text = report.markdown(
        "Synchronous against asynchronous execution",
        lines,
        rows,
        checks,
        options.minute,
        bars.beside(rows, facts, options.policy.fps),
    )
    (folder / f"{NAME}.md").write_text(text, encoding="utf-8")
    write_json(
        folder / f"{NAME}.json",
        {
            "setup": setup(options),
            "seeds": list(seeds),
            "facts": dataclasses.asdict(facts),
            "rows": [row.plain() for row in rows],
            "claim": [row.cell.key for row in (sync, best) if row is not None],
            "bars": [dataclasses.asdict(check) for check in checks],
        },
    )
    wanted = (Execution(USUAL_G, USUAL_AGGREGATE), best.cell.execution if best else None)
    measured = dict.fromkeys(row.cell.execution for row in rows)
    drawn = [one for one in measured if one.synchronous or one in wanted]
    title = f"{options.assignment.text}, {len(seeds)} seeds, 95 % CI of the mean"
    plot(rows, drawn, title, options.minute, folder / f"{NAME}.png")
    return text


def write_json(path: Path, content: Any) -> None:
    """Write plain data."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Claim:
    """What was measured in simulated time, as far as real nodes repeat it.

    Attributes:
        options: what all runs had in common.
        setup: the same, as it stands in the file of runs.
        facts: of the policy.
        seeds: of the scenes.
        sync: synchronous execution at the delay of the claim.
        best: the best asynchronous one at that delay.
    """

    options: BenchOptions
    setup: dict[str, Any]
    facts: PolicyFacts
    seeds: tuple[int, ...]
    sync: Cell
    best: Cell


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
            f"{path} is not there; run 'python -m smolvla_sim.bench --out {folder}' first"
        ) from error
    if len(content["claim"]) != 2:
        raise ValueError(
            f"{path} holds no synchronous and asynchronous row at {CLAIM_DELAY} ms; run the "
            f"benchmark in simulated time with that delay"
        )
    fields = {field.name for field in dataclasses.fields(BenchOptions)}
    common = {name: value for name, value in content["setup"].items() if name in fields}
    policy = common["policy"]
    common["policy"] = PolicySpec(**{**policy, "cameras": tuple(policy["cameras"])})
    common["assignment"] = Assignment(**common["assignment"])
    common["size"] = tuple(common["size"])
    facts = content["facts"]
    sync, best = (_cell(key) for key in content["claim"])
    return Claim(
        options=BenchOptions(**common),
        setup=content["setup"],
        facts=PolicyFacts(**{**facts, "cameras": tuple(facts["cameras"])}),
        seeds=tuple(content["seeds"]),
        sync=sync,
        best=best,
    )


def _cell(key: dict[str, Any]) -> Cell:
    execution = {name: value for name, value in key.items() if name != "delay_ms"}
    return Cell(Execution(**execution), key["delay_ms"])
