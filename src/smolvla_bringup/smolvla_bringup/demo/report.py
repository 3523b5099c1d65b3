# SPDX-License-Identifier: Apache-2.0
"""What a demo prints: a line while it runs, and the summary at its end."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from typing import Any, TextIO

from smolvla_core.client import SmolVLAClient
from smolvla_core.ros.diagnostics import EXECUTOR_STATES

from smolvla_bringup.system.options import Options
from smolvla_bringup.system.run_log import RunLog
from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

# Taken over from the executor's status.
_COUNTERS_AND_TIMINGS = (
    "requests",
    "requests_timed_out",
    "requests_refused",
    "chunks_merged",
    "chunks_late",
    "chunks_invalid",
    "rows_trimmed",
    "starved_cycles",
    "starvations",
    "guard_limited",
    "overruns",
    "latency_p50",
    "latency_p95",
    "seam_jump_max",
    "period_p50",
    "period_p99",
    "period_max",
)
_TERMINAL_PERIOD = 0.1  # [s] between two states of the live line
_FILE_PERIOD = 2.0  # [s]
_FILE_WIDTH = 1000


class LiveLine:
    """Writes to `stream`.

    Args:
        stream: where to.
        clock: returns seconds; injected by tests.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._terminal = stream.isatty()
        self._period = _TERMINAL_PERIOD if self._terminal else _FILE_PERIOD
        self._last = -float("inf")
        self._open = False

    def update(self, text: Callable[[int], str]) -> None:
        """Show `text` unless something was shown just now; it is given the columns there are."""
        now = self._clock()
        if now - self._last < self._period:
            return
        self._last = now
        if self._terminal:
            # Cut to one row, or the carriage return would not reach its beginning.
            width = shutil.get_terminal_size().columns - 1
            row = text(width)[:width]
            self._stream.write(f"\r{row}\x1b[K")
            self._open = True
        else:
            self._stream.write(text(_FILE_WIDTH) + "\n")
        self._stream.flush()

    def log(self, text: str) -> None:
        """Write `text` on a line of its own that stays."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._open else f"{text}\n")
        self._stream.flush()
        self._open = False
        self._last = -float("inf")


def status_line(now: float, client: SmolVLAClient, width: int) -> str:
    """Return one line of at most `width` columns.

    Time, score and state come first, with a reason where the arm does not move; queue, newest
    latency and tick where there is room.
    """
    status = client.executor_status
    if status is None:
        return f"{now:5.1f} s  executor_node has sent no status yet"
    score = "–" if client.score is None else f"{client.score:.2f}"
    line = f"{now:5.1f} s  score {score:<4}  {EXECUTOR_STATES.get(status.state, '?')}"
    if status.state not in (ExecutorStatus.APPROACHING, ExecutorStatus.RUNNING):
        line += f": {status.reason}"
    latency = "–"
    if math.isfinite(status.latency_last):
        latency = f"{1e3 * status.latency_last:.0f} ms"
    for part in (
        f"queue {status.queue_depth:2d}/{status.chunk_size}",
        f"latency {latency}",
        f"tick {status.tick}",
    ):
        if len(line) + 2 + len(part) <= width:
            line += f"  {part}"
    return line if len(line) <= width else f"{line[: width - 1]}…"


def summarize(
    log: RunLog,
    options: Options,
    executor: ExecutorStatus,
    policy: PolicyStatus,
    notes: list[str],
) -> dict[str, Any]:
    """Return the summary as it is written to summary.json; seconds and radians.

    Args:
        log: of the run.
        options: how the system was started.
        executor: its newest status; its counters run since its start.
        policy: its newest status.
        notes: what did not work but did not stop the demo either.
    """
    too_slow = _too_slow(log, executor.latency_p50)
    summary: dict[str, Any] = {
        "success": log.success_time is not None,
        "time_to_success": log.success_time,
        "duration": log.end_time,
        "score_max": max((score for _, score in log.scores), default=None),
        "task": options.task,
        "seed": options.seed,
        "robot": options.robot,
        "policy": policy.backend or options.policy,
        "checkpoint": policy.checkpoint or options.checkpoint,
        "device": policy.device,
        "dtype": policy.dtype,
        "inference_p50": policy.inference_p50,
        "inference_p95": policy.inference_p95,
        "chunk_size": executor.chunk_size,
        "execution": executor.execution,
        "executor_state": executor.reason,
        "last_refusal": executor.last_refusal,
        "notes": [*notes, *([too_slow] if too_slow else [])],
    }
    for name in _COUNTERS_AND_TIMINGS:
        summary[name] = getattr(executor, name)
    # JSON has neither NaN nor infinity.
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in summary.items()
    }


def _too_slow(log: RunLog, latency: float) -> str:
    """Return a note where the latency [s] is longer than the chunks reach; else empty."""
    reach = max((len(chunk.positions) * chunk.period for chunk in log.chunks), default=0.0)
    if not latency >= reach > 0.0:  # nor NaN
        return ""
    return (
        f"this machine is too slow for this checkpoint: an answer takes {latency:.1f} s, and a "
        f"chunk reaches {reach:.1f} s ahead, so the arm waits in between; take a GPU or a faster "
        "machine, a smaller network, or one with longer chunks"
    )


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:.1f} ms"


def summary_text(summary: dict[str, Any]) -> str:
    """Return the summary as text, one entry per line."""
    lines = []

    def line(what: str, text: str) -> None:
        lines.append(f"  {what:<24} {text}")

    if summary["success"]:
        line("task", f"done: {summary['task']}")
        line("time to success", f"{summary['time_to_success']:.1f} s")
    else:
        best = summary["score_max"]
        reached = "the simulation sent no score" if best is None else f"best score {best:g} of 1"
        line("task", f"NOT done in {summary['duration']:.1f} s: {summary['task']}; {reached}")
    policy = [summary["policy"], summary["checkpoint"], summary["device"], summary["dtype"]]
    line("policy", " ".join(part for part in policy if part))
    chunks = f"{summary['chunks_merged']} of up to {summary['chunk_size']} actions"
    line("chunks executed", chunks)
    line("execution", summary["execution"] or "–")
    line(
        "latency of a chunk",
        f"p50 {_milliseconds(summary['latency_p50'])}, p95 {_milliseconds(summary['latency_p95'])}"
        f" (request to usable chunk; inference {_milliseconds(summary['inference_p50'])})",
    )
    line(
        "without an action",
        f"{summary['starved_cycles']} control cycles in {summary['starvations']} gaps",
    )
    jump = summary["seam_jump_max"]
    line("largest jump at a seam", "–" if jump is None else f"{jump:.4f} rad between two chunks")
    line(
        "control period",
        f"p50 {_milliseconds(summary['period_p50'])}, p99 {_milliseconds(summary['period_p99'])}"
        f", {summary['overruns']} cycles late",
    )
    if summary["requests_refused"] and not summary["success"]:
        line(
            "policy refused", f"{summary['requests_refused']} requests: {summary['last_refusal']}"
        )
    if not summary["success"]:
        line("executor", summary["executor_state"])
    lines += [f"  note: {note}" for note in summary["notes"]]
    return "\n".join(lines)
