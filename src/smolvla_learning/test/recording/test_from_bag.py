# SPDX-License-Identifier: Apache-2.0
"""Bags become the dataset that the recorder would have made of the same messages."""

import shutil
import struct
from collections import Counter

import cv2
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from robot_files import robot_file
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, JointState
from smolvla_core.node_settings import RecordSettings
from smolvla_core.observation import ObservationBuffer
from smolvla_core.ros.converters import image_message
from smolvla_core.ros.sensors import received_image
from smolvla_learning.dataset import Dataset
from smolvla_learning.dataset.check import find_problems
from smolvla_learning.recording.commands import command_topics
from smolvla_learning.recording.encoder import EpisodeEncoder
from smolvla_learning.recording.from_bag import main
from smolvla_learning.recording.inputs import Inputs
from smolvla_learning.recording.recorder import Recorder, State
from smolvla_learning.recording.store import EpisodeStore
from std_msgs.msg import Bool, Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

BEGIN = 1_700_000_000_123_456_789  # [ns]
FPS = 20
JOINTS = ["pan", "gripper"]
TASK = "pick up the cube"
TYPES = {
    "/camera/top/image_raw": "sensor_msgs/msg/Image",
    "/camera/wrist/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
    "/joint_states": "sensor_msgs/msg/JointState",
    "/arm_controller/commands": "std_msgs/msg/Float64MultiArray",
    "/arm_controller/joint_trajectory": "trajectory_msgs/msg/JointTrajectory",
    "/task_instruction": "std_msgs/msg/String",
    "/recording": "std_msgs/msg/Bool",
    "/executor_node/status": "smolvla_msgs/msg/ExecutorStatus",
}
STATUS_DEFINITION = "string instruction\nstring source\nuint64 instructions\n"
"""Of a status that says only this."""


def status_message(instruction, instructions, source="policy"):
    """Its CDR."""
    padded = b""
    for text in (instruction.encode() + b"\0", source.encode() + b"\0"):
        padded += struct.pack("<I", len(text)) + text + bytes(-len(text) % 4)
    padded += bytes(-len(padded) % 8)
    return b"\0\1\0\0" + padded + struct.pack("<Q", instructions)


def ns(seconds):
    return BEGIN + round(seconds * 1e9)


def stamped(message, seconds):
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(ns(seconds), 10**9)
    return message


def image(seconds):
    """Its gray tells its time."""
    return stamped(image_message(np.full((12, 16, 3), 40 * seconds % 256, np.uint8)), seconds)


def compressed(seconds):
    _, png = cv2.imencode(".png", np.full((12, 16, 3), 60 * seconds % 256, np.uint8))
    return stamped(CompressedImage(format="png", data=png.tobytes()), seconds)


def joint_state(seconds, positions=None):
    positions = [0.1 * seconds, 0.05 * seconds] if positions is None else positions
    return stamped(JointState(name=JOINTS[::-1], position=positions[::-1]), seconds)


def commands(seconds):
    return Float64MultiArray(data=[0.2 * seconds, 0.1 * seconds])


def trajectory(seconds):
    point = JointTrajectoryPoint(positions=[0.2 * seconds, 0.1 * seconds])
    point.time_from_start.nanosec = 30_000_000
    return JointTrajectory(joint_names=JOINTS, points=[point])


def robot_messages(seconds=3.0, without=()):
    """(time of reception [s], topic, message) of a robot with jitter, in their order."""
    rng = np.random.default_rng(0)
    made = []
    for topic, rate, make, delay in (
        ("/camera/top/image_raw", 30, image, 0.02),
        ("/camera/wrist/image_raw/compressed", 25, compressed, 0.03),
        ("/joint_states", 50, joint_state, 0.002),
        ("/arm_controller/commands", 30, commands, 0.0),
        ("/arm_controller/joint_trajectory", 30, trajectory, 0.0),
    ):
        for number in range(round(seconds * rate)):
            taken = number / rate + rng.uniform(0, 0.004)
            if topic not in without:
                made.append((taken + delay + rng.uniform(0, 0.004), topic, make(taken)))
    return sorted(made, key=lambda entry: entry[0])


