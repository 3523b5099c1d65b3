# SPDX-License-Identifier: Apache-2.0
"""One request in flight, time-outs that adapt, and answers that come late, twice or never."""

from __future__ import annotations

import math

import pytest
from smolvla_core.latency import LatencyWindow, wants_chunk
from smolvla_executor.core.request_tracker import REMEMBERED, RequestTracker


def tracker(first_id: int = 7, timeout: float = 1.0) -> RequestTracker:
    return RequestTracker(first_id, timeout, 0.2, LatencyWindow())


def test_only_one_request_is_in_flight() -> None:
    requests = tracker()
    requests.send(0, now=0.0)
    assert not requests.free(0.5)
    with pytest.raises(RuntimeError):
        requests.send(1, now=0.5)


def test_an_answer_frees_the_slot_and_gives_the_tick_back() -> None:
    requests = tracker()
    request_id = requests.send(42, now=0.0)
    assert requests.answer(request_id, now=0.3) == 42
    assert requests.free(0.3)
    assert requests.age(0.3) == 0.0


def test_a_timed_out_request_frees_the_slot_and_its_answer_is_still_welcome() -> None:
    requests = tracker()
    old = requests.send(3, now=0.0)
    requests.expire(0.99)
    assert requests.in_flight
    requests.expire(1.0)
    assert requests.free(1.0)
    assert requests.timed_out == 1
    new = requests.send(3, now=1.0)
    assert requests.answer(old, now=1.2) == 3
    assert requests.in_flight
    assert requests.answer(new, now=1.4) == 3


def test_after_a_newer_merge_older_answers_are_ignored() -> None:
    requests = tracker()
    old = requests.send(0, now=0.0)
    requests.expire(1.0)
    new = requests.send(0, now=1.0)
    assert requests.answer(new, now=1.2) == 0
    requests.supersede(new)
    assert requests.answer(old, now=1.3) is None
    assert requests.ignored == 1


def test_answers_to_forgotten_requests_are_told_from_odd_ones() -> None:
    requests = tracker()
    given_up = requests.send(0, now=0.0)
    requests.forget()
    assert requests.answer(given_up, now=0.1) is None
    assert requests.forgot(given_up)
    answered = requests.send(0, now=0.2)
    requests.answer(answered, now=0.3)
    assert not requests.forgot(answered)
    assert not requests.forgot(999)


def test_duplicates_and_unknown_ids_are_ignored_and_counted() -> None:
    requests = tracker()
    request_id = requests.send(0, now=0.0)
    assert requests.answer(request_id, now=0.1) == 0
    assert requests.answer(request_id, now=0.2) is None
    assert requests.answer(999, now=0.2) is None
    assert not requests.refuse(999, "no", now=0.2)
    assert requests.ignored == 3


def test_a_slow_policy_is_not_asked_twice() -> None:
    requests = tracker(timeout=1.0)
    request_id = requests.send(0, now=0.0)
    requests.expire(4.0)
    requests.answer(request_id, now=4.0)
    assert requests.timeout() == pytest.approx(12.0)
    requests.send(0, now=5.0)
    requests.expire(16.0)
    assert requests.in_flight
    requests.expire(17.0)
    assert not requests.in_flight


def test_a_refusal_frees_the_slot_after_a_pause() -> None:
    requests = tracker()
    request_id = requests.send(0, now=0.0)
    assert requests.refuse(request_id, "no instruction yet", now=0.1)
    assert requests.last_refusal == "no instruction yet"
    assert not requests.free(0.29)
    assert requests.free(0.31)


def test_ids_go_on_after_a_restart() -> None:
    requests = tracker(first_id=500)
    first = requests.send(0, now=0.0)
    requests.reset()
    second = requests.send(0, now=1.0)
    assert (first, second) == (500, 501)
    assert requests.answer(first, now=1.1) is None


def test_silence_runs_from_the_first_unanswered_request() -> None:
    requests = tracker()
    requests.send(0, now=0.0)
    requests.expire(1.0)
    newer = requests.send(0, now=1.0)
    assert requests.silence(3.0) == pytest.approx(3.0)
    requests.answer(newer, now=3.0)
    assert requests.silence(4.0) == 0.0


def test_a_dead_policy_does_not_fill_the_memory() -> None:
    requests = tracker()
    for i in range(3 * REMEMBERED):
        requests.send(0, now=2.0 * i)
        requests.expire(2.0 * i + 1.0)
    assert len(requests._sent) <= REMEMBERED


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
