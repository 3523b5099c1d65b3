# SPDX-License-Identifier: Apache-2.0
"""Real time with an injected clock: deadlines, channels, standstill; the camera thread."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

import numpy as np
import pytest
from smolvla_sim.node.camera_thread import CameraThread
from smolvla_sim.node.runner import RealTimeRunner
from smolvla_sim.world.rendering import RenderingError
from smolvla_sim.world.simulation import Simulation


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def simulation():
    return Simulation()


@pytest.fixture
def runner(simulation):
    simulation.reset(0)
    clock = Clock()
    rates = {"joint_states": 100.0, "cameras": 30.0, "score": 10.0}
    return RealTimeRunner(simulation, rates, clock), clock


def test_channels_become_due_at_their_rates(runner):
    run, clock = runner
    counts = Counter()
    for _ in range(600):
        clock.now += run.wait_time()
        counts.update(run.advance())
    assert run.simulation.time == pytest.approx(2.0, abs=1e-6)
    assert counts == {"joint_states": 200, "cameras": 60, "score": 20}


def test_deadlines_are_absolute(runner):
    """Late wake-ups do not add up: 1000 waits of 3.4 ms instead of 3.33 ms lose nothing."""
    run, clock = runner
    for _ in range(1000):
        clock.now += 0.0034
        run.advance()
    assert run.simulation.time == pytest.approx(3.4, abs=0.004)
    assert 0.0 <= run.wait_time() <= 1 / 300 + 1e-6


def test_a_short_delay_is_caught_up_and_a_standstill_skipped(runner):
    run, clock = runner
    clock.now += 0.05
    run.advance()
    assert run.simulation.time == pytest.approx(0.05, abs=0.004)
    clock.now += 60.0
    run.advance()
    assert run.simulation.time < 0.06
    clock.now += 0.01
    run.advance()
    assert run.simulation.time == pytest.approx(0.063, abs=0.004)


def test_too_high_a_rate_is_refused(simulation):
    with pytest.raises(ValueError, match="physics rate of 300 Hz"):
        RealTimeRunner(simulation, {"cameras": 301.0}, Clock())


class FakeRenderer:
    """Draws nothing; blocks until it may."""

    def __init__(self):
        self.gate = threading.Event()
        self.started = threading.Event()
        self.closed = False

    def render(self, data):
        self.started.set()
        assert self.gate.wait(5.0)
        return {"top": np.full((2, 2, 3), int(data.qpos[0]), np.uint8)}

    def close(self):
        self.closed = True


def test_a_slow_camera_drops_states_and_never_blocks(simulation):
    renderer, delivered, done = FakeRenderer(), [], threading.Event()

    def deliver(stamp, images):
        delivered.append((stamp, int(images["top"][0, 0, 0])))
        if stamp == 3:
            done.set()

    thread = CameraThread(simulation.model, lambda: renderer, deliver, pytest.fail)
    state = simulation.state()
    for stamp in (1, 2, 3):
        state[0] = stamp
        thread.submit(stamp, state.copy())
        assert renderer.started.wait(5.0)
    renderer.gate.set()
    assert done.wait(5.0)
    thread.stop()
    assert delivered == [(1, 1), (3, 3)]
    assert renderer.closed


def test_errors_of_the_camera_thread_are_handed_on(simulation):
    def no_renderer():
        raise RenderingError("no OpenGL")

    with pytest.raises(RenderingError, match="no OpenGL"):
        CameraThread(simulation.model, no_renderer, lambda *_: None, pytest.fail)

    errors, failed = [], threading.Event()

    def deliver(stamp, images):
        raise RuntimeError("broken")

    def on_failure(error):
        errors.append(str(error))
        failed.set()

    renderer = FakeRenderer()
    renderer.gate.set()
    thread = CameraThread(simulation.model, lambda: renderer, deliver, on_failure)
    thread.submit(1, simulation.state())
    assert failed.wait(5.0)
    thread.stop()
    assert errors == ["broken"]
    assert renderer.closed


def test_an_interrupt_while_the_renderer_is_made_leaves_no_thread(simulation):
    goes_on, renderer = threading.Event(), FakeRenderer()

    def make():
        os.kill(os.getpid(), signal.SIGINT)  # the main thread waits for this one
        assert goes_on.wait(5.0)
        return renderer

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        CameraThread(simulation.model, make, lambda *_: None, pytest.fail)
    (left,) = set(threading.enumerate()) - before
    goes_on.set()
    left.join(5.0)
    assert not left.is_alive()
    assert renderer.closed
