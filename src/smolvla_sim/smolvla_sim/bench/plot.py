# SPDX-License-Identifier: Apache-2.0
"""The picture: cubes in a minute over the policy's delay. Needs no display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from smolvla_sim.bench.bars import PAPER
from smolvla_sim.bench.summary import Row
from smolvla_sim.play.execution import Execution

_DPI = 110
# Okabe and Ito's palette, which color-blind readers can tell apart.
_COLORS = ("#D55E00", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
# Lines are set apart sideways, so that no error bar hides another [ms].
_APART = 6.0


def plot(
    rows: Sequence[Row], drawn: Sequence[Execution], title: str, minute: float, path: Path
) -> None:
    """Write the picture (PNG).

    Args:
        rows: of the table.
        drawn: those to draw, one line each.
        title: above it.
        minute: length of continuous operation [s].
        path: of the file.
    """
    figure = Figure(figsize=(8.5, 5.5), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, execution in enumerate(drawn):
        found = [row for row in rows if row.cell.execution == execution and row.minutes]
        delays = [row.cell.delay_ms + _APART * (index - (len(drawn) - 1) / 2) for row in found]
        means = [row.cubes_mean for row in found]
        below = [row.cubes_mean - row.cubes_interval[0] for row in found]
        above = [row.cubes_interval[1] - row.cubes_mean for row in found]
        axes.errorbar(
            delays,
            means,
            # A bootstrap interval may end a hair inside the mean it belongs to.
            yerr=[[max(0.0, part) for part in side] for side in (below, above)],
            label=execution.name,
            color=_COLORS[index % len(_COLORS)],
            ls="--" if execution.synchronous else "-",
            marker="s" if execution.synchronous else "o",
            capsize=4,
        )
    axes.set_xlabel("delay from observation to chunk [ms]")
    axes.set_ylabel(f"cubes in {minute:g} s")
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.25)
    axes.legend()
    axes.set_title(title, fontsize=11)
    figure.supxlabel(_wrapped(PAPER), fontsize=7.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _wrapped(text: str) -> str:
    middle = text.find(" ", len(text) // 2)
    return f"{text[:middle]}\n{text[middle + 1 :]}"
