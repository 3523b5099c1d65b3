# SPDX-License-Identifier: Apache-2.0
"""One request in flight, time-outs that adapt, and answers that come late, twice or never."""

from __future__ import annotations

import math

import numpy as np
import pytest
from smolvla_core.latency import LatencyWindow, wants_chunk
from smolvla_core.node_settings import ExecutorSettings
from smolvla_executor.core.chunk_queue import Chunk
from smolvla_executor.core.executor_types import Request
from smolvla_executor.core.guard import Guard
from smolvla_executor.core.planner import REMEMBERED, Planner

SETTINGS = ExecutorSettings(request_timeout=1.0, retry_delay=0.2)


@pytest.fixture
def planner() -> Planner:
    return Planner(SETTINGS, Guard(SETTINGS), first_request_id=500)


def asked(planner: Planner, now: float) -> Request:
    request = planner.request(now)
    assert request is not None
    return request


def answer(planner: Planner, request: Request, now: float) -> str:
    rows = np.zeros((10, len(SETTINGS.joints)))
    return planner.on_chunk(Chunk(request.request_id, request.tick, rows, 0.05), now)


def test_a_timed_out_request_makes_room_and_its_answer_is_welcome_until_a_newer_one(
    planner: Planner,
) -> None:
    first = asked(planner, 0.0)
    planner.expire(0.99)
    assert planner.request(0.99) is None
    planner.expire(1.0)
    second = asked(planner, 1.0)
    planner.expire(2.0)
    third = asked(planner, 2.0)
    assert planner.counters.requests_timed_out == 2
    assert answer(planner, second, 2.2) == ""
    assert planner.in_flight
    assert "ignored" in answer(planner, first, 2.3)
    assert answer(planner, third, 2.4) == ""
    assert not planner.in_flight


def test_second_answers_and_unknown_ids_are_ignored(planner: Planner) -> None:
    request = asked(planner, 0.0)
    assert answer(planner, request, 0.1) == ""
    assert "ignored" in answer(planner, request, 0.2)
    assert "ignored" in planner.on_refusal(999, "no", 0.2)
    assert (planner.counters.chunks_merged, planner.counters.requests_refused) == (1, 0)


def test_answers_to_dropped_requests_are_told_from_odd_ones(planner: Planner) -> None:
    dropped = asked(planner, 0.0)
    planner.drop()
    assert "ignored" in answer(planner, dropped, 0.1)
    assert planner.dropped(dropped.request_id)
    answered = asked(planner, 0.2)
    answer(planner, answered, 0.3)
    assert not planner.dropped(answered.request_id)
    assert not planner.dropped(999)


def test_a_slow_policy_is_not_asked_twice(planner: Planner) -> None:
    request = asked(planner, 0.0)
    planner.expire(4.0)
    answer(planner, request, 4.0)
    planner.drop()
    asked(planner, 5.0)
    planner.expire(16.9)  # three times the latency
    assert planner.in_flight
    planner.expire(17.0)
    assert not planner.in_flight


def test_after_a_refusal_there_is_a_pause(planner: Planner) -> None:
    planner.on_refusal(asked(planner, 0.0).request_id, "no instruction yet", 0.1)
    assert planner.counters.last_refusal == "no instruction yet"
    assert planner.request(0.29) is None
    asked(planner, 0.31)


def test_ids_go_on_after_a_restart(planner: Planner) -> None:
    first = asked(planner, 0.0)
    planner.reset()
    second = asked(planner, 1.0)
    assert (first.request_id, second.request_id) == (500, 501)
    assert "ignored" in answer(planner, first, 1.1)


def test_silence_runs_from_the_first_unanswered_request(planner: Planner) -> None:
    asked(planner, 0.0)
    planner.expire(1.0)
    newer = asked(planner, 1.0)
    assert "no answer from the policy for 3.0 s" in planner.obstacle(3.0)[0]
    answer(planner, newer, 3.0)
    assert planner.obstacle(4.0)[0] == ""


def test_a_dead_policy_does_not_fill_the_memory(planner: Planner) -> None:
    requests = []
    for i in range(3 * REMEMBERED):
        requests.append(asked(planner, 2.0 * i))
        planner.expire(2.0 * i + 1.0)
    assert "ignored" in answer(planner, requests[-REMEMBERED - 1], 601.0)
    assert answer(planner, requests[-REMEMBERED], 601.0) == ""


@pytest.mark.parametrize(
    ("share", "queued", "wanted"),
    [
        (0.0, 1, False),
        (0.0, 0, True),
        (0.7, 36, False),
        (0.7, 35, True),  # the first of them begins now: 34 are left
        (1.0, 50, True),
    ],
)
def test_trigger_compares_the_queue_with_its_share(
    share: float, queued: int, wanted: bool
) -> None:
    assert wants_chunk(share, queued, 50) is wanted


def test_latency_percentiles_slide() -> None:
    latency = LatencyWindow()
    assert math.isnan(latency.p50)
    assert latency.expected_delay(0.05) == 0
    for value in range(1, 201):
        latency.add(float(value))
    assert (latency.p50, latency.p95, latency.max, latency.last) == (150.0, 195.0, 200.0, 200.0)


def test_expected_delay_forgets_the_warm_up_at_once_and_minds_a_habit() -> None:
    latency = LatencyWindow()
    latency.add(8.0)
    assert latency.expected_delay(0.05) == 160
    latency.add(0.2)
    assert latency.expected_delay(0.05) == 4
    for value in (0.2, 0.31, 0.2, 0.31):
        latency.add(value)
    assert latency.expected_delay(0.05) == 7
    for _ in range(10):
        latency.add(0.2)
    assert latency.expected_delay(0.05) == 4
