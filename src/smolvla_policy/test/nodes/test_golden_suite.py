# SPDX-License-Identifier: Apache-2.0
"""The golden checkpoint through nodes, topics and executor equals the Python API, bit for bit."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rclpy.parameter import Parameter
from robot_files import robot_file
from safetensors.numpy import load_file
from sensor_msgs.msg import Image, JointState
from smolvla_core.robot import load_robot
from smolvla_core.ros import qos
from smolvla_core.ros.converters import image_message
from smolvla_core.units.joint_units import joint_units
from smolvla_executor.executor_node.node import ExecutorNode
from smolvla_policy.backends.smolvla import chunk_noise
from smolvla_policy.policy_node.node import PolicyNode
from std_msgs.msg import Float64MultiArray, String

from smolvla_msgs.msg import ActionChunk, ExecutorStatus
from smolvla_policy import SmolVLAPolicy

GOLDEN = Path(__file__).parents[1] / "golden"
CAMERAS = ("top", "wrist", "side")
TASK = "pick up the red cube"
SEED = 7
CHUNKS = 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "ckpt"
    shutil.copytree(GOLDEN / "ckpt", folder)
    return str(folder)


SO100 = load_robot("so100")


def parameters(**values):
    return [Parameter(name, value=value) for name, value in values.items()]


def test_commands_equal_the_python_api_bit_for_bit(graph, checkpoint):
    inputs = load_file(GOLDEN / "inputs.safetensors")
    images = {camera: inputs[f"image_u8.{camera}"][0] for camera in CAMERAS}
    positions = [0.1, -0.2, 0.3, -0.4, 0.5, 0.6]

    torch.set_num_threads(1)  # as the node will: other numbers of threads may round otherwise
    units = joint_units("degrees", SO100.joints)
    policy = SmolVLAPolicy.from_pretrained(checkpoint, dtype="float32", engine="auto")
    shape = (policy.chunk_size, int(policy.config.max_action_dim))
    expected = [
        units.to_joints(
            policy.predict_chunk(
                {f"observation.images.{camera}": image for camera, image in images.items()},
                units.to_policy(positions),
                TASK,
                chunk_noise(SEED, index, shape),
            )
        )
        for index in range(CHUNKS)
    ]

    node, commands, chunks, statuses = graph.node, [], [], []
    publishers = {
        camera: node.create_publisher(Image, f"camera/{camera}/image_raw", qos.image_qos())
        for camera in CAMERAS
    }
    messages = {camera: image_message(image) for camera, image in images.items()}
    joint_states = node.create_publisher(JointState, "joint_states", 10)
    instruction = node.create_publisher(String, "task_instruction", qos.instruction_qos())
    node.create_subscription(
        Float64MultiArray,
        "arm_controller/commands",
        lambda message: commands.append(np.array(message.data)),
        100,
    )
    node.create_subscription(ActionChunk, "smolvla/action_chunk", chunks.append, qos.chunk_qos())
    node.create_subscription(
        ExecutorStatus, "executor_node/status", statuses.append, qos.status_qos()
    )

    def publish():
        stamp = node.get_clock().now().to_msg()
        for camera, publisher in publishers.items():
            messages[camera].header.stamp = stamp
            publisher.publish(messages[camera])
        state = JointState(name=list(SO100.joint_names), position=positions)
        state.header.stamp = stamp
        joint_states.publish(state)
        if not chunks or not len(chunks[-1].positions):
            instruction.publish(String(data=TASK))

    node.create_timer(0.02, publish)
    nodes = (
        graph.add(
            PolicyNode(
                context=graph.context,
                parameter_overrides=parameters(
                    checkpoint=checkpoint, device="cpu", dtype="float32", seed=SEED, threads=1
                ),
            )
        ),
        graph.add(
            ExecutorNode(
                context=graph.context,
                parameter_overrides=parameters(
                    aggregate="latest",
                    chunk_size_threshold=0.0,
                    # Random weights: the guard must let every action through as it is.
                    robot=robot_file(SO100.joint_names, -100.0, 100.0, 1e6),
                    max_step=[1e3],
                    max_start_jump=[100.0],
                    approach_speed=5.0,
                    resume_jump=10.0,
                ),
            )
        ),
    )
    for managed in nodes:
        managed.trigger_configure()
        managed.trigger_activate()
    rows = CHUNKS * policy.chunk_size
    graph.until(lambda: statuses and statuses[-1].tick >= rows, timeout=30, what="three chunks")

    served = [chunk for chunk in chunks if not chunk.error][:CHUNKS]
    for chunk, rows_expected in zip(served, expected, strict=True):
        got = np.array(chunk.positions).reshape(rows_expected.shape)
        np.testing.assert_array_equal(got, rows_expected)
    executed = iter(np.concatenate(expected))
    wanted = next(executed)
    for command in commands:  # between the actions stand the approach and the holds
        if (command == wanted).all():
            wanted = next(executed, None)
            if wanted is None:
                break
    assert wanted is None, f"not commanded: {wanted}"
