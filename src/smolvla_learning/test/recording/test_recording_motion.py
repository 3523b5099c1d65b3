# SPDX-License-Identifier: Apache-2.0
"""Episodes begin at rest, with the first command, and are doubted when they show nothing."""

import numpy as np
import pytest
from smolvla_learning.dataset import Dataset
from smolvla_learning.recording.episode import REST_WINDOW, Evidence, RestWatch
from smolvla_learning.recording.recorder import State

LIMIT = 0.05


def watched(positions, period=0.1, limit=LIMIT):
    """A watch that saw these positions, the last of them now, and that time."""
    watch = RestWatch(("pan", "lift"), limit)
    for index, value in enumerate(positions):
        watch.add(np.array([0.0, value]), 7.0 + index * period)
    return watch, 7.0 + (len(positions) - 1) * period


@pytest.mark.parametrize("period", [0.01, 1 / 30, 0.25, 1.0])
def test_rest_is_known_after_half_a_second_at_any_rate(period):
    count = int(np.ceil(REST_WINDOW / period - 1e-9)) + 1
    watch, now = watched([0.4] * (count - 1), period)
    assert "ask again" in watch.problem(now)
    watch, now = watched([0.4] * count, period)
    assert watch.problem(now) == ""


def test_the_joint_that_moves_is_named():
    watch, now = watched([0.0, 0.0, 0.0, 0.0, 0.0, 0.1])
    assert "lift at 0.20 rad/s" in watch.problem(now)


def test_what_moved_before_the_window_is_forgotten():
    watch, now = watched([0.0, 0.9, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3])
    assert watch.problem(now) == ""


def test_a_noisy_sensor_is_at_rest_and_a_slow_drift_is_not():
    ticks = 2 * np.pi / 4096 * np.random.default_rng(3).integers(-2, 3, 60)
    assert watched(ticks, 0.01)[0].problem(7.6) == ""
    assert "the arm moves" in watched(np.arange(60) * 0.001, 0.01)[0].problem(7.59)


def test_without_a_limit_every_robot_is_at_rest():
    assert watched([0.0, 1.0], limit=0.0)[0].problem(7.1) == ""
    assert RestWatch(("pan",), 0.0).problem(0.0) == ""


def evidence(positions, commands=None, score=None, least=0.02):
    found = Evidence(least)
    for index, position in enumerate(positions):
        command = None if commands is None else np.array([0.1, commands[index]])
        found.add(np.array([0.1, position]), command, score)
    return found.doubts()


def test_what_speaks_against_an_episode():
    moves, rests = [0.0, 0.01, 0.03], [0.5, 0.5, 0.505]
    assert evidence(moves, moves) == evidence(moves) == evidence(rests, rests, least=0.0) == ""
    assert "no motion: no joint moved by more than 0.005 rad" in evidence(rests, rests)
    assert "does the arm follow" in evidence(rests, moves)
    assert "who moves the arm?" in evidence(moves, rests)
    assert evidence(moves, moves, score=1.0) == ""
    assert "score is 0.50" in evidence(moves, moves, score=0.5)
    both = evidence(rests, rests, score=0.0)
    assert "no motion" in both
    assert "no success" in both


@pytest.fixture
def robot(make_bench):
    return make_bench(max_start_speed=LIMIT, min_motion=0.02)


def stand(bench, frames):
    """Let the robot stand where it begins."""
    for _ in range(frames):
        bench.frame = 0
        bench.run(1)
    bench.frame = 0


def test_a_start_waits_for_rest(robot):
    robot.run(8)
    with pytest.raises(ValueError, match=r"not started: the arm moves: gripper at 0\.\d+ rad/s"):
        robot.recorder.start(robot.now)
    robot.publish()
    stand(robot, 6)
    assert 'armed: episode 0: "pick up the cube"' in robot.start()
    robot.run(1)
    assert 'recording episode 0: "pick up the cube"' in robot.messages


def test_a_command_from_before_the_start_belongs_to_no_episode(robot):
    stand(robot, 8)
    robot.commands.add([0.9, 0.9], robot.now - 0.01)
    robot.recorder.start(robot.now)
    robot.silent.add("commands")
    stand(robot, 1)
    assert robot.recorder.state == State.ARMED
    robot.silent.clear()
    robot.run(4)
    robot.save()
    robot.close()
    action = Dataset.open(robot.store.folder).column("action")[0]
    np.testing.assert_allclose(action, [0.0, 0.0], atol=1e-6)


