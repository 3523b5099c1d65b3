# SPDX-License-Identifier: Apache-2.0
"""What is shown in Rerun, and how it is laid out at first."""

from __future__ import annotations

import math
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import cv2
import numpy as np
import rerun as rr
import rerun.blueprint as rrb
from numpy.typing import NDArray
from rerun.urdf import UrdfTree
from smolvla_core.images import ImageMessage, decode_image
from smolvla_core.node_settings import BROWSER, WINDOW
from visualization_msgs.msg import Marker

from smolvla_executor.visualization_node.markers import VisualizationSettings, rgb, time_colors
from smolvla_executor.visualization_node.predicted_path import PathPicture

Array = NDArray[np.float64]

TIME = "time"
"""The timeline: seconds since the node started."""
_APPLICATION = "smolvla"
_LIVE_SPAN = 30.0  # [s] that plots show of a run that goes on
_BATCH, _LIVE_BATCH = 2.0, 0.25  # [s] between two batches in a file, and of plots in a viewer
_MEMORY = "2GB"  # of a viewer, and of what is kept for one that comes later
_GRPC_PORT, _WEB_PORT = 9876, 9090  # Rerun's own
_EYE = rrb.EyeControls3D(
    kind=rrb.Eye3DKind.Orbital,
    position=(0.62, -0.46, 0.42),
    look_target=(0.14, 0.0, 0.07),
    eye_up=(0.0, 0.0, 1.0),
)
_PATH = ("ahead", "executed", "seams")
_STYLE = VisualizationSettings()
# Okabe and Ito's palette, which color-blind readers can tell apart.
_MEASURED, _COMMANDED, _QUEUE, _LIMIT = (86, 180, 233), (213, 94, 0), (0, 158, 115), (230, 159, 0)
_STATES = {
    "idle": 0x707070FF,
    "waiting": 0x9A8C5AFF,
    "approaching": 0x56B4E9FF,
    "running": 0x009E73FF,
    "holding": 0xE69F00FF,
    "fault": 0xD55E00FF,
    "stopped": 0xCC79A7FF,
}
_SOURCES = {
    "none": 0x707070FF,
    "policy": 0x0072B2FF,
    "human": 0xE69F00FF,
    "replay": 0xCC79A7FF,
    "home": 0x56B4E9FF,
}


