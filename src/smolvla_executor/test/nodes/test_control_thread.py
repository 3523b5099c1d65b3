# SPDX-License-Identifier: Apache-2.0
"""Orders to the control loop: answered by a late loop, refused at once by one that has ended."""

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
