# SPDX-License-Identifier: Apache-2.0
"""Of the topic's and a goal's instruction the newest counts."""

from __future__ import annotations

import pytest
from smolvla_core.instruction import EXAMPLE, NewestInstruction, Source, command, quoted


@pytest.fixture
def newest():
    return NewestInstruction()


def now(newest):
    return newest.current, newest.source


def test_without_a_goal_it_is_the_topics(newest):
    assert now(newest) == ("", Source.NONE)
    assert newest.on_topic("wipe the table") == 'instruction: "wipe the table"'
    assert now(newest) == ("wipe the table", Source.TOPIC)
    newest.on_topic("fold the cloth")
    assert now(newest) == ("fold the cloth", Source.TOPIC)


@pytest.mark.parametrize("blank", ["", "  \t\n"])
def test_a_blank_sentence_means_none(newest, blank):
    assert newest.missing("/left/task_instruction").startswith("no instruction yet: ")
    newest.on_topic("wipe the table")
    assert newest.missing("/left/task_instruction") == ""
    assert "none any more" in newest.on_topic(blank)
    assert now(newest) == ("", Source.NONE)
    message = newest.missing("/left/task_instruction")
    assert message.startswith("no instruction any more: ")
    assert "--namespace /left" in message


def test_a_goal_counts_until_it_is_over(newest):
    newest.on_topic("wipe the table")
    newest.on_goal("fold the cloth")
    assert now(newest) == ("fold the cloth", Source.GOAL)
    newest.on_goal_end()
    assert now(newest) == ("wipe the table", Source.TOPIC)


def test_a_sentence_during_a_goal_replaces_that_goals_alone(newest):
    newest.on_goal("fold the cloth")
    newest.on_topic("hang it up")
    assert now(newest) == ("hang it up", Source.TOPIC)
    newest.on_goal("open the drawer")
    assert now(newest) == ("open the drawer", Source.GOAL)
    newest.on_goal_end()
    assert now(newest) == ("hang it up", Source.TOPIC)


def test_a_blank_sentence_leaves_a_goal_alone(newest):
    newest.on_topic("wipe the table")
    newest.on_goal("fold the cloth")
    assert "ignored while a goal runs" in newest.on_topic(" ")
    assert now(newest) == ("fold the cloth", Source.GOAL)
    newest.on_goal_end()
    assert newest.current == "wipe the table"


def test_a_sentence_is_quoted_on_one_line_and_not_too_long():
    assert quoted('say "grüß dich"\n\x1b[31m') == '"say \\"grüß dich\\"\\n\\u001b[31m"'
    assert len(quoted("pick " * 5000)) < 250


@pytest.mark.parametrize(
    ("there", "topic", "advice"),
    [
        (("ros2", "smolvla"), "/task_instruction", f'smolvla instruct "{EXAMPLE}"'),
        (("smolvla",), "/a/b/task_instruction", "--namespace /a/b"),
        (("ros2",), "/task_instruction", "ros2 topic pub --once --keep-alive 1 /task_instruction"),
        (("ros2", "smolvla"), "/orders", "ros2 topic pub --once --keep-alive 1 /orders"),
        ((), "/task_instruction", "smolvla instruct"),
    ],
)
def test_advice_is_what_this_machine_has(there, topic, advice, programs):
    programs(*there, alone=True)
    assert advice in command(topic)
    assert ("ros2" in command(topic)) == advice.startswith("ros2")
