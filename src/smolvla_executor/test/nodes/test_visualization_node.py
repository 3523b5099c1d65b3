# SPDX-License-Identifier: Apache-2.0
"""`visualization_node` over real topics: what it draws, and what it says when it cannot."""

import math
import os

import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from smolvla_core.ros import converters, qos
from smolvla_executor.visualization_node import node as visualization_node
from smolvla_executor.visualization_node.node import VisualizationNode
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from smolvla_msgs.msg import ActionChunk

JOINTS = ("slide", "lift", "gripper")
# The tip is where the two sliding joints are; the gripper does not move it.
URDF = """<robot name="gantry">
  <link name="base_link"/><link name="a"/><link name="gripper_frame_link"/><link name="jaw"/>
  <joint name="slide" type="prismatic">
    <parent link="base_link"/><child link="a"/><axis xyz="1 0 0"/>
  </joint>
  <joint name="lift" type="prismatic">
    <parent link="a"/><child link="gripper_frame_link"/><axis xyz="0 0 1"/>
  </joint>
  <joint name="gripper" type="revolute">
    <parent link="gripper_frame_link"/><child link="jaw"/><axis xyz="0 1 0"/>
  </joint>
</robot>"""


class World:
    """A robot, a policy and a viewer around a visualization node."""

    def __init__(self, graph, **parameters):
        self.graph, node = graph, graph.node
        self.joint_states = node.create_publisher(JointState, "joint_states", 10)
        self.chunks = node.create_publisher(ActionChunk, "smolvla/action_chunk", qos.chunk_qos())
        self.messages = []
        # None is lost where the machine is busy: what is removed must have been added.
        node.create_subscription(
            MarkerArray, "visualization_node/predicted_path", self._on_markers, 100
        )
        self.markers = {}
        defaults = {"robot_description": URDF, "rate": 50.0, "fade": 0.4, "timeout": 0.5}
        overrides = [Parameter(name, value=v) for name, v in {**defaults, **parameters}.items()]
        self.viewer = graph.add(
            VisualizationNode(context=graph.context, parameter_overrides=overrides)
        )
        graph.until(
            lambda: (
                self.joint_states.get_subscription_count() > 0
                and self.chunks.get_subscription_count() > 0
                and node.count_publishers("visualization_node/predicted_path") > 0
                and self.viewer.count_subscribers("visualization_node/predicted_path") > 0
            )
        )

    def _on_markers(self, message):
        self.messages.append(message)
        for marker in message.markers:
            if marker.action == Marker.DELETE:
                del self.markers[marker.ns, marker.id]
            else:
                self.markers[marker.ns, marker.id] = marker

    def chunk(self, begin=0.0, side=0.0, first_tick=0, **fields):
        way = begin + 0.01 * np.arange(11)
        rows = np.column_stack([way, np.full(11, side), np.zeros(11)])
        message = ActionChunk(
            first_tick=first_tick,
            joint_names=list(JOINTS),
            positions=converters.flatten(rows * [10.0, 1.0, 1.0]),
            period=converters.to_duration(0.1),
        )
        for name, value in fields.items():
            setattr(message, name, value)
        self.chunks.publish(message)

    def stand_at(self, slide, lift=0.0):
        # Other names and another order than the chunk's.
        state = JointState(name=["x", "gripper", "lift", "slide"], position=[9, 0.0, lift, slide])
        self.joint_states.publish(state)

    def until_shown(self, *namespaces):
        self.graph.until(
            lambda: set(namespaces) <= {ns for ns, _ in self.markers}, what=str(namespaces)
        )

    def xs(self, namespace="ahead"):
        return [point.x for point in self.markers[namespace, 0].points]


def test_the_path_follows_the_arm_and_is_gone_when_it_stops(graph):
    world = World(graph)
    world.chunk()
    world.until_shown("ahead")
    line = world.markers["ahead", 0]
    assert line.header.frame_id == "base_link"
    assert line.header.stamp.sec > 0
    np.testing.assert_allclose(world.xs(), 0.1 * np.arange(11), atol=1e-9)
    for row, slide in ((1, 0.12), (5, 0.52)):
        world.stand_at(slide)
        graph.until(lambda row=row: len(world.xs()) == 11 - row)
    world.until_shown("executed")
    np.testing.assert_allclose(world.xs("executed"), [0.12, 0.52], atol=1e-9)
    graph.until(lambda: not world.markers, what="nothing left")
    count = len(world.messages)
    graph.during(0.2, lambda: len(world.messages) == count)


def test_a_seam_shows_where_a_newer_chunk_took_over(graph):
    world = World(graph)
    world.chunk()
    world.until_shown("ahead")
    world.stand_at(0.3)
    graph.until(lambda: len(world.xs()) == 8)
    world.chunk(begin=0.02, side=0.02, first_tick=2)
    world.until_shown("seam", "seam_jump", "replaced")
    ((_, sphere),) = [item for item in world.markers.items() if item[0][0] == "seam"]
    assert (sphere.pose.position.x, sphere.pose.position.z) == pytest.approx((0.3, 0.02))
    assert [m.text for m in world.markers.values() if m.ns == "seam_jump"] == ["20mm"]
    assert world.xs()[0] == pytest.approx(0.3)


def test_a_seam_is_where_the_arm_is_and_not_where_it_was_when_last_drawn(graph):
    world = World(graph, rate=1.0, fade=5.0, timeout=60.0)
    world.chunk()
    world.until_shown("ahead")
    world.stand_at(0.3)
    graph.during(0.1, lambda: True)
    world.chunk(begin=0.02, first_tick=2)
    world.until_shown("replaced")
    (old,) = [marker for marker in world.markers.values() if marker.ns == "replaced"]
    assert old.points[0].x == pytest.approx(0.3)


