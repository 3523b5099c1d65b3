# SPDX-License-Identifier: Apache-2.0
"""When frames are due, however the timer jitters, and what is reported while waiting."""

import numpy as np
import pytest
from smolvla_learning.recording.episode import FrameSchedule
from smolvla_learning.recording.recorder import Debouncer


def calls(times, fps=10):
    schedule = FrameSchedule(fps)
    return [schedule.due(5.0 + time) for time in times]


def test_one_frame_a_period():
    assert calls(np.arange(1000) / 10) == [1] * 1000


def test_a_call_less_than_a_period_late_is_one_frame():
    assert calls([0.0, 0.1, 0.29, 0.3, 0.4]) == [1] * 5


def test_a_standstill_is_made_up_for():
    assert calls([0.0, 0.1, 0.45, 0.5, 0.6]) == [1, 1, 3, 1, 1]


@pytest.mark.parametrize("late", [0.02, 0.05, 0.09])
def test_a_late_first_call_does_not_double_frames(late):
    times = [late, *np.arange(1, 100) / 10]
    assert calls(times) == [1] * 100


def test_jitter_gives_every_frame_once():
    jitter = np.random.default_rng(0).uniform(0, 0.03, 500)
    assert sum(calls(np.arange(500) / 10 + jitter)) == 500


def test_calls_at_a_higher_rate_give_no_more_frames():
    assert sum(calls(np.arange(1001) / 100)) in (101, 102)


def test_what_is_waited_for_is_told_once_it_lasts_and_once_per_change():
    reported = []
    debouncer = Debouncer(reported.append)
    for step in range(30):  # 3 s; its age grows
        debouncer.update(f"camera is {step / 10} s old", step / 10)
    assert reported == ["camera is 1.0 s old"]
    for step in range(30, 35):  # too short to be reported
        debouncer.update("no joints", step / 10)
    for step in range(35, 60):
        debouncer.update("camera is 9 s old", step / 10)
    assert len(reported) == 1
    for step in range(60, 80):
        debouncer.update("ready", step / 10)
    assert reported[1:] == ["ready"]
