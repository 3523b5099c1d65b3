# SPDX-License-Identifier: Apache-2.0
"""The plot of a demo: joints, chunks, queue and score over time. Needs no display."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from smolvla_bringup.system.run_log import RunLog

_DPI = 110
# Okabe and Ito's palette, which color-blind readers can tell apart.
_MEASURED, _COMMANDED, _CHUNK = "#000000", "#D55E00", "#0072B2"
_WIDTHS = {_MEASURED: 1.6, _COMMANDED: 1.2, _CHUNK: 1.0}
_QUEUE, _REQUEST, _ARRIVAL, _SCORE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"


def plot_run(log: RunLog, title: str, path: Path) -> None:
    """Write the plot of `log` to `path` (PNG).

    One panel per joint with commanded and measured position and every chunk as it was
    predicted, from the time at which its rows were due; below, queue depth with the requests
    and the arrivals, and the task's score. All have the same axis of time.
    """
    count = len(log.joints)
    figure = Figure(figsize=(15, 1.45 * count + 4.4), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=14)
    ratios = [*[1.0] * count, 1.4, 0.8]
    *panels, queue, score = figure.subplots(count + 2, sharex=True, height_ratios=ratios)
    chunk_times = [
        log.tick_times(chunk.first_tick + np.arange(len(chunk.positions)), chunk.period)
        for chunk in log.chunks
    ]
    for index, (joint, axes) in enumerate(zip(log.joints, panels, strict=True)):
        for times, chunk in zip(chunk_times, log.chunks, strict=True):
            axes.plot(
                times,
                chunk.positions[:, index],
                color=_CHUNK,
                alpha=0.35,
                lw=_WIDTHS[_CHUNK],
                marker=".",
                markevery=[0] if len(times) else None,
            )
        for samples, color in ((log.states, _MEASURED), (log.commands, _COMMANDED)):
            values = [positions[index] for _, positions in samples]
            axes.plot([time for time, _ in samples], values, color=color, lw=_WIDTHS[color])
        axes.set_ylabel(f"{joint}\n[rad]")
    _plot_queue(queue, log)
    _plot_score(score, log)
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.set_xlim(0.0, max(log.end_time, 0.1))
        if log.success_time is not None:
            axes.axvline(log.success_time, color=_SCORE, lw=1.2, ls="--")
    figure.align_ylabels()
    figure.legend(handles=_legend(log), loc="outside lower center", ncols=7, frameon=False)
    figure.savefig(path)


def _plot_queue(axes: Axes, log: RunLog) -> None:
    times = [sample.time for sample in log.progress]
    depths = [sample.depth for sample in log.progress]
    axes.step(times, depths, where="post", color=_QUEUE, lw=1.4)
    axes.fill_between(times, depths, step="post", color=_QUEUE, alpha=0.15)
    top = max([*depths, 1]) * 1.12
    axes.set_ylim(-0.12 * top, top)
    arrivals = [chunk.time for chunk in log.chunks if len(chunk.positions)]
    axes.plot(log.requests, [-0.03 * top] * len(log.requests), "|", color=_REQUEST, ms=9)
    axes.plot(arrivals, [-0.085 * top] * len(arrivals), "|", color=_ARRIVAL, ms=9)
    axes.set_ylabel("queue\n[actions]")


def _plot_score(axes: Axes, log: RunLog) -> None:
    axes.step(
        [time for time, _ in log.scores],
        [score for _, score in log.scores],
        where="post",
        color=_SCORE,
        lw=1.8,
    )
    axes.set_ylim(-0.08, 1.12)
    axes.set_yticks([0.0, 0.5, 1.0])
    axes.set_ylabel("score\n[0 to 1]")
    axes.set_xlabel("time since the instruction [s]")


def _legend(log: RunLog) -> list[Line2D]:
    handles = [
        Line2D([], [], color=_MEASURED, lw=_WIDTHS[_MEASURED], label="measured"),
        Line2D([], [], color=_COMMANDED, lw=_WIDTHS[_COMMANDED], label="commanded"),
        Line2D(
            [],
            [],
            color=_CHUNK,
            alpha=0.5,
            lw=_WIDTHS[_CHUNK],
            marker=".",
            label="chunk (dot: first row)",
        ),
        Line2D([], [], color=_QUEUE, lw=4, alpha=0.5, label="queued actions"),
        Line2D([], [], color=_REQUEST, ls="", marker="|", ms=10, mew=2, label="request"),
        Line2D([], [], color=_ARRIVAL, ls="", marker="|", ms=10, mew=2, label="chunk arrives"),
    ]
    if log.success_time is not None:
        handles.append(Line2D([], [], color=_SCORE, lw=1.2, ls="--", label="success"))
    return handles
