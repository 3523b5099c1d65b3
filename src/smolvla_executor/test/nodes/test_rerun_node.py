# SPDX-License-Identifier: Apache-2.0
"""`rerun_node` over real topics: what stands in the file that it writes."""

import os

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Point, Pose, Vector3
from rclpy.parameter import Parameter
from rerun.chunk import RrdReader
from robot_files import robot_file
from sensor_msgs.msg import CompressedImage, Image, JointState
from smolvla_core.images import decode_picture
from smolvla_core.ros import converters, qos
from smolvla_executor.rerun_node import installed, node
from smolvla_executor.rerun_node.node import RerunNode
from std_msgs.msg import Float32, Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import Marker, MarkerArray

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, PolicyStatus

JOINTS = ("slide", "lift")
URDF = """<robot name="gantry">
  <link name="world"/>
  <link name="a">
    <visual><geometry><box size="1 1 1"/></geometry></visual>
    <collision><geometry><box size="2 2 2"/></geometry></collision>
  </link>
  <link name="gripper_frame_link"/>
  <joint name="slide" type="prismatic">
    <parent link="world"/><child link="a"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="1" effort="1" velocity="1"/>
  </joint>
  <joint name="lift" type="prismatic">
    <parent link="a"/><child link="gripper_frame_link"/><axis xyz="0 0 1"/>
    <limit lower="0" upper="1" effort="1" velocity="1"/>
  </joint>
</robot>"""
PIXELS = np.full((16, 24, 3), (200, 30, 40), np.uint8)


class World:
    """A robot around a viewer that writes a file."""

    def __init__(self, graph, file, **parameters):
        self.graph, self.file = graph, file
        defaults = {
            "robot": robot_file(JOINTS),
            "robot_description": URDF,
            "show": str(file),
            "rate": 50.0,
        }
        overrides = [Parameter(name, value=v) for name, v in {**defaults, **parameters}.items()]
        self.viewer = graph.add(RerunNode(context=graph.context, parameter_overrides=overrides))

    def publisher(self, kind, topic, profile=10):
        publisher = self.graph.node.create_publisher(kind, topic, profile)
        self.graph.until(publisher.get_subscription_count, what=topic)
        return publisher

    def publish(self, message, topic, profile=10):
        self.publisher(type(message), topic, profile).publish(message)

    def entities(self):
        """End the viewer and return entity -> its columns, each a list over time."""
        self.graph.during(0.2, lambda: True)
        self.graph.remove(self.viewer)
        found = {}
        for chunk in RrdReader(self.file).stream():
            columns = found.setdefault(chunk.entity_path, {})
            batch = chunk.to_record_batch()
            for name in batch.schema.names:
                if ":" in name:
                    columns.setdefault(name, []).extend(batch[name].to_pylist())
        return found


@pytest.fixture
def world(graph, tmp_path):
    return World(graph, tmp_path / "new" / "run.rrd", cameras=["top", "wrist"])


def scalars(entity):
    return [value for (value,) in entity["Scalars:scalars"]]


