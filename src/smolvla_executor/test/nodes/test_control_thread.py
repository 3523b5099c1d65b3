# SPDX-License-Identifier: Apache-2.0
"""The control loop: its orders, answered late or refused at once, and its priority."""

import os
import threading
import time

import pytest
from smolvla_executor.executor_node.execution import ControlThread


class Stuck:
    """A loop whose step waits for `go`."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()
        self.thread = ControlThread(100.0, self.step, lambda error: None)
        assert self.begun.wait(10)

    def step(self, now):
        self.begun.set()
        assert self.go.wait(10)


def test_a_loop_that_has_ended_is_named_at_once():
    ended, failures = threading.Event(), []

    def broken(now):
        raise RuntimeError("broken")

    def failed(error):
        failures.append(str(error))
        ended.set()

    thread = ControlThread(100.0, broken, failed)
    assert ended.wait(10)
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="has ended"):
        thread.call(lambda now: "done")
    assert time.monotonic() - begun < 5.0
    assert failures == ["broken"]


def test_a_loop_that_is_late_still_carries_out_the_order():
    loop, answers = Stuck(), []
    caller = threading.Thread(target=lambda: answers.append(loop.thread.call(lambda now: "done")))
    caller.start()
    caller.join(0.2)
    assert answers == []
    loop.go.set()
    caller.join(10)
    loop.thread.close()
    assert answers == ["done"]


def test_a_loop_that_is_stuck_is_named():
    loop = Stuck()
    with pytest.raises(TimeoutError, match="is stuck"):
        loop.thread.call(lambda now: "done", timeout=0.2)
    loop.go.set()
    loop.thread.close()


def test_the_thread_that_may_hold_the_lock_gets_the_next_priority_until_the_end(monkeypatch):
    given = []

    def grant(pid, policy, param):
        given.append((threading.current_thread().name, policy, param.sched_priority))

    monkeypatch.setattr(os, "sched_setscheduler", grant)
    stepped = threading.Event()
    thread = ControlThread(100.0, lambda now: stepped.set(), lambda error: None, priority=50)
    assert stepped.wait(10)
    own = threading.current_thread().name
    assert sorted(given) == sorted([("control", os.SCHED_FIFO, 50), (own, os.SCHED_FIFO, 49)])
    thread.close()
    assert given[-1] == (own, os.SCHED_OTHER, 0)


def test_a_priority_that_is_not_granted_is_warned_of_once(monkeypatch):
    def refuse(pid, policy, param):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    warnings, stepped = [], threading.Event()
    thread = ControlThread(
        100.0, lambda now: stepped.set(), lambda error: None, priority=50, warn=warnings.append
    )
    assert stepped.wait(10)
    thread.close()
    assert len(warnings) == 1
