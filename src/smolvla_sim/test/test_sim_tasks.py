# SPDX-License-Identifier: Apache-2.0
"""Sentences, grading and random layouts."""

from __future__ import annotations

from itertools import combinations, islice, pairwise
from math import hypot

import numpy as np
import pytest
from smolvla_sim.world.arm import ARMS, arm_spec
from smolvla_sim.world.kinematics import DOWN, ArmKinematics
from smolvla_sim.world.layout import BOWL_SPACING, random_layout
from smolvla_sim.world.scene import BOWL, BOWLS, CUBE_EDGE, OBJECTS, RIGHT_BOWL
from smolvla_sim.world.simulation import HOME, Simulation
from smolvla_sim.world.tasks import (
    TASK_NAMES,
    TASKS,
    ObjectState,
    PickUp,
    PlaceInBowl,
    Progress,
    Reach,
    Sort,
    Stack,
    parse_task,
    task_sequence,
    tasks_asked,
)


@pytest.mark.parametrize(
    ("sentence", "task"),
    [
        ("put the red cube into the bowl", PlaceInBowl("red")),
        ("Put the green cube in the bowl.", PlaceInBowl("green")),
        ("pick up the blue cube and put it into the bowl", PlaceInBowl("blue")),
        ("grab the red block and place it in the bowl", PlaceInBowl("red")),
        ("pick up  the red cube", PickUp("red")),
        ("lift the blue cube", PickUp("blue")),
        ("touch the red cube", Reach("red")),
        ("Reach the green cube", Reach("green")),
        ("reach for the blue block", Reach("blue")),
        ("stack the red cube on the blue cube", Stack("red", "blue")),
        ("put the green cube on top of the red cube", Stack("green", "red")),
        (
            "sort the red cube into the left bowl and the blue cube into the right bowl",
            Sort("red", "blue"),
        ),
        (
            "put the blue cube in the left bowl and put the red cube in the right bowl.",
            Sort("blue", "red"),
        ),
    ],
)
def test_sentences(sentence, task):
    assert parse_task(sentence) == task


def test_every_task_understands_its_own_sentence():
    tasks = [task for kind in TASKS for task in kind.variants()]
    for task in tasks:
        for sentence in task.sentences():
            assert parse_task(sentence) == task
    assert len({task.sentence for task in tasks}) == len(tasks)
    assert len(Reach.variants()) == 3
    assert len(Stack.variants()) == 6


def test_a_task_is_asked_for_by_name_or_by_sentence():
    assert [type(tasks_asked(name)[0]) for name in TASK_NAMES] == list(TASKS)
    assert tasks_asked("stack") == Stack.variants()
    assert tasks_asked("Lift the blue block.") == (PickUp("blue"),)
    for unknown in ("dance", ""):
        with pytest.raises(ValueError, match=f"{TASK_NAMES[-1]}, or a whole sentence"):
            task_sequence(unknown, 0)
    with pytest.raises(ValueError, match="does not understand 'dance with the red cube'"):
        task_sequence("dance with the red cube", 0)


def test_the_colors_of_a_name_rotate_with_the_seed():
    tasks = [next(task_sequence("reach", seed)) for seed in range(6)]
    assert {task.color for task in tasks[:3]} == {"red", "green", "blue"}
    assert tasks[:3] == tasks[3:]
    assert {type(task) for task in tasks} == {Reach}


def test_a_sequence_goes_on_with_another_cube():
    for seed in range(3):
        tasks = list(islice(task_sequence("reach", seed), 40))
        assert all(a.cube != b.cube for a, b in pairwise(tasks))
        assert len(set(tasks)) == 3
        assert tasks == list(islice(task_sequence("reach", seed), 40))
    assert tasks != list(islice(task_sequence("reach", seed + 3), 40))
    # Of a sentence there is no other cube to go on with.
    assert set(islice(task_sequence("Pick up the blue cube.", 1), 4)) == {PickUp("blue")}


@pytest.mark.parametrize(
    "sentence",
    [
        "dance",
        "put the pink cube into the bowl",
        "stack the red cube on the red cube",
        "stack the red cube on the pink cube",
        "",
    ],
)
def test_an_unknown_sentence_lists_what_is_understood(sentence):
    with pytest.raises(
        ValueError, match=r"put the \{color\} cube into the bowl.*red, green, blue"
    ):
        parse_task(sentence)


STILL = np.array([1.0, 0.0, 0.0, 0.0])
LIFTED = Progress({"red_cube"}, "red_cube")