def test_the_first_command_begins_the_episode(robot):
    robot.silent.add("commands")
    stand(robot, 14)
    assert "ready: start an episode, which will begin with the first command" in robot.messages[-1]
    assert "from the next command on (commands on /arm/commands: none yet" in robot.start()
    assert robot.recorder.state == State.ARMED
    stand(robot, 30)
    assert robot.recorder.status.startswith("armed: episode 0 begins with the next command (comm")
    with pytest.raises(ValueError, match="nothing was saved: no command came yet"):
        robot.save()
    with pytest.raises(ValueError, match="has begun already"):
        robot.start()
    robot.silent.clear()
    robot.inputs.instruct("put it down")
    robot.run(9)
    assert "9 frames, 0.9 s, measured 10.00 frames/s" in robot.save()
    robot.close()
    data = Dataset.open(robot.store.folder)
    assert data.tasks == ["put it down"]
    np.testing.assert_allclose(data.column("observation.state")[0], [0.0, 0.0], atol=1e-6)


def test_an_armed_recorder_can_be_relieved(robot):
    robot.silent.add("commands")
    stand(robot, 8)
    robot.start()
    assert robot.recorder.discard() == "episode 0 after 0 frames: discarded"
    robot.start()
    assert "1 episodes" not in robot.close()


def test_motion_without_a_command_ends_an_armed_episode(robot):
    robot.silent.add("commands")
    stand(robot, 8)
    robot.start()
    robot.run(10)
    assert robot.recorder.state == State.IDLE
    assert any("broken and discarded: the arm moves" in event for event in robot.messages)


def test_an_armed_recorder_waits_for_what_is_missing(robot):
    robot.silent |= {"commands", "top"}
    robot.silent.remove("top")
    stand(robot, 8)
    robot.start()
    robot.silent.add("top")
    stand(robot, 15)
    assert robot.recorder.state == State.ARMED
    assert "camera top: newest image is" in robot.recorder.status
    assert "armed, waiting: camera top: newest image is" in robot.messages[-1]
    robot.silent.clear()
    robot.run(6)
    assert "saved episode 0: 6 frames" in robot.save()


def test_a_wrong_command_is_not_waited_for(robot):
    robot.silent.add("commands")
    stand(robot, 8)
    robot.commands.add([0.0, 0.0, 0.0], robot.now)
    with pytest.raises(ValueError, match="not started: commands on /arm/commands"):
        robot.start()


def rest_through(robot):
    """An episode in which nothing moves."""
    stand(robot, 8)
    robot.start()
    stand(robot, 12)


def test_an_episode_at_rest_is_saved_only_when_asked_twice(robot):
    rest_through(robot)
    with pytest.raises(ValueError, match=r"episode 0: not saved yet: no motion.* save again"):
        robot.save()
    assert robot.recorder.state == State.FULL
    assert "full: episode 0: 12 frames, 1.2 s; not saved yet: no motion" in robot.recorder.status
    robot.run(5)  # no more frames are taken
    assert "saved episode 0: 12 frames" in robot.save()
    robot.publish()
    rest_through(robot)
    with pytest.raises(ValueError, match="episode 1: not saved yet"):
        robot.save()
    assert "discarded" in robot.recorder.discard()
    stand(robot, 8)
    assert "saved episode 1: 7 frames" in robot.record(7)


def test_an_episode_without_success_is_told_where_somebody_judges(robot):
    stand(robot, 8)
    robot.inputs.take_score(0.5, robot.now)
    stand(robot, 1)
    assert robot.recorder.status.startswith("ready, in a simulation (0 episodes")
    robot.start()
    robot.run(6)
    with pytest.raises(ValueError, match=r"no success: the simulation's score is 0\.50"):
        robot.save()
    robot.recorder.discard()
    robot.publish()
    stand(robot, 8)
    robot.start()
    robot.run(5)
    robot.inputs.take_score(1.0, robot.now)
    robot.run(1)
    assert "saved episode 0: 6 frames" in robot.save()


def test_a_score_of_long_ago_judges_nothing(robot):
    robot.inputs.take_score(0.0, robot.now)
    stand(robot, 30)
    assert robot.recorder.status.startswith("ready (0 episodes")
    assert "saved episode 0" in robot.record(6)