def test_it_is_published_at_the_given_rate_at_most(graph):
    world = World(graph, rate=4.0, timeout=60.0)
    world.chunk()
    world.until_shown("ahead")
    count = len(world.messages)
    graph.during(1.0, lambda: True)
    assert 3 <= len(world.messages) - count <= 5


def test_the_description_may_come_by_topic_late_and_again(graph, capfd):
    world = World(graph, robot_description="", timeout=60.0)
    for _ in range(2):
        world.chunk()
    graph.during(0.2, lambda: not world.messages)
    assert capfd.readouterr().err.count("no robot description yet") == 1
    publisher = graph.node.create_publisher(String, "robot_description", qos.description_qos())
    publisher.publish(String(data=URDF))
    chunks = graph.node.create_timer(0.05, world.chunk)
    world.until_shown("ahead")
    chunks.cancel()
    publisher.publish(String(data=URDF.replace('axis xyz="1 0 0"', 'axis xyz="0 1 0"')))
    graph.until(lambda: not world.markers, what="the old path is gone")
    world.chunk()
    world.until_shown("ahead")
    assert world.xs() == [0.0] * 11
    publisher.publish(String(data="<robot/>"))
    graph.until(lambda: "has no link 'gripper_frame_link'" in capfd.readouterr().err)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"positions": [math.nan] * 33}, "the chunk holds nan for slide in row 0"),
        ({"positions": [0.0] * 32}, "32 numbers, which do not make rows of 3 joints"),
        ({"positions": []}, "the chunk has no rows"),
        ({"joint_names": ["slide", "b", "c"]}, "no lift among the joints slide, b, c"),
        ({"joint_names": ["slide", "lift", "lift"]}, "names one twice"),
        ({"period": converters.to_duration(0.0)}, "period is 0.0 s"),
    ],
)
def test_a_chunk_that_makes_no_path_is_named_and_the_next_one_drawn(graph, capfd, fields, words):
    world = World(graph)
    world.chunk(**fields)
    world.chunk(begin=0.01)
    world.until_shown("ahead")
    assert world.xs()[0] == pytest.approx(0.1)
    assert words in capfd.readouterr().err


def test_a_refusal_leaves_the_path_as_it_is(graph, capfd):
    world = World(graph, timeout=60.0)
    world.chunk()
    world.until_shown("ahead")
    world.chunk(positions=[], error="camera wrist is silent")
    graph.during(0.2, lambda: len(world.xs()) == 11)
    assert "not drawn" not in capfd.readouterr().err


def test_joint_states_without_the_chunks_joints_are_named(graph, capfd):
    world = World(graph, timeout=60.0)
    world.chunk()
    world.until_shown("ahead")
    world.joint_states.publish(JointState(name=["slide"], position=[0.5]))
    text = []

    def said():
        text.append(capfd.readouterr().err)
        return "progress on the path is unknown: joint state: no lift, gripper" in "".join(text)

    graph.until(said)
    assert len(world.xs()) == 11
    world.stand_at(0.5)
    graph.until(lambda: len(world.xs()) == 6)


def test_frame_chooses_the_link_in_which_the_path_is_given(graph):
    world = World(graph, frame="a", frame_prefix="left/")
    world.chunk(side=0.05)
    world.until_shown("ahead")
    assert world.markers["ahead", 0].header.frame_id == "left/a"
    assert world.xs() == [0.0] * 11
    assert world.markers["ahead", 0].points[0].z == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("robot_description", "so100.urdf", "parameter 'robot_description': this is no URDF"),
        ("tip_link", "hand", "no link 'hand'"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(graph, name, value, words):
    given = {"robot_description": URDF, name: value}
    overrides = [Parameter(key, value=v) for key, v in given.items()]
    with pytest.raises(ValueError, match=words):
        VisualizationNode(context=graph.context, parameter_overrides=overrides)


def test_the_picture_can_be_changed_while_it_is_shown(graph):
    world = World(graph, rate=2.0, timeout=60.0)
    world.chunk()
    world.until_shown("ahead")

    def put(**values):
        return world.viewer.set_parameters_atomically(
            [Parameter(name, value=value) for name, value in values.items()]
        )

    assert put(width=0.02, colors=["#ff0000"], rate=40.0).successful
    line = ("ahead", 0)
    graph.until(lambda: world.markers[line].scale.x == 0.02, what="the new width")
    color = world.markers[line].colors[0]
    assert (color.r, color.g, color.b) == (1.0, 0.0, 0.0)
    count = len(world.messages)
    graph.during(0.5, lambda: True)
    assert len(world.messages) - count > 6
    for values, words in (
        ({"colors": ["red"], "width": 0.03}, "holds 'red', no color"),
        ({"colors": []}, "name at least one color"),
        ({"tip_link": "a"}, "read-only"),
    ):
        refused = put(**values)
        assert not refused.successful
        assert words in refused.reason
    assert world.viewer.get_parameter("width").value == 0.02
    assert put(timeout=0.5, fade=0.1).successful
    graph.until(lambda: not world.markers, what="nothing left")


def test_the_process_ends_with_words(capfd, monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["visualization_node", "--ros-args", "-p", "robot_description:=so100.urdf"]
    )
    assert visualization_node.main() == os.EX_CONFIG
    assert "visualization_node: parameter 'robot_description'" in capfd.readouterr().err