def scene(cube, *, speed=0.0, touched=False):
    return {
        "red_cube": ObjectState(np.array(cube), STILL, speed, touched),
        "blue_cube": ObjectState(np.array([0.15, 0.0, CUBE_EDGE / 2]), STILL, 0.0, False),
        BOWL: ObjectState(np.array([0.2, 0.1, 0.016]), STILL, 0.0, False),
        RIGHT_BOWL: ObjectState(np.array([0.2, -0.1, 0.016]), STILL, 0.0, False),
    }


def test_half_for_the_grasp_half_for_the_place():
    task = PlaceInBowl("red")
    inside = [0.2, 0.1, 0.017]
    assert task.grade(scene([0.2, -0.1, 0.0125]), Progress()) == 0.0
    assert task.grade(scene(inside), Progress()) == 0.0
    assert task.grade(scene([0.2, -0.1, 0.0125]), LIFTED) == 0.5
    assert task.grade(scene(inside), LIFTED) == 1.0
    assert task.grade(scene(inside, touched=True), LIFTED) == 0.5
    assert task.grade(scene(inside, speed=0.2), LIFTED) == 0.5
    assert task.grade(scene([0.2, 0.1, 0.08]), LIFTED) == 0.5
    assert task.grade(scene([0.2, 0.16, 0.0125]), LIFTED) == 0.5


def test_a_cube_on_another_one_in_the_bowl_is_in_it():
    task = PlaceInBowl("red")

    def grade(position, blue_cube=(0.2, 0.1, 0.017)):
        objects = scene(position)
        objects["blue_cube"].position[:] = blue_cube
        return task.grade(objects, LIFTED)

    assert grade([0.21, 0.1, 0.042]) == 1.0
    assert grade([0.236, 0.1, 0.037], blue_cube=[0.215, 0.1, 0.017]) == 1.0  # leans on the rim
    assert grade([0.21, 0.1, 0.063]) == 0.5  # above it
    assert grade([0.21, 0.1, 0.042], blue_cube=[0.3, 0.1, 0.0125]) == 0.5
    assert grade([0.2, -0.1, 0.0375]) == 0.5  # on one that is elsewhere


def test_in_place_a_try_goes_on_and_what_lasts_counts():
    simulation = Simulation(task="pick up the red cube", variation=False)
    positions = simulation.objects()["blue_cube"].position
    simulation.progress.lifted.add("red_cube")
    simulation.progress.first_touched = "red_cube"
    simulation.judge_in_place("Lift the red cube.")
    assert simulation.score() == 1.0  # tried again
    simulation.judge_in_place("put the red cube into the bowl")
    assert simulation.score() == 0.5
    assert simulation.progress.first_touched is None
    simulation.judge_in_place("pick up the red cube")
    assert simulation.score() == 0.0
    two_bowls = "sort the red cube into the left bowl and the blue cube into the right bowl"
    with pytest.raises(ValueError, match="bowls"):
        simulation.judge_in_place(two_bowls)
    assert (simulation.objects()["blue_cube"].position == positions).all()


def test_only_a_held_cube_is_lifted():
    high = [0.2, 0.0, CUBE_EDGE / 2 + 0.05]
    assert scene(high, touched=True)["red_cube"].lifted
    assert not scene(high)["red_cube"].lifted
    assert not scene([0.2, 0.0, CUBE_EDGE / 2], touched=True)["red_cube"].lifted
    # A cube that stands on another one was not lifted by that.
    assert not scene([0.2, 0.0, 1.5 * CUBE_EDGE], touched=True)["red_cube"].lifted
    assert PickUp("red").grade(scene(high), LIFTED) == 1.0
    assert PickUp("red").grade(scene(high), Progress({"blue_cube"})) == 0.0


def test_reach_is_lost_with_another_cube():
    task, objects = Reach("red"), scene([0.2, -0.1, 0.0125], touched=True)
    assert task.grade(objects, Progress()) == 0.0
    assert not task.lost(Progress())
    assert task.grade(objects, Progress(first_touched="red_cube")) == 1.0
    assert not task.lost(Progress(first_touched="red_cube"))
    assert task.grade(objects, Progress(first_touched="blue_cube")) == 0.0
    assert task.lost(Progress(first_touched="blue_cube"))


