# SPDX-License-Identifier: Apache-2.0
"""A recorder on a robot that the test plays, by a clock that the test turns."""

import threading

import numpy as np
import pytest
from robot_files import robot_file
from smolvla_core.node_settings import ObservationSettings, RecordSettings
from smolvla_core.observation import ObservationBuffer
from smolvla_learning.recording.encoder import EpisodeEncoder
from smolvla_learning.recording.inputs import CommandBuffer, Inputs
from smolvla_learning.recording.recorder import Recorder
from smolvla_learning.recording.store import EpisodeStore

JOINTS = ("pan", "gripper")
CAMERAS = ("top", "wrist")
FPS = 10
TASK = "pick up the cube"


class Picture:
    """An image of one gray; `gate`, if there is one, must open before it is decoded."""

    def __init__(self, gray, size=(12, 16), gate=None):
        self.pixels = np.full((*size, 3), gray, dtype=np.uint8)
        self.gate = gate

    def decode(self):
        if self.gate is not None:
            assert self.gate.wait(10)
        return self.pixels


def two_joint_arm(joints=JOINTS, robot_type="test_arm"):
    """A robot whose gripper goes from 0 to 2 rad."""
    ends = {"lower": 0.0, "upper": 2.0}
    changes = {"gripper": ends, "claw": {"role": "gripper", **ends}}
    return robot_file(joints, robot_type=robot_type, changes=changes)


class Bench:
    """The robot: at frame k the joints stand at (k / 100, k / 50) rad and are sent to twice
    that; the images are 8 * k bright."""

    def __init__(self, folder, *, cameras=CAMERAS, capacity=200, task=TASK, source=True, **config):
        fps = config.pop("fps", FPS)
        self.period = 1.0 / fps
        self.now, self.frame = 1000.0, 0
        self.offset = 0.0  # of the joints [rad]
        self.silent, self.size, self.gate = set(), (12, 16), None
        self.joints = list(JOINTS)
        self.messages = []
        self._closed = ""
        self.buffer = ObservationBuffer(
            cameras,
            JOINTS,
            ObservationSettings(max_image_age=0.25, max_joint_state_age=0.25, max_skew=1.0),
        )
        self.commands = CommandBuffer(JOINTS, 0.5, "commands on /arm/commands") if source else None
        self.inputs = Inputs(
            lambda: self.buffer.snapshot(self.now),
            self.commands,
            task,
            "publish one on /task_instruction",
            {"camera top": "/camera/top/image_raw", "joint states": "/joint_states"},
            config.get("intervention", False),
            lambda positions: settings.body.foreign_problem(positions),
        )
        settings = RecordSettings(
            **{
                "dataset": str(folder),
                "fps": fps,
                "robot": two_joint_arm(**config.pop("arm", {})),
                "cameras": cameras,
                "max_start_speed": 0.0,
                "min_motion": 0.0,
                "min_free_disk": 0.0,
                "video_preset": "ultrafast",
                **config,
            }
        )
        self.store = EpisodeStore(settings)
        self.encoder = EpisodeEncoder(capacity)
        self.recorder = Recorder(
            settings,
            self.inputs,
            self.store,
            self.encoder,
            lambda text, bad: self.messages.append(text),
        )

    def publish(self):
        """Send everything that is not silent, once."""
        stamp = round(self.now * 1e9)
        for camera in self.buffer.cameras:
            if camera not in self.silent:
                picture = Picture(8 * self.frame % 256, self.size, self.gate)
                self.buffer.add_image(camera, picture, stamp, self.now)
        positions = np.array([self.frame / 100, self.frame / 50]) + self.offset
        if "joints" not in self.silent:
            self.buffer.add_joint_state(self.joints, positions, stamp, self.now)
        if "commands" not in self.silent and self.commands is not None:
            self.commands.add(2 * positions, self.now)

    def run(self, frames):
        """Let the robot live for so many frames."""
        for _ in range(frames):
            self.publish()
            self.recorder.tick(self.now)
            self.frame += 1
            self.now += self.period
        return self

    def start(self):
        self.frame = 0
        self.publish()
        return self.recorder.start(self.now)

    def save(self):
        return self.recorder.save(10.0)

    def record(self, frames):
        """One whole episode."""
        self.start()
        self.run(frames)
        return self.save()

    def close(self):
        """End the recorder, once; returns its message."""
        self._closed = self._closed or self.recorder.close()
        return self._closed

    def hold_up(self):
        """Images that come from now on cannot be decoded before the gate opens."""
        self.gate = threading.Event()
        return self.gate


@pytest.fixture
def make_bench(tmp_path):
    benches = []

    def make(**options):
        bench = Bench(options.pop("folder", tmp_path / "dataset"), **options)
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        if bench.gate is not None:
            bench.gate.set()
        bench.close()


@pytest.fixture
def bench(make_bench):
    return make_bench()
