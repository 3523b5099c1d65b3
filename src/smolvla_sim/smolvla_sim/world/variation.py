# SPDX-License-Identifier: Apache-2.0
"""Random light, colors and camera mounts, so that a policy learns to look past them.

Everything is drawn from the seed of an episode and written into the live model, which the
renderers read. The film camera stays where it is.
"""

from __future__ import annotations

import colorsys
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


class SceneLook:
    """Varies the look of a live model, always starting from the model's own look."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        light = (model.light_dir, model.light_diffuse, model.vis.headlight.ambient)
        others = (model.mat_rgba, model.cam_pos, model.cam_quat)
        self._own = [(part, part.copy()) for part in (*light, *others)]

    def restore(self) -> None:
        """Give the model its own look."""
        for part, own in self._own:
            part[:] = own

    def vary(self, seed: int) -> None:
        """Draw a look; the same seed gives the same one."""
        self.restore()
        model = self._model
        # A stream of its own: layouts of a seed are the same with and without variation.
        rng = np.random.default_rng([seed, 2])
        tilt, azimuth = radians(rng.uniform(*_LIGHT_TILT)), rng.uniform(-np.pi, np.pi)
        model.light_dir[0] = sin(tilt) * cos(azimuth), sin(tilt) * sin(azimuth), -cos(tilt)
        model.light_diffuse[0] *= rng.uniform(*_LIGHT_BRIGHTNESS)
        model.vis.headlight.ambient[:] *= rng.uniform(*_AMBIENT)
        for name in (*CUBES, "tabletop", "mat"):
            widths = _CUBE_SHIFT if name in CUBES else _TABLE_SHIFT
            shifts = [float(shift) for shift in rng.uniform(-1.0, 1.0, 3) * widths]
            rgba = model.mat_rgba[model.material(name).id]
            rgba[:3] = _shifted(rgba[:3], *shifts)
        for name, camera in CAMERAS.items():
            shift, turn = rng.standard_normal((2, 3)) * [[_CAMERA_POSITION], [_CAMERA_ANGLE]]
            scale = _ON_GRIPPER if camera.on_gripper else 1.0
            if name == _FILM_CAMERA:
                continue
            index = model.camera(name).id
            moved = np.empty(3)
            # Both in the camera's own axes.
            mujoco.mju_rotVecQuat(moved, scale * shift, model.cam_quat[index])
            model.cam_pos[index] += moved
            mujoco.mju_quatIntegrate(model.cam_quat[index], scale * turn, 1.0)


def _shifted(rgb: Array, hue: float, saturation: float, value: float) -> Array:
    """Return (3,) RGB 0 to 1 with its hue shifted, the others changed by these shares."""
    h, s, v = colorsys.rgb_to_hsv(*(float(part) for part in rgb))
    return np.array(
        colorsys.hsv_to_rgb(
            (h + hue) % 1.0, min(1.0, s * (1.0 + saturation)), min(1.0, v * (1.0 + value))
        )
    )