def test_a_stacked_cube_rests_on_the_other_and_is_let_go():
    task, on_blue = Stack("red", "blue"), [0.152, 0.003, 1.5 * CUBE_EDGE]
    assert task.grade(scene(on_blue), Progress()) == 0.0
    assert task.grade(scene(on_blue), LIFTED) == 1.0
    assert task.grade(scene(on_blue, touched=True), LIFTED) == 0.5
    assert task.grade(scene(on_blue, speed=0.1), LIFTED) == 0.5
    assert task.grade(scene([0.152, 0.003, 2 * CUBE_EDGE]), LIFTED) == 0.5
    assert task.grade(scene([0.165, 0.003, 1.5 * CUBE_EDGE]), LIFTED) == 0.5
    assert Stack("red", "green").objects == ("red_cube", "green_cube")


def test_sorting_gives_a_quarter_for_each_grasp_and_place():
    task = Sort("red", "blue")
    both = Progress({"red_cube", "blue_cube"}, "red_cube")
    left, right = [0.2, 0.1, 0.017], [0.2, -0.1, 0.017]
    assert task.grade(scene(left), Progress()) == 0.0
    assert task.grade(scene(left), LIFTED) == 0.5
    assert task.grade(scene(left), both) == 0.75
    assert task.grade(scene(right), both) == 0.5
    objects = scene(left)
    objects["blue_cube"].position[:] = right
    assert task.grade(objects, both) == 1.0


def touch_from_above(simulation, name):
    """Set a cube under the open gripper's fixed finger and press on it."""
    pose = simulation.kinematics.forward(simulation.positions)
    at = pose.tcp - 0.02 * pose.axes[:, 2] + 0.018 * pose.axes[:, 0]
    simulation.move_object(name, at)
    simulation.step(20)


def test_the_simulation_remembers_the_first_touch_until_the_next_episode():
    simulation = Simulation(task="touch the red cube", seed=1)
    simulation.step(30)
    assert simulation.progress.first_touched is None
    assert (simulation.score(), simulation.lost) == (0.0, False)
    touch_from_above(simulation, "blue_cube")
    touch_from_above(simulation, "red_cube")
    assert simulation.progress.first_touched == "blue_cube"
    assert (simulation.score(), simulation.lost) == (0.0, True)
    simulation.reset(1)
    touch_from_above(simulation, "red_cube")
    assert (simulation.score(), simulation.lost) == (1.0, False)


def test_the_second_bowl_is_there_only_for_sorting():
    simulation = Simulation(seed=2, variation=False)
    before = simulation.state()
    assert RIGHT_BOWL not in simulation.objects()
    simulation.set_task(
        "sort the red cube into the left bowl and the blue cube into the right bowl"
    )
    objects = simulation.objects()
    assert objects[BOWL].position[1] > 0.1
    assert objects[RIGHT_BOWL].position[1] < -0.1
    # It holds a cube that is dropped into it.
    simulation.move_object("red_cube", objects[RIGHT_BOWL].position + np.array([0.0, 0.0, 0.03]))
    simulation.step(150)
    resting = simulation.objects()["red_cube"]
    assert resting.speed < 0.01
    np.testing.assert_allclose(resting.position[:2], objects[RIGHT_BOWL].position[:2], atol=0.02)
    assert 0.014 < resting.position[2] < 0.03
    simulation.set_task("touch the red cube")
    assert RIGHT_BOWL not in simulation.objects()
    np.testing.assert_array_equal(simulation.state(), before)
    np.testing.assert_allclose(simulation.positions, HOME, atol=0.02)


@pytest.mark.parametrize("model", sorted(ARMS))
@pytest.mark.parametrize("two_bowls", [False, True])
def test_layouts_are_apart_and_reachable(model, two_bowls):
    kinematics = ArmKinematics(arm_spec(model))
    pan = tuple(kinematics.pan_axis)
    for seed in range(100):
        layout = random_layout(np.random.default_rng(seed), pan, two_bowls=two_bowls)
        assert set(layout) == {*OBJECTS, *(BOWLS if two_bowls else ())}
        for (first, a), (second, b) in combinations(layout.items(), 2):
            least = BOWL_SPACING if {first, second}.intersection(BOWLS) else 0.065
            assert hypot(a.x - b.x, a.y - b.y) >= least
        for name, place in layout.items():
            if name not in BOWLS:
                point = np.array([place.x, place.y, place.z])
                assert kinematics.inverse(point, DOWN, place.yaw) is not None
    assert random_layout(np.random.default_rng(7), pan) == random_layout(
        np.random.default_rng(7), pan
    )


def test_layouts_of_old_seeds_stay():
    place = random_layout(np.random.default_rng(7), (0.0452, 0.0))["red_cube"]
    assert (place.x, place.y) == pytest.approx((0.19415365978212384, -0.07372796878340089))
