# SPDX-License-Identifier: Apache-2.0
"""Random light, colors and camera mounts, so that a policy learns to look past them.

Everything is drawn from the seed of an episode and written into the live model, which the
renderers read. The film camera stays where it is.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from math import cos, radians, sin

import mujoco
import numpy as np
from numpy.typing import NDArray

from smolvla_sim.world.scene import CAMERAS, CUBES

Array = NDArray[np.float64]

# Uniform half widths for hue (turns), and relative saturation and brightness.
_CUBE_SHIFT = (0.015, 0.12, 0.15)
_TABLE_SHIFT = (0.03, 0.5, 0.12)
# Main light: tilt from the vertical in degrees and relative brightness.
_LIGHT_TILT = (10.0, 45.0)
_LIGHT_BRIGHTNESS = (0.65, 1.25)
_AMBIENT = (0.75, 1.15)
# Standard deviations of where a fixed camera is mounted and where it looks.
_CAMERA_POSITION = 0.003
_CAMERA_ANGLE = radians(0.3)
# The wrist camera's mount is stiffer than a tripod.
_ON_GRIPPER = 0.5
_FILM_CAMERA = "beauty"


@dataclass(frozen=True)
class Variation:
    """One look of the scene.

    Attributes:
        light_direction: (3,) where the main light shines to, unit length.
        light_brightness: factor on the main light.
        ambient: factor on the light without direction.
        colors: material -> shift of hue in turns, factors on saturation and brightness.
        cameras: camera -> (3,) shift in meters and (3,) rotation vector in radians, both in
            the camera's own axes.
    """

    light_direction: Array
    light_brightness: float
    ambient: float
    colors: dict[str, tuple[float, float, float]]
    cameras: dict[str, tuple[Array, Array]]


def random_variation(seed: int) -> Variation:
    """Draw a look; the same seed gives the same one."""
    # A stream of its own: layouts of a seed are the same with and without variation.
    rng = np.random.default_rng([seed, 2])
    tilt, azimuth = radians(rng.uniform(*_LIGHT_TILT)), rng.uniform(-np.pi, np.pi)
    direction = np.array([sin(tilt) * cos(azimuth), sin(tilt) * sin(azimuth), -cos(tilt)])
    brightness, ambient = float(rng.uniform(*_LIGHT_BRIGHTNESS)), float(rng.uniform(*_AMBIENT))
    colors = {}
    for name in (*CUBES, "tabletop", "mat"):
        hue, saturation, value = rng.uniform(-1.0, 1.0, 3) * (
            _CUBE_SHIFT if name in CUBES else _TABLE_SHIFT
        )
        colors[name] = (float(hue), 1.0 + float(saturation), 1.0 + float(value))
    cameras = {}
    for name, camera in CAMERAS.items():
        shift, turn = rng.standard_normal((2, 3)) * [[_CAMERA_POSITION], [_CAMERA_ANGLE]]
        scale = _ON_GRIPPER if camera.on_gripper else 1.0
        if name != _FILM_CAMERA:
            cameras[name] = (scale * shift, scale * turn)
    return Variation(direction, brightness, ambient, colors, cameras)


class SceneLook:
    """Applies variations to a live model, always starting from the model's own look.

    Args:
        model: compiled by `mjcf.build_model`; its first light is the main one.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._light_dir = model.light_dir.copy()
        self._light_diffuse = model.light_diffuse.copy()
        self._ambient = np.array(model.vis.headlight.ambient)
        self._rgba = model.mat_rgba.copy()
        self._cam_pos = model.cam_pos.copy()
        self._cam_quat = model.cam_quat.copy()

    def apply(self, variation: Variation | None) -> None:
        """Give the model this look; None is its own."""
        model = self._model
        model.light_dir[:] = self._light_dir
        model.light_diffuse[:] = self._light_diffuse
        model.vis.headlight.ambient[:] = self._ambient
        model.mat_rgba[:] = self._rgba
        model.cam_pos[:] = self._cam_pos
        model.cam_quat[:] = self._cam_quat
        if variation is None:
            return
        model.light_dir[0] = variation.light_direction
        model.light_diffuse[0] = variation.light_brightness * self._light_diffuse[0]
        model.vis.headlight.ambient[:] = variation.ambient * self._ambient
        for name, shifts in variation.colors.items():
            index = model.material(name).id
            model.mat_rgba[index, :3] = _shifted(self._rgba[index, :3], *shifts)
        for name, (shift, turn) in variation.cameras.items():
            index = model.camera(name).id
            mujoco.mju_rotVecQuat(model.cam_pos[index], shift, self._cam_quat[index])
            model.cam_pos[index] += self._cam_pos[index]
            mujoco.mju_quatIntegrate(model.cam_quat[index], turn, 1.0)


def _shifted(rgb: Array, hue: float, saturation: float, value: float) -> Array:
    """Return (3,) RGB 0 to 1 with its hue shifted and the others scaled."""
    h, s, v = colorsys.rgb_to_hsv(*(float(part) for part in rgb))
    return np.array(
        colorsys.hsv_to_rgb((h + hue) % 1.0, min(1.0, s * saturation), min(1.0, v * value))
    )
