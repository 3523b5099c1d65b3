# SPDX-License-Identifier: Apache-2.0
"""Episodes from start to end: what is in them, what breaks them, what is reported."""

import json

import numpy as np
import pytest
from smolvla_learning.dataset import Dataset, DatasetError
from smolvla_learning.dataset.check import find_problems
from smolvla_learning.recording.recorder import State


def test_an_episode_holds_what_was_in_force_at_each_frame(bench):
    text = bench.record(15)
    bench.close()
    assert "saved episode 0: 15 frames, 1.5 s, measured 10.00 frames/s" in text
    assert "top 10.0, wrist 10.0" in text
    data = Dataset.open(bench.store.folder)
    assert not find_problems(data, deep=True)
    assert (data.fps, data.robot_type, data.tasks) == (10, "test_arm", ["pick up the cube"])
    assert data.features["action"].names == ("pan.pos", "gripper.pos")
    frames = np.arange(15)
    # Degrees, and per cent of the gripper's 2 rad.
    state = np.stack([np.rad2deg(frames / 100), frames / 50 * 50], axis=1)
    np.testing.assert_allclose(data.column("observation.state"), state, atol=1e-4)
    np.testing.assert_allclose(data.column("action"), 2 * state, atol=1e-4)
    for camera in data.cameras:
        grays = [image.mean() for image in data.frames(camera, 0)]
        np.testing.assert_allclose(grays, 8 * frames, atol=3)


def test_the_action_is_the_last_command_before_the_frame(bench):
    bench.start()
    bench.run(1)
    bench.commands.add([0.1, 0.2], bench.now - 0.05)
    bench.commands.add([0.3, 0.4], bench.now - 0.01)
    bench.silent.add("commands")
    bench.run(1)
    bench.save()
    bench.close()
    action = Dataset.open(bench.store.folder).column("action")[1]
    np.testing.assert_allclose(action, [np.rad2deg(0.3), 20.0], atol=1e-4)


def test_next_state_is_the_action_where_nobody_commands(make_bench):
    bench = make_bench(source=False, action_source="next_state")
    assert "9 frames" in bench.record(10)
    bench.close()
    data = Dataset.open(bench.store.folder)
    state, action = data.column("observation.state"), data.column("action")
    np.testing.assert_allclose(state[:, 1], np.arange(9), atol=1e-4)
    np.testing.assert_allclose(action[:, 1], np.arange(1, 10), atol=1e-4)


def test_a_new_instruction_belongs_to_the_frames_after_it(bench):
    bench.start()
    bench.run(4)
    bench.inputs.instruct("put it down")
    bench.run(3)
    bench.save()
    bench.close()
    data = Dataset.open(bench.store.folder)
    assert data.tasks == ["pick up the cube", "put it down"]
    assert data.column("task_index").tolist() == [0] * 4 + [1] * 3


def test_frames_of_a_human_are_marked_as_lerobot_marks_them(make_bench):
    bench = make_bench(intervention=True)
    with pytest.raises(ValueError, match="executor: its status"):
        bench.start()
    bench.inputs.take_source("policy")
    bench.start()
    for source, frames in (("policy", 4), ("human", 3), ("policy", 2)):
        bench.inputs.take_source(source)
        bench.run(frames)
    bench.save()
    bench.close()
    data = Dataset.open(bench.store.folder)
    assert not find_problems(data, deep=True)
    about = json.loads((bench.store.folder / "meta" / "info.json").read_text())
    feature = about["features"]["intervention"]
    assert {name: feature[name] for name in ("dtype", "shape", "names")} == {
        "dtype": "bool",
        "shape": [1],
        "names": None,
    }
    assert data.column("intervention").ravel().tolist() == [False] * 4 + [True] * 3 + [False] * 2


def test_a_dataset_without_interventions_is_not_continued_with_them(bench, make_bench):
    bench.record(3)
    bench.close()
    with pytest.raises(DatasetError, match="the dataset lacks 'intervention'"):
        make_bench(intervention=True)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda b: b.silent.add("top"), "camera top: no image yet"),
        (lambda b: b.silent.add("joints"), "joint states: none yet"),
        (lambda b: b.joints.__setitem__(1, "claw"), "no gripper among the joints pan, claw"),
        (lambda b: setattr(b, "offset", 57.3), "degrees taken for radians?"),
        (lambda b: b.inputs.instruct(" "), "publish one on /task_instruction"),
        (lambda b: setattr(b, "size", (12, 15)), "needs an even width and height"),
    ],
)
def test_a_start_is_refused_with_the_reason(bench, spoil, text):
    spoil(bench)
    with pytest.raises(ValueError, match="not started") as caught:
        bench.start()
    assert text in str(caught.value)
    assert not bench.store.folder.exists()
    assert bench.recorder.state == State.IDLE


def test_a_refusal_names_all_reasons_and_topics(bench):
    bench.silent |= {"top", "joints", "commands"}
    with pytest.raises(ValueError, match="not started") as caught:
        bench.start()
    for text in ("(topic /camera/top/image_raw)", "(topic /joint_states)", "/arm/commands"):
        assert text in str(caught.value)


