# SPDX-License-Identifier: Apache-2.0
"""A checkpoint drives before a demonstration: for how long, what is judged, what is recorded."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import cycle

import numpy as np
import pytest
from smolvla_core.robot import load_robot
from smolvla_core.units.joint_units import joint_units
from smolvla_sim.demonstrations import lead_in, record_dataset
from smolvla_sim.demonstrations.demonstration import (
    Demonstration,
    DemonstrationOptions,
    Demonstrator,
)
from smolvla_sim.demonstrations.lead_in import LONGEST, LeadIn
from smolvla_sim.demonstrations.record_dataset import main
from smolvla_sim.play.assignments import Assignment
from smolvla_sim.play.policies import LoadedPolicy, PolicySpec, load_policy
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.simulation import HOME, Simulation
from smolvla_sim.world.tasks import parse_task

OPTIONS = DemonstrationOptions("reach", cameras=(), random_starts=0.5, lead_in="some/checkpoint")


class Sleeper:
    """A backend that stays at home."""

    name, cameras, joint_names, needs_objects = "sleeper", (), JOINT_NAMES, False
    chunk_size, period = 16, 1.0 / 15.0

    def infer(self, observation, request):
        return np.tile(HOME, (16, 1))

    def close(self):
        """Nothing to free."""


@pytest.fixture
def scripted(monkeypatch):
    """The scripted expert in place of any checkpoint; the list tells what was asked of it."""
    asked = []

    def load(spec):
        policy = load_policy(PolicySpec("scripted", fps=spec.fps, model=spec.model))
        asked.append(spec)
        return LoadedPolicy(policy.backend, asked.append, asked.append)

    monkeypatch.setattr(lead_in, "load_policy", load)
    return asked


@pytest.fixture
def asleep(monkeypatch):
    """A policy that does not move in place of any checkpoint; the list tells its settings."""
    told = []
    policy = LoadedPolicy(Sleeper(), lambda seed: None, told.append)
    monkeypatch.setattr(lead_in, "load_policy", lambda spec: policy)
    return told


class Draws:
    """A source of randomness whose time is given."""

    def __init__(self, end, kind=0):
        self._end, self._kind = end, kind
        self._others = np.random.default_rng(0)

    def integers(self, *arguments, **others):
        return self._kind

    def choice(self, values):
        return values[0]

    def uniform(self, low, high):
        if (low, high) == (0.0, LONGEST):
            return self._end
        return self._others.uniform(low, high)


def drive(simulation, rng, text="reach", seed=4):
    simulation.reset(seed)
    drives = LeadIn("some/checkpoint", simulation, "so100", 15.0, (64, 48))
    return drives.drive(Assignment(text).sequence(seed), seed, rng)


@pytest.fixture(scope="module")
def simulation():
    return Simulation()


def test_it_drives_for_a_random_time_up_to_the_longest(asleep, simulation, monkeypatch):
    assert LONGEST == 14.0  # docs/reference/simulation.md tells it
    monkeypatch.setattr(lead_in, "LONGEST", 1.5)
    times = []
    for seed in range(8):
        drive(simulation, np.random.default_rng(seed))
        times.append(simulation.time)
    assert max(times) <= 1.5 + 1.0 / 30.0 + 1e-6
    assert len({round(time, 3) for time in times}) >= 6
    assert min(times) < 0.5 < 1.0 < max(times)


def test_it_drives_with_every_way_to_execute_chunks(asleep, simulation):
    for kind in range(4):
        drive(simulation, Draws(0.0, kind))
    assert asleep == [False, False, True, False]


def test_the_task_that_was_not_done_yet_is_judged(scripted, simulation):
    task = drive(simulation, Draws(5.0))
    assert simulation.task == task
    assert simulation.score() < 1.0
    # The expert has done at least one by then, so that it is another one.
    tasks = Assignment("reach").sequence(4)
    first = next(tasks)
    assert task in (next(tasks), next(tasks), next(tasks))
    at_once = drive(simulation, Draws(0.0))
    assert at_once == simulation.task == first


def test_cubes_are_restocked_after_a_task_that_was_done(scripted, simulation, monkeypatch):
    stocked = []
    monkeypatch.setattr(lead_in, "restock", lambda *arguments: stocked.append(arguments))
    rng = Draws(4.0)
    drive(simulation, rng)
    assert len(stocked) >= 1
    assert set(stocked) == {(simulation, rng)}


def test_a_task_that_is_lost_is_given_up(asleep, simulation, monkeypatch):
    monkeypatch.setattr(Simulation, "lost", property(lambda _: True))
    monkeypatch.setattr(lead_in, "restock", lambda *_: None)
    tasks = cycle([parse_task("touch the red cube"), parse_task("touch the blue cube")])
    simulation.reset(0)
    drives = LeadIn("some/checkpoint", simulation, "so100", 15.0, (64, 48))
    # Nine control cycles, each of which loses a task.
    assert drives.drive(tasks, 0, Draws(0.29)).sentence == "touch the blue cube"
    assert simulation.task.sentence == "touch the blue cube"


def test_the_checkpoint_is_told_seed_rate_and_real_time_chunking(scripted, simulation):
    drive(simulation, Draws(0.0, 2), seed=9)
    spec, seed, real_time_chunking = scripted
    assert (spec.name, spec.checkpoint) == ("smolvla", "some/checkpoint")
    assert (spec.fps, spec.model) == (15.0, "so100")
    assert (seed, real_time_chunking) == (9, True)


@pytest.fixture
def takeovers(monkeypatch):
    """What the simulation was like whenever the expert took over: joints, time and task."""
    seen = []
    original = LeadIn.drive

    def watched(self, tasks, seed, rng):
        task = original(self, tasks, seed, rng)
        simulation = self._simulation
        seen.append((simulation.positions, simulation.time, task))
        return task

    monkeypatch.setattr(LeadIn, "drive", watched)
    return seen


def stacked(demonstration, name):
    return np.array([frame[name] for frame in demonstration.frames])


def test_the_help_tells_the_longest_time(capsys):
    with pytest.raises(SystemExit):
        record_dataset.main(["--help"])
    assert f"drives for up to {LONGEST:g} s" in " ".join(capsys.readouterr().out.split())


def test_nothing_of_the_lead_in_is_recorded(scripted, takeovers):
    demonstrator = Demonstrator(OPTIONS)
    # The second one after some seconds of driving.
    for seed in (0, 3):
        demonstration = demonstrator.record(seed)
        positions, begun, task = takeovers[-1]
        assert demonstration.success
        state = joint_units("degrees", load_robot("so100").joints).to_policy(positions)
        np.testing.assert_array_equal(demonstration.frames[0]["observation.state"], state)
        seconds = demonstrator._simulation.time - begun
        assert len(demonstration.frames) == pytest.approx(seconds * OPTIONS.fps, abs=0.01)
        assert set(demonstration.tasks) == {task.sentence}
        assert demonstrator._simulation.task == task
    assert max(begun for _, begun, _ in takeovers) > 2.0


def test_an_episode_depends_on_its_seed_alone(scripted):
    used, fresh = Demonstrator(OPTIONS), Demonstrator(OPTIONS)
    used.record(7)
    again, first = used.record(3), fresh.record(3)
    assert again.success
    assert again.tasks == first.tasks
    np.testing.assert_array_equal(stacked(again, "action"), stacked(first, "action"))
    state = "observation.state"
    np.testing.assert_array_equal(stacked(again, state), stacked(first, state))


def test_still_pictures_and_plain_recordings_load_no_checkpoint(scripted):
    Demonstrator(DemonstrationOptions("scenes", cameras=(), lead_in="some/checkpoint"))
    Demonstrator(DemonstrationOptions("reach", cameras=()))
    assert scripted == []


def test_closing_frees_the_checkpoint(asleep, monkeypatch):
    closed = []
    monkeypatch.setattr(Sleeper, "close", lambda self: closed.append(True))
    Demonstrator(OPTIONS).close()
    assert closed == [True]


def test_a_recording_resumes_only_with_the_same_checkpoint(monkeypatch, tmp_path, capsys):
    given = []

    @contextmanager
    def fake(options, first_seed, workers):
        given.append((options.lead_in, first_seed))
        frame = {name: np.zeros(6, np.float32) for name in ("observation.state", "action")}
        yield (Demonstration(seed, True, ["reach"], [frame]) for seed in cycle([first_seed]))

    monkeypatch.setattr(record_dataset, "demonstrations", fake)

    def run(*arguments):
        usual = ["--task", "reach", "--cameras", "", "--seed", "5", "--out", str(tmp_path / "d")]
        return main([*usual, *arguments]), capsys.readouterr().err

    assert run("--lead-in", "mine", "--episodes", "1")[0] == 0
    for other in (["--lead-in", "another"], []):
        status, err = run(*other, "--episodes", "2", "--resume")
        assert status == 2
        assert "was recorded with lead_in='mine'" in err
    assert run("--lead-in", "mine", "--episodes", "2", "--resume")[0] == 0
    assert given == [("mine", 5), ("mine", 6)]
