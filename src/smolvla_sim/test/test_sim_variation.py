# SPDX-License-Identifier: Apache-2.0
"""Random looks and random starts: from the seed, within their bounds, and seen live."""

from __future__ import annotations

import colorsys
from contextlib import closing

import mujoco
import numpy as np
import pytest
from smolvla_sim.world.layout import random_start
from smolvla_sim.world.rendering import CameraRenderer
from smolvla_sim.world.scene import CAMERAS, CUBES
from smolvla_sim.world.simulation import Simulation

SEEDS = range(300)


@pytest.fixture(scope="module")
def simulation():
    return Simulation()


def look(model):
    """Everything of a model that variation changes."""
    parts = (model.light_dir, model.light_diffuse, model.vis.headlight.ambient, model.mat_rgba)
    return np.concatenate([np.ravel(p).copy() for p in (*parts, model.cam_pos, model.cam_quat)])


def test_layouts_do_not_depend_on_it_and_looks_are_taken_back():
    plain, varied = Simulation(variation=False), Simulation()
    own = look(plain.model)
    for seed in (3, 4):
        plain.reset(seed)
        varied.reset(seed)
        np.testing.assert_array_equal(plain.state(), varied.state())
        np.testing.assert_array_equal(look(plain.model), own)
    fourth = look(varied.model)
    assert np.abs(fourth - own).max() > 0.01
    varied.reset(3)
    assert np.abs(look(varied.model) - fourth).max() > 0.01
    varied.reset(4)
    np.testing.assert_array_equal(look(varied.model), fourth)


def test_pictures_show_it_live(simulation):
    with closing(CameraRenderer(simulation.model, ["top"], (64, 48))) as renderer:
        pictures = []
        for seed in (0, 1, 0):
            simulation.reset(seed)
            pictures.append(renderer.render(simulation.data)["top"].astype(int))
    # The upper corners show nothing but the table.
    corners = [picture[:4, :4].mean() for picture in pictures]
    assert abs(corners[0] - corners[1]) > 2
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_cubes_keep_their_colors(simulation):
    """However they vary, no cube comes near the hue of another one."""
    hues = {name: [] for name in CUBES}
    for seed in SEEDS:
        simulation.reset(seed)
        for name in CUBES:
            rgb = simulation.model.material(name).rgba[:3]
            assert 0.0 <= rgb.min() <= rgb.max() <= 1.0
            hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
            assert saturation > 0.6
            assert value > 0.45
            hues[name].append((hue + 0.5) % 1.0)
    for name, around in zip(CUBES, (0.5, 0.86, 0.12), strict=True):
        assert max(hues[name]) - min(hues[name]) < 0.04
        assert np.mean(hues[name]) == pytest.approx(around, abs=0.02)
    assert np.std(hues["red_cube"]) > 0.003


def test_cameras_and_light_vary_as_documented(simulation):
    own = Simulation(variation=False).model
    shifts, turns = {name: [] for name in CAMERAS}, []
    for seed in SEEDS:
        simulation.reset(seed)
        model = simulation.model
        for name, found in shifts.items():
            found.append(model.camera(name).pos - own.camera(name).pos)
        turn = np.empty(3)
        mujoco.mju_subQuat(turn, model.camera("top").quat, own.camera("top").quat)
        turns.append(np.degrees(turn))
        assert np.linalg.norm(model.light_dir[0]) == pytest.approx(1.0)
        assert model.light_dir[0][2] < -0.7
    assert np.std(shifts["top"]) == pytest.approx(0.003, rel=0.1)
    assert np.std(turns) == pytest.approx(0.3, rel=0.1)
    assert np.std(shifts["wrist"]) == pytest.approx(0.0015, rel=0.1)
    assert not np.any(shifts["beauty"])


@pytest.mark.parametrize("model", ["so100", "so101"])
def test_random_starts_touch_nothing_and_stay(model):
    simulation = Simulation(model)
    tcps, openings = [], []
    for seed in range(25):
        start = random_start(np.random.default_rng(seed), simulation.kinematics)
        np.testing.assert_array_equal(
            start, random_start(np.random.default_rng(seed), simulation.kinematics)
        )
        simulation.reset(seed, home=start)
        np.testing.assert_allclose(simulation.positions, start, atol=0.02)
        objects = simulation.objects().values()
        assert not any(state.touched for state in objects)
        assert all(state.speed < 0.01 for state in objects)
        tcps.append(simulation.kinematics.forward(start).tcp)
        openings.append(start[5])
    assert np.all(np.std(tcps, axis=0) > (0.03, 0.05, 0.015))
    assert min(openings) < 0.2 < 0.8 < max(openings)