def test_the_file_holds_arm_paths_plots_state_and_task(world):
    states = world.publisher(JointState, "joint_states")
    chunks = world.publisher(ActionChunk, "smolvla/action_chunk", qos.chunk_qos())
    states.publish(JointState(name=["lift", "slide", "wheel"], position=[0.2, 0.1, 9.0]))
    world.publish(Float64MultiArray(data=[0.15, 0.25]), "arm_controller/commands")
    way = np.column_stack([np.linspace(0.1, 0.9, 9), np.full(9, 0.2)])
    chunks.publish(
        ActionChunk(
            joint_names=list(JOINTS),
            positions=converters.flatten(way),
            period=converters.to_duration(0.1),
        )
    )
    status = ExecutorStatus(
        state=ExecutorStatus.RUNNING,
        source="policy",
        reason="executes actions",
        instruction="lift the cube",
        queue_depth=7,
        chunk_size=10,
        chunk_size_threshold=0.7,
        latency_last=0.12,
    )
    statuses = world.publisher(ExecutorStatus, "executor_node/status", qos.status_qos())
    statuses.publish(status)
    policy = PolicyStatus(inference_last=float("nan"))
    policies = world.publisher(PolicyStatus, "policy_node/status", qos.status_qos())
    policies.publish(policy)
    world.publish(Float32(data=0.5), "sim/score", qos.status_qos())
    world.graph.during(0.1, lambda: True)
    states.publish(JointState(name=["slide", "lift"], position=[0.5, 0.2]))
    status.state, status.reason = ExecutorStatus.HOLDING, "the queue is empty"
    statuses.publish(status)
    policy.inference_last = 0.08
    policies.publish(policy)
    found = world.entities()

    assert scalars(found["/joints/slide/measured"]) == [0.1, 0.5]
    assert scalars(found["/joints/lift/commanded"]) == [0.25]
    assert not [entity for entity in found if "wheel" in entity]
    slide = found["/scene/frames/slide"]["Transform3D:translation"]
    assert slide[-1][0] == pytest.approx([0.5, 0.0, 0.0])
    ahead = found["/scene/path/ahead"]["LineStrips3D:strips"]
    longest = max(filter(None, ahead), key=len)
    assert np.ravel(longest[0][0]) == pytest.approx([0.1, 0.0, 0.2])
    assert np.ravel(longest[-1][-1]) == pytest.approx([0.9, 0.0, 0.2])
    # The arm has gone half of it.
    assert np.ravel(ahead[-1][0][0]) == pytest.approx([0.5, 0.0, 0.2])
    executed = found["/scene/path/executed"]["LineStrips3D:strips"][-1]
    assert np.ravel(executed[0][0]) == pytest.approx([0.1, 0.0, 0.2])
    assert np.ravel(executed[-1][-1]) == pytest.approx([0.5, 0.0, 0.2])
    assert scalars(found["/executor/queue/depth"]) == [7, 7]
    assert scalars(found["/executor/queue/next_request"]) == [7, 7]
    assert scalars(found["/executor/latency/answer"]) == pytest.approx([120, 120])
    assert scalars(found["/executor/latency/inference"]) == pytest.approx([80])
    shown = found["/executor/state"]["StateChange:state"]
    assert [state for (state,) in filter(None, shown)] == ["running", "holding"]
    shown = found["/executor/source"]["StateChange:state"]
    assert [source for (source,) in filter(None, shown)] == ["policy"]
    (*_, text) = [text for (text,) in filter(None, found["/task"]["TextDocument:text"])]
    assert "lift the cube" in text
    assert "the queue is empty" in text
    assert "0.50" in text
    (shape,) = [entity for entity in found if "visual_geometries/a/" in entity]
    assert "Boxes3D:fill_mode" in found[shape]
    assert not [entity for entity in found if "collision" in entity]


def test_cameras_and_objects_are_shown(world):
    top = world.publisher(Image, "camera/top/image_raw", qos.image_qos())
    for _ in range(2):
        top.publish(converters.image_message(PIXELS))
        world.graph.during(0.1, lambda: True)
    broken = Image(encoding="32FC1", width=2, height=2)
    world.publish(broken, "camera/wrist/image_raw", qos.image_qos())
    cube = Marker(ns="cube", type=Marker.CUBE, scale=Vector3(x=0.1, y=0.2, z=0.3))
    cube.pose = Pose(position=Point(x=1.0, y=2.0, z=3.0))
    cube.header.frame_id = "a"
    bowl = Marker(ns="bowl", type=Marker.CYLINDER, scale=Vector3(x=0.2, y=0.2, z=0.1))
    world.publish(MarkerArray(markers=[cube, bowl]), "sim/objects", qos.scene_qos())
    found = world.entities()
    (blob,) = found["/camera/top"]["EncodedImage:blob"]
    picture = decode_picture(bytes(np.ravel(blob).tolist()))[0]
    assert np.abs(picture.astype(int) - PIXELS).max() < 8
    assert "/camera/wrist" not in found
    box = found["/scene/objects/cube"]
    assert box["CoordinateFrame:frame"] == [["a"]]
    assert np.ravel(box["Boxes3D:centers"][-1]) == pytest.approx([1, 2, 3])
    assert np.ravel(box["Boxes3D:half_sizes"][-1]) == pytest.approx([0.05, 0.1, 0.15])
    assert found["/scene/objects/bowl"]["Cylinders3D:radii"][-1] == pytest.approx([0.1])