class Screen:
    """One recording in Rerun: the arm in motion, its path, cameras and plots.

    Args:
        show: see `RerunSettings`; not empty.
        joints: names of the joints.
        cameras: names of the cameras.
        tabletop: whether the arm is one of the suite's, whose size is known.

    Attributes:
        where: where the run is to be seen, as a line for the log.

    Raises:
        ValueError: the file cannot be written, or no viewer starts.
    """

    def __init__(
        self, show: str, joints: Sequence[str], cameras: Sequence[str], tabletop: bool
    ) -> None:
        live = show in (WINDOW, BROWSER)
        # In a file many small batches would take most of the space.
        self._batch = _LIVE_BATCH if live else _BATCH
        batches = None if live else rr.ChunkBatcherConfig(flush_tick=_BATCH)
        self._stream = rr.RecordingStream(_APPLICATION, batcher_config=batches)
        # One time for all: that of each message, which may have waited.
        self._stream.set_log_time_enabled(False)
        self._stream.set_log_tick_enabled(False)
        self.where = self._open(show, first_view(joints, cameras, live, tabletop))
        self._arm: _Arm | None = None
        self._drawn: set[str] = set()
        self._pictures: dict[str, bytes] = {}
        self._lanes: dict[str, str] = {}
        self._plots: dict[str, tuple[list[float], list[float]]] = {}
        self._flushed = -math.inf
        self._stream.log("scene", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for joint in joints:
            for kind, color in (("measured", _MEASURED), ("commanded", _COMMANDED)):
                self._style(f"joints/{joint}/{kind}", kind, color)
        self._style("executor/queue/depth", "queued actions", _QUEUE)
        self._style("executor/queue/next_request", "next request below", _LIMIT)
        self._style("executor/latency/answer", "request to chunk", _COMMANDED)
        self._style("executor/latency/inference", "inference", _MEASURED)
        for lane, colors in (("state", _STATES), ("source", _SOURCES)):
            names = list(colors)
            looks = rr.StateConfiguration(values=names, labels=names, colors=list(colors.values()))
            self._stream.log(f"executor/{lane}", looks, static=True)

    def _open(self, show: str, blueprint: rrb.Blueprint) -> str:
        stream = self._stream
        if show == WINDOW:
            try:
                stream.spawn(memory_limit=_MEMORY, default_blueprint=blueprint)
            except RuntimeError as error:
                raise ValueError(f"Rerun's window does not open: {error}") from error
            return "a window of Rerun shows the run; it stays open"
        if show == BROWSER:
            grpc, web = _free_port(_GRPC_PORT), _free_port(_WEB_PORT)
            address = stream.serve_grpc(
                grpc_port=grpc, default_blueprint=blueprint, server_memory_limit=_MEMORY
            )
            rr.serve_web_viewer(web_port=web, open_browser=False)
            page = f"http://localhost:{web}?url={quote(address, safe='')}"
            return f"a browser on this machine shows the run: {page}"
        path = Path(show).expanduser().absolute()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("wb").close()
        except OSError as error:
            raise ValueError(f"parameter 'show': {path}: {error.strerror}") from error
        stream.save(path, default_blueprint=blueprint)
        return f"writes {path}; to see it: rerun {path}"

    def _style(self, entity: str, name: str, color: tuple[int, int, int]) -> None:
        lines = rr.SeriesLines(names=name, colors=color, widths=1.5)
        self._stream.log(entity, lines, static=True)

    def close(self) -> None:
        """Finish what is on its way."""
        self.flush(math.inf)
        self._stream.flush()
        self._stream.disconnect()

    def at(self, time: float) -> None:
        """Let what is shown from now on be of `time` [s]; plots have times of their own."""
        self._stream.set_time(TIME, duration=time)

    def describe(self, urdf: str) -> None:
        """Show the arm of `urdf`.

        Raises:
            ValueError: Rerun cannot read it.
        """
        self._arm = _Arm(self._stream, urdf)
        root = rr.CoordinateFrame(self._arm.root)
        for entity in ("scene", *(f"scene/path/{part}" for part in _PATH)):
            self._stream.log(entity, root, static=True)

    def pose(self, positions: Mapping[str, float]) -> None:
        """Move the arm to joint `positions` [rad]; joints that it does not have are left out."""
        if self._arm is not None:
            self._arm.pose(positions)

    def path(self, picture: PathPicture) -> None:
        """Show where the gripper will go and where it was."""
        colors = time_colors(picture.ahead_times, picture.horizon, rgb(*_STYLE.colors))
        self._line("ahead", picture.ahead, colors, np.ones(len(colors)), _STYLE.width)
        self._line(
            "executed",
            picture.executed,
            np.ones((len(picture.executed), 3)),
            picture.executed_strengths,
            0.6 * _STYLE.width,
        )
        seams = picture.seams
        self._log_or_clear(
            "scene/path/seams",
            rr.Points3D(
                [seam.point for seam in seams],
                radii=_STYLE.width,
                colors=[(*rgb(_STYLE.seam_color)[0], seam.strength) for seam in seams],
            )
            if seams
            else None,
        )

    def _line(self, name: str, points: Array, colors: Array, alphas: Array, width: float) -> None:
        """Show a line through (n, 3) `points` with (n, 3) `colors` and (n,) `alphas`, 0 to 1."""
        shown = None
        if len(points) > 1:
            # A line has one color, so each piece is a line.
            pieces = np.stack([points[:-1], points[1:]], axis=1)
            both = np.column_stack([colors, alphas])[:-1]
            shown = rr.LineStrips3D(list(pieces), colors=both, radii=0.5 * width)
        self._log_or_clear(f"scene/path/{name}", shown)

    def _log_or_clear(self, entity: str, shown: rr.AsComponents | None) -> None:
        if shown is not None:
            self._drawn.add(entity)
            self._stream.log(entity, shown)
        elif entity in self._drawn:
            self._drawn.remove(entity)
            self._stream.log(entity, rr.Clear(recursive=False))

    def object(self, marker: Marker, frame: str) -> None:
        """Show an object of the simulation; `frame` is the one in which its marker is."""
        entity = f"scene/objects/{marker.ns}"
        p, q, size, c = (
            marker.pose.position,
            marker.pose.orientation,
            marker.scale,
            marker.color,
        )
        place: dict[str, Any] = {
            "centers": [(p.x, p.y, p.z)],
            "quaternions": [rr.Quaternion(xyzw=(q.x, q.y, q.z, q.w))],
            "colors": [(c.r, c.g, c.b, c.a)],
            "fill_mode": "solid",
        }
        shown: rr.AsComponents
        if marker.type == Marker.CYLINDER:
            shown = rr.Cylinders3D(lengths=[size.z], radii=[size.x / 2], **place)
        else:
            shown = rr.Boxes3D(sizes=[(size.x, size.y, size.z)], **place)
        self._stream.log(entity, rr.CoordinateFrame(frame), shown)

    def camera(self, name: str, message: ImageMessage) -> None:
        """Show a picture of a camera; one like the last is not repeated.

        Raises:
            ValueError: it cannot be decoded.
        """
        data = _jpeg(message)
        if data != self._pictures.get(name):
            self._pictures[name] = data
            picture = rr.EncodedImage(contents=data, media_type="image/jpeg")
            self._stream.log(f"camera/{name}", picture)

    def plot(self, entity: str, times: Sequence[float], values: Sequence[float]) -> None:
        """Plot (n,) `values` of `entity` at (n,) `times` [s], with the next `flush`."""
        all_times, all_values = self._plots.setdefault(entity, ([], []))
        all_times += times
        all_values += values

    def flush(self, now: float) -> None:
        """Send what is to be plotted, if it is due at `now` [s]."""
        if now - self._flushed < self._batch:
            return
        self._flushed = now
        for entity, (times, values) in self._plots.items():
            self._stream.send_columns(
                entity,
                indexes=[rr.TimeColumn(TIME, duration=times)],
                columns=rr.Scalars.columns(scalars=values),
            )
        self._plots.clear()

    def state(self, state: str, source: str) -> None:
        """Show what the executor does and whose actions it follows."""
        for lane, value in (("state", state), ("source", source)):
            if value != self._lanes.get(lane):
                self._lanes[lane] = value
                self._stream.log(f"executor/{lane}", rr.StateChange(state=value))

    def text(self, markdown: str) -> None:
        """Show what the arm shall do and how it goes."""
        self._stream.log("task", rr.TextDocument(markdown, media_type=rr.MediaType.MARKDOWN))


class _Arm:
    """The arm of a URDF, in motion.

    Attributes:
        root: name of the root link.

    Raises:
        ValueError: Rerun cannot read the URDF.
    """

    def __init__(self, stream: rr.RecordingStream, urdf: str) -> None:
        self._stream = stream
        with tempfile.NamedTemporaryFile("w", suffix=".urdf", encoding="utf-8") as file:
            try:
                file.write(_without_collisions(urdf))
                file.flush()
                tree = UrdfTree.from_file_path(
                    file.name, "scene", static_transform_entity_path="scene/frames"
                )
                tree.log_urdf_to_recording(stream)
                _make_solid(stream, tree, urdf)
            except (RuntimeError, ElementTree.ParseError) as error:
                raise ValueError(f"Rerun cannot show the URDF: {error}") from error
        self.root = tree.root_link().name
        self._joints = [joint for joint in tree.joints() if joint.joint_type != "fixed"]

    def pose(self, positions: Mapping[str, float]) -> None:
        for joint in self._joints:
            mimic = joint.mimic
            position = positions.get(mimic.joint if mimic else joint.name)
            if position is None:
                continue
            if mimic:
                position = mimic.multiplier * position + mimic.offset
            moved = joint.compute_transform(position, clamp=False)
            self._stream.log(f"scene/frames/{joint.name}", moved)


def _without_collisions(urdf: str) -> str:
    """Return a URDF whose links look as they do; Rerun would draw both shapes of each."""
    robot = ElementTree.fromstring(urdf)
    for link in robot.iter("link"):
        for shape in link.findall("collision"):
            link.remove(shape)
    return ElementTree.tostring(robot, encoding="unicode")


def _make_solid(stream: rr.RecordingStream, tree: UrdfTree, urdf: str) -> None:
    """Let boxes and cylinders look as they do; Rerun would draw them like glass."""
    for link in ElementTree.fromstring(urdf).iter("link"):
        paths = tree.get_visual_geometry_paths(link.get("name", ""))
        for path, visual in zip(paths, link.findall("visual"), strict=False):
            for shape, kind in (("box", rr.Boxes3D), ("cylinder", rr.Cylinders3D)):
                if visual.find(f"geometry/{shape}") is not None:
                    stream.log(path, kind.from_fields(fill_mode="solid"), static=True)


def first_view(
    joints: Sequence[str], cameras: Sequence[str], live: bool, tabletop: bool
) -> rrb.Blueprint:
    """Return the layout: arm and task, cameras, plots.

    Args:
        joints, cameras: names.
        live: whether plots follow a run that goes on; else they show all of it.
        tabletop: whether the arm is one of the suite's, whose size is known.
    """
    span = None
    if live:
        edge = rrb.TimeRangeBoundary.cursor_relative
        span = rrb.VisibleTimeRange(TIME, start=edge(seconds=-_LIVE_SPAN), end=edge())
    arm = rrb.Vertical(
        rrb.Spatial3DView(
            origin="scene",
            name="Predicted path (blue), executed (white)",
            background=[24, 26, 32],
            eye_controls=_EYE if tabletop else None,
        ),
        rrb.TextDocumentView(origin="task", name="Task"),
        row_shares=[3, 1],
    )
    columns: list[rrb.Container] = [arm]
    if cameras:
        views = [rrb.Spatial2DView(origin=f"camera/{name}", name=name) for name in cameras]
        columns.append(rrb.Vertical(*views))
    plots = [
        rrb.TimeSeriesView(
            origin=f"joints/{name}",
            name=f"{name} [rad]",
            time_ranges=span,
            # One legend for all.
            plot_legend=rrb.PlotLegend(visible=index == 0),
        )
        for index, name in enumerate(joints)
    ]
    columns.append(
        rrb.Vertical(
            rrb.Grid(*plots, grid_columns=2),
            rrb.Horizontal(
                rrb.TimeSeriesView(
                    origin="executor/queue", name="Queue [actions]", time_ranges=span
                ),
                rrb.TimeSeriesView(
                    origin="executor/latency", name="Latency [ms]", time_ranges=span
                ),
            ),
            rrb.StateTimelineView(
                origin="executor",
                contents=["executor/state", "executor/source"],
                name="Executor: state, and whose actions",
                time_ranges=span,
            ),
            row_shares=[3, 1, 1],
        )
    )
    shares = [3, 2, 4] if cameras else [1, 1]
    return rrb.Blueprint(
        rrb.Horizontal(*columns, column_shares=shares),
        rrb.TimePanel(state="collapsed", timeline=TIME),
        collapse_panels=True,
    )


def _free_port(first: int) -> int:
    """Return `first`, or where somebody has it, another port that is free."""
    for port in (first, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ValueError("this machine has no free port")


def default_show() -> str:
    """Return a window where there is a display, else a browser."""
    display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return WINDOW if display else BROWSER


def _jpeg(message: ImageMessage) -> bytes:
    """Return a picture as JPEG; one that is compressed so already is taken as it is.

    Raises:
        ValueError: it cannot be decoded.
    """
    data = getattr(message, "data", b"")
    if hasattr(message, "format") and bytes(data[:3]) == b"\xff\xd8\xff":
        return bytes(data)
    pixels = cv2.cvtColor(decode_image(message), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return encoded.tobytes()
