# SPDX-License-Identifier: Apache-2.0
"""Of the topic's and a goal's instruction the newest counts."""

from __future__ import annotations

import pytest
from smolvla_policy.backends.instruction import NewestInstruction

GOAL, OTHER = b"1" * 16, b"2" * 16


@pytest.fixture
def newest():
    return NewestInstruction()


def test_without_a_goal_it_is_the_topics(newest):
    assert newest.for_request(b"", "") == ""
    assert newest.on_topic("reach")
    assert not newest.on_topic("reach")
    assert newest.for_request(b"", "") == newest.current == "reach"
    assert newest.on_topic("")
    assert newest.for_request(b"", "") == ""


def test_a_goal_counts_until_it_is_over(newest):
    newest.on_topic("reach")
    assert newest.for_request(GOAL, "pick") == newest.current == "pick"
    assert newest.for_request(GOAL, "pick") == "pick"
    assert newest.for_request(b"", "") == newest.current == "reach"


def test_a_sentence_during_a_goal_counts_for_this_goal_only(newest):
    newest.for_request(GOAL, "pick")
    assert newest.on_topic("stack")
    assert newest.for_request(GOAL, "pick") == "stack"
    assert newest.for_request(OTHER, "pick") == "pick"


def test_a_blank_sentence_leaves_a_goal_alone(newest):
    newest.for_request(GOAL, "pick")
    assert not newest.on_topic(" ")
    assert newest.for_request(GOAL, "pick") == "pick"