def write_bag(folder, messages, plugin=StoragePlugin.MCAP, types=TYPES):
    store = get_typestore(Stores.LATEST)
    with Writer(folder, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for seconds, topic, message in messages:
            if topic not in connections:
                kind = types[topic]
                known = kind in store.fielddefs
                connections[topic] = writer.add_connection(
                    topic,
                    kind,
                    **(
                        {"typestore": store}
                        if known
                        else {"msgdef": STATUS_DEFINITION, "rihs01": "RIHS01_" + 64 * "0"}
                    ),
                )
            data = message if isinstance(message, bytes) else serialize_message(message)
            writer.write(connections[topic], ns(seconds), data)
    return folder


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


class World:
    def __init__(self, folder):
        self.folder = folder
        self.robot = robot_file(
            JOINTS,
            robot_type="test_arm",
            changes={"gripper": {"lower": 0.0, "upper": 2.0}},
            outputs=[{"type": "forward", "topic": "arm_controller/commands"}],
        )
        self.dataset = folder / "dataset"

    def bag(self, messages, name="bag", **options):
        return write_bag(self.folder / name, messages, **options)

    def convert(self, *bags, **options):
        """Return the exit status."""
        given = {"task": TASK, "robot": self.robot, "fps": FPS, "min_free_disk": 0.0, **options}
        line = [str(bag) for bag in bags] + ["--output", str(self.dataset)]
        for name, value in given.items():
            line += [f"--{name.replace('_', '-')}", *([] if value is None else [str(value)])]
        return main(line)

    def opened(self):
        data = Dataset.open(self.dataset)
        assert not find_problems(data, deep=True)
        return data


def recorded_live(folder, robot, messages, **options):
    """Record what a recorder does that receives the messages; a dataset of one episode."""
    settings = RecordSettings(
        dataset=str(folder), task=TASK, robot=robot, fps=FPS, min_free_disk=0.0, min_motion=0.0,
        max_start_speed=0.0, **options,
    )  # fmt: skip
    now = 0.0
    buffer = ObservationBuffer(settings.cameras, settings.joints, settings)
    buffered, topics = command_topics(settings, str)
    inputs = Inputs(lambda: buffer.snapshot(now), buffered, TASK, "/task_instruction", {})
    encoder = EpisodeEncoder(1000)
    recorder = Recorder(settings, inputs, EpisodeStore(settings), encoder, lambda *_: None)
    used = {"/joint_states", *(f"/{topic.topic}" for topic in topics)}
    first = ns(next(s for s, topic, _ in messages if topic in used or "camera" in topic))
    ticks = [(first + round(n * 1e9 / FPS), 1, None, None) for n in range(round(4 * FPS))]
    for time_ns, _, topic, message in sorted(
        [(ns(seconds), 0, topic, message) for seconds, topic, message in messages]
        + [tick for tick in ticks if tick[0] <= ns(messages[-1][0])],
        key=lambda event: event[:2],
    ):
        now = (time_ns - first) / 1e9
        if topic is None:
            if recorder.state == State.IDLE:
                try:
                    recorder.start(now)
                except ValueError:
                    continue
            recorder.tick(now)
        elif "camera" in topic:
            picture = received_image(serialize_message(message), "compressed" in topic)
            buffer.add_image(topic.split("/")[2], picture, picture.stamp_ns, now)
        elif topic == "/joint_states":
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            buffer.add_joint_state(message.name, message.position, stamp, now)
        for command in topics:
            if topic == f"/{command.topic}":
                command.take(message, now, time_ns)
    recorder.save(10.0)
    recorder.close()
    return Dataset.open(folder)


@pytest.mark.parametrize(
    ("source", "plugin"),
    [
        ("command", StoragePlugin.SQLITE3),
        ("joint_trajectory", StoragePlugin.MCAP),
        ("next_state", StoragePlugin.MCAP),
    ],
)
def test_a_bag_gives_the_frames_that_the_recorder_would_have_taken(world, source, plugin):
    messages = robot_messages()
    assert world.convert(world.bag(messages, plugin=plugin), action_source=source) == 0
    data = world.opened()
    live = recorded_live(world.folder / "live", world.robot, messages, action_source=source)
    assert data.num_frames == live.num_frames > 2.5 * FPS
    assert (data.features, data.tasks, data.fps) == (live.features, live.tasks, live.fps)
    for name in ("observation.state", "action", "timestamp"):
        np.testing.assert_array_equal(data.column(name), live.column(name))
    assert np.ptp(data.column("action")[:, 0]) > 10.0
    for camera in data.cameras:
        pairs = zip(data.frames(camera, 0), live.frames(camera, 0), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)


def test_bags_are_episodes_and_a_dataset_is_continued(world):
    bags = [world.bag(robot_messages(1.0 + n), f"bag_{n}") for n in range(3)]
    assert world.convert(*bags[:2]) == 0
    assert world.convert(bags[2], task="put it down") == 0
    data = world.opened()
    lengths = [episode.length for episode in data.episodes]
    assert lengths == pytest.approx([FPS, 2 * FPS, 3 * FPS], abs=4)
    assert data.tasks == [TASK, "put it down"]


def test_a_bool_marks_episodes(world):
    times = [(0.5, True), (0.6, True), (1.0, False), (1.2, False), (1.5, True), (2.5, False)]
    marks = [(seconds, "/recording", Bool(data=data)) for seconds, data in times]
    messages = sorted(robot_messages(4.0) + marks, key=lambda entry: entry[0])
    assert world.convert(world.bag(messages), marker="/recording") == 0
    lengths = [episode.length for episode in world.opened().episodes]
    assert lengths == pytest.approx([0.5 * FPS, FPS], abs=2)


def test_instructions_mark_episodes(world):
    times = [(0.5, "pick"), (1.0, "pick"), (1.5, "place"), (2.5, ""), (3.0, "pick")]
    marks = [(seconds, "/task_instruction", String(data=data)) for seconds, data in times]
    messages = sorted(robot_messages(4.0) + marks, key=lambda entry: entry[0])
    assert world.convert(world.bag(messages), marker="task_instruction", task="") == 0
    data = world.opened()
    assert [episode.tasks for episode in data.episodes] == [("pick",), ("place",), ("pick",)]
    lengths = [episode.length for episode in data.episodes]
    assert lengths == pytest.approx([FPS] * 3, abs=3)


def test_the_instruction_is_that_of_the_topic(world):
    marks = [(s, "/task_instruction", String(data=t)) for s, t in [(0.1, "pick"), (2.0, "place")]]
    messages = sorted(robot_messages(3.0) + marks, key=lambda entry: entry[0])
    assert world.convert(world.bag(messages), task="") == 0
    data = world.opened()
    counts = Counter(data.tasks[index] for index in data.column("task_index").ravel())
    assert counts == {"pick": pytest.approx(2 * FPS, abs=3), "place": pytest.approx(FPS, abs=3)}


def test_one_file_of_a_bag_is_enough(world):
    bag = world.bag(robot_messages(1.0))
    assert world.convert(next(bag.glob("*.mcap"))) == 0
    assert world.opened().num_episodes == 1


def test_nothing_is_written_when_a_bag_lacks_topics(world, capsys):
    good = world.bag(robot_messages(1.0), "good")
    bad = world.bag(
        robot_messages(1.0, without=("/camera/top/image_raw", "/arm_controller/commands")), "bad"
    )
    assert world.convert(good, bad) == 2
    assert not world.dataset.exists()
    error = capsys.readouterr().err
    assert f"{bad}: no topic /camera/top/image_raw for camera top" in error
    assert "no topic /arm_controller/commands" in error
    assert world.convert(good, marker="/nowhere") == 2
    assert "no topic /nowhere for the marker" in capsys.readouterr().err


def test_an_instruction_and_compressed_images_are_offered_where_they_lack(world, capsys):
    bag = world.bag(robot_messages(without=("/camera/top/image_raw",)))
    assert world.convert(bag) == 2
    assert "/camera/wrist/image_raw/compressed" in capsys.readouterr().err
    assert world.convert(world.bag(robot_messages(), "other"), task="") == 1
    assert "give --task" in capsys.readouterr().err


@pytest.mark.parametrize("topic", ["/joint_states", "/arm_controller/commands"])
def test_degrees_are_refused_and_nothing_is_left(world, capsys, topic):
    def in_degrees(name, message):
        if name == topic == "/joint_states":
            message.position = [57.3 * value + 90 for value in message.position]
        elif name == topic:
            message.data = [57.3 * value + 90 for value in message.data]
        return message

    messages = [(time, name, in_degrees(name, m)) for time, name, m in robot_messages()]
    assert world.convert(world.bag(messages)) == 1
    assert "degrees taken for radians?" in capsys.readouterr().err
    assert not world.dataset.exists()


def test_a_topic_of_another_type_is_told(world, capsys):
    types = {**TYPES, "/joint_states": "std_msgs/msg/String"}
    messages = [
        (seconds, topic, String(data="no state") if topic == "/joint_states" else message)
        for seconds, topic, message in robot_messages(1.0)
    ]
    assert world.convert(world.bag(messages, types=types)) == 2
    text = "/joint_states is std_msgs/msg/String, but joint states must be sensor_msgs"
    assert text in capsys.readouterr().err


def killed(bag):
    (bag / "metadata.yaml").unlink()


def cut(bag):
    for file in bag.iterdir():
        if file.suffix in (".mcap", ".db3"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(bag):
    for file in bag.iterdir():
        file.write_bytes(b"")


def with_log(bag):
    for file in bag.glob("*.db3"):
        file.with_name(f"{file.name}-wal").write_bytes(b"pages")


@pytest.mark.parametrize(
    ("spoil", "plugin", "text"),
    [
        (killed, StoragePlugin.MCAP, "ros2 bag reindex"),
        (cut, StoragePlugin.MCAP, "mcap recover"),
        (cut, StoragePlugin.SQLITE3, "cannot be read"),
        (emptied, StoragePlugin.MCAP, "cannot be read"),
        (with_log, StoragePlugin.SQLITE3, "journal_mode"),
        (shutil.rmtree, StoragePlugin.MCAP, "no such bag"),
    ],
)
def test_a_damaged_bag_is_told_and_the_dataset_stays(world, capsys, spoil, plugin, text):
    good = world.bag(robot_messages(1.0), "good")
    assert world.convert(good) == 0
    bad = world.bag(robot_messages(1.0), "bad", plugin=plugin)
    spoil(bad)
    status = world.convert(good, bad)
    assert text in capsys.readouterr().err
    # What is only found out while it is read costs nothing else.
    assert (status, world.opened().num_episodes) in ((2, 1), (1, 2))


def test_what_is_no_bag_is_told(world, capsys):
    (world.folder / "notes.txt").write_text("no bag")
    assert world.convert(world.folder / "notes.txt") == 2
    assert "no bag" in capsys.readouterr().err


def test_not_a_number_costs_no_other_episode(world, capsys):
    bad = [
        (seconds, topic, joint_state(seconds, [np.nan, 0.0]))
        if topic == "/joint_states" and seconds > 0.8
        else (seconds, topic, message)
        for seconds, topic, message in robot_messages(2.0)
    ]
    bags = [
        world.bag(messages, name)
        for name, messages in [
            ("one", robot_messages(1.0)),
            ("nan", bad),
            ("two", robot_messages(2.0)),
        ]
    ]
    assert world.convert(*bags) == 1
    assert "pan is not finite" in capsys.readouterr().err
    lengths = [episode.length for episode in world.opened().episodes]
    assert lengths == pytest.approx([FPS, 2 * FPS], abs=3)


def test_a_bag_that_paused_goes_on(world, capsys):
    first, later = robot_messages(1.2), robot_messages(1.0)
    later = [(seconds + 1e6, topic, message) for seconds, topic, message in later]
    for name, times, status in (
        ("between", [(0.2, True), (1.0, False), (1e6, True)], 0),
        ("within", [(0.2, True)], 1),
    ):
        marks = [(seconds, "/recording", Bool(data=data)) for seconds, data in times]
        messages = sorted(first + later + marks, key=lambda entry: entry[0])
        assert world.convert(world.bag(messages, name), marker="/recording") == status
    assert "camera top: newest image" in capsys.readouterr().err
    lengths = [episode.length for episode in world.opened().episodes]
    assert lengths == pytest.approx([0.8 * FPS, FPS], abs=3)


def test_the_executor_says_which_instruction_is_executed(world):
    said = [(0.1, "pick", 1), (1.0, "pick", 1), (2.0, "place", 2)]
    status = [
        (seconds, "/executor_node/status", status_message(text, count))
        for seconds, text, count in said
    ]
    heard = [(0.1, "/task_instruction", String(data="refused"))]
    messages = sorted(robot_messages(3.0) + status + heard, key=lambda entry: entry[0])
    assert world.convert(world.bag(messages), task="") == 0
    data = world.opened()
    counts = Counter(data.tasks[index] for index in data.column("task_index").ravel())
    assert counts == {"pick": pytest.approx(2 * FPS, abs=3), "place": pytest.approx(FPS, abs=3)}


def test_frames_of_a_human_are_marked(world, capsys):
    said = [(0.0, "policy"), (1.0, "human"), (2.0, "policy")]
    status = [
        (seconds, "/executor_node/status", status_message("pick", 1, source))
        for seconds, source in said
    ]
    messages = sorted(robot_messages(3.0) + status, key=lambda entry: entry[0])
    assert world.convert(world.bag(robot_messages(1.0), "without"), intervention=None) == 2
    assert "no topic /executor_node/status for who commands" in capsys.readouterr().err
    assert world.convert(world.bag(messages), intervention=None) == 0
    human = world.opened().column("intervention").ravel()
    assert np.count_nonzero(human) == pytest.approx(FPS, abs=1)
    assert not human[: FPS - 3].any()
    assert not human[-FPS + 3 :].any()
