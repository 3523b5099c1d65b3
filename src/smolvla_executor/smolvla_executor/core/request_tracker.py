# SPDX-License-Identifier: Apache-2.0
"""Requests under way: one slot, time-outs, and what to do with late or odd answers."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from smolvla_core.latency import LatencyWindow

TIMEOUT_FACTOR = 3.0
REMEMBERED = 100


@dataclass(frozen=True)
class _Sent:
    tick: int
    time: float


class RequestTracker:
    """Keeps at most one request in flight and never waits for one for ever.

    A request that timed out frees the slot, yet its answer is still welcome until a newer
    answer has been merged: a slow policy makes progress even when every request times out.

    Args:
        first_id: id of the first request; ids count up from it, also across `forget`.
        timeout: shortest time after which a request is given up [s].
        retry_delay: pause after a refusal [s].
        latency: takes the latency of every answer and stretches the time-out.
    """

    def __init__(
        self, first_id: int, timeout: float, retry_delay: float, latency: LatencyWindow
    ) -> None:
        self._next_id = first_id
        self._timeout = timeout
        self._retry_delay = retry_delay
        self._latency = latency
        self._sent: dict[int, _Sent] = {}
        self._forgotten: deque[int] = deque(maxlen=REMEMBERED)
        self.reset()

    def reconfigure(self, timeout: float, retry_delay: float) -> None:
        """Wait for other times from now on, also for the request in flight."""
        self._timeout = timeout
        self._retry_delay = retry_delay

    def reset(self) -> None:
        """Forget the requests under way and set the counters to zero."""
        self.forget()
        self.sent = 0
        self.timed_out = 0
        self.refused = 0
        self.ignored = 0
        self.last_refusal = ""

    def forget(self) -> None:
        """Take no answer to any request made so far."""
        self._forgotten.extend(self._sent)
        self._sent.clear()
        self._in_flight: int | None = None
        self._not_before = -math.inf
        self._silent_since: float | None = None

    def forgot(self, request_id: int) -> bool:
        """Say whether `forget` gave this request up: an answer to it is nothing odd."""
        return request_id in self._forgotten

    @property
    def in_flight(self) -> bool:
        """Whether a request waits for its answer."""
        return self._in_flight is not None

    def age(self, now: float) -> float:
        """Return how long the request in flight has been waiting [s]; 0 without one."""
        return 0.0 if self._in_flight is None else now - self._sent[self._in_flight].time

    def silence(self, now: float) -> float:
        """Return how long the policy has left requests without any answer [s]."""
        return 0.0 if self._silent_since is None else now - self._silent_since

    def timeout(self) -> float:
        """Return after how long a request is given up [s]."""
        slow = TIMEOUT_FACTOR * self._latency.p95
        return self._timeout if math.isnan(slow) else max(self._timeout, slow)

    def expire(self, now: float) -> None:
        """Free the slot when the request in flight has waited too long."""
        if self._in_flight is not None and self.age(now) >= self.timeout():
            self._in_flight = None
            self.timed_out += 1

    def free(self, now: float) -> bool:
        """Say whether a request may be sent."""
        return self._in_flight is None and now >= self._not_before

    def send(self, tick: int, now: float) -> int:
        """Note a request for `tick` and return its id.

        Raises:
            RuntimeError: one is in flight.
        """
        if self._in_flight is not None:
            raise RuntimeError(f"request {self._in_flight} is still in flight")
        request_id = self._next_id
        self._next_id += 1
        self._sent[request_id] = _Sent(tick, now)
        if len(self._sent) > REMEMBERED:  # a dead policy must not fill the memory
            del self._sent[min(self._sent)]
        self._in_flight = request_id
        self.sent += 1
        if self._silent_since is None:
            self._silent_since = now
        return request_id

    def answer(self, request_id: int, now: float) -> int | None:
        """Take a chunk's answer; return the tick it was asked for, None to ignore it.

        Ignored, and counted, are answers to unknown ids, second answers, and answers to
        requests older than one that `supersede` named.
        """
        sent = self._take(request_id)
        if sent is None:
            return None
        self._latency.add(max(0.0, now - sent.time))
        return sent.tick

    def refuse(self, request_id: int, error: str, now: float) -> bool:
        """Take a refusal: free the slot and pause. Return False when it is to be ignored."""
        if self._take(request_id) is None:
            return False
        self.refused += 1
        self.last_refusal = error
        self.pause(now)
        return True

    def pause(self, now: float) -> None:
        """Send nothing for `retry_delay`."""
        self._not_before = now + self._retry_delay

    def supersede(self, request_id: int) -> None:
        """Ignore from now on the answers to requests older than `request_id`."""
        for older in [sent for sent in self._sent if sent < request_id]:
            del self._sent[older]

    def _take(self, request_id: int) -> _Sent | None:
        sent = self._sent.pop(request_id, None)
        if sent is None:
            self.ignored += 1
            return None
        self._silent_since = None
        if self._in_flight == request_id:
            self._in_flight = None
        elif self._in_flight is not None:
            self._silent_since = self._sent[self._in_flight].time
        return sent
