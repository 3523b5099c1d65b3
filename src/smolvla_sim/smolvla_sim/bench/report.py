# SPDX-License-Identifier: Apache-2.0
"""The table as Markdown, with what it means and what it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from smolvla_sim.bench.bars import PAPER, Bar
from smolvla_sim.bench.summary import Row
from smolvla_sim.play.intervals import Interval

_HEAD = (
    "delay",
    "execution",
    "success [%]",
    "s per task",
    "cubes in {minute:g} s",
    "failed",
    "starved [%]",
    "approach [%]",
    "age p50/p95/p99 [ms]",
    "seam p50/p95/max [°]",
)
# From this share on, a pause after each hold is worth a word.
_MUCH_APPROACH = 0.05

LEGEND = """\
- 95 % confidence intervals in brackets: Clopper and Pearson for success, bootstrap over seeds for
  the mean time of the tasks that were done and for the mean number of cubes.
- delay: from an observation to its chunk, the inference included.
- failed: tasks of continuous operation that were not done within their time limit, mean a run.
- sync executes the rows of a chunk and then observes and thinks anew, the arm holding. After a
  hold it goes on at once, as LeRobot does; the other rows have the executor's slow approach to an
  action far from where the arm held (`resume_jump`).
- starved: control cycles without an action, the arm holds; approach: cycles of that approach.
- age: from the observation of the newest chunk that had a say in an action to its execution.
- seam: where a new chunk takes over, how much the command's step from one control cycle to the
  next differs from the step before it, largest joint.
"""


def table(rows: Sequence[Row], minute: float = 60.0) -> str:
    """Return the rows as a Markdown table."""
    head = [text.format(minute=minute) for text in _HEAD]
    lines = [_cells(head), _cells(["---:", ":---", *["---:"] * (len(head) - 2)])]
    lines += [_cells(_texts(row)) for row in rows]
    return "\n".join(lines)


def _texts(row: Row) -> list[str]:
    low, high = row.success_interval
    return [
        f"{row.cell.delay_ms} ms",
        row.name,
        f"{100 * row.success:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
        _with_interval(row.seconds, row.seconds_interval) if row.successes else "–",
        _with_interval(row.cubes_mean, row.cubes_interval) if row.minutes else "–",
        f"{row.failed:.2f}" if row.minutes else "–",
        f"{100 * row.starved:.1f}",
        f"{100 * row.approaching:.1f}",
        _percentiles(row.ages, 0),
        _percentiles(row.jumps, 1),
    ]


def _percentiles(values: Sequence[float], digits: int) -> str:
    if any(math.isnan(value) for value in values):
        return "–"
    return "/".join(f"{value:.{digits}f}" for value in values)


def _with_interval(value: float, interval: Interval) -> str:
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _cells(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader must know about these very rows."""
    found = []
    slow = [row for row in rows if row.approaching > _MUCH_APPROACH]
    if slow:
        worst = max(slow, key=lambda row: row.approaching)
        found.append(
            f"{worst.name} at {worst.cell.delay_ms} ms spends "
            f"{100 * worst.approaching:.0f} % of its cycles on approaches after a hold: part of "
            "what it loses is due to that, not to waiting."
        )
    refused = sum(row.refusals for row in rows)
    if refused:
        found.append(f"Requests that the policy refused: {refused}.")
    return found


def markdown(
    title: str,
    setup: Sequence[str],
    rows: Sequence[Row],
    checks: Sequence[Bar],
    minute: float,
    remarks: Sequence[str] = (),
) -> str:
    """Return the whole report.

    Args:
        title: its heading.
        setup: lines that say what was measured and how.
        rows: of the table.
        checks: bars, maybe none.
        minute: length of continuous operation [s].
        remarks: to be read with the bars.
    """
    parts = [f"# {title}", "\n".join(f"- {line}" for line in setup), table(rows, minute)]
    if checks:
        parts.append("\n".join(f"- {check}" for check in checks))
    words = [*remarks, *notes(rows)]
    if words:
        parts.append("\n".join(f"- {word}" for word in words))
    parts += [LEGEND.rstrip(), f"Beside it, {PAPER}."]
    return "\n\n".join(parts) + "\n"
