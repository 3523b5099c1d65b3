# SPDX-License-Identifier: Apache-2.0
"""Labels for learning to see: where each object is in a camera's picture."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from smolvla_sim.world.rendering import CameraRenderer
from smolvla_sim.world.scene import OBJECTS

# Fewer pixels of the small picture than this are not seen.
_LEAST_PIXELS = 2


class GroundingLabeler:
    """Finds the objects in the pictures of a renderer.

    Args:
        model: the compiled model.
        renderer: of the same model; its cameras are labeled.
    """

    def __init__(self, model: mujoco.MjModel, renderer: CameraRenderer) -> None:
        self._renderer = renderer
        bodies = [model.body(name).id for name in OBJECTS]
        # One more for the pixels without a geom, which are numbered -1.
        self._thing = np.full(model.ngeom + 1, -1)
        for index, body in enumerate(bodies):
            self._thing[:-1][model.geom_bodyid == body] = index

    def label(self, data: mujoco.MjData) -> dict[str, NDArray[np.float32]]:
        """Return camera name -> float32 (objects, 3) of the state in `data`.

        The rows are in the order of `scene.OBJECTS` and hold u, v and visibility: the middle
        of the pixels that show the object, from 0 (left, top) to 1 (right, bottom), and 1.
        An object that the camera does not see has 0, 0, 0.
        """
        return {
            camera: self._centers(self._thing[geoms])
            for camera, geoms in self._renderer.segment(data).items()
        }

    def _centers(self, objects: NDArray[np.int64]) -> NDArray[np.float32]:
        height, width = objects.shape
        centers = np.zeros((len(OBJECTS), 3), dtype=np.float32)
        for index in range(len(OBJECTS)):
            rows, columns = np.nonzero(objects == index)
            if len(rows) >= _LEAST_PIXELS:
                u, v = (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height
                centers[index] = u, v, 1.0
        return centers
