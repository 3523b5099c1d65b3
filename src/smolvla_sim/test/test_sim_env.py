# SPDX-License-Identifier: Apache-2.0
"""The Gymnasium environment: contract, determinism and pictures."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
import sys
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from smolvla_sim.env import SmolVLASimEnv
from smolvla_sim.world.rendering import RenderingError, check_cameras, choose_gl
from smolvla_sim.world.simulation import HOME


def rollout(seed, env=None):
    """Return the digest of all states of an episode."""
    env = env or SmolVLASimEnv("so101")
    env.reset(seed=seed)
    digest = hashlib.sha256()
    rng = np.random.default_rng(0)
    for _ in range(40):
        env.step(np.array(HOME) + 0.5 * rng.standard_normal(6))
        digest.update(env.simulation.state().tobytes())
    return digest.hexdigest()


def test_gymnasium_accepts_it():
    with warnings.catch_warnings():
        # Joint limits make unsymmetric actions, and joint states have no bounds.
        warnings.simplefilter("ignore")
        check_env(SmolVLASimEnv(max_steps=20), skip_render_check=True)


def test_same_seed_same_bits_after_another_episode_and_in_another_process():
    env = SmolVLASimEnv("so101")
    first = rollout(5, env)
    assert rollout(6, env) != first
    assert rollout(5, env) == first
    imports = (
        "import hashlib, numpy as np; from smolvla_sim.env import SmolVLASimEnv;"
        "from smolvla_sim.world.simulation import HOME"
    )
    script = f"{imports}\n{inspect.getsource(rollout)}\nprint(rollout(5))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == first


def test_truncation_task_and_info():
    env = SmolVLASimEnv(max_steps=2)
    observation, info = env.reset(seed=1, options={"task": "pick up the blue cube"})
    assert set(observation) == {"positions", "velocities"}
    assert info["task"] == "pick up the blue cube"
    assert info["score"] == 0.0
    assert info["objects"]["bowl"].shape == (7,)
    assert env.step(np.array(HOME))[2:4] == (False, False)
    assert env.step(np.array(HOME))[2:4] == (False, True)
    with pytest.raises(ValueError, match="'task' and 'positions'"):
        env.reset(options={"tusk": 1})
    with pytest.raises(ValueError, match="29 Hz does not divide the physics rate of 300 Hz"):
        SmolVLASimEnv(control_rate=29.0)


def test_pictures_show_the_scene():
    env = SmolVLASimEnv(cameras=("top", "wrist"), width=160, height=120)
    observation, info = env.reset(seed=2)
    top = observation["images"]["top"].astype(int)
    assert observation["images"]["wrist"].shape == (120, 160, 3)
    assert env.observation_space.contains(observation)
    # Left in the picture is left of the robot (+y); far from the robot is up.
    for color, channel in (("red", 0), ("green", 1), ("blue", 2)):
        others = np.delete(top, channel, axis=2).max(axis=2)
        rows, columns = np.nonzero(top[:, :, channel] > 1.8 * others + 20)
        x, y, _ = info["objects"][f"{color}_cube"][:3]
        scale = 120 / 2 / np.tan(np.radians(20.0)) / (0.66 - 0.02)
        assert np.median(columns) == pytest.approx(79.5 - y * scale, abs=4)
        assert np.median(rows) == pytest.approx(59.5 - (x - 0.175) * scale, abs=4)
    first = observation["images"]["top"]
    np.testing.assert_array_equal(env.reset(seed=2)[0]["images"]["top"], first)
    env.close()


def test_film_camera():
    env = SmolVLASimEnv(width=64, height=48, render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (48, 64, 3)
    assert picture.std() > 10
    env.close()


def test_a_choice_of_opengl_is_respected_and_off_is_explained(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert choose_gl() == "osmesa"
    monkeypatch.setenv("MUJOCO_GL", "disable")
    with pytest.raises(RenderingError, match="unset it"):
        choose_gl()


def test_no_opengl_is_explained(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RenderingError, match=r"no OpenGL can draw.*egl: exit status 1"):
        choose_gl()


def test_unknown_cameras_are_listed():
    with pytest.raises(ValueError, match="top, side, wrist, beauty"):
        check_cameras(["front"])
    with pytest.raises(ValueError, match="twice"):
        check_cameras(["top", "top"])
