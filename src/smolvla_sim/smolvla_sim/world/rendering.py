# SPDX-License-Identifier: Apache-2.0
"""Draws camera pictures without a window: picks a working OpenGL and owns the renderer."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from smolvla_sim.world.scene import CAMERAS, DEFAULT_CAMERAS

GL_BACKENDS = ("egl", "osmesa", "glfw")
# Width and height of `CameraRenderer.segment`'s pictures, pixels: fine enough for a centroid.
SEGMENTATION_SIZE = (96, 72)
_PROBE = (
    "import os, mujoco;"
    "renderer = mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 16, 16);"
    "renderer.render();"
    # Some drivers fail on the way out, after the proof.
    "os._exit(0)"
)
_PROBE_SECONDS = 30.0
# MuJoCo answers these values without drawing anything.
_OFF = ("disable", "disabled", "off", "false", "0")


class RenderingError(RuntimeError):
    """No OpenGL here can draw pictures; the text says what to install."""


def choose_gl() -> str:
    """Set and return ``MUJOCO_GL``: the first of `GL_BACKENDS` that draws a picture.

    A value that the user has set is respected. Each candidate is tried in a process of its
    own, as a failing OpenGL may abort the process and MuJoCo loads only one per process.

    Raises:
        RenderingError: none works, or the user's value turns rendering off.
    """
    chosen = os.environ.get("MUJOCO_GL", "")
    if chosen.lower() in _OFF:
        raise RenderingError(
            f"MUJOCO_GL={chosen} turns rendering off; unset it, or ask for no cameras"
        )
    if chosen:
        return chosen
    reasons = []
    for backend in GL_BACKENDS:
        problem = _probe(backend)
        if not problem:
            os.environ["MUJOCO_GL"] = backend
            return backend
        reasons.append(f"{backend}: {problem}")
    raise RenderingError(
        "no OpenGL can draw the cameras; install one that draws without a display "
        f"({_mesa()}), or run without cameras. Tried {'; '.join(reasons)}"
    )


def _mesa() -> str:
    """Return how Mesa, which draws in software, is installed here."""
    if shutil.which("apt-get"):
        return "sudo apt-get install libegl1 libgl1-mesa-dri"
    return "Mesa's libEGL and its software driver"


def _probe(backend: str) -> str:
    """Return what keeps `backend` from drawing; empty where it draws."""
    try:
        result = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_PROBE_SECONDS:.0f} s"
    if result.returncode == 0:
        return ""
    lines = result.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {result.returncode}"


def check_cameras(cameras: Sequence[str]) -> tuple[str, ...]:
    """Return the cameras as a tuple.

    Raises:
        ValueError: one does not exist or is named twice.
    """
    unknown = [name for name in cameras if name not in CAMERAS]
    if unknown:
        raise ValueError(
            f"unknown camera {', '.join(map(repr, unknown))}; there are {', '.join(CAMERAS)}"
        )
    if len(set(cameras)) != len(cameras):
        raise ValueError(f"a camera is named twice in {list(cameras)}")
    return tuple(cameras)


class CameraRenderer:
    """Draws the cameras of a model; to be made, used and closed in one thread.

    Args:
        model: the compiled model.
        cameras: names from `scene.CAMERAS`.
        size: width and height of the pictures [pixels].
        supersample: draw this many times larger and average, for smooth edges.
        text_size: of labels, in percent of MuJoCo's usual font: 50, 100, 150, 200, 250 or 300.

    Raises:
        ValueError: unknown camera.
        RenderingError: no working OpenGL.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        cameras: Sequence[str] = DEFAULT_CAMERAS,
        size: tuple[int, int] = (640, 480),
        *,
        supersample: int = 1,
        text_size: int = 100,
    ) -> None:
        self.cameras = check_cameras(cameras)
        self._supersample = supersample
        self._size = (size[0] * supersample, size[1] * supersample)
        self._model = model
        self._gl: Any = None
        backend = choose_gl()
        try:
            if backend.lower() not in GL_BACKENDS:
                raise ValueError(f"unknown; there are {', '.join(GL_BACKENDS)}")
            # mujoco.Renderer would use the OpenGL that was chosen when mujoco was imported.
            module = importlib.import_module(f"mujoco.{backend.lower()}")
            self._gl = module.GLContext(*self._size)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, text_size)
        except Exception as error:
            raise RenderingError(
                f"MUJOCO_GL={backend} does not draw here ({error}); "
                f"unset MUJOCO_GL, or install Mesa ({_mesa()})"
            ) from error
        room = np.maximum(self._size, SEGMENTATION_SIZE)
        mujoco.mjr_resizeOffscreen(int(room[0]), int(room[1]), self._context)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._options = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value

    def render(
        self, data: mujoco.MjData, decorate: Callable[[mujoco.MjvScene], None] | None = None
    ) -> dict[str, NDArray[np.uint8]]:
        """Return camera name -> uint8 (height, width, 3) RGB of the state in `data`.

        Args:
            data: the state.
            decorate: may add geoms to the scene that are no part of the model.
        """
        self._gl.make_current()
        return {
            camera: self._average(self._draw(data, camera, self._size, decorate))
            for camera in self.cameras
        }

    def segment(self, data: mujoco.MjData) -> dict[str, NDArray[np.int32]]:
        """Return camera name -> int32 (height, width) number of the geom in each pixel, or -1.

        The size is `SEGMENTATION_SIZE`.
        """
        self._gl.make_current()
        flags = [mujoco.mjtRndFlag.mjRND_SEGMENT.value, mujoco.mjtRndFlag.mjRND_IDCOLOR.value]
        self._scene.flags[flags] = 1
        pictures = {}
        for camera in self.cameras:
            red, green, blue = np.moveaxis(
                self._draw(data, camera, SEGMENTATION_SIZE).astype(np.int32), 2, 0
            )
            # A pixel's color is one more than the number of what was drawn there; 0 is nothing.
            geoms = np.full(self._scene.ngeom + 1, -1, dtype=np.int32)
            for geom in self._scene.geoms[: self._scene.ngeom]:
                if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM.value:
                    geoms[geom.segid + 1] = geom.objid
            pictures[camera] = geoms[red + (green << 8) + (blue << 16)]
        self._scene.flags[flags] = 0
        return pictures

    def _draw(
        self,
        data: mujoco.MjData,
        camera: str,
        size: tuple[int, int],
        decorate: Callable[[mujoco.MjvScene], None] | None = None,
    ) -> NDArray[np.uint8]:
        self._camera.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._options,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        if decorate is not None:
            decorate(self._scene)
        width, height = size
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        rectangle = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, rectangle, self._context)
        # OpenGL draws the lowest row first; whoever gets the picture wants it in one piece.
        return np.ascontiguousarray(pixels[::-1])

    def _average(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        n = self._supersample
        if n == 1:
            return image
        height, width, _ = image.shape
        blocks = image.reshape(height // n, n, width // n, n, 3)
        return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)

    def close(self) -> None:
        """Free the OpenGL context; harmless when called twice."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            # Some drivers complain on the way out; nothing can be done about it any more.
            with contextlib.suppress(Exception):
                self._gl.free()
            self._gl = None
