# SPDX-License-Identifier: Apache-2.0
"""What happens on the topics is written down between `begin` and `end`."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("smolvla_msgs", reason="the workspace is not sourced: . ./env.sh")

from sensor_msgs.msg import JointState
from smolvla_bringup.system.run_log import RunLogger
from std_msgs.msg import Float32, Float64MultiArray

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest


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
