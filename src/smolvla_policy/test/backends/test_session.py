# SPDX-License-Identifier: Apache-2.0
"""A request always gets an answer: actions, or a message about what is wrong."""

import itertools

import numpy as np
import pytest
from smolvla_core.backend import ChunkRequest, Observation
from smolvla_policy.backends.session import answer

REQUEST = ChunkRequest(request_id=7, tick=3, committed=np.empty((0, 2)), expected_delay=0)


class Fake:
    name = "fake"
    joint_names = ("a", "b")

    def __init__(self, result):
        self.result = result

    def infer(self, observation, request):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def observation(instruction="pick up the cube") -> Observation:
    return Observation({}, ("a", "b"), np.zeros(2), instruction)


def ask(result, observe=observation):
    return answer(Fake(result), REQUEST, observe, clock=itertools.count().__next__)


def test_actions_pass_through_with_their_time():
    rows = np.arange(6.0).reshape(3, 2)
    result = ask(rows)
    np.testing.assert_array_equal(result.positions, rows)
    assert (result.error, result.inference_time) == ("", 1)


@pytest.mark.parametrize(
    ("least_time", "slept", "taken"), [(0.3, [0.2], 0.3), (0.05, [], 0.1), (0.0, [], 0.1)]
)
def test_actions_are_held_back_until_the_least_time_is_over(least_time, slept, taken):
    now, waits = [5.0], []

    def infer(observation, request):
        now[0] += 0.1
        return np.zeros((1, 2))

    def sleep(seconds):
        waits.append(round(seconds, 9))
        now[0] += seconds

    backend = Fake(None)
    backend.infer = infer
    result = answer(
        backend, REQUEST, observation, lambda: now[0], least_time=least_time, sleep=sleep
    )
    assert waits == slept
    assert result.inference_time == pytest.approx(taken)


def test_a_missing_observation_is_a_refusal_with_its_words():
    def observe():
        raise ValueError("camera 'top' is silent")

    result = ask(np.zeros((1, 2)), observe)
    assert result.positions is None
    assert result.error == "camera 'top' is silent"
    assert not result.failed


@pytest.mark.parametrize("blank", ["", " \t"])
def test_a_request_without_an_instruction_is_refused_with_words_for_its_sender(blank):
    result = ask(np.zeros((1, 2)), lambda: observation(blank))
    assert (result.positions, result.failed) == (None, False)
    assert "InferenceRequest.instruction" in result.error


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (ValueError("unknown sentence"), "fake: unknown sentence"),
        (RuntimeError("out of memory"), "fake failed: RuntimeError: out of memory"),
        (np.zeros((0, 2)), "shape (0, 2), expected (rows, 2)"),
        (np.zeros((4, 3)), "shape (4, 3), expected (rows, 2)"),
        (np.zeros(2), "shape (2,), expected (rows, 2)"),
        (np.array([[0.0, 1.0], [0.0, np.nan]]), "nan for b in row 1"),
        (np.array([[np.inf, 1.0]]), "inf for a in row 0"),
    ],
)
def test_whatever_breaks_becomes_a_refusal(result, message):
    refused = ask(result)
    assert refused.positions is None
    assert refused.failed
    assert message in refused.error
