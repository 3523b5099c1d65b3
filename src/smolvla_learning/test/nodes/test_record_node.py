# SPDX-License-Identifier: Apache-2.0
"""`record` over real topics and services, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from robot_files import robot_file
from sensor_msgs.msg import CompressedImage, Image, JointState
from smolvla_core.client import ClientError
from smolvla_core.ros import qos
from smolvla_core.ros.converters import image_message
from smolvla_executor.executor_node.outputs import command_trajectory
from smolvla_learning.dataset import Dataset
from smolvla_learning.dataset.check import find_problems
from smolvla_learning.record_node import client as recorder_client
from smolvla_learning.record_node.client import RecorderClient
from smolvla_learning.record_node.node import RecordNode
from std_msgs.msg import Float32, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from smolvla_msgs.msg import ExecutorStatus
from smolvla_msgs.srv import ResetSim, SetTask

JOINTS = ["shoulder_pan", "gripper"]
POSITIONS, COMMAND = [0.5, 0.788], [0.25, 1.75]
LEROBOT_DEGREES = 4096 / 4095  # LeRobot counts 4095 ticks a turn, the driver 4096
STATE_UNITS = [np.rad2deg(0.5) * LEROBOT_DEGREES, 50.0]
ACTION_UNITS = [np.rad2deg(0.25) * LEROBOT_DEGREES, 100.0]
PIXELS = np.full((12, 16, 3), (200, 100, 50), dtype=np.uint8)
TASK = "pick up the cube"


def arm(**changes):
    """A robot file of the two joints."""
    ends = {"gripper": {"lower": -0.174, "upper": 1.75}}
    return robot_file(JOINTS, robot_type="so100_follower", changes={**ends, **changes})


class World:
    """A robot that stands still, publishes everything a recorder listens to, and gives orders."""

    def __init__(self, graph, folder):
        self.graph, self.folder, node = graph, folder, graph.node
        self.silent = set()
        self.command, self.positions = COMMAND, POSITIONS
        self.recorder = None
        self.status = ""
        self.publishers = {
            kind: node.create_publisher(kind, topic, profile)
            for kind, topic, profile in (
                (Image, "camera/top/image_raw", qos.image_qos()),
                (CompressedImage, "camera/top/image_raw/compressed", qos.image_qos()),
                (JointState, "joint_states", 10),
                (Float64MultiArray, "arm_controller/commands", qos.command_qos()),
                (JointTrajectory, "arm_controller/joint_trajectory", qos.command_qos()),
            )
        }
        self.leader = node.create_publisher(JointState, "leader/joint_states", 10)
        self.instructions = node.create_publisher(String, "task_instruction", 10)
        self.services = {
            order: node.create_client(Trigger, f"record_node/{order}_episode")
            for order in ("start", "save", "discard")
        }
        node.create_subscription(
            String,
            "record_node/status",
            lambda m: setattr(self, "status", m.data),
            qos.status_qos(),
        )
        node.create_timer(0.02, self._publish)

    def options(self, **parameters):
        return {
            "dataset": str(self.folder),
            "cameras": ["top"],
            "robot": arm(),
            "fps": 20,
            "task": TASK,
            "max_image_age": 0.5,
            "max_joint_state_age": 0.5,
            "max_skew": 0.5,
            "min_free_disk": 0.0,
            "min_motion": 0.0,  # this robot stands still
            **parameters,
        }

    def add(self, **parameters):
        overrides = [Parameter(k, value=v) for k, v in self.options(**parameters).items()]
        self.recorder = RecordNode(context=self.graph.context, parameter_overrides=overrides)
        self.graph.add(self.recorder)
        return self

    def _publish(self):
        stamp = self.graph.node.get_clock().now().to_msg()
        image = image_message(PIXELS)
        _, png = cv2.imencode(".png", cv2.cvtColor(PIXELS, cv2.COLOR_RGB2BGR))
        compressed = CompressedImage(format="png", data=png.tobytes())
        state = JointState(name=JOINTS[::-1], position=self.positions[::-1])
        for message in (image, compressed, state):
            message.header.stamp = stamp
        for message in (
            image,
            compressed,
            state,
            Float64MultiArray(data=self.command),
            command_trajectory(JOINTS, np.array(self.command), 0.03),
        ):
            if type(message) not in self.silent:
                self.publishers[type(message)].publish(message)
        self.leader.publish(JointState(name=JOINTS, position=self.command))

    def order(self, order):
        client = self.services[order]
        self.graph.until(client.service_is_ready, what=f"the service to {order}")
        future = client.call_async(Trigger.Request())
        self.graph.until(future.done, timeout=30.0, what=f"an answer to {order}")
        return future.result()

    def started(self):
        answers = []

        def accepted():
            answers.append(self.order("start"))
            return answers[-1].success

        self.graph.until(accepted, timeout=20.0, what="a start")
        return self

    def until_status(self, message):
        self.graph.until(lambda: message in self.status, timeout=20.0, what=f"status: {message}")

    def taken(self, least):
        """Wait until the episode has at least so many frames."""

        def enough():
            match = re.search(r"(\d+) frames", self.status)
            return "recording" in self.status and match and int(match[1]) >= least

        self.graph.until(enough, timeout=20.0, what=f"{least} frames")

    def frames(self, least):
        """Record until at least so many frames are taken, then save; return how many."""
        self.started()
        self.taken(least)
        answer = self.order("save")
        assert answer.success, answer.message
        return int(answer.message.split(": ")[1].split()[0])

    def closed(self):
        """End the recorder and return the dataset."""
        self.graph.remove(self.recorder)
        data = Dataset.open(self.folder)
        assert not find_problems(data, deep=True)
        return data


@pytest.fixture
def world(graph, tmp_path):
    return World(graph, tmp_path / "dataset")


@pytest.mark.parametrize("source", ["command", "joint_trajectory", "leader", "next_state"])
def test_an_episode_from_each_source_of_actions(world, source):
    frames = world.add(action_source=source).frames(5)
    data = world.closed()
    assert (data.num_episodes, data.num_frames, data.fps) == (1, frames, 20)
    assert data.tasks == [TASK]
    assert data.features["action"].names == ("shoulder_pan.pos", "gripper.pos")
    expected = STATE_UNITS if source == "next_state" else ACTION_UNITS
    np.testing.assert_allclose(data.column("observation.state"), [STATE_UNITS] * frames, atol=1e-3)
    np.testing.assert_allclose(data.column("action"), [expected] * frames, atol=1e-3)
    image = next(data.frames("observation.images.top", 0))
    np.testing.assert_allclose(image.mean(axis=(0, 1)), [200, 100, 50], atol=4)


def test_compressed_images_radians_and_an_instruction_by_topic(world, graph):
    world.add(
        image_transport="compressed",
        units="radians",
        robot=arm(shoulder_pan={"sign": -1}),
        task="",
    )
    graph.until(lambda: world.instructions.get_subscription_count() > 0)
    world.instructions.publish(String(data="put it down"))
    world.frames(3)
    data = world.closed()
    assert data.tasks == ["put it down"]
    np.testing.assert_allclose(data.column("action")[0], [-0.25, 1.75], atol=1e-6)


def test_a_refused_start_is_answered_with_all_reasons(world):
    world.silent |= {Image, JointState, Float64MultiArray}
    answer = world.add(task="").order("start")
    assert not answer.success
    for message in (
        "(topic /camera/top/image_raw)",
        "(topic /joint_states)",
        "commands on /arm_controller/commands: none yet",
        "publish one on /task_instruction",
    ):
        assert message in answer.message
    world.until_status("waiting: camera top")
    assert not world.folder.exists()


def test_a_camera_that_falls_silent_costs_frames_only(world):
    world.add(max_image_age=0.3).started()
    world.taken(3)
    world.silent.add(Image)
    world.until_status("no frames for more than 0.5 s: camera top: newest image is")
    assert "(topic /camera/top/image_raw)" in world.order("save").message
    world.silent.clear()
    assert world.order("save").success
    world.frames(3)
    assert world.closed().num_episodes == 2


def test_not_a_number_in_a_command_ends_the_episode(world):
    world.add().started()
    world.until_status("recording episode 0")
    world.command = [float("nan"), 1.0]
    world.until_status("the position of shoulder_pan is not finite")


def test_discarding(world):
    world.add().started()
    world.until_status("recording episode 0")
    answer = world.order("discard")
    assert answer.success
    assert "discarded" in answer.message
    assert not world.order("discard").success
    assert world.frames(3) >= 3
    assert world.closed().num_episodes == 1


def test_depth_instead_of_a_color_picture_begins_no_episode(world):
    _, png = cv2.imencode(".png", np.full((12, 16), 850, np.uint16))
    depth = CompressedImage(format="png", data=png.tobytes())

    def publish():
        depth.header.stamp = world.graph.node.get_clock().now().to_msg()
        world.publishers[CompressedImage].publish(depth)

    world.silent.add(CompressedImage)
    world.graph.node.create_timer(0.02, publish)
    world.add(image_transport="compressed")
    answers = []

    def refused():
        answers.append(world.order("start"))
        return "more than 8 bits" in answers[-1].message

    world.graph.until(refused, what="a refusal of the picture")
    assert not any(answer.success for answer in answers)
    assert (
        "not started: /camera/top/image_raw/compressed: format 'png': the PNG"
        in answers[-1].message
    )


def client_of(graph, recorder="record_node", timeout=10.0):
    return RecorderClient(graph.node, recorder, timeout)


def test_a_client_gives_orders(world, graph):
    world.add(task="")
    client = client_of(graph)
    assert '"stack the cubes"' in client.start_episode("stack the cubes", wait=10.0)
    assert client.discard_episode()
    with pytest.raises(ClientError, match="nothing to save"):
        client.save_episode()
    with pytest.raises(ClientError, match=r"no service /.*sim/reset: there is no simulation"):
        client_of(graph, timeout=0.1).new_scene("")
    with pytest.raises(ClientError, match=r"no service /.*nobody/start_episode: is the recorder"):
        client_of(graph, "nobody", timeout=0.1).save_episode()


def test_the_instruction_is_a_parameter_that_can_be_set(world, graph):
    world.add(task="")
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="fold the cloth")
    request = SetParameters.Request(parameters=[ParameterMessage(name="task", value=value)])
    assert graph.call(SetParameters, "record_node/set_parameters", request).results[0].successful
    world.frames(3)
    assert world.closed().tasks == ["fold the cloth"]


def test_limits_can_be_set_between_episodes_and_within_one(world, graph):
    world.add(max_command_age=30.0)

    def put(**values):
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        request = SetParameters.Request(parameters=parameters)
        return graph.call(SetParameters, "record_node/set_parameters", request).results

    assert world.frames(3) >= 3
    assert put(min_motion=0.4)[0].successful
    world.started()
    world.taken(3)
    assert "min_motion is 0.4 rad" in world.order("save").message
    assert world.order("discard").success
    assert put(min_motion=0.0, max_episode_seconds=0.2)[1].successful
    world.started()
    world.until_status("it has reached max_episode_seconds (0.2 s)")
    assert world.order("discard").success
    assert put(max_episode_seconds=0.0, max_command_age=0.3)[1].successful
    world.started()
    world.taken(1)
    world.silent.add(Float64MultiArray)
    world.until_status("more than max_command_age (0.3 s): is the arm still being commanded")
    world.silent.clear()
    refused = put(fps=15)[0]
    assert not refused.successful
    assert put(fps=20, max_image_age=99.0)[1].reason
    assert put(max_skew=0.001)[0].successful
    assert world.closed().num_episodes == 1


def test_where_an_executor_listens_the_recorder_takes_the_instruction_from_its_status(
    world, graph
):
    """So that a bare `ros2 topic pub --once` has one listener to wait for."""
    states = graph.node.create_publisher(ExecutorStatus, "executor_node/status", qos.status_qos())

    def says(instruction, number):
        states.publish(ExecutorStatus(instruction=instruction, instructions=number))

    says("fold the cloth", 3)
    world.add(task="")
    world.frames(3)
    assert world.instructions.get_subscription_count() == 0
    says("", 4)
    says("hang it up", 5)
    task = Parameter("task", value="iron the cloth").to_parameter_msg()
    request = SetParameters.Request(parameters=[task])
    graph.call(SetParameters, "record_node/set_parameters", request)
    says("hang it up", 5)  # nothing new
    world.frames(3)
    says("hang it up", 6)
    world.frames(3)
    graph.node.destroy_publisher(states)
    graph.until(lambda: world.instructions.get_subscription_count() > 0, what="its own listener")
    assert world.closed().tasks == ["fold the cloth", "iron the cloth", "hang it up"]


class FakeSimulation:
    """A scene, its judge and an executor, which commands the arm only between start and stop."""

    def __init__(self, world, graph):
        self.world, self.score, self.scenes, self.calls = world, 0.0, [], []
        node = graph.node
        world.silent.add(Float64MultiArray)
        node.create_service(ResetSim, "sim/reset", self._reset)
        node.create_service(SetTask, "sim/set_task", self._set_task)
        node.create_service(Trigger, "executor_node/start", self._start)
        node.create_service(Trigger, "executor_node/stop", self._stop)
        node.create_subscription(String, "task_instruction", self._on_instruction, 10)
        scores = node.create_publisher(Float32, "sim/score", qos.status_qos())
        node.create_timer(0.05, lambda: scores.publish(Float32(data=self.score)))
        self.states = node.create_publisher(
            ExecutorStatus, "executor_node/status", qos.status_qos()
        )
        self.states.publish(ExecutorStatus(state=ExecutorStatus.HOLDING))

    def _on_instruction(self, message):
        self._note(f"instructed {message.data}")
        holding = ExecutorStatus.HOLDING
        self.states.publish(ExecutorStatus(state=holding, instruction=message.data))

    def _note(self, what):
        self.calls.append((what, self.world.status.partition(":")[0]))

    def _reset(self, request, response):
        self._note("reset")
        self.scenes.append(request.seed)
        home = lambda: setattr(self.world, "positions", POSITIONS)  # noqa: E731
        self.world.graph.node.create_timer(0.1, home)  # seen a while later
        response.success = True
        return response

    def _set_task(self, request, response):
        self._note(f"judges {request.task}")
        response.success = request.task != "dance"
        response.message = "I judge: sit, stand"
        return response

    def _start(self, request, response):
        self._note("start")
        self.world.silent.clear()
        response.success = True
        return response

    def _stop(self, request, response):
        self._note("stop")
        self.world.silent.add(Float64MultiArray)
        response.success = True
        return response

    @property
    def names(self):
        return [what for what, _ in self.calls]


def test_a_simulation_is_put_back_before_each_episode(world, graph):
    simulation = FakeSimulation(world, graph)
    world.add(task="")
    client = client_of(graph)
    for task in ("sit", "stand"):
        simulation.calls.clear()
        simulation.score = 0.0
        message = client.start_episode(task)
        assert f'"{task}"' in message
        assert f"(scene {simulation.scenes[-1]})" in message
        graph.until(lambda: f"instructed {task}" in simulation.names)  # noqa: B023
        assert simulation.names[:4] == [f"judges {task}", "stop", "instructed ", "reset"]
        assert dict(simulation.calls)["start"] == "armed"
        world.until_status("recording episode")
        with pytest.raises(ClientError, match=r"no success: the simulation's score is 0\.00"):
            client.save_episode(wait=0.5)
        assert client.discard_episode()
    assert len(set(simulation.scenes)) == 2


def test_what_was_sent_before_a_reset_is_in_no_episode(world, graph):
    FakeSimulation(world, graph)
    world.add(task="")
    world.positions = [-0.9, 0.2]
    client = client_of(graph)
    client.find()
    graph.during(0.6, lambda: True)  # at rest where the last episode ended
    client.start_episode("sit")
    world.until_status("recording episode")
    world.taken(4)
    with pytest.raises(ClientError, match="no success"):
        client.save_episode()
    client.save_episode()
    states = world.closed().column("observation.state")
    np.testing.assert_allclose(states, np.tile(STATE_UNITS, (len(states), 1)), atol=1e-3)


def test_a_simulation_that_comes_up_during_the_start_is_put_back_too(world, graph, monkeypatch):
    monkeypatch.setattr(recorder_client, "DISCOVERY", 0.1)
    world.silent.add(Image)  # no camera: the start is refused
    world.add(task="")
    client = client_of(graph)
    client.find()
    simulations = []

    def come_up():
        timer.cancel()
        simulations.append(FakeSimulation(world, graph))
        world.silent.discard(Image)

    timer = graph.node.create_timer(0.3, come_up)
    message = client.start_episode("sit", wait=20.0)
    assert f"(scene {simulations[0].scenes[-1]})" in message
    assert simulations[0].names[:4] == ["judges sit", "stop", "instructed ", "reset"]


def test_saving_waits_for_the_success(world, graph):
    simulation = FakeSimulation(world, graph)
    world.add()
    client = client_of(graph)
    client.start_episode("sit", seed=77)
    assert simulation.scenes == [77]
    world.until_status("recording episode")
    for disturb in (client.new_scene, client.start_episode):
        with pytest.raises(ClientError, match=r"save or discard the episode first \(recording"):
            disturb("stand")
    assert simulation.scenes == [77]
    timer = graph.node.create_timer(0.3, lambda: setattr(simulation, "score", 1.0))
    assert "saved episode 0" in client.save_episode(wait=20.0)
    graph.node.destroy_timer(timer)


def test_a_start_that_fails_leaves_nobody_obeying(world, graph):
    simulation = FakeSimulation(world, graph)
    world.silent.add(Image)
    world.add()
    client = client_of(graph)
    with pytest.raises(ClientError, match=r"I judge: sit, stand\. Take one of these"):
        client.start_episode("dance")
    assert simulation.names == ["judges dance"]
    with pytest.raises(ClientError, match="camera top: no image yet"):
        client.start_episode("sit", wait=0.0)
    assert simulation.names[1:5] == ["judges sit", "stop", "instructed ", "reset"]
    graph.until(lambda: "start" in simulation.names)
    assert simulation.names[-2:] == ["instructed ", "start"]


def test_a_reset_by_itself_and_a_scene_that_is_kept(world, graph):
    simulation = FakeSimulation(world, graph)
    world.add()
    client = client_of(graph)
    assert client.new_scene("stand", seed=5) == 'scene 5, the arm is at home; task: "stand"'
    graph.until(lambda: "start" in simulation.names)
    assert simulation.names == ["judges stand", "stop", "instructed ", "reset", "start"]
    simulation.calls.clear()
    client.start_episode("dance", wait=10.0, reset=False)
    graph.until(lambda: simulation.names == ["instructed dance"])
    client.discard_episode()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dataset": ""}, "dataset is empty: name a folder"),
        ({"cameras": ["top left"]}, "cameras holds 'top left', which must be letters"),
        ({"robot": "so99"}, "there is no robot 'so99'"),
        ({"video_crf": 60}, "video crf 60 is outside"),
        ({"action_source": "thought"}, "is not one of command"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(world, parameters, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        world.add(**parameters)


class Process:
    """`record` as a process of its own, with the world of the test around it."""

    def __init__(self, world, **parameters):
        # In JSON, which is YAML too, so that lists and texts keep their types.
        overrides = [
            part
            for name, value in world.options(**parameters).items()
            for part in ("-p", f"{name}:={json.dumps(value)}")
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "smolvla_learning.record_node.node", "--ros-args", *overrides],
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, how):
        self.process.send_signal(how)
        return self.result()

    def result(self):
        message = self.process.communicate(timeout=60)[1]
        return self.process.returncode, message


def record_in_process(world, process):
    """One saved episode and one that has begun."""
    try:
        world.started()
        # Refused until the first frame is taken.
        world.graph.until(lambda: world.order("save").success, timeout=20.0, what="a save")
        world.started()
        world.until_status("recording episode 1")
    except BaseException:
        process.process.kill()
        raise


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_discards_the_running_episode_and_closes_the_dataset(world, how):
    process = Process(world)
    record_in_process(world, process)
    code, message = process.end(how)
    assert code == 0, message
    assert "discarded, as the recorder ends" in message
    assert "1 episodes; now 1 saved, 1 discarded, 0 broken" in message
    assert "Traceback" not in message
    data = Dataset.open(world.folder)
    assert (data.num_episodes, data.interrupted) == (1, False)
    assert not find_problems(data, deep=True)


def test_a_killed_recorder_loses_at_most_the_running_episode(world):
    process = Process(world)
    record_in_process(world, process)
    assert process.end(signal.SIGKILL)[0] == -signal.SIGKILL
    data = Dataset.open(world.folder)
    assert (data.num_episodes, data.interrupted) == (1, True)
    assert not find_problems(data, deep=True)
    world.add().frames(3)
    data = world.closed()
    assert (data.num_episodes, data.interrupted) == (2, False)


def test_a_dataset_that_differs_ends_the_start_with_words(world):
    world.add().frames(3)
    world.closed()
    code, message = Process(world, fps=10).result()
    assert code == os.EX_CONFIG
    assert "record_node: " in message
    assert "fps is 20 in the dataset, wanted 10" in message
    assert "Traceback" not in message
