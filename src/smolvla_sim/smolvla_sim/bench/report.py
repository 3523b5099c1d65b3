# SPDX-License-Identifier: Apache-2.0
"""Table and picture, with what they mean and what they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from smolvla_sim.bench.summary import PAPER, Criterion, Row
from smolvla_sim.play.loop import Execution
from smolvla_sim.play.measures import Interval

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
# Where the two columns of continuous operation begin.
_CONTINUOUS = 4
# From this share on, a pause after each hold is worth a note.
_MUCH_APPROACH = 0.05

_DPI = 110
# Okabe and Ito's palette, which color-blind readers can tell apart.
_COLORS = ("#D55E00", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
# Lines are set apart sideways, so that no error bar hides another [ms].
_APART = 6.0

LEGEND = """\
- 95 % confidence intervals in brackets: Clopper and Pearson for success, bootstrap over seeds for
  the mean time of the tasks that were done and for the mean number of cubes.
- delay: from an observation to its chunk, the inference included.
- failed: tasks of continuous operation that were not done within their time limit, mean a run.
- sync executes the rows of a chunk and then observes and infers anew, the arm holding. After a
  hold it goes on at once, as LeRobot does; the other rows have the executor's slow approach to an
  action far from where the arm held (`resume_jump`).
- starved: control cycles without an action, the arm holds; approach: cycles of that approach.
- age: from the observation of the newest chunk that contributed to an action to its execution.
- seam: where a new chunk takes over, how much the command's step from one control cycle to the
  next differs from the step before it, largest joint.
"""


def table(rows: Sequence[Row], minute: float = 60.0) -> str:
    """Return the rows as a Markdown table."""
    head = [text.format(minute=minute) for text in _HEAD]
    lines = [head, ["---:", ":---", *["---:"] * (len(head) - 2)], *map(_texts, rows)]
    if not any(row.minutes for row in rows):
        lines = [[*line[:_CONTINUOUS], *line[_CONTINUOUS + 2 :]] for line in lines]
    return "\n".join(map(_cells, lines))


def _texts(row: Row) -> list[str]:
    low, high = row.success_interval
    return [
        row.cell.delay,
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


def row_notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader must know about these very rows."""
    found = []
    slow = [row for row in rows if row.approaching > _MUCH_APPROACH]
    if slow:
        worst = max(slow, key=lambda row: row.approaching)
        found.append(
            f"{worst.name} at {worst.cell.delay} spends "
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
    checks: Sequence[Criterion],
    minute: float,
    notes: Sequence[str] = (),
) -> str:
    """Return the whole report.

    Args:
        title: its heading.
        setup: lines that say what was measured and how.
        rows: of the table.
        checks: criteria; may be none.
        minute: length of continuous operation [s].
        notes: on the criteria.
    """
    parts = [f"# {title}", "\n".join(f"- {line}" for line in setup), table(rows, minute)]
    if checks:
        parts.append("\n".join(f"- {check}" for check in checks))
    lines = [*notes, *row_notes(rows)]
    if lines:
        parts.append("\n".join(f"- {line}" for line in lines))
    parts += [LEGEND.rstrip(), f"For comparison, the {PAPER}."]
    return "\n\n".join(parts) + "\n"


def plot(rows: Sequence[Row], drawn: Sequence[Execution], title: str, path: Path) -> None:
    """Write the picture (PNG), success and time of a task over the delay; needs no display.

    Args:
        rows: of the table; those with jitter are left out.
        drawn: the executions to draw, one line each.
        title: above it.
        path: of the file.
    """
    # Not at the top: who only reads results needs no Matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    success, seconds = figure.subplots(1, 2)
    for index, execution in enumerate(drawn):
        found = [row for row in rows if row.cell.execution == execution and not row.cell.jitter]
        apart = _APART * (index - (len(drawn) - 1) / 2)
        style = {
            "label": execution.name,
            "color": _COLORS[index % len(_COLORS)],
            "ls": "--" if execution.synchronous else "-",
            "marker": "s" if execution.synchronous else "o",
            "capsize": 3,
        }
        for axes, points in (
            (success, [(row, 100.0, row.success, row.success_interval) for row in found]),
            (seconds, [(r, 1.0, r.seconds, r.seconds_interval) for r in found if r.successes]),
        ):
            axes.errorbar(
                [row.cell.delay_ms + apart for row, *_ in points],
                [scale * value for _, scale, value, _ in points],
                # A bootstrap interval may end a hair inside the mean it belongs to.
                yerr=[
                    [scale * max(0.0, value - low) for _, scale, value, (low, _) in points],
                    [scale * max(0.0, high - value) for _, scale, value, (_, high) in points],
                ],
                **style,
            )
    for axes, label in ((success, "tasks done in time [%]"), (seconds, "time of a task [s]")):
        axes.set_xlabel("delay from observation to chunk [ms]")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.25)
    success.set_ylim(top=105.0)
    success.legend(loc="lower left", fontsize=9)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
