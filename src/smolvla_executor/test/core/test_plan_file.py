# SPDX-License-Identifier: Apache-2.0
"""Plans as files: what they may say, and what is said about those that cannot be read."""

import pytest
from smolvla_executor.core.plan import PlanError, Step
from smolvla_executor.core.plan_file import read_plan

from smolvla_msgs.msg import PlanStep

GOOD = """
time_limit: 20
judge: vlm
judge_options: {server: "http://localhost:8000/v1", in_a_row: 2}
steps:
  - put the red cube into the bowl
  - instruction: put the blue cube into the bowl
    time_limit: 7.5
    tries: 3
    judge: topic
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        file = tmp_path / "plan.yaml"
        file.write_text(text)
        return read_plan(file)

    return read


def test_steps_have_what_the_file_says_of_them_or_of_all(read):
    assert read(GOOD) == (
        Step(
            "put the red cube into the bowl",
            20.0,
            judge="vlm",
            judge_options=("server=http://localhost:8000/v1", "in_a_row=2"),
        ),
        Step("put the blue cube into the bowl", 7.5, 3, "topic"),
    )
    assert read("- touch the red cube") == (Step("touch the red cube"),)


def test_the_message_has_the_same_defaults():
    step, message = Step("touch the red cube"), PlanStep()
    assert (message.time_limit, message.tries) == (step.time_limit, step.tries)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("steps: [", "is no YAML"),
        ("", "needs a list 'steps'"),
        ("steps: []", "needs a list 'steps'"),
        ("steps: touch the cube", "needs a list 'steps'"),
        ("step: [touch the cube]", "there is no 'step'; did you mean 'steps'"),
        ("- touch it\n- 7", "step 2: it is neither a sentence"),
        ("- tries: 2", "step 1: it has no 'instruction'"),
        ("- ' '", "step 1: its instruction is blank"),
        ("- {instruction: go, time_limit: 0}", "step 1: its time_limit is 0"),
        ("- {instruction: go, tries: 1.5}", "tries is 1.5, but must be a whole number"),
        ("- {instruction: go, tries: true}", "tries is True"),
        ("- {instruction: go, timelimit: 3}", "did you mean 'time_limit'"),
        ("tries: 0\nsteps: [go]", "step 1: its tries is 0"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(read, text, problem):
    with pytest.raises(PlanError, match=problem) as error:
        read(text)
    assert "plan.yaml" in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"none\.yaml cannot be read: No such file"):
        read_plan(tmp_path / "none.yaml")
