# SPDX-License-Identifier: Apache-2.0
"""Draws the cameras in a thread of its own, so that physics never waits for a picture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing

import mujoco
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray

from smolvla_sim.world.rendering import CameraRenderer

Images = dict[str, NDArray[np.uint8]]


class CameraThread:
    """Takes the newest state, draws it and hands the pictures on.

    A state that comes while the last one is being drawn waits; a still newer one replaces it.

    Args:
        model: the compiled model.
        make_renderer: makes the renderer; called in the thread, as OpenGL demands.
        deliver: called in the thread with the state's stamp and its pictures.
        failed: called in the thread when drawing or delivering raises.

    Raises:
        Exception: what `make_renderer` raised.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        make_renderer: Callable[[], CameraRenderer],
        deliver: Callable[[Time, Images], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._make_renderer = make_renderer
        self._deliver = deliver
        self._failed = failed
        self._condition = threading.Condition()
        self._job: tuple[Time, NDArray[np.float64]] | None = None
        self._stopping = False
        self._start_error: Exception | None = None
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="cameras")
        try:
            self._thread.start()
            ready.wait()
        except KeyboardInterrupt:  # else the process would wait for this thread for ever
            self._stopping = True
            raise
        if self._start_error is not None:
            self._thread.join()
            raise self._start_error

    def submit(self, stamp: Time, coordinates: NDArray[np.float64]) -> None:
        """Ask for pictures of a state (`Simulation.state`); returns at once."""
        with self._condition:
            self._job = (stamp, coordinates)
            self._condition.notify()

    def stop(self) -> None:
        """End the thread and free the renderer."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        try:
            renderer = self._make_renderer()
        except Exception as error:
            self._start_error = error
            return
        finally:
            ready.set()
        with closing(renderer):
            try:
                self._draw_all(renderer)
            except Exception as error:
                self._failed(error)

    def _draw_all(self, renderer: CameraRenderer) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._job is not None or self._stopping)
                if self._stopping or self._job is None:
                    return
                stamp, coordinates = self._job
                self._job = None
            self._data.qpos[:] = coordinates
            # Where bodies, lights and cameras are is all that a picture needs.
            mujoco.mj_kinematics(self._model, self._data)
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_camlight(self._model, self._data)
            self._deliver(stamp, renderer.render(self._data))
