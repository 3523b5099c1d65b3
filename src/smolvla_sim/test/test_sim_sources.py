# SPDX-License-Identifier: Apache-2.0
"""In the simulation a human corrects the policy in mid-task; a recorded success is repeated."""

import json

import numpy as np
import pytest
from smolvla_core.robot import load_robot
from smolvla_executor.core.executor_types import Source
from smolvla_learning.dataset.reader import Dataset
from smolvla_learning.replay import recorded_actions
from smolvla_sim.demonstrations.record_dataset import NOTES, record
from smolvla_sim.expert.backend import ScriptedBackend
from smolvla_sim.play.loop import EpisodeLoop, Execution, Observer
from smolvla_sim.settings import RecordingSettings
from smolvla_sim.world.simulation import Simulation
from smolvla_sim.world.tasks import task_sequence

RATE = 30.0
TIME_LIMIT = 20.0  # [s]
SETTINGS = Execution().executor(RATE)
EPISODES = 5
REACHABLE = load_robot("so100")


class ScriptedHuman:
    """Does the task by hand from where the arm is; holds the leader a little beside it at first.

    Args:
        observer: of the arm, with the expert for the human's eyes.
        dice: for how far.
    """

    def __init__(self, observer, dice):
        self._observer, self._dice = observer, dice
        self._plan = []

    def target(self, instruction):
        if not self._plan:
            observation = self._observer.observe(instruction)
            rows = self._observer.backend.infer(observation, _Anew())
            self._plan = list(rows[:15])
        return np.clip(
            self._plan.pop(0) + self._offset(), REACHABLE.lower - 0.1, REACHABLE.upper + 0.1
        )

    def _offset(self):
        return 0.005 * self._dice.standard_normal(6)

    def takes(self, positions):
        """Come to the arm: the leader stands up to 0.3 rad beside it."""
        beside = positions + self._dice.uniform(-0.3, 0.3, 6)
        self._plan = [beside] * 5


class _Anew:
    """A request of the human to himself: nothing is committed."""

    committed, expected_delay, tick, request_id = np.empty((0, 6)), 0, 0, 0


def corrected(seed):
    """Play one task with a human in the middle; return score, commands and who had the arm."""
    dice = np.random.default_rng([seed, 9])
    simulation = Simulation()
    simulation.begin(next(task_sequence("pick_place", seed)), seed, dice, 0.5)
    policy = Observer(simulation, ScriptedBackend(cameras=()), (64, 48))
    human = ScriptedHuman(Observer(simulation, ScriptedBackend(cameras=()), (64, 48)), dice)
    loop = EpisodeLoop(policy, SETTINGS, delay=float(dice.uniform(0.0, 0.3)))
    loop.instruction = simulation.task.sentence
    core, sources = loop.core, []
    takes = float(dice.uniform(0.1, 2.5))
    gives = takes + float(dice.uniform(0.2, 2.5))
    while loop.now < TIME_LIMIT and simulation.score() < 1.0:
        if core.source == Source.POLICY and takes <= loop.now < gives:
            human.takes(simulation.positions)
            core.take_over(loop.now)
        if core.source == Source.HUMAN:
            if loop.now >= gives:
                core.give_back(loop.now)
            else:
                core.on_human(human.target(loop.instruction), loop.now)
        loop.step()
        sources.append(core.source)
    return simulation.score(), np.array(loop.trace.commands), sources


@pytest.mark.parametrize("seed", range(EPISODES))
def test_a_human_who_takes_over_in_mid_task_makes_no_jump_and_the_task_ends_well(seed):
    score, commands, sources = corrected(seed)
    assert Source.HUMAN in sources
    assert score == 1.0
    steps = np.abs(np.diff(commands, axis=0))
    assert (steps <= REACHABLE.speed / RATE + 1e-9).all()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded") / "cubes"
    recorded(folder, EPISODES)
    return Dataset.open(folder)


def recorded(folder, episodes):
    """Record successes of the expert, all from home."""
    record(
        RecordingSettings(
            kind="pick_place", cameras=(), episodes=episodes, output=folder, random_starts=0.0
        )
    )


def repeated(dataset, episode):
    """Replay an episode in its own scene; return the score and the commands."""
    recording = recorded_actions(dataset, episode, REACHABLE)
    simulation = Simulation()
    simulation.set_task(recording.instruction)
    simulation.reset(json.loads((dataset.folder / NOTES).read_text())["seeds"][episode])
    loop = EpisodeLoop(Observer(simulation, ScriptedBackend(cameras=()), (64, 48)), SETTINGS)
    loop.core.on_joint_state(simulation.positions, loop.now)
    loop.core.replay(recording.actions, recording.period, loop.now)
    while loop.core.source == Source.REPLAY:
        loop.step()
    assert loop.trace.requests == 0
    for _ in range(round(RATE)):  # until the cube lies still
        loop.step()
    return simulation.score(), np.array(loop.trace.commands)


@pytest.mark.parametrize("episode", range(EPISODES))
def test_a_recorded_success_succeeds_again(dataset, episode):
    score, commands = repeated(dataset, episode)
    assert score == 1.0
    assert (np.abs(np.diff(commands, axis=0)) <= REACHABLE.speed / RATE + 1e-9).all()


def test_a_recording_that_does_not_fit_the_robot_is_refused(dataset):
    with pytest.raises(ValueError, match="episodes are 0 to 4"):
        recorded_actions(dataset, EPISODES, REACHABLE)
    with pytest.raises(ValueError, match="in degrees, not radians"):
        recorded_actions(dataset, 0, REACHABLE, "radians")
    with pytest.raises(ValueError, match="choose another --robot"):
        recorded_actions(dataset, 0, load_robot("two_so101"))