def test_a_start_needs_free_space(make_bench):
    with pytest.raises(ValueError, match="GB are free at"):
        make_bench(min_free_disk=1e6).start()


@pytest.mark.parametrize(
    ("silent", "limit", "text"),
    [
        ("top", 2, "camera top: newest image is 0.30 s old, more than max_image_age"),
        ("joints", 2, "joint states: newest is 0.30 s old, more than max_joint_state_age"),
        (
            "commands",
            4,
            "commands on /arm/commands: newest is 0.50 s old, more than max_command_age",
        ),
    ],
)
def test_silence_costs_frames_and_says_so_at_once(bench, silent, limit, text):
    bench.start()
    bench.run(30)
    bench.silent.add(silent)
    bench.run(limit + 2)
    assert bench.messages[-1].startswith("episode 0: frame 3")
    assert f"is left out: {text}" in bench.messages[-1]
    assert "episode 0, 2 frames left out" in bench.recorder.status
    bench.silent.clear()
    bench.run(10)
    message = bench.save()
    assert f"{30 + limit + 10} frames" in message
    assert f"2 frames are left out: {text.rpartition('more than ')[2].split()[0]} (2)" in message
    bench.close()
    data = Dataset.open(bench.store.folder)
    assert not find_problems(data, deep=True)
    # Where frames are left out, the next one follows the last.
    state = np.array([*range(30 + limit), *range(32 + limit, 42 + limit)])
    if silent == "top":
        np.testing.assert_allclose(
            data.column("observation.state")[-10:, 1], state[-10:], atol=1e-3
        )


@pytest.mark.parametrize("silent", ["top", "joints", "commands"])
def test_long_silence_ends_the_episode_but_loses_nothing(bench, silent):
    bench.start()
    bench.run(30)
    bench.silent.add(silent)
    bench.run(20)
    assert bench.recorder.state == State.FULL
    assert "no more frames are taken: no frames for more than 0.5 s" in bench.messages[-1]
    with pytest.raises(ValueError, match="not saved yet: it ended early"):
        bench.save()
    assert "saved episode 0: 3" in bench.save()
    bench.silent.clear()
    assert "saved episode 1: 5 frames" in bench.record(5)


def test_an_episode_with_many_gaps_is_saved_only_when_asked_twice(bench):
    bench.start()
    for _ in range(4):
        bench.silent.clear()
        bench.run(5)
        bench.silent.add("top")
        bench.run(5)
    with pytest.raises(ValueError, match=r"not saved yet: \d+ frames are left out: max_image_age"):
        bench.save()
    assert "saved episode 0" in bench.save()


def test_a_short_silence_repeats_the_image_and_is_counted(bench):
    bench.start()
    bench.run(5)
    bench.silent.add("top")
    bench.run(2)
    bench.silent.clear()
    bench.run(5)
    assert "top 8.3" in bench.save()
    assert "fewer images per second than the 10 frames: top (8.3)" in bench.messages[-1]


def test_not_a_number_in_a_command_costs_a_frame(bench):
    bench.start()
    bench.run(2)
    bench.commands.add([np.nan, 0.0], bench.now)
    bench.silent.add("commands")
    bench.run(1)
    assert "is left out: commands on /arm/commands: the position of pan" in bench.messages[-1]
    bench.silent.clear()
    bench.run(10)
    text = bench.save()
    assert "12 frames" in text
    assert "1 frames are left out: commands on /arm/commands" in text


def test_an_instruction_that_ends_ends_the_episode(bench):
    bench.start()
    bench.run(2)
    bench.inputs.instruct("")
    bench.run(6)
    assert bench.recorder.state == State.FULL
    assert "instruction: none" in bench.messages[-1]


def test_frames_are_made_up_for_when_the_recorder_is_a_little_late(bench):
    bench.start()
    bench.run(3)
    bench.now += 2 * bench.period
    bench.run(3)
    text = bench.save()
    assert "8 frames, 0.8 s, measured 10.00 frames/s" in text
    assert "2 frames repeat the one before" in text


def test_a_recorder_that_is_very_late_leaves_frames_out(bench):
    bench.start()
    bench.run(3)
    bench.now += 0.35
    bench.run(1)
    assert "the recorder was 0.30 s late, more than max_image_age (0.2 s)" in bench.messages[-1]
    bench.run(30)
    text = bench.save()
    assert "34 frames" in text
    assert "3 frames are left out: max_image_age (3)" in text


def test_a_recorder_that_stood_still_takes_no_more_frames(bench):
    bench.start()
    bench.run(3)
    bench.now += 2.0
    bench.run(3)
    assert bench.recorder.state == State.FULL
    ends = [text for text in bench.messages if "no more frames are taken" in text]
    assert len(ends) == 1
    assert "the recorder was 2.00 s late" in ends[0]


def test_a_slow_encoder_costs_frames(make_bench):
    bench = make_bench(capacity=5)
    bench.start()
    gate = bench.hold_up()
    bench.run(5)
    assert bench.recorder.state == State.RECORDING
    bench.run(2)
    assert "is left out: compressing cannot keep up, 5 frames wait" in bench.messages[-1]
    assert "ultrafast" in bench.messages[-1]
    gate.set()
    bench.gate = None
    with pytest.raises(ValueError, match=r"not saved yet: \d frames are left out: compressing"):
        bench.save()
    assert "saved episode 0: " in bench.save()


