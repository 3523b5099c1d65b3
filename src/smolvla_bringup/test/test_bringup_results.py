# SPDX-License-Identifier: Apache-2.0
"""Run log, summary, plot, video and live line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from smolvla_bringup.demo.plan import PlanView
from smolvla_bringup.demo.plot import plot_run
from smolvla_bringup.demo.report import LiveLine, status_line, summarize, summary_text
from smolvla_bringup.demo.video import Caption, VideoWriter, compose
from smolvla_bringup.system.options import Options
from smolvla_bringup.system.run_log import Progress, ReceivedChunk, RunLog, RunLogger
from smolvla_core.images import decode_picture
from smolvla_core.ros.converters import image_message
from smolvla_sim.world.scene import CAMERAS
from std_msgs.msg import Float32, Float64MultiArray

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest, PolicyStatus

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
PERIOD = 1 / 30
ROWS = 50


def motion(time: np.ndarray) -> np.ndarray:
    """(n, 6) smooth joint positions [rad] at `time` [s]."""
    phases = np.arange(len(JOINTS))
    return np.sin(0.8 * time[:, None] + phases) * (0.3 + 0.1 * phases)


@pytest.fixture
def record() -> RunLog:
    """A run of 12 s: actions from 1 s on, a chunk per second, the task done at 11 s."""
    rng = np.random.default_rng(3)
    run = RunLog(JOINTS)
    fine = np.arange(0.0, 12.0, 0.01)
    start = motion(np.array([0.0]))[0]
    for time in fine:
        position = start if time < 1.1 else motion(np.array([time - 1.1]))[0]
        run.states.append((time, tuple(position)))
    for tick in range(330):
        time = 1.0 + tick * PERIOD
        run.commands.append((time, tuple(motion(np.array([tick * PERIOD]))[0])))
    for first in range(0, 330, 20):
        run.requests.append(0.7 + first * PERIOD)
        rows = motion((first + np.arange(ROWS)) * PERIOD)
        drift = rng.normal(0, 0.02, 6) * np.linspace(0, 3, ROWS)[:, None]
        run.chunks.append(ReceivedChunk(0.95 + first * PERIOD, first, PERIOD, rows + drift))
    for sample in range(120):
        time = 0.1 * sample
        tick = max(0, round((time - 1.0) / PERIOD))
        depth = 0 if time < 1.0 else ROWS - tick % 20
        run.progress.append(Progress(time, tick, depth))
        run.scores.append((time, 0.0 if time < 5 else 0.5 if time < 11 else 1.0))
    run.end_time = 12.0
    return run


def test_tick_times_follow_the_executor_and_not_the_calendar() -> None:
    run = RunLog(JOINTS)
    # Ten ticks in one second, then a pause of two seconds in which no tick is executed.
    run.progress = [
        Progress(1.0, 0, 10),
        Progress(2.0, 10, 0),
        Progress(4.0, 10, 5),
        Progress(4.5, 15, 0),
    ]
    times = run.tick_times(np.array([-1, 0, 5, 9, 10, 15, 16]), 0.1)
    expected = [0.9, 1.0, 1.5, 1.9, 4.0, 4.5, 4.6]
    np.testing.assert_allclose(times, expected, atol=1e-5)


def test_tick_times_without_any_status_are_unknown() -> None:
    assert np.isnan(RunLog(JOINTS).tick_times(np.arange(3), 0.1)).all()


@pytest.mark.parametrize("empty", [False, True])
def test_plot_shows_the_run(record: RunLog, empty: bool, tmp_path: Path) -> None:
    path = tmp_path / "demo.png"
    plot_run(RunLog(JOINTS) if empty else record, "put the red cube into the bowl", path)
    pixels, _ = decode_picture(path.read_bytes())
    assert pixels.shape[0] > 800
    assert pixels.shape[1] > 1400
    orange = np.all(np.abs(pixels.astype(int) - (0xD5, 0x5E, 0x00)) < 30, axis=-1)
    # The commands, besides the few pixels of their legend.
    assert (orange.sum() > 2000) is not empty


def test_summary_counts_and_speaks(record: RunLog) -> None:
    executor = ExecutorStatus(
        reason="executes",
        chunks_merged=17,
        chunk_size=50,
        execution="asynchronous, g 0.7",
        latency_p50=0.21,
        latency_p95=0.4,
        starved_cycles=3,
        starvations=1,
        seam_jump_max=0.0123,
        period_p50=0.0333,
        period_p99=float("nan"),
    )
    policy = PolicyStatus(backend="scripted", inference_p50=0.01)
    summary = summarize(record, Options(seed=4), executor, policy, ["no video"])
    assert summary["time_to_success"] == pytest.approx(11.0)
    assert summary["chunks_merged"] == 17
    assert summary["seed"] == 4
    # NaN is no JSON; strict readers would refuse the file.
    assert json.loads(json.dumps(summary, allow_nan=False))["period_p99"] is None
    text = summary_text(summary)
    for message in (
        "time to success          11.0 s",
        "execution                asynchronous, g 0.7\n",
        "p50 210.0 ms, p95 400.0 ms",
        "3 control cycles in 1 gaps",
        "0.0123 rad",
        "p50 33.3 ms, p99 –",
        "note: no video",
    ):
        assert message in text


@pytest.mark.parametrize(("latency", "slow"), [(1.6, False), (1.7, True), (float("nan"), False)])
def test_summary_says_when_answers_come_later_than_chunks_reach(
    record: RunLog, latency: float, slow: bool
) -> None:
    executor = ExecutorStatus(latency_p50=latency)  # 50 rows of 1/30 s reach 1.67 s
    text = summary_text(summarize(record, Options(), executor, PolicyStatus(), []))
    assert ("too slow for this checkpoint: an answer takes 1.7 s" in text) == slow


def test_summary_of_a_failure_says_what_hindered() -> None:
    run = RunLog(JOINTS, end_time=60.0)
    executor = ExecutorStatus(
        reason="waits for a chunk", requests_refused=9, last_refusal="camera 'top' is silent"
    )
    text = summary_text(summarize(run, Options(), executor, PolicyStatus(), []))
    assert "NOT done in 60.0 s" in text
    assert "the simulation sent no score" in text
    assert "9 requests: camera 'top' is silent" in text
    assert "waits for a chunk" in text


def serialized(value: int) -> bytes:
    """A camera image of one brightness, as it comes over the wire."""
    return serialize_message(image_message(np.full((48, 64, 3), value, np.uint8)))


class TestVideo:
    """The video, read back."""

    @staticmethod
    def writer(path: Path):
        return VideoWriter(path, lambda time: Caption("put it there", time), rate=10)

    def test_pictures_keep_their_times(self, tmp_path: Path) -> None:
        writer = self.writer(tmp_path / "v.mp4")
        times = [0.0, 0.1, 0.2, 1.2, 1.3]  # one second was dropped
        for index, time in enumerate(times):
            images = {"top": serialized(40 * index), "wrist": serialized(255)}
            while not writer.put(time, images):  # the queue drops pictures; this test wants all
                pass
        assert writer.close() == ""
        with av.open(str(tmp_path / "v.mp4")) as video:
            stream = video.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            frames = list(video.decode(stream))
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(14) / 10, atol=1e-6)
        pixels = [frame.to_ndarray(format="rgb24") for frame in frames]
        assert pixels[0].shape == (540, 960, 3)
        top = [round(float(picture[200, 200].mean())) for picture in pixels]  # large
        expected = [0, 40, *[80] * 10, 120, 160]  # the one before stays meanwhile
        np.testing.assert_allclose(top, expected, atol=12)
        assert pixels[12][100, 800].mean() > 240  # wrist, beside it
        assert pixels[12][480:, :400].max() > 200  # the caption

    def test_a_run_that_was_not_done_ends_with_that(self, tmp_path: Path) -> None:
        writer = self.writer(tmp_path / "v.mp4")
        assert writer.put(0.0, {"top": serialized(40)})
        assert writer.close("NOT DONE in 0.1 s") == ""
        with av.open(str(tmp_path / "v.mp4")) as video:
            pixels = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert len(pixels) > 12  # it stays for a while
        assert pixels[0][460, 30].mean() == pytest.approx(40, abs=12)
        np.testing.assert_allclose(pixels[-1][460, 30], (213, 94, 0), atol=20)

    def test_no_camera_is_reported(self, tmp_path: Path) -> None:
        writer = self.writer(tmp_path / "v.mp4")
        assert "no camera image arrived" in writer.close()
        assert not (tmp_path / "v.mp4").exists()

    def test_error_in_the_thread_is_reported_and_blocks_nobody(self, tmp_path: Path) -> None:
        writer = self.writer(tmp_path / "v.mp4")
        for time in range(20):
            writer.put(time, {"top": b""})
        assert "could not be written: " in writer.close()


def test_main_picture_is_the_beauty_camera() -> None:
    def gray(value: int) -> np.ndarray:
        return np.full((10, 10, 3), value, np.uint8)

    images = {"side": gray(50), "wrist": gray(100), "beauty": gray(150), "top": gray(200)}
    picture = compose(images, Caption())
    assert picture[100, 100, 0] == 150
    assert picture[100, 700, 0] == 100
    assert picture[300, 700, 0] == 200
    alone = compose({"side": gray(50)}, Caption())
    assert alone[100, 100, 0] == 50
    assert alone[100, 700, 0] < 30


def test_pictures_are_named_and_show_the_plan_and_the_end() -> None:
    images = {name: np.full((48, 64, 3), 128, np.uint8) for name in ("beauty", "wrist")}
    path = np.array([[0.25, 0.5], [0.75, 0.5]])
    bare = compose(images, Caption("push"))
    told = compose(images, Caption("push", 3.0, 0.5, "plan: 9 of 16", {"beauty": path}))
    for corner in (bare[:24, :40], bare[:24, 640:680]):
        assert corner.max() > 200  # the name
        assert corner.min() < 60
    changed = np.any(told != bare, axis=-1)
    assert changed[240, 200:440].all()  # the line of the plan
    assert not changed[:220].any()
    assert changed[480:].sum() > 100  # score and plan
    done = compose(images, Caption("push", outcome="DONE in 3.0 s", done=True))
    assert done[470, 10].tolist() == [0, 158, 115]


def test_the_plan_is_where_the_camera_sees_the_gripper() -> None:
    axes = ("x", "y", "z")
    links = ["world", "a", "b", "gripper_frame_link"]
    joints = [
        f'<joint name="{axis}" type="prismatic"><parent link="{links[i]}"/>'
        f'<child link="{links[i + 1]}"/><axis xyz="{" ".join(str(int(i == k)) for k in range(3))}"'
        f"/></joint>"
        for i, axis in enumerate(axes)
    ]
    named = "".join(f'<link name="{link}"/>' for link in links)
    view = PlanView(f'<robot name="gantry">{named}{"".join(joints)}</robot>')
    target = np.array(CAMERAS["beauty"].target)
    rows = target + np.array([[9.0, 9, 9], [0, 0, 0], [0, 0, 0.05]])
    log = RunLog(axes)
    assert view.paths(log) == {}
    log.chunks.append(ReceivedChunk(0.1, 5, PERIOD, rows))
    log.progress.append(Progress(0.2, 6, 2))  # the first row is over
    middle, above = view.paths(log)["beauty"]
    np.testing.assert_allclose(middle, (0.5, 0.5), atol=1e-9)
    assert above[1] < 0.45
    assert above[0] == pytest.approx(0.5, abs=0.01)
    assert "wrist" not in view.paths(log)


# The live line: overwritten in a terminal, rare lines in a file.

STEP = 1 / 16  # [s]; exact in binary


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def show(line: LiveLine, clock: Clock, seconds: float) -> None:
    for _ in range(round(seconds / STEP)):
        line.update(lambda width: f"at {clock.now:.2f}")
        clock.now += STEP


def test_file_gets_a_line_every_two_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    show(LiveLine(stream, clock), clock, 5.0)
    assert stream.getvalue() == "at 0.00\nat 2.00\nat 4.00\n"


def test_terminal_gets_one_line_that_is_overwritten(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream, clock = Terminal(), Clock()
    line = LiveLine(stream, clock)
    show(line, clock, 6 * STEP)
    line.update(lambda width: "x" * 100)
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().count("\r") == 4
    # Wider than the terminal it would wrap and could not be overwritten.
    assert "x" * 19 in stream.getvalue()
    assert "x" * 20 not in stream.getvalue()


@pytest.mark.parametrize("width", [59, 79, 200])
def test_a_narrow_line_keeps_score_and_reason(width: int) -> None:
    client = SimpleNamespace(score=0.5, executor_status=ExecutorStatus(tick=123, chunk_size=50))
    client.executor_status.latency_last = 0.232
    client.executor_status.state = ExecutorStatus.HOLDING
    client.executor_status.reason = "the queue is empty: waits for a chunk"
    line = status_line(12.34, client, width)
    assert len(line) <= width
    assert "score 0.50" in line
    assert "holding: the queue is empty: " in line
    assert ("latency 232 ms" in line) == (width == 200)
    client.executor_status.state = ExecutorStatus.RUNNING
    line = status_line(12.34, client, width)
    assert "running" in line
    assert "queue  0/50" in line
    assert "the queue is empty" not in line


def test_logged_line_replaces_the_live_one_and_stays() -> None:
    stream, clock = Terminal(), Clock()
    line = LiveLine(stream, clock)
    show(line, clock, 2 * STEP)
    line.log("done")
    show(line, clock, 2 * STEP)
    assert stream.getvalue() == "\rat 0.00\x1b[K\r\x1b[Kdone\n\rat 0.12\x1b[K"


def test_topics_become_a_log(graph) -> None:
    node = graph.node
    logger = RunLogger(node, ("hip", "knee"))
    publishers = {
        kind: node.create_publisher(kind, topic, 10)
        for kind, topic in (
            (ExecutorStatus, "executor_node/status"),
            (JointState, "joint_states"),
            (Float64MultiArray, "arm_controller/commands"),
            (InferenceRequest, "smolvla/inference_request"),
            (ActionChunk, "smolvla/action_chunk"),
            (Float32, "sim/score"),
        )
    }
    graph.until(lambda: all(p.get_subscription_count() for p in publishers.values()))

    def publish(*messages) -> None:
        for message in messages:
            publishers[type(message)].publish(message)

    chunk = ActionChunk(joint_names=["knee", "hip"], positions=[1.0, 2.0, 3.0, 4.0], first_tick=8)
    chunk.period.nanosec = 50_000_000
    chunk.header.stamp = node.get_clock().now().to_msg()
    messages = (
        ExecutorStatus(tick=5, queue_depth=3, state=ExecutorStatus.HOLDING),
        JointState(name=["knee", "hip"], position=[0.25, 0.5]),
        JointState(name=["knee"], position=[9.0]),  # not all of them
        Float64MultiArray(data=[0.1, 0.2]),
        Float64MultiArray(data=[0.1]),  # of another arm
        InferenceRequest(),
        chunk,
        ActionChunk(error="camera hip is dark"),
        ActionChunk(joint_names=["ankle"], positions=[1.0]),
        Float32(data=0.5),
        Float32(data=1.0),
    )
    publish(*messages)
    graph.during(0.1, lambda: True)
    log = logger.begin()
    assert logger.begin() is not log
    log = logger.begin()
    publish(*messages)
    graph.until(lambda: len(log.scores) == 2 and len(log.chunks) == 2, what="all messages")
    logger.end()
    publish(*messages)
    graph.during(0.1, lambda: True)
    assert [(now.tick, now.depth, now.state) for now in log.progress] == [
        (5, 3, ExecutorStatus.HOLDING)
    ]
    assert all(values == (0.5, 0.25) for _, values in log.states)
    assert [values for _, values in log.commands] == [(0.1, 0.2)]
    assert len(log.requests) == 1
    answer, refusal = log.chunks
    assert answer.positions.tolist() == [[2.0, 1.0], [4.0, 3.0]]
    assert (answer.first_tick, answer.period) == (8, 0.05)
    assert answer.observed < 0 < answer.time  # it was seen before the log began
    assert len(refusal.positions) == 0
    assert [score for _, score in log.scores] == [0.5, 1.0]
    assert log.success_time == log.scores[1][0]
    assert log.end_time >= log.scores[1][0]
