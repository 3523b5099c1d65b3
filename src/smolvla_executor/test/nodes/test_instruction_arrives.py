# SPDX-License-Identifier: Apache-2.0
"""Instructions arrive, all that are sent as `ros2 topic pub --once --keep-alive 1` does it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from smolvla_core.instruction import command

# What ros2cli's `topic pub` does, and how long it looks around and stays: a process and a node for
# each sentence, which waits for one match, publishes and is gone.
PUB = """
import sys, time
import rclpy
from rclpy.qos import QoSPresetProfiles
from std_msgs.msg import String

rclpy.init(args=[])
node = rclpy.create_node("_ros2cli_pub", start_parameter_services=False)
end = time.monotonic() + 0.5
while time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=max(0.0, end - time.monotonic()))
profile = QoSPresetProfiles.get_from_short_key("default")
publisher = node.create_publisher(String, "/task_instruction", profile)
while publisher.get_subscription_count() < 1:
    time.sleep(0.1)
publisher.publish(String(data=sys.argv[1]))
time.sleep(1.0)
node.destroy_node()
rclpy.shutdown()
"""


@pytest.fixture
def crowd():
    """Keep all cores busy."""
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


def publish(sentence):
    return subprocess.Popen([sys.executable, "-c", PUB, sentence])


def test_each_instruction_arrives_also_one_that_waits_for_the_node(crowd, tmp_path):
    assert "--once --keep-alive 1 /left/task" in command("/left/task")
    sentences = [f"sweep area {number}" for number in range(4)]
    log = tmp_path / "log"
    first = publish(sentences[0])  # before there is a node
    node = [sys.executable, "-m", "smolvla_executor.executor_node.node", "--ros-args"]
    with (
        log.open("w") as output,
        subprocess.Popen([*node, "-p", "autostart:=true"], stderr=output) as process,
    ):
        try:
            assert first.wait(60) == 0
            others = [publish(sentence) for sentence in sentences[1:]]
            assert [other.wait(60) for other in others] == [0] * len(others)
            deadline = time.monotonic() + 10
            heard: list[str] = []
            while len(heard) < len(sentences) and time.monotonic() < deadline:
                heard = [s for s in sentences if f'instruction: "{s}"' in log.read_text()]
        finally:
            process.send_signal(signal.SIGINT)
    assert heard == sentences
