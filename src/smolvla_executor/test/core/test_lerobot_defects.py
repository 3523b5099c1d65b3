# SPDX-License-Identifier: Apache-2.0
"""Defects read in LeRobot's asynchronous inference and RTC engine, shown to be impossible here.

The facts refer to LeRobot 0.6 (``async_inference``, ``rollout/inference/rtc.py``).
"""

from __future__ import annotations

import re
from pathlib import Path

import smolvla_executor.core
from smolvla_executor.core.executor_types import State


def test_one_failed_inference_does_not_stall_for_ever(rig) -> None:
    """LeRobot marks a timestep as predicted before predicting; a failure ends all refills."""
    failed = []

    def fail_once(request) -> None:
        failed.append(request)
        rig.policy = rig.answer

    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = fail_once
    rig.run_until(State.HOLDING)
    rig.run_until(State.RUNNING, limit=300)
    rig.cycle(50)
    assert len(failed) == 1
    assert rig.status().chunks_merged > 3


def test_the_first_row_of_a_chunk_is_executed_not_dropped(make_rig) -> None:
    """LeRobot labels an observation with the last executed action and drops row 0."""
    rig = make_rig(chunk_size_threshold=0.0)
    first_rows = []

    def answer(request) -> None:
        chunk = rig.chunk_for(request)
        first_rows.append(chunk.positions[0].copy())
        rig.post_chunk(0.2, chunk)

    rig.policy = answer
    rig.start()
    rig.cycle(100)
    executed = {
        output.command.tobytes() for output in rig.outputs if output.executed_tick is not None
    }
    assert len(first_rows) > 3
    assert all(row.tobytes() in executed for row in first_rows[:-1])


def test_the_first_chunk_from_standstill_loses_no_row_however_slow_it_is(rig) -> None:
    """LeRobot's RTC drops as many rows as the latency spans, though the arm stood still."""
    rig.policy = lambda request: rig.post_chunk(1.0, rig.chunk_for(request))
    rig.start()
    rig.run_until(State.RUNNING)
    assert rig.executed == [0]
    assert rig.status().rows_trimmed == 0


def test_an_action_that_was_popped_cannot_be_queued_again(rig) -> None:
    """LeRobot records the executed action after sending it; a merge in between re-queues it."""
    rig.start()
    rig.run_until(State.RUNNING)
    request = rig.requests[0]
    for _ in range(100):
        output = rig.cycle()
        if output.executed_tick is not None:
            # Between pop and the next cycle the tick is already over for every merge.
            assert rig.status().tick == output.executed_tick + 1
    assert rig.executed == sorted(set(rig.executed))
    assert rig.core.planner.on_chunk(rig.chunk_for(request), rig.now) != ""


def test_the_core_has_no_second_thread_that_could_race() -> None:
    """LeRobot swaps the queue in a second thread while the control loop iterates over it."""
    for path in Path(smolvla_executor.core.__file__).parent.glob("*.py"):
        imported = re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.MULTILINE)
        assert not {"threading", "asyncio", "concurrent", "multiprocessing"} & set(imported)


def test_an_arm_that_stands_still_is_refilled_all_the_same(rig) -> None:
    """LeRobot filters observations with similar joint positions; a slow arm starves."""

    def stand_still(request) -> None:
        chunk = rig.chunk_for(request)
        chunk.positions[:] = rig.path(0)
        rig.post_chunk(0.1, chunk)

    rig.policy = stand_still
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(200)
    assert rig.status().starvations == 0
    assert rig.status().chunks_merged > 20


def test_a_control_cycle_never_waits_for_the_policy(rig) -> None:
    """LeRobot reads cameras, serializes and sends within the control loop."""
    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = lambda request: None
    outputs = [rig.cycle() for _ in range(100)]
    assert all(output.command is not None for output in outputs)


def test_the_warm_up_does_not_inflate_the_expected_delay(rig) -> None:
    """LeRobot's delay estimate is the largest latency ever seen."""
    rig.policy = lambda request: rig.post_chunk(3.0, rig.chunk_for(request))
    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = rig.answer
    rig.cycle(100)
    assert rig.status().latency_p50 < 0.2
    assert rig.requests[-1].expected_delay == 2


def test_an_empty_queue_holds_the_arm_and_is_reported(rig) -> None:
    """LeRobot sends nothing when the queue is empty and tells no one."""
    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = lambda request: None
    output = rig.run_until(State.HOLDING)
    assert output.command is not None
    assert output.reason