def test_names_and_topics_are_the_robot_files(graph, tmp_path):
    robot = robot_file(
        ["left_slide", "left_lift"],
        joint_states=[{"topic": "left/joint_states", "prefix": "left_"}],
        outputs=[
            {
                "type": "joint_trajectory",
                "topic": "left/goal",
                "prefix": "left_",
                "joints": ["left_slide", "left_lift"],
            }
        ],
        cameras=[{"name": "hand", "topic": "left/hand", "transport": "compressed"}],
    )
    world = World(graph, tmp_path / "run.rrd", robot=robot, robot_description="")
    world.publish(JointState(name=["slide"], position=[0.3]), "left/joint_states")
    points = [JointTrajectoryPoint(positions=[0.6, at]) for at in (0.1, 0.2)]
    world.publish(JointTrajectory(joint_names=["slide", "lift"], points=points), "left/goal")
    _, jpeg = cv2.imencode(".jpg", PIXELS)
    picture = CompressedImage(format="jpeg", data=jpeg.tobytes())
    world.publish(picture, "left/hand/compressed", qos.image_qos())
    description = URDF.replace('joint name="', 'joint name="left_')
    world.publish(String(data=description), "robot_description", qos.description_qos())
    found = world.entities()
    assert scalars(found["/joints/left_slide/measured"]) == [0.3]
    assert scalars(found["/joints/left_lift/commanded"]) == [0.2]
    (blob,) = found["/camera/hand"]["EncodedImage:blob"]
    assert bytes(np.ravel(blob).tolist()) == jpeg.tobytes()
    assert found["/scene/frames/left_slide"]["Transform3D:translation"][-1][0][0] == (
        pytest.approx(0.3)
    )


def test_an_arm_without_the_tip_is_shown_and_its_path_is_missed_with_words(graph, tmp_path, capfd):
    world = World(graph, tmp_path / "run.rrd", robot_description="", tip_link="hand")
    world.publish(String(data=URDF), "robot_description", qos.description_qos())
    text = []

    def said():
        text.append(capfd.readouterr().err)
        return "no link 'hand'" in "".join(text)

    graph.until(said)
    world.publish(JointState(name=["slide"], position=[0.3]), "joint_states")
    assert "/scene/frames/slide" in world.entities()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"show": "screen"}, "show is 'screen', but must be window, browser or a file whose name"),
        ({"show": "/dev/null/run.rrd"}, "'show': /dev/null/run.rrd: "),
        ({"robot_description": "so100.urdf"}, "parameter 'robot_description': "),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(graph, tmp_path, parameters, words):
    with pytest.raises(ValueError, match=words):
        World(graph, tmp_path / "run.rrd", **parameters)


@pytest.mark.parametrize(
    ("version", "words"), [(None, "rerun-sdk is not installed"), ("0.26.2", "of version 0.26.2")]
)
def test_without_rerun_it_ends_and_names_the_command(monkeypatch, capfd, version, words):
    def found(name):
        if version is None:
            raise installed.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(installed, "version", found)
    monkeypatch.setattr(node.os, "nice", lambda step: None)
    monkeypatch.setattr("sys.argv", ["rerun_node"])
    assert node.main() == os.EX_CONFIG
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert words in line
    assert f"pip install --no-deps {installed.RERUN_SDK}" in line
