# SPDX-License-Identifier: Apache-2.0
"""A recording session by keys, from a terminal and from a pipe."""

import os

import pytest
from smolvla_core.client import ClientError
from smolvla_core.keys import Keys
from smolvla_learning.record_node.episode import HELP, Session, main, run_session


class FakeRecorder:
    """Notes the orders; a save is refused where the test says so."""

    def __init__(self):
        self.orders, self.refuse, self.status = [], False, "ready"
        self.is_found_as = ""  # its status, received only with the discovery

    def find(self):
        self.status = self.is_found_as or self.status

    @property
    def busy(self):
        return self.status == "recording"

    def start_episode(self, task, wait, reset=True):
        self.orders.append(("start", task, wait, reset))
        self.status = "recording"
        return f"recording {task}"

    def save_episode(self):
        self.orders.append("save")
        if self.refuse:
            self.refuse = False
            raise ClientError("not saved yet: no motion")
        self.status = "ready"
        return "saved"

    def discard_episode(self):
        self.orders.append("discard")
        self.status = "ready"
        return "discarded"

    def new_scene(self, task):
        self.orders.append(("reset", task))
        return "scene 4"


def session(recorder, tasks=("fold", "stack"), keep_scene=False):
    return Session(recorder, tasks, 9.0, keep_scene)


def test_one_key_starts_and_saves_and_the_tasks_take_turns():
    recorder = FakeRecorder()
    keyboard = session(recorder)
    assert keyboard.press("\n") == "recording fold"
    assert keyboard.press(" ") == 'saved; next: "stack"'
    assert keyboard.press("s") == "recording stack"
    assert keyboard.press("d") == "discarded"
    assert keyboard.task == "stack"  # to be shown again
    assert keyboard.press("n") == 'task; next: "fold"'
    assert recorder.orders == [
        ("start", "fold", 9.0, True),
        "save",
        ("start", "stack", 9.0, True),
        "discard",
    ]


def test_a_doubted_episode_is_kept_by_the_same_key_or_discarded():
    recorder = FakeRecorder()
    keyboard = session(recorder, tasks=())
    keyboard.press("\n")
    recorder.refuse = True
    with pytest.raises(ClientError, match="no motion"):
        keyboard.press("\n")
    assert keyboard.press("\n") == "saved"
    assert recorder.orders == [("start", "", 9.0, True), "save", "save"]


def test_a_running_episode_is_not_left():
    recorder = FakeRecorder()
    keyboard = session(recorder)
    assert keyboard.press("r") == "scene 4"
    assert keyboard.press("?") == HELP
    keyboard.press("s")
    with pytest.raises(ClientError, match="save it"):
        keyboard.press("q")
    keyboard.press("d")
    assert keyboard.press("q") is None
    session(recorder, keep_scene=True).press("s")
    assert recorder.orders[-1] == ("start", "fold", 9.0, False)


def test_a_session_from_a_pipe_ends_with_it(capsys):
    reader, writer = os.pipe()
    os.write(writer, b"s\nx\n\nsd\n")
    os.close(writer)
    recorder = FakeRecorder()
    with os.fdopen(reader) as stream, Keys(stream, lambda: None) as keys:
        run_session(session(recorder), recorder, keys)
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line != HELP] == [
        'next: "fold"',
        "recording fold",
        'saved; next: "stack"',
        "recording stack",
        "discarded",
    ]
    assert said.count(HELP) == 2


def test_the_first_key_saves_an_episode_that_another_has_begun():
    reader, writer = os.pipe()
    os.write(writer, b"sq")
    os.close(writer)
    recorder = FakeRecorder()
    recorder.is_found_as = "recording"
    with os.fdopen(reader) as stream, Keys(stream, lambda: None) as keys:
        run_session(session(recorder), recorder, keys)
    assert recorder.orders == ["save"]


def test_a_recorder_name_that_ros_does_not_take_is_told_in_one_line(capsys):
    for name in ("/an arm/record_node", "re corder"):
        assert main(["save", "--recorder", name]) == 1
        said = capsys.readouterr().err
        assert said.startswith("smolvla record save: Invalid ")
        assert said.count("\n") == 1


def test_an_input_that_ends_leaves_the_episode_and_says_so(capsys):
    recorder = FakeRecorder()
    recorder.status = "recording"
    with Keys(None, lambda: None) as keys:
        run_session(session(recorder), recorder, keys)
    assert "left running" in capsys.readouterr().err
    assert recorder.orders == []


def test_what_the_recorder_does_by_itself_is_told(capsys):
    recorder = FakeRecorder()
    states = iter(["ready (2 episodes)", "armed", "recording: 1", "recording: 2", "waiting: a"])

    class Looks:
        def read(self):
            recorder.status = next(states, "")
            return "" if recorder.status else None

    run_session(session(recorder, tasks=()), recorder, Looks())
    output = capsys.readouterr().out.splitlines()[1:]
    assert output == ["ready (2 episodes)", "armed", "recording: 1", "waiting: a"]
