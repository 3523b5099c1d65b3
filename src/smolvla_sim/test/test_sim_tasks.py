# SPDX-License-Identifier: Apache-2.0
"""Sentences, grading and random layouts."""

from __future__ import annotations

from itertools import combinations
from math import hypot

import numpy as np
import pytest
from smolvla_sim.arm import ARMS, arm_spec
from smolvla_sim.kinematics import DOWN, ArmKinematics
from smolvla_sim.layout import BOWL_SPACING, random_layout
from smolvla_sim.scene import BOWL, CUBE_EDGE, OBJECTS
from smolvla_sim.tasks import ObjectState, PickUp, PlaceInBowl, all_tasks, parse_task


@pytest.mark.parametrize(
    ("sentence", "task"),
    [
        ("put the red cube into the bowl", PlaceInBowl("red")),
        ("Put the green cube in the bowl.", PlaceInBowl("green")),
        ("pick up the blue cube and put it into the bowl", PlaceInBowl("blue")),
        ("grab the red block and place it in the bowl", PlaceInBowl("red")),
        ("pick up  the red cube", PickUp("red")),
        ("lift the blue cube", PickUp("blue")),
    ],
)
def test_sentences(sentence, task):
    assert parse_task(sentence) == task


def test_every_task_understands_its_own_sentence():
    for task in all_tasks():
        assert parse_task(task.sentence) == task


@pytest.mark.parametrize("sentence", ["dance", "put the pink cube into the bowl", ""])
def test_an_unknown_sentence_lists_what_is_understood(sentence):
    with pytest.raises(
        ValueError, match=r"put the \{color\} cube into the bowl.*red, green, blue"
    ):
        parse_task(sentence)


def scene(cube, *, speed=0.0, touched=False):
    still = np.array([1.0, 0.0, 0.0, 0.0])
    return {
        "red_cube": ObjectState(np.array(cube), still, speed, touched),
        BOWL: ObjectState(np.array([0.2, 0.1, 0.016]), still, 0.0, False),
    }


def test_half_for_the_grasp_half_for_the_place():
    task = PlaceInBowl("red")
    inside = [0.2, 0.1, 0.017]
    assert task.grade(scene([0.2, -0.1, 0.0125]), lifted=False) == 0.0
    assert task.grade(scene([0.2, -0.1, 0.0125]), lifted=True) == 0.5
    assert task.grade(scene(inside), lifted=True) == 1.0
    assert task.grade(scene(inside, touched=True), lifted=True) == 0.5
    assert task.grade(scene(inside, speed=0.2), lifted=True) == 0.5
    assert task.grade(scene([0.2, 0.1, 0.08]), lifted=True) == 0.5
    assert task.grade(scene([0.2, 0.16, 0.0125]), lifted=True) == 0.5


def test_only_a_held_cube_is_lifted():
    task = PickUp("red")
    high = [0.2, 0.0, CUBE_EDGE / 2 + 0.05]
    assert task.lifts(scene(high, touched=True))
    assert not task.lifts(scene(high))
    assert not task.lifts(scene([0.2, 0.0, CUBE_EDGE / 2], touched=True))
    assert task.grade(scene(high), lifted=True) == 1.0


@pytest.mark.parametrize("model", sorted(ARMS))
def test_layouts_are_apart_and_reachable(model):
    kinematics = ArmKinematics(arm_spec(model))
    pan = tuple(kinematics.pan_axis)
    for seed in range(100):
        layout = random_layout(np.random.default_rng(seed), pan)
        assert set(layout) == set(OBJECTS)
        for (first, a), (second, b) in combinations(layout.items(), 2):
            least = BOWL_SPACING if BOWL in (first, second) else 0.065
            assert hypot(a.x - b.x, a.y - b.y) >= least
        for name, place in layout.items():
            if name != BOWL:
                point = np.array([place.x, place.y, place.z])
                assert kinematics.inverse(point, DOWN, place.yaw) is not None
    assert random_layout(np.random.default_rng(7), pan) == random_layout(
        np.random.default_rng(7), pan
    )
