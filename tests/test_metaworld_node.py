# SPDX-License-Identifier: Apache-2.0
"""Meta-World through the nodes, with a world in its place that is there without MuJoCo."""

import json
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from smolvla_core.robot import load_robot
from smolvla_executor.executor_node.node import ExecutorNode
from smolvla_policy.checkpoint.synthetic import make_checkpoint
from smolvla_policy.policy import SmolVLAPolicy
from smolvla_policy.policy_node.node import PolicyNode
from test_docs_examples import EXAMPLES, TINY_VLM, load

ROBOT = str(EXAMPLES / "metaworld.yaml")
RATE = 50.0
ROWS = 4


class World:
    """A hand that follows what it is told; each seed begins at another place."""

    reach = 0.1  # the task is done so far from the start [m]

    def __init__(self, task):
        self.task = SimpleNamespace(sentence=f"Do {task}")
        self.episodes, self.closed = [], False

    def reset(self, seed):
        self.state = np.array([0.01 * (seed % 10 - 5), 0.6, 0.2, 1.0])
        self.steps, self.success = 0, False
        self.episodes.append([self.state])

    def toward(self, wanted):
        return wanted

    def step(self, wanted):
        self.steps += 1
        self.episodes[-1].append(wanted)
        # As an arm does, it follows: the next action must not begin from where it is.
        self.state = self.state + np.clip(0.3 * (wanted - self.state), -0.1, 0.1)
        self.success |= bool(wanted[0] - self.episodes[-1][0][0] > self.reach)

    @property
    def over(self):
        return self.steps >= 30

    def picture(self):
        return np.full((24, 24, 3), self.steps, dtype=np.uint8)

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("metaworld")
    features = {
        "observation.state": {"type": "STATE", "shape": [4]},
        "observation.image": {"type": "VISUAL", "shape": [3, 24, 24]},
    }
    make_checkpoint(
        folder,
        cameras=(),
        joints=4,
        vlm=json.loads(TINY_VLM.read_text("utf-8")),
        overrides={
            "chunk_size": ROWS,
            "n_action_steps": ROWS,
            "num_vlm_layers": 2,
            "input_features": features,
        },
    )
    hand = {"mean": [0.0, 0.6, 0.2, 0.5], "std": [0.1, 0.1, 0.1, 0.5]}
    hand |= {"min": [-0.5, 0.4, 0.05, 0.0], "max": [0.5, 0.9, 0.4, 1.0]}
    action = {"mean": [0.0] * 4, "std": [0.5] * 4, "min": [-1.0] * 4, "max": [1.0] * 4}
    statistics = json.dumps({"observation.state": hand, "action": action})
    (folder / "stats.json").write_text(statistics, "utf-8")
    return folder


@pytest.fixture
def play(graph, checkpoint, monkeypatch):
    """Play with policy_node and executor_node; return exit status and worlds."""
    example = load(EXAMPLES / "metaworld_node.py")
    monkeypatch.setattr(example, "SETTLE", 0.1)

    def chunk(self, images, state, *_, **__):
        (picture,) = images.values()
        assert picture.shape == (24, 24, 3)
        assert state[3] == pytest.approx(1.0) or picture[0, 0, 0]  # open at first
        return np.tile(np.float32([1.0, 0.0, -0.5, 1.0]), (ROWS, 1))

    def run(*arguments, reach=World.reach, **executor):
        worlds = []

        def make(task):
            worlds.append(World(task))
            worlds[-1].reach = reach
            return worlds[-1]

        stats = str(checkpoint / "stats.json")
        usual = {"wait_for_start": True, "success_topic": "metaworld/success", "max_step": [1.0]}
        usual |= {"approach_speed": 100.0, "approach_duration": 0.0, "state_timeout": 5.0}
        ages = {"max_image_age": 5.0, "max_joint_state_age": 5.0, "max_skew": 5.0}
        for cls, given in (
            (
                PolicyNode,
                {"checkpoint": str(checkpoint), "stats": stats, "engine": "torch", **ages},
            ),
            (ExecutorNode, {"rate": RATE, **usual, **executor}),
        ):
            given |= {"robot": ROBOT} | ({"period": 1.0 / RATE} if cls is PolicyNode else {})
            overrides = [Parameter(name, value=value) for name, value in given.items()]
            node = graph.add(cls(context=graph.context, parameter_overrides=overrides))
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS, node.problem
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        monkeypatch.setattr(SmolVLAPolicy, "predict_chunk", chunk)
        ended = Event()
        thread = Thread(target=graph.until, args=(ended.is_set, 60.0))
        thread.start()
        try:
            return example.main([*arguments, "--rate", str(RATE)], make), worlds
        finally:
            ended.set()
            thread.join()

    return run


@pytest.mark.parametrize(
    "executor",
    [{"chunk_size_threshold": 0.0, "actions_per_chunk": 2}, {"chunk_size_threshold": 0.7}],
    ids=["synchronous", "asynchronous"],
)
def test_increments_move_the_hand_of_each_episode_from_where_it_begins(play, capsys, executor):
    status, (world,) = play("--tasks", "pull-v3", "--episodes", "2", "--seed", "7", **executor)
    out = capsys.readouterr().out
    assert status == 0
    assert "pull-v3 7: done after" in out
    assert "pull-v3: success 2/2" in out
    assert world.closed
    assert len(world.episodes) == 2
    for seed, episode in zip((7, 8), map(np.array, world.episodes), strict=True):
        assert episode[0, 0] == pytest.approx(0.01 * (seed % 10 - 5))
        steps = np.diff(episode, axis=0)
        assert (steps[:, 0] > -1e-9).all()
        np.testing.assert_allclose(steps[:, 1], 0.0, atol=1e-9)
        # Down half as fast.
        np.testing.assert_allclose(steps[:, 2], -0.5 * steps[:, 0], atol=1e-9)
        # Each action moved it on from the command before, whatever it held in between; where the
        # machine is busy some commands come together.
        assert np.median(steps[steps[:, 0] > 1e-9, 0]) == pytest.approx(0.01)
        assert steps[:, 0].sum() == pytest.approx(0.105, abs=0.05)
        assert episode[-1, 3] == 0.0  # 1 closes the gripper


def test_an_episode_without_success_ends_with_its_steps(play, capsys):
    status, (first, second) = play("--tasks", "a", "b", "--episodes", "1", reach=9.0)
    out = capsys.readouterr().out
    assert status == 0
    assert "a 1000: not done after 30 steps" in out
    assert "b: success 0/1" in out
    assert len(first.episodes) == len(second.episodes) == 1


def test_the_robot_of_the_example_is_driven_by_increments():
    robot = load_robot(ROBOT)
    assert robot.increments == ("x", "y", "z")
    example = load(EXAMPLES / "metaworld_node.py")
    assert robot.joint_names == example.JOINTS
    assert len((EXAMPLES / "metaworld_node.py").read_text().splitlines()) < 150


def test_where_no_policy_is_there_is_nothing_to_play(monkeypatch, capsys):
    example = load(EXAMPLES / "metaworld_node.py")
    monkeypatch.setattr(example, "LOADING", 0.2)
    assert example.main(["--episodes", "1"], World) == 2
    assert "policy_node: no status yet" in capsys.readouterr().err
