# SPDX-License-Identifier: Apache-2.0
"""Counters and timings of `policy_node`, from several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

from smolvla_core.latency import EventRate, LatencyWindow

from smolvla_msgs.msg import PolicyStatus


class PolicyCounters:
    """Counters, timings and the last error of a policy.

    Args:
        clock: [s], monotonic.

    Attributes:
        error: why the newest request was refused; empty after a chunk.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            self.error = ""
            self._inference = LatencyWindow()
            self._rate = EventRate(self._clock())
            self._requests = self._refused = self._chunks = self._failures = 0

    def on_request(self) -> None:
        """Count a request."""
        with self._lock:
            self._requests += 1

    def on_chunk(self, inference_time: float) -> None:
        """Count a chunk that took so long [s]."""
        with self._lock:
            self._inference.add(inference_time)
            self._rate.add(self._clock())
            self._chunks += 1
            self.error = ""

    def on_failure(self) -> None:
        """Count an inference that broke."""
        with self._lock:
            self._failures += 1

    def on_refusal(self, error: str) -> None:
        """Count a refusal and keep its reason."""
        with self._lock:
            self._refused += 1
            self.error = error

    def write(self, message: PolicyStatus) -> None:
        """Fill in the counters of a status."""
        with self._lock:
            message.requests = self._requests
            message.requests_refused = self._refused
            message.chunks = self._chunks
            message.inference_errors = self._failures
            message.inference_last = self._inference.last
            message.inference_p50 = self._inference.p50
            message.inference_p95 = self._inference.p95
            message.chunk_rate = self._rate.rate(self._clock())
