# SPDX-License-Identifier: Apache-2.0
"""`sim_node`: the simulated arm on the topics of the real one."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from array import array
from functools import partial
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState
from smolvla_core.level import Level
from smolvla_core.ros import qos
from smolvla_core.ros.converters import image_message
from smolvla_core.ros.parameters import Tuning, read
from smolvla_core.ros.run import run
from smolvla_core.ros.sparse_log import SparseLog, log_at
from smolvla_core.settings import settings_of
from std_msgs.msg import Bool, Float32, Float64MultiArray
from visualization_msgs.msg import MarkerArray

from smolvla_msgs.msg import ExecutorStatus
from smolvla_msgs.srv import ResetSim, SetTask
from smolvla_sim.node import messages
from smolvla_sim.node.camera_thread import CameraThread, Images
from smolvla_sim.node.parameters import SimSettings
from smolvla_sim.node.runner import RealTimeRunner
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.rendering import CameraRenderer, RenderingError, check_cameras
from smolvla_sim.world.simulation import Simulation, restock_rng
from smolvla_sim.world.tasks import parse_task


class SimNode(Node):
    """Runs the physics in one thread and draws the cameras in another.

    Raises:
        ValueError: a parameter does not fit, no OpenGL draws or the viewer has no display.
    """

    def __init__(self, **node_options: Any) -> None:
        # `destroy_node` needs these, also where a parameter does not fit.
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._cameras: CameraThread | None = None
        self._viewer: Any = None
        self.failed = False
        super().__init__("sim_node", **node_options)
        settings = read(self, SimSettings)
        # To end from another thread: the shutdown joins that thread.
        self._gave_up = self.create_guard_condition(lambda: self.context.try_shutdown())
        self._robot = robot = settings.body
        (self._output,) = robot.outputs
        (self._states,) = robot.joint_states
        display = any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
        if settings.viewer and sys.platform == "linux" and not display:
            raise ValueError(
                "the parameter viewer is true but there is no display (neither DISPLAY nor "
                "WAYLAND_DISPLAY is set); start it on a desktop, or with viewer false watch the "
                "cameras in RViz or rqt"
            )
        names = {joint.kind: joint.name for joint in robot.moving}
        self._order = [self._output.joints.index(names[kind]) for kind in JOINT_NAMES]
        prefix = self._states.prefix
        self._names = [names[kind].removeprefix(prefix) for kind in JOINT_NAMES]
        self._frame_prefix = settings.frame_prefix
        self._size = (settings.image_width, settings.image_height)
        self._announced = ""  # task whose success was logged
        self._instruction = ""  # what the executor is to do
        self._restock = settings.restock
        self._follow = settings.follow_instruction
        self._restock_rng = restock_rng(settings.seed)
        simulation = Simulation(
            robot.model,
            task=settings.task,
            seed=settings.seed,
            physics_rate=settings.physics_rate,
            variation=settings.variation,
        )
        cameras = check_cameras(settings.cameras) if settings.render else ()
        self._create_publishers(cameras)
        if cameras:
            try:
                self._cameras = CameraThread(
                    simulation.model,
                    lambda: CameraRenderer(simulation.model, cameras, self._size),
                    self._publish_images,
                    self._fail,
                )
            except RenderingError as error:
                raise ValueError(str(error)) from error
        self._log_refused = SparseLog(partial(log_at, self.get_logger(), Level.ERROR))
        self._runner = RealTimeRunner(simulation, _rates(settings), time.monotonic)
        self.create_subscription(
            Float64MultiArray, self._output.topic, self._on_command, qos.command_qos()
        )
        self.create_subscription(
            ExecutorStatus, "executor_node/status", self._on_executor, qos.status_qos()
        )
        self.create_service(ResetSim, "sim/reset", self._on_reset)
        self.create_service(SetTask, "sim/set_task", self._on_set_task)
        if settings.viewer:
            import mujoco.viewer  # needs a window system, so only on demand

            self._viewer = mujoco.viewer.launch_passive(
                simulation.model, simulation.data, show_left_ui=False, show_right_ui=False
            )
        Tuning(
            self,
            SimSettings,
            check=lambda settings, _: self._runner.check_rates(_rates(settings)),
            take=self._tune,
        )
        self._thread = threading.Thread(target=self._simulate, name="physics")
        self._thread.start()
        drawn = ", ".join(cameras) or "none"
        self.get_logger().info(
            f'{robot.model}, task "{simulation.task.sentence}", cameras: {drawn}'
        )

    def _create_publishers(self, cameras: tuple[str, ...]) -> None:
        self._joint_states = self.create_publisher(JointState, self._states.topic, 10)
        self._objects = self.create_publisher(MarkerArray, "sim/objects", qos.scene_qos())
        self._scores = self.create_publisher(Float32, "sim/score", qos.status_qos())
        self._verdicts = self.create_publisher(Bool, "sim/success", qos.status_qos())
        self._images = {
            name: self.create_publisher(Image, self._robot.camera(name).topic, qos.image_qos())
            for name in cameras
        }
        self._infos = {
            name: self.create_publisher(CameraInfo, f"camera/{name}/camera_info", qos.image_qos())
            for name in cameras
        }

    def destroy_node(self) -> None:
        """End the threads and free everything."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._cameras is not None:
            self._cameras.stop()
        if self._viewer is not None:
            self._viewer.close()
        super().destroy_node()

    # In the thread of ROS.

    def _tune(self, settings: SimSettings, names: set[str]) -> None:
        """Go by new values of the parameters."""
        self._restock = settings.restock
        self._follow = settings.follow_instruction
        self._runner.rates = _rates(settings)

    def _on_command(self, message: Float64MultiArray) -> None:
        values = np.array(message.data)
        try:
            with self._runner.lock:
                self._runner.simulation.command(
                    values[self._order] if len(values) == len(self._order) else values
                )
        except ValueError as error:
            topic = self._output.topic
            self._log_refused(f"command on {topic} refused, the last one stays: {error}")

    def _on_executor(self, status: ExecutorStatus) -> None:
        instruction, before = status.instruction.strip(), self._instruction
        self._instruction = instruction
        if self._follow and instruction not in ("", before):
            with self._runner.lock, contextlib.suppress(ValueError):
                self._runner.simulation.judge_in_place(instruction)

    def _on_reset(
        self, request: ResetSim.Request, response: ResetSim.Response
    ) -> ResetSim.Response:
        with self._runner.lock:
            self._runner.simulation.reset(request.seed)
        self._restock_rng = restock_rng(request.seed)
        response.success = True
        return response

    def _on_set_task(
        self, request: SetTask.Request, response: SetTask.Response
    ) -> SetTask.Response:
        try:
            with self._runner.lock:
                self._runner.simulation.set_task(request.task)
                if self._restock:
                    self._runner.simulation.restock(self._restock_rng)
            response.success = True
        except ValueError as error:
            response.message = str(error)
        return response

    # In the thread of the physics.

    def _simulate(self) -> None:
        try:
            while not self._stop.wait(self._runner.wait_time()):
                self._publish(self._runner.advance())
        except Exception as error:
            self._fail(error)

    def _publish(self, due: frozenset[str]) -> None:
        if not due:
            return
        stamp = self.get_clock().now().to_msg()
        simulation = self._runner.simulation
        # A reset comes from another thread and must not be seen half done.
        with self._runner.lock:
            arm = (simulation.positions, simulation.velocities, simulation.efforts)
            objects = simulation.objects() if "objects" in due else None
            score = simulation.score() if "score" in due else None
            sentence = simulation.task.sentence
            state = simulation.state() if "cameras" in due else None
        if "joint_states" in due:
            message = JointState(name=self._names)
            message.header.stamp = stamp
            message.position, message.velocity, message.effort = (array("d", x) for x in arm)
            self._joint_states.publish(message)
        if objects is not None:
            base_frame = f"{self._frame_prefix}base_link"
            self._objects.publish(messages.object_markers(stamp, base_frame, objects))
        if score is not None:
            self._publish_score(score, sentence)
        if state is not None:
            if self._cameras is not None:
                self._cameras.submit(stamp, state)
            if self._viewer is not None and self._viewer.is_running():
                with self._runner.lock:
                    self._viewer.sync()

    def _publish_score(self, score: float, sentence: str) -> None:
        self._scores.publish(Float32(data=score))
        done = score >= 1.0
        self._verdicts.publish(Bool(data=done and self._is_instructed(sentence)))
        if score == 0.0:  # less than done is also a gripper that touches the cube again
            self._announced = ""
        elif done and self._announced != sentence:
            self._announced = sentence
            self.get_logger().info(f"success: {sentence}")

    def _is_instructed(self, sentence: str) -> bool:
        """Whether the judged task is what the arm is to do; True without an instruction."""
        if not self._instruction:
            return True
        try:
            return parse_task(self._instruction).sentence == sentence
        except ValueError:
            return False

    # In the thread of the cameras.

    def _publish_images(self, stamp: Time, images: Images) -> None:
        for name, pixels in images.items():
            info = messages.camera_info(stamp, name, *self._size, self._frame_prefix)
            image = image_message(pixels)
            image.header = info.header
            self._images[name].publish(image)
            self._infos[name].publish(info)

    def _fail(self, error: Exception) -> None:
        # After a shutdown publishing fails, and that is the normal end.
        if self._stop.is_set() or not self.context.ok():
            return
        self.failed = True
        self.get_logger().fatal(f"the simulation stops: {type(error).__name__}: {error}")
        self._gave_up.trigger()


def _rates(settings: SimSettings) -> dict[str, float]:
    """Return the rates of `RealTimeRunner` from the parameters."""
    return {
        "cameras": settings.camera_rate,
        "joint_states": settings.joint_state_rate,
        "objects": settings.object_rate,
        "score": settings.score_rate,
    }


def main() -> None:
    """Run the node; the console script `sim_node`."""
    sys.exit(run("sim_node", SimNode, settings_of(SimSettings)))
