# SPDX-License-Identifier: Apache-2.0
"""Draws what RViz would show of a running simulation, where there is no RViz.

    python -m smolvla_sim.node.draw_path --output predicted_path.png

Listens to the joint states, the objects on the table and the markers of `visualization_node`, and
draws the instant of the run at which most of the path was to be seen, with a seam in it. The frame
of the markers must be that of the arm's base.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import mujoco
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import JointState
from smolvla_core.console import command_parser
from smolvla_core.joints import JointOrder
from smolvla_core.ros import qos
from smolvla_core.ros.converters import scene_objects
from smolvla_core.settings import (
    REQUIRED,
    SettingError,
    Settings,
    add_arguments,
    from_arguments,
    setting,
)
from smolvla_executor.visualization_node.markers import AHEAD, EXECUTED, SEAM_TEXT
from std_msgs.msg import Float32
from visualization_msgs.msg import Marker, MarkerArray

from smolvla_sim.settings import size_of
from smolvla_sim.world.arm import ARMS, JOINT_NAMES
from smolvla_sim.world.rendering import CameraRenderer, RenderingError
from smolvla_sim.world.scene import CAMERAS, OBJECTS
from smolvla_sim.world.simulation import Simulation

_SMALL = (240, 180)
_VISIBLE = 24
"""Change of a pixel that an eye sees, of 255."""
_TEXT_SIZE = 300
"""Of the seams' numbers [% of MuJoCo's usual font]."""
# RViz draws lines flat and in their own color; a little light of their own comes near to it.
_EMISSION = 0.25

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DrawSettings(Settings):
    """What is drawn."""

    output: Path = setting(REQUIRED, "The picture, .png.")
    seconds: float = setting(20.0, "How long to listen [s].", 0)
    model: str = setting("so100", "The arm.", choices=sorted(ARMS))
    camera: str = setting("beauty", "From where.", choices=CAMERAS)
    zoom: float = setting(1.2, "How much nearer.", above=0)
    camera_size: str = setting("960x720", "Size of the picture, WIDTHxHEIGHT [pixels].")


@dataclass(frozen=True)
class Instant:
    """What was there at one time.

    Attributes:
        positions: (6,) [rad].
        objects: name -> (7,) position [m] and quaternion w, x, y, z.
        markers: what was to be seen.
    """

    positions: Array
    objects: dict[str, Array]
    markers: tuple[Marker, ...]


class PathListener(Node):
    """Keeps the instants at which there were seams and both sides of now in `instants`, until
    the task is done."""

    def __init__(self) -> None:
        super().__init__("draw_path")
        self.instants: list[Instant] = []
        self._done = False
        self._order = JointOrder(JOINT_NAMES)
        self._positions: Array | None = None
        self._objects: dict[str, Array] = {}
        self.create_subscription(
            JointState, "joint_states", self._on_joint_state, qos.joint_state_qos()
        )
        self.create_subscription(Float32, "sim/score", self._on_score, qos.status_qos())
        self.create_subscription(MarkerArray, "sim/objects", self._on_objects, qos.scene_qos())
        self.create_subscription(
            MarkerArray, "visualization_node/predicted_path", self._on_path, qos.scene_qos()
        )

    def _on_joint_state(self, message: JointState) -> None:
        self._positions = self._order.pick(message.name, message.position)

    def _on_objects(self, message: MarkerArray) -> None:
        for name, found in scene_objects(message).items():
            x, y, z, w = found.quaternion
            self._objects[name] = np.concatenate([found.position, [w, x, y, z]])

    def _on_score(self, message: Float32) -> None:
        self._done = message.data >= 1.0

    def _on_path(self, message: MarkerArray) -> None:
        if self._positions is None or self._done:
            return
        markers = tuple(m for m in message.markers if m.action == Marker.ADD)
        if {AHEAD, EXECUTED, SEAM_TEXT} <= {marker.ns for marker in markers}:
            self.instants.append(Instant(self._positions, dict(self._objects), markers))


class Painter:
    """Draws instants.

    Args:
        model: ``so100`` or ``so101``.
        camera: one of `scene.CAMERAS`.
        size: width and height of the pictures [pixels].
        zoom: how much nearer than the camera usually is.
        fine: with shadows and smooth edges.

    Raises:
        RenderingError: no OpenGL.
    """

    def __init__(
        self, model: str, camera: str, size: tuple[int, int], zoom: float, *, fine: bool
    ) -> None:
        self._camera = camera
        self._simulation = Simulation(model, shadows=fine, variation=False)
        self._simulation.model.camera(camera).fovy /= zoom
        self._renderer = CameraRenderer(
            self._simulation.model,
            [camera],
            size,
            supersample=2 if fine else 1,
            text_size=_TEXT_SIZE,
        )

    def draw(self, instant: Instant) -> NDArray[np.uint8]:
        """Return the picture of an instant, uint8 (height, width, 3) RGB."""
        data = self._simulation.data
        data.qpos[:6] = instant.positions
        for name, pose in instant.objects.items():
            if name in OBJECTS:
                data.joint(name).qpos[:] = pose
        mujoco.mj_forward(self._simulation.model, data)
        pictures = self._renderer.render(data, lambda scene: add_markers(scene, instant.markers))
        return pictures[self._camera]

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def add_markers(scene: mujoco.MjvScene, markers: Iterable[Marker]) -> None:
    """Add markers to a scene: line strips, spheres and texts; their frame is the scene's.

    Raises:
        ValueError: a marker of another type, or more than the scene has room for.
    """
    for marker in markers:
        if marker.type == Marker.LINE_STRIP:
            _add_line(scene, marker)
        elif marker.type == Marker.SPHERE:
            size = np.array([marker.scale.x, marker.scale.y, marker.scale.z]) / 2.0
            _next_geom(scene, mujoco.mjtGeom.mjGEOM_SPHERE, size, _place(marker), _color(marker))
        elif marker.type == Marker.TEXT_VIEW_FACING:
            geom = _next_geom(
                scene, mujoco.mjtGeom.mjGEOM_LABEL, np.ones(3), _place(marker), _color(marker)
            )
            geom.label = marker.text
        else:
            raise ValueError(f"a marker of type {marker.type} ('{marker.ns}') cannot be drawn")


def _add_line(scene: mujoco.MjvScene, marker: Marker) -> None:
    points = np.array([[p.x, p.y, p.z] for p in marker.points]).reshape(-1, 3)
    if marker.colors:
        colors = np.array([[c.r, c.g, c.b, c.a] for c in marker.colors])
    else:
        colors = np.tile(_color(marker), (len(points), 1))
    for i in range(len(points) - 1):
        if np.allclose(points[i], points[i + 1], atol=1e-6):
            continue  # a capsule without a direction
        geom = _next_geom(
            scene,
            mujoco.mjtGeom.mjGEOM_CAPSULE,
            np.zeros(3),
            np.zeros(3),
            (colors[i] + colors[i + 1]) / 2.0,
        )
        mujoco.mjv_connector(
            geom,
            mujoco.mjtGeom.mjGEOM_CAPSULE.value,
            marker.scale.x / 2.0,
            points[i],
            points[i + 1],
        )


def _next_geom(
    scene: mujoco.MjvScene, kind: mujoco.mjtGeom, size: Array, place: Array, rgba: Array
) -> mujoco.MjvGeom:
    if scene.ngeom >= scene.maxgeom:
        raise ValueError(f"the scene has no room for more than {scene.maxgeom} geoms")
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(geom, kind.value, size, place, np.eye(3).ravel(), rgba.astype(np.float32))
    geom.emission = _EMISSION
    geom.category = mujoco.mjtCatBit.mjCAT_DECOR.value
    scene.ngeom += 1
    return geom


def _place(marker: Marker) -> Array:
    p = marker.pose.position
    return np.array([p.x, p.y, p.z])


def _color(marker: Marker) -> Array:
    c = marker.color
    return np.array([c.r, c.g, c.b, c.a])


def most_to_be_seen(instants: Sequence[Instant], painter: Painter) -> Instant:
    """Return the instant whose path reaches farthest in the picture, hidden parts left out."""

    def extent(instant: Instant, namespace: str, empty: NDArray[np.int64]) -> float:
        line = tuple(m for m in instant.markers if m.ns == namespace)
        picture = painter.draw(dataclasses.replace(instant, markers=line)).astype(np.int64)
        rows, columns = np.nonzero(np.abs(picture - empty).max(axis=2) > _VISIBLE)
        return float(np.hypot(np.ptp(rows), np.ptp(columns))) if len(rows) else 0.0

    def worth(instant: Instant) -> float:
        empty = painter.draw(dataclasses.replace(instant, markers=())).astype(np.int64)
        extents = [extent(instant, namespace, empty) for namespace in (AHEAD, EXECUTED)]
        return sum(extents) + min(extents)  # both sides of now shall be seen

    return max(instants, key=worth)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "draw_path",
        "Draw what RViz would show of a running simulation, where there is no RViz.",
        "python -m smolvla_sim.node.draw_path --output predicted_path.png",
    )
    add_arguments(made, DrawSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Listen, then draw; the exit code."""
    command = parser()
    arguments = command.parse_args(argv)
    try:
        settings = from_arguments(DrawSettings, arguments)
        size = size_of(settings.camera_size)
    except SettingError as error:
        command.error(str(error))
    # Before the minutes of listening, not after them.
    if settings.output.suffix.lower() != ".png":
        command.error(f"--output is {settings.output}, but the picture is a .png")
    try:
        settings.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        command.error(f"--output is {settings.output}: {error.filename}: {error.strerror}")
    rclpy.init(args=[])
    listener = PathListener()
    try:
        deadline = time.monotonic() + settings.seconds
        while (left := deadline - time.monotonic()) > 0:
            rclpy.spin_once(listener, timeout_sec=left)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        listener.destroy_node()
        rclpy.try_shutdown()
    if not listener.instants:
        print(
            "draw_path: no path with a seam came on visualization_node/predicted_path together "
            "with joint states: start the simulation, the policy, the executor and "
            "visualization_node, and give an instruction",
            file=sys.stderr,
        )
        return 1
    try:
        view = (settings.model, settings.camera)
        with closing(Painter(*view, _SMALL, settings.zoom, fine=False)) as painter:
            best = most_to_be_seen(listener.instants, painter)
        with closing(Painter(*view, size, settings.zoom, fine=True)) as painter:
            pixels = painter.draw(best)
    except RenderingError as error:
        print(f"draw_path: {error}", file=sys.stderr)
        return 1
    if not cv2.imwrite(str(settings.output), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)):
        print(f"draw_path: {settings.output} cannot be written", file=sys.stderr)
        return 1
    print(f"{settings.output}: {size[0]} x {size[1]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
