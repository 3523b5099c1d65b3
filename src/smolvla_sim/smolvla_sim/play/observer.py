# SPDX-License-Identifier: Apache-2.0
"""Takes observations of a simulation; pictures are drawn only then."""

from __future__ import annotations

import numpy as np
from smolvla_core.backend import Backend, Observation, SceneObject

from smolvla_sim.world.rendering import CameraRenderer
from smolvla_sim.world.scene import OBJECT_SIZES
from smolvla_sim.world.simulation import Simulation

Size = tuple[int, int]


class Observer:
    """The eyes and joints of a policy in the simulation.

    Args:
        simulation: what is observed.
        backend: says which cameras it needs, and whether the poses of the things.
        size: of the pictures: width and height in pixels.

    Raises:
        ValueError: a camera does not exist.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
    """

    def __init__(self, simulation: Simulation, backend: Backend, size: Size) -> None:
        self._simulation = simulation
        self._needs_objects = backend.needs_objects
        self._renderer: CameraRenderer | None = None
        # Who knows where the things are looks at no pictures.
        if backend.cameras and not self._needs_objects:
            self._renderer = CameraRenderer(
                simulation.model, backend.cameras, width=size[0], height=size[1]
            )

    def observe(self, instruction: str) -> Observation:
        """Return what there is to be seen and felt right now."""
        simulation = self._simulation
        images = {} if self._renderer is None else self._renderer.render(simulation.data)
        return Observation(
            images=images,
            joint_names=tuple(simulation.joint_names),
            positions=simulation.positions,
            instruction=instruction,
            objects=self._objects() if self._needs_objects else {},
        )

    def _objects(self) -> dict[str, SceneObject]:
        return {
            name: SceneObject(
                state.position, np.roll(state.quaternion, -1), np.array(OBJECT_SIZES[name])
            )
            for name, state in self._simulation.objects().items()
        }

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
