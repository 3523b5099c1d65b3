# SPDX-License-Identifier: Apache-2.0
"""The scripted expert succeeds, recovers and moves gently; the backend around it."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from smolvla_core.backend import ChunkRequest
from smolvla_sim.evaluate import evaluate
from smolvla_sim.expert.expert import ScriptedExpert
from smolvla_sim.expert.settings import ScriptedSettings, create
from smolvla_sim.play.loop import DONE, EpisodeLoop, Observer, direct
from smolvla_sim.play.policies import completed
from smolvla_sim.settings import EvaluationSettings
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.simulation import HOME, Simulation

TASK = "put the red cube into the bowl"
SORT = "sort the red cube into the left bowl and the green cube into the right bowl"


def observation(simulation, instruction=TASK, names=JOINT_NAMES):
    observer = Observer(simulation, create(ScriptedSettings(period=1 / 30)), (64, 48))
    seen = observer.observe(instruction)
    order = [JOINT_NAMES.index(name) for name in names]
    return replace(seen, joint_names=tuple(names), positions=seen.positions[order])


def scene_poses(simulation):
    """Return what the expert may know about the objects of a simulation."""
    return observation(simulation).objects


def scores(**settings):
    usual = {"policy": "scripted", "kind": "pick_place", "seed": 1000, "workers": 1}
    played, _ = completed(EvaluationSettings(**{**usual, **settings}))
    return [result.score for result in evaluate(played)]


@pytest.mark.parametrize(
    "settings",
    [
        {"fps": 30.0, "n_action_steps": 16},
        {"fps": 15.0},
        {"fps": 30.0, "n_action_steps": 15, "model": "so101", "joint_noise": 0.01},
    ],
)
def test_succeeds(settings):
    assert sum(scores(episodes=12, **settings)) >= 11.5


@pytest.mark.parametrize(
    ("task", "fps"),
    [("reach", 15.0), ("pick_up", 30.0), ("stack", 15.0), ("stack", 30.0), ("sort", 15.0)],
)
def test_does_the_other_tasks(task, fps):
    # At a higher rate as much of a motion as at the lower one before the next plan.
    steps = round(fps / 3)
    found = scores(kind=task, fps=fps, n_action_steps=steps, episodes=4, random_starts=1.0)
    assert found == [1.0] * 4


def test_leaves_the_other_cubes_alone_when_it_reaches():
    simulation = Simulation()
    observer = Observer(simulation, create(ScriptedSettings(period=1 / 30)), (64, 48))
    simulation.set_task("touch the red cube")
    simulation.reset(4)
    loop = EpisodeLoop(observer, direct(simulation, 30.0, 15))
    assert loop.play(20.0) == DONE
    assert simulation.progress.first_touched == "red_cube"


def test_goes_home_when_the_task_is_done():
    expert, simulation = ScriptedExpert(), Simulation()
    poses = scene_poses(simulation)
    poses["red_cube"].position[:] = poses["blue_cube"].position + np.array([0.002, 0.0, 0.025])
    plan = expert.plan(np.array(HOME), poses, "stack the red cube on the blue cube", 10)
    np.testing.assert_allclose(plan, [HOME] * 10)
    poses["red_cube"].position[:] = poses["bowl"].position
    np.testing.assert_allclose(expert.plan(np.array(HOME), poses, TASK, 10), [HOME] * 10)
    simulation.set_task(SORT)
    poses = scene_poses(simulation)
    poses["red_cube"].position[:] = poses["bowl"].position
    poses["green_cube"].position[:] = poses["right_bowl"].position
    np.testing.assert_allclose(expert.plan(np.array(HOME), poses, SORT, 10), [HOME] * 10)
    # One back on the table: fetched again.
    poses["green_cube"].position[:] = (0.2, 0.0, 0.0125)
    assert np.abs(expert.plan(np.array(HOME), poses, SORT, 10)[-1] - HOME).max() > 0.1


def test_recovers_from_a_moved_cube_and_a_dropped_one():
    simulation, expert = Simulation(seed=4), ScriptedExpert()
    moved = dropped = False
    for _ in range(80):
        poses = scene_poses(simulation)
        for row in expert.plan(simulation.positions, poses, TASK, 50)[:10]:
            simulation.command(row)
            simulation.step(10)
        cube = scene_poses(simulation)["red_cube"].position
        tcp = expert.kinematics.forward(simulation.positions).tcp
        if not moved and np.linalg.norm(tcp - cube) < 0.06:
            moved = True
            simulation.move_object("red_cube", cube + np.array([0.0, 0.03, 0.0]))
        elif moved and not dropped and cube[2] > 0.05:
            dropped = True
            simulation.move_object("red_cube", cube - np.array([0.0, 0.0, cube[2] - 0.0125]))
        if simulation.score() >= 1.0:
            break
    assert moved
    assert dropped
    assert simulation.score() == 1.0


def standing(simulation, x, y, z, opening):
    """Return (6,) joint positions with the TCP at a point and the gripper at `opening`."""
    arm = simulation.kinematics.reach(np.array([x, y, z]), None, 0.0)
    return np.append(arm, opening)


def away(poses, *names):
    """Move cubes out of the way."""
    for name in names:
        poses[name].position[:] = (0.0, 0.4, 0.0125)


@pytest.mark.parametrize(
    ("opening", "aside"),
    [
        (0.40, 0.008),  # across the edges: wider open than for a cube gripped on its sides
        (0.30, -0.021),  # by the rim of the pads
    ],
)
def test_keeps_what_it_grips_badly(opening, aside):
    simulation = Simulation()
    poses = scene_poses(simulation)
    away(poses, "green_cube", "blue_cube")
    poses["bowl"].position[:] = (0.2, 0.12, 0.0125)
    positions = standing(simulation, 0.2, -0.05, 0.08, opening)
    tcp = simulation.kinematics.forward(positions)
    # Off center: so it cannot be pushed onto the fixed pad.
    poses["red_cube"].position[:] = tcp.tcp + aside * tcp.axes[:, 1]
    plan = ScriptedExpert(period=1 / 15).plan(positions, poses, TASK, 12)
    assert plan[:, 5].max() < opening
    assert simulation.kinematics.forward(plan[-1]).tcp[1] > 0.05  # on its way to the bowl
    # The same opening above a cube that lies on the table holds nothing.
    poses["red_cube"].position[:] = (0.2, 0.0, 0.0125)
    plan = ScriptedExpert(period=1 / 15).plan(positions, poses, TASK, 12)
    assert plan[-1, 5] > 0.5


def test_comes_up_closed_where_it_closed_on_nothing():
    simulation = Simulation()
    poses = scene_poses(simulation)
    away(poses, "green_cube", "blue_cube")
    poses["red_cube"].position[:] = (0.2, 0.04, 0.0125)
    positions = standing(simulation, 0.2, 0.0, 0.014, 0.30)
    expert = ScriptedExpert(period=1 / 15)

    def opens_at():
        plan = expert.plan(positions, poses, TASK, 30)
        first = int(np.argmax(plan[:, 5] > 0.35))
        assert first > 0
        return simulation.kinematics.forward(plan[first]).tcp[2]

    assert opens_at() > 0.055
    # With another cube between the fingers it opens at once.
    poses["green_cube"].position[:] = (0.2, 0.0, 0.0125)
    assert opens_at() < 0.045


def test_moves_gently_and_within_the_limits():
    simulation, expert = Simulation(seed=5), ScriptedExpert()
    plan = expert.plan(np.array(HOME), scene_poses(simulation), TASK, 150)
    speed = np.diff(plan, axis=0) * 30
    assert np.abs(speed).max() <= 1.8 + 1e-9
    assert np.abs(np.diff(speed, axis=0)).max() * 30 <= 9.0 + 1e-6
    assert np.all(plan >= simulation.lower)
    assert np.all(plan <= simulation.upper)


def test_continues_committed_rows_without_a_jump():
    simulation, expert = Simulation(seed=5), ScriptedExpert()
    poses = scene_poses(simulation)
    first = expert.plan(np.array(HOME), poses, TASK, 50)
    second = expert.plan(first[8], poses, TASK, 50, committed=first[10:], keep=5)
    np.testing.assert_array_equal(second[:5], first[10:15])
    speed = np.diff(np.vstack([first[:10], second]), axis=0) * 30
    assert np.abs(np.diff(speed, axis=0)).max() * 30 <= 9.0 + 1e-6


def test_says_what_is_missing_and_what_is_out_of_reach():
    simulation, expert = Simulation(), ScriptedExpert()
    poses = scene_poses(simulation)
    with pytest.raises(ValueError, match="red_cube and bowl"):
        expert.plan(np.array(HOME), {}, TASK, 10)
    poses["red_cube"].position[:] = (0.9, 0.0, 0.0125)
    with pytest.raises(ValueError, match="out of the arm's reach"):
        expert.plan(np.array(HOME), poses, TASK, 10)


def test_backend():
    simulation = Simulation(seed=6)
    backend = create(ScriptedSettings(cameras=("top:a",), period=0.02))
    assert (backend.name, backend.cameras, backend.needs_objects) == ("scripted", ("top",), True)
    assert create(ScriptedSettings(period=0.02)).cameras == ("top", "side", "wrist")
    request = ChunkRequest(1, 0, np.empty((0, 6)), 0)
    chunk = backend.infer(observation(simulation), request)
    assert chunk.shape == (50, 6)
    np.testing.assert_array_equal(backend.infer(observation(simulation), request), chunk)
    shuffled = observation(simulation, names=JOINT_NAMES[::-1])
    np.testing.assert_array_equal(backend.infer(shuffled, request), chunk)
    start = time.process_time()
    backend.infer(observation(simulation), request)
    assert time.process_time() - start < 0.05
    with pytest.raises(ValueError, match="does not understand 'dance'"):
        backend.infer(observation(simulation, "dance"), request)
    with pytest.raises(ValueError, match="gripper"):
        backend.infer(observation(simulation, names=JOINT_NAMES[:5]), request)
    backend.close()
