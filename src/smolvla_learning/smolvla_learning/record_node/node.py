# SPDX-License-Identifier: Apache-2.0
"""`record_node`: cameras, joints, commands and a sentence become a LeRobot dataset.

One thread receives and samples, another compresses and writes; see `recording.recorder`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.node import Node
from sensor_msgs.msg import JointState
from smolvla_core.node_settings import RecordSettings
from smolvla_core.ros import qos
from smolvla_core.ros.parameters import Tuning, read
from smolvla_core.ros.run import run
from smolvla_core.ros.sensors import SensorIntake
from smolvla_core.settings import settings_of
from std_msgs.msg import Float32, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from smolvla_learning.dataset import DatasetError
from smolvla_learning.recording.commands import (
    ARRAY,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    CommandTopic,
    command_topics,
)
from smolvla_learning.recording.encoder import EpisodeEncoder
from smolvla_learning.recording.inputs import CommandBuffer, Inputs
from smolvla_learning.recording.recorder import Recorder
from smolvla_learning.recording.store import EpisodeStore
from smolvla_msgs.msg import ExecutorStatus

SAVE_TIMEOUT = 30.0
"""How long an order to save is waited for [s]. Nothing is received meanwhile, which does no
harm between two episodes."""
STATUS_PERIOD = 0.5
COMMAND_MESSAGES: Mapping[str, tuple[Any, Callable[[], Any]]] = {
    ARRAY: (Float64MultiArray, qos.command_qos),
    JOINT_TRAJECTORY: (JointTrajectory, qos.command_qos),
    JOINT_STATE: (JointState, qos.joint_state_qos),
}
"""ROS's name of a type of commands -> the type and its quality of service."""


class RecordNode(Node):
    """Wires topics and services to a `Recorder`.

    Raises:
        ValueError: a parameter does not fit or the dataset cannot be continued.
    """

    def __init__(self, **node_options: Any) -> None:
        # First what `destroy_node` needs: it is called also when a parameter does not fit.
        self._recorder: Recorder | None = None
        self.failed = False
        super().__init__("record_node", **node_options)
        settings = read(self, RecordSettings)
        self._robot = settings.body
        self._commands = self._listen_to_commands(settings)
        self._sensors = sensors = SensorIntake(self, settings.cameras, settings.joints, settings)
        self._inputs = Inputs(
            sensors.snapshot,
            self._commands,
            settings.task,
            f"publish one on {self.resolve_topic_name('task_instruction')}, or set the parameter "
            "task",
            self._topics(settings),
            settings.intervention,
            settings.body.foreign_problem,
        )
        self._status = ""
        self._statuses = self.create_publisher(String, "~/status", qos.status_qos())
        store = EpisodeStore(settings)  # last, as it locks the dataset
        self._recorder = Recorder(
            settings, self._inputs, store, EpisodeEncoder(settings.queue_size), self._notify
        )
        self._instructions: Any = None
        self._executor = self.create_subscription(
            ExecutorStatus,
            "executor_node/status",
            self._on_executor,
            qos.status_qos(),
        )
        self.create_subscription(
            Float32,
            "sim/score",
            lambda message: self._inputs.take_score(message.data, time.monotonic()),
            qos.status_qos(),
        )
        Tuning(self, RecordSettings, take=self._tune)
        recorder = self._recorder
        self._serve("~/start_episode", lambda: recorder.start(time.monotonic()))
        self._serve("~/save_episode", lambda: recorder.save(SAVE_TIMEOUT))
        self._serve("~/discard_episode", recorder.discard)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(
            1.0 / settings.fps, lambda: recorder.tick(time.monotonic()), clock=steady
        )
        self.create_timer(STATUS_PERIOD, self._look, clock=steady)
        self.get_logger().info(
            f"{store.folder}: {store.num_episodes} episodes; {settings.fps} frames/s of cameras "
            f"{', '.join(settings.cameras) or '(none)'}, action: {settings.action_source}"
        )

    def _listen_to_commands(self, settings: RecordSettings) -> CommandBuffer | None:
        buffer, topics = command_topics(settings, self.resolve_topic_name)
        for topic in topics:
            self._listen_to(topic)
        return buffer

    def _listen_to(self, topic: CommandTopic) -> None:
        def on_message(message: Any) -> None:
            topic.take(message, time.monotonic(), self.get_clock().now().nanoseconds)

        kind, profile = COMMAND_MESSAGES[topic.type]
        self.create_subscription(kind, topic.topic, on_message, profile())

    def _topics(self, settings: RecordSettings) -> dict[str, str]:
        """Return subject of a problem -> topic."""
        topics = {
            f"camera {camera}": [settings.image_topic(camera)[0]] for camera in settings.cameras
        }
        topics["joint states"] = [state.topic for state in self._robot.joint_states]
        return {
            subject: ", ".join(map(self.resolve_topic_name, names))
            for subject, names in topics.items()
        }

    def _choose_listener(self) -> None:
        """Listen to instructions only where no executor does.

        Who publishes one and leaves waits for one listener, and the other may miss it.
        """
        alone = self.count_publishers(self._executor.topic_name) == 0
        if alone and self._instructions is None:
            self._instructions = self.create_subscription(
                String,
                "task_instruction",
                lambda message: self._inputs.instruct(message.data),
                qos.instruction_qos(),
            )
        elif not alone and self._instructions is not None:
            self.destroy_subscription(self._instructions)
            self._instructions = None

    def _on_executor(self, message: ExecutorStatus) -> None:
        self._inputs.follow(message.instruction, message.instructions)
        self._inputs.take_source(message.source)

    def _tune(self, settings: RecordSettings, names: set[str]) -> None:
        """Go by new values of the parameters."""
        if self._recorder is not None:
            self._recorder.reconfigure(settings)
        self._sensors.reconfigure(settings)
        if self._commands is not None:
            self._commands.max_age = settings.max_command_age
        if "task" in names:
            self._inputs.set_task(settings.task)

    def _notify(self, text: str, bad: bool) -> None:
        if not self.context.ok():  # after a signal; the log of ROS has ended
            print(f"record_node: {text}", file=sys.stderr)
            return
        # Two calls: rclpy wants one severity for each place that logs.
        if bad:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    def _look(self) -> None:
        self._publish_status()
        self._choose_listener()

    def _publish_status(self) -> None:
        assert self._recorder is not None
        status = self._recorder.status
        if status != self._status:
            self._status = status
            self._statuses.publish(String(data=status))

    def _serve(self, name: str, order: Callable[[], str]) -> None:
        """Offer a service that carries out `order` and answers with its message."""

        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                response.message, response.success = order(), True
            except ValueError as error:
                response.message = str(error)
                self.get_logger().warning(response.message, throttle_duration_sec=5.0)
            self._publish_status()
            return response

        self.create_service(Trigger, name, answer)

    def destroy_node(self) -> None:
        """Discard the running episode, close the dataset, then end the node."""
        recorder, self._recorder = self._recorder, None
        try:
            if recorder is not None:
                print(f"record_node: {recorder.close()}", file=sys.stderr)
        except DatasetError as error:
            self.failed = True
            print(f"record_node: {error}", file=sys.stderr)
        finally:
            super().destroy_node()


def main() -> int:
    """Run the node until it is interrupted; 78 when it cannot record, 1 when it cannot close."""
    return run("record_node", RecordNode, settings_of(RecordSettings))


if __name__ == "__main__":
    raise SystemExit(main())