def test_an_image_that_does_not_fit_breaks_the_episode(bench):
    bench.start()
    bench.run(2)
    bench.size = (14, 16)
    bench.run(2)
    with pytest.raises(ValueError, match="nothing was saved") as caught:
        bench.save()
    assert "the size of a camera cannot change" in str(caught.value)
    assert bench.recorder.state == State.IDLE


def test_a_frame_that_cannot_be_written_is_noticed_by_the_next_ticks(bench):
    bench.start()
    bench.size = (14, 16)
    bench.run(1)
    bench.encoder.discard(bench.store.writer).result(10)  # all frames before are worked off
    bench.encoder._problem = "the disk is full"
    bench.run(1)
    assert "broken and discarded: the disk is full" in bench.messages[-1]


def test_an_episode_has_a_longest_time(make_bench):
    bench = make_bench(max_episode_seconds=0.8)
    bench.start()
    bench.run(20)
    assert bench.recorder.state == State.FULL
    assert "max_episode_seconds (0.8 s)" in bench.messages[-1]
    assert "full: episode 0: 8 frames" in bench.recorder.status
    assert "save or discard it" in bench.recorder.status
    with pytest.raises(ValueError, match="save or discard it first"):
        bench.start()
    assert "8 frames" in bench.save()
    bench.start()
    bench.run(20)
    assert "after 8 frames: discarded" in bench.recorder.discard()


def test_no_more_frames_are_taken_when_the_disk_fills_up(bench, monkeypatch):
    bench.start()
    bench.run(9)
    monkeypatch.setattr(bench.store, "disk_problem", lambda least: "only 1 GB are free")
    bench.run(5)
    assert bench.recorder.state == State.FULL
    assert "only 1 GB are free" in bench.messages[-1]
    assert "10 frames" in bench.save()


def test_saving_that_takes_long_goes_on_by_itself(bench):
    bench.start()
    gate = bench.hold_up()
    bench.run(5)
    with pytest.raises(ValueError, match=r"still saving: [45] frames"):
        bench.recorder.save(0.0)
    assert bench.recorder.state == State.SAVING
    for order in (bench.start, bench.recorder.discard):
        with pytest.raises(ValueError, match="being saved"):
            order()
    bench.run(2)
    assert bench.recorder.state == State.SAVING
    gate.set()
    bench.recorder._saving.result(10)
    bench.run(1)
    assert bench.recorder.state == State.IDLE
    assert "saved episode 0: 5 frames" in bench.messages[-1]


def test_an_episode_that_cannot_be_saved_is_told(bench, monkeypatch):
    bench.start()
    bench.run(3)

    def fail():
        raise DatasetError("the disk is full; episode 0 is lost")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.writer, "save_episode", fail)
        with pytest.raises(ValueError, match=r"could not be saved .* the disk is full"):
            bench.save()
    assert "saved episode 0: 4 frames" in bench.record(4)


def test_a_discarded_episode_leaves_nothing(bench):
    bench.start()
    bench.run(5)
    assert bench.recorder.discard() == "episode 0 after 5 frames: discarded"
    for order, text in ((bench.recorder.discard, "nothing to discard"), (bench.save, "nothing")):
        with pytest.raises(ValueError, match=text):
            order()
    bench.record(3)
    bench.close()
    assert [of.length for of in Dataset.open(bench.store.folder).episodes] == [3]


def test_orders_that_do_not_fit(make_bench):
    bench = make_bench(source=False, action_source="next_state")
    with pytest.raises(ValueError, match="nothing to save: no episode was begun"):
        bench.save()
    bench.start()
    with pytest.raises(ValueError, match="episode 0 has begun already"):
        bench.start()
    with pytest.raises(ValueError, match="has no frames yet"):
        bench.save()


def test_closing_discards_the_running_episode_and_finishes_the_saved(bench):
    bench.record(4)
    bench.start()
    bench.run(3)
    text = bench.close()
    assert "1 episodes; now 1 saved, 1 discarded, 0 broken" in text
    assert "episode 1 after 3 frames: discarded, as the recorder ends" in bench.messages
    data = Dataset.open(bench.store.folder)
    assert (data.num_episodes, data.interrupted) == (1, False)
    assert not find_problems(data, deep=True)


def test_the_status_follows(bench):
    bench.silent.add("top")
    bench.run(1)
    assert bench.recorder.status.startswith("waiting: camera top: no image yet")
    bench.silent.clear()
    bench.run(1)
    assert bench.recorder.status.startswith("ready (0 episodes")
    bench.start()
    bench.run(12)
    assert bench.recorder.status == "recording episode 0: 12 frames, 1.2 s"


def test_waiting_is_told_once_per_change(bench):
    bench.silent.add("top")
    bench.run(30)
    bench.silent.clear()
    bench.run(30)
    assert [text.partition(":")[0] for text in bench.messages] == ["waiting", "ready"]
