# SPDX-License-Identifier: Apache-2.0
"""The nodes of the arm, its description and its cameras, for each kind of hardware."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from smolvla_bringup.system.description import (
    choose_port,
    description_nodes,
    robot_description,
)
from smolvla_bringup.system.node_list import arm_nodes, camera_nodes
from smolvla_bringup.system.options import Options, SetupError
from smolvla_core.robot import load_robot

PACKAGE = Path(__file__).resolve().parents[1]
LIMIT = 128 * 1024  # of one argument on Linux

pytestmark = pytest.mark.usefixtures("bare_workspace")


def real(tmp_path: Path, **values) -> Options:
    calibration, port = tmp_path / "arm.json", tmp_path / "ttyACM0"
    calibration.touch()
    port.touch()
    return Options(port=str(port), calibration=str(calibration), **values)


def test_the_simulation_is_one_node_and_needs_no_ros2_control() -> None:
    (sim,) = arm_nodes(Options(hardware="sim", robot="so101", seed=5, task="a task"))
    assert (sim.package, sim.executable) == ("smolvla_sim", "sim_node")
    assert sim.parameters == {"robot": "so101", "seed": 5, "task": "a task", "viewer": False}
    assert sim.env["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


@pytest.mark.usefixtures("ros2_control")
@pytest.mark.parametrize("output", ["forward", "joint_trajectory"])
@pytest.mark.parametrize("hardware", ["mock", "real"])
def test_ros2_control_gets_the_controllers_of_the_output(
    hardware: str, output: str, tmp_path: Path
) -> None:
    manager, spawner = arm_nodes(real(tmp_path, hardware=hardware, output=output))
    assert (manager.package, manager.executable) == ("controller_manager", "ros2_control_node")
    # A new name would go to all controllers, which are nodes of this process, too.
    assert not manager.renamed
    assert [file.name for file in manager.params_files] == ["controllers.yaml"]
    assert manager.critical
    assert not manager.one_shot
    assert spawner.one_shot
    assert spawner.arguments[:2] == ("arm_controller", "joint_state_broadcaster")
    assert "/controller_manager" in spawner.arguments
    assert manager.env == spawner.env


@pytest.mark.usefixtures("ros2_control")
def test_only_a_real_arm_is_discovered_by_other_machines(tmp_path: Path) -> None:
    for hardware, kept in (("real", False), ("mock", True)):
        for spec in arm_nodes(real(tmp_path, hardware=hardware)):
            assert ("ROS_AUTOMATIC_DISCOVERY_RANGE" in spec.env) is kept
            assert "FASTRTPS_DEFAULT_PROFILES_FILE" in spec.env  # of Jazzy


@pytest.mark.usefixtures("ros2_control")
def test_several_arms_fit_into_one_graph(tmp_path: Path) -> None:
    options = real(tmp_path, namespace="/left/")
    manager, spawner = arm_nodes(options)
    assert manager.namespace == "left"
    assert "/left/controller_manager" in spawner.arguments
    (publisher,) = description_nodes(options, print)
    assert publisher.namespace == "left"
    assert publisher.parameters["frame_prefix"] == "left/"
    (sim,) = arm_nodes(Options(hardware="sim", namespace="left"))
    assert sim.parameters["frame_prefix"] == "left/"
    # Topics, and with them joints, are apart by the namespace; the controllers know no other.
    assert '<joint name="shoulder_pan"' in publisher.configured("robot_description")


@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        ([], "controller_manager"),
        (["controller_manager"], "joint_state_broadcaster"),
        (["controller_manager", "joint_state_broadcaster"], "joint_trajectory_controller"),
    ],
)
def test_missing_parts_of_ros2_control_are_named_with_their_remedy(
    installed: list[str], missing: str, install: Callable[..., None]
) -> None:
    install(*installed)
    with pytest.raises(SetupError) as caught:
        arm_nodes(Options(hardware="mock", output="joint_trajectory"))
    message = str(caught.value)
    assert f"sudo apt-get install ros-jazzy-{missing.replace('_', '-')}" in message
    assert "hardware 'sim'" in message


def test_with_the_ros_from_pypi_no_package_of_apt_is_advised(
    bare_workspace: Path, install: Callable[..., None]
) -> None:
    install("rclpy")
    (bare_workspace / ".ros_distro").write_text("kilted")
    with pytest.raises(SetupError, match="controller_manager") as caught:
        arm_nodes(Options(hardware="real"))
    lines: list[str] = []
    description_nodes(Options(hardware="sim"), lines.append)
    for message in (str(caught.value), *lines):
        assert "not to be had with the ROS 2 from PyPI" in message
        assert "apt-get" not in message
    assert len(lines) == 1


@pytest.mark.usefixtures("ros2_control")
def test_a_driver_that_was_not_built_is_noticed(bare_workspace: Path, tmp_path: Path) -> None:
    resources = bare_workspace / "share/ament_index/resource_index"
    (resources / "hardware_interface__pluginlib__plugin/so100_hardware").unlink()
    with pytest.raises(SetupError, match="ros-jazzy-hardware-interface ros-jazzy-pluginlib"):
        arm_nodes(real(tmp_path))
    arm_nodes(Options(hardware="mock"))


@pytest.mark.usefixtures("ros2_control")
@pytest.mark.parametrize("output", ["forward", "joint_trajectory"])
def test_controllers_command_the_joints_of_the_executor_in_its_order(output: str) -> None:
    options = Options(hardware="mock", output=output)
    (file,) = arm_nodes(options)[0].params_files
    content = yaml.safe_load(file.read_text())
    manager = content["/**/controller_manager"]["ros__parameters"]
    arm = content["/**/arm_controller"]["ros__parameters"]
    assert tuple(arm["joints"]) == options.loaded_robot.joint_names
    assert manager["update_rate"] == 100
    # Its limiter throws where an arm rests beyond a limit, and nobody catches it.
    assert manager["enforce_command_limits"] is False
    assert manager["joint_state_broadcaster"]["type"] == (
        "joint_state_broadcaster/JointStateBroadcaster"
    )
    kinds = {
        "forward": "forward_command_controller/ForwardCommandController",
        "joint_trajectory": "joint_trajectory_controller/JointTrajectoryController",
    }
    assert manager["arm_controller"]["type"] == kinds[output]
    if output == "joint_trajectory":
        assert set(arm["joints"]) <= set(arm["constraints"])


@pytest.mark.usefixtures("ros2_control")
def test_arm_and_gripper_have_controllers_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(
        "base: so101\noutputs:\n"
        "  - {type: joint_trajectory, topic: reach/joint_trajectory, joints: [shoulder_pan,\n"
        "     shoulder_lift, elbow_flex, wrist_flex, wrist_roll]}\n"
        "  - {type: gripper_command, topic: hand/gripper_cmd, joints: [gripper]}\n"
    )
    manager, spawner = arm_nodes(Options(hardware="mock", robot=str(file)))
    content = yaml.safe_load(manager.params_files[-1].read_text())
    assert spawner.arguments[:3] == ("reach", "hand", "joint_state_broadcaster")
    assert content["/**/hand"]["ros__parameters"]["joint"] == "gripper"
    assert len(content["/**/reach"]["ros__parameters"]["joints"]) == 5
    types = content["/**/controller_manager"]["ros__parameters"]
    assert types["hand"]["type"] == "position_controllers/GripperActionController"


# The description.


def test_without_a_publisher_the_simulation_goes_on_and_says_what_is_missing() -> None:
    lines: list[str] = []
    assert description_nodes(Options(hardware="sim"), lines.append) == []
    (line,) = lines
    assert "/tf" in line
    assert "ros-jazzy-robot-state-publisher" in line


def test_without_a_publisher_ros2_control_would_wait_for_ever() -> None:
    with pytest.raises(SetupError, match="ros-jazzy-robot-state-publisher, or choose hardware"):
        description_nodes(Options(hardware="mock"), print)


@pytest.mark.usefixtures("ros2_control")
@pytest.mark.parametrize("model", ["so100", "so101"])
@pytest.mark.parametrize(
    ("hardware", "plugin"),
    [("sim", ""), ("mock", "mock_components/GenericSystem"), ("real", "so100_hardware/")],
)
def test_the_description_is_that_of_the_arm(
    hardware: str, plugin: str, model: str, tmp_path: Path
) -> None:
    options = real(tmp_path, hardware=hardware, robot=model)
    (publisher,) = description_nodes(options, print)
    urdf = publisher.configured("robot_description")
    other = "so100" if model == "so101" else "so101"
    assert urdf == robot_description(options)
    assert urdf != robot_description(dataclasses.replace(options, robot=other))
    assert ("<ros2_control" in urdf) is bool(plugin)
    assert plugin in urdf
    assert (f'<param name="port">{tmp_path}/ttyACM0</param>' in urdf) is (hardware == "real")
    assert max(len(argument) for argument in publisher.ros_arguments()) < LIMIT


@pytest.mark.usefixtures("ros2_control")
def test_the_calibration_reaches_the_driver_as_path_or_as_id(tmp_path: Path) -> None:
    options = real(tmp_path)
    file = f'<param name="calibration_file">{tmp_path}/arm.json</param>'
    assert file in robot_description(options)
    by_id = Options(port=options.port, calibration="007")
    assert '<param name="calibration_id">007</param>' in robot_description(by_id)


@pytest.mark.usefixtures("ros2_control")
def test_what_a_stop_does_reaches_the_driver(tmp_path: Path) -> None:
    param = '<param name="on_stop">torque_off</param>'
    assert param in robot_description(real(tmp_path, on_stop="torque_off"))
    assert param not in robot_description(real(tmp_path))


def test_what_only_draws_needs_no_arm() -> None:
    assert "<ros2_control" not in robot_description(Options(), with_drivers=False)


def test_a_real_arm_without_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"needs its calibration: .*smolvla arm calibrate"):
        robot_description(Options(port=str(tmp_path)))
    with pytest.raises(
        SetupError, match=r"no such calibration /nowhere/a.json; .*smolvla arm cal"
    ):
        robot_description(Options(port=str(tmp_path), calibration="/nowhere/a.json"))


def test_a_description_that_does_not_expand_is_explained_in_one_line(
    bare_workspace: Path,
) -> None:
    folder = bare_workspace / "share/smolvla_description/urdf"
    folder.unlink()
    folder.mkdir()
    (folder / "so100.urdf.xacro").write_text(
        '<robot xmlns:xacro="http://www.ros.org/wiki/xacro">\n<a b="${nothing}"/></robot>'
    )
    with pytest.raises(SetupError, match=r"so100.urdf.xacro does not expand: .*nothing") as caught:
        robot_description(Options(hardware="mock"))
    assert "\n" not in str(caught.value)


def test_arms_hang_below_one_frame_at_their_poses(
    install: Callable[..., None],
) -> None:
    install("robot_state_publisher", "tf2_ros")
    pose = {"xyz": "0.4 -0.25 0.02", "rpy": "0 0 1.57"}
    options = Options(hardware="sim", namespace="cell/b", parent_frame="bench", **pose)
    publisher, tie = description_nodes(options, print)
    assert (tie.package, tie.executable) == ("tf2_ros", "static_transform_publisher")
    assert tie.namespace == "cell/b"
    # The poses stand in the URDF, relative to its root, which is prefixed as all frames are.
    assert tie.arguments == ("--frame-id", "bench", "--child-frame-id", "cell/b/world")
    assert publisher.parameters["frame_prefix"] == "cell/b/"
    urdf = publisher.configured("robot_description")
    assert '<origin rpy="0 0 1.57" xyz="0.4 -0.25 0.02"/>' in urdf
    assert urdf == robot_description(options)


def test_without_a_frame_that_arms_share_nothing_ties_them(install: Callable[..., None]) -> None:
    install("robot_state_publisher")
    for options in (
        Options(hardware="sim", namespace="left"),
        Options(hardware="sim", namespace="left", parent_frame="left/world"),
        Options(hardware="sim", parent_frame="world", xyz="0 0 0.7"),  # it is the root already
    ):
        assert len(description_nodes(options, print)) == 1
    with pytest.raises(SetupError, match="parent_frame 'bench' needs the package tf2_ros"):
        description_nodes(Options(hardware="sim", parent_frame="bench"), print)


# The port.


def test_the_only_port_is_taken_by_its_most_lasting_name(tmp_path: Path) -> None:
    device, name = tmp_path / "ttyACM3", tmp_path / "serial/by-id/usb-arm"
    device.touch()
    name.parent.mkdir(parents=True)
    name.symlink_to(device)
    assert choose_port(None, tmp_path) == str(name)
    leader = tmp_path / "ttyACM4"
    leader.touch()
    assert choose_port(None, tmp_path, leader=str(leader)) == str(name)


def test_no_port_several_ports_and_a_wrong_one_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no serial port found; plug in"):
        choose_port(None, tmp_path)
    for name in ("ttyACM0", "ttyUSB0"):
        (tmp_path / name).touch()
    with pytest.raises(SetupError, match=r"several serial ports found; .*ttyACM0, .*ttyUSB0"):
        choose_port("", tmp_path)
    with pytest.raises(SetupError, match=r"no such port /dev/tty-none; .*smolvla arm scan"):
        choose_port("/dev/tty-none", tmp_path)


# The cameras.

DRIVEN = {"name": "top", "driver": "usb_cam", "device": "/dev/null"}
FOREIGN = {"name": "wrist", "driver": "none", "topic": "/real/image"}


def robot_with(tmp_path: Path, *cameras: dict[str, Any]) -> str:
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump({"base": "so100", "cameras": list(cameras)}))
    return str(file)


def test_the_example_is_valid_and_names_what_the_policies_use() -> None:
    robot = load_robot(str(PACKAGE / "config" / "my_robot.yaml"))
    assert [camera.name for camera in robot.cameras] == ["top", "wrist"]
    assert all(camera.device.startswith("/dev/v4l/by-id/") for camera in robot.cameras)
    assert {(camera.width, camera.height, camera.fps) for camera in robot.cameras} == {
        (640, 480, 30)
    }


def test_usb_cam_gets_its_own_parameters(tmp_path: Path, install: Callable[..., None]) -> None:
    install("usb_cam")
    camera = {**DRIVEN, "width": 800, "height": 600, "fps": 15, "pixel_format": "yuyv2rgb"}
    (node,) = camera_nodes(Options(robot=robot_with(tmp_path, camera)))
    assert (node.package, node.executable) == ("usb_cam", "usb_cam_node_exe")
    # It publishes image_raw: camera/top/image_raw.
    assert node.namespace == "camera/top"
    assert node.parameters == {
        "video_device": "/dev/null",
        "image_width": 800,
        "image_height": 600,
        "framerate": 15.0,
        "pixel_format": "yuyv2rgb",
        "camera_name": "top",
        "frame_id": "top_camera_optical_frame",
        "brightness": -1,
    }


def test_v4l2_camera_gets_its_own_parameters(tmp_path: Path, install: Callable[..., None]) -> None:
    install("v4l2_camera")
    camera = {**DRIVEN, "driver": "v4l2_camera", "frame_id": "my_frame"}
    (node,) = camera_nodes(Options(robot=robot_with(tmp_path, camera), namespace="left"))
    assert (node.package, node.executable) == ("v4l2_camera", "v4l2_camera_node")
    assert node.namespace == "left/camera/top"
    assert node.parameters == {
        "video_device": "/dev/null",
        "image_size": [640, 480],
        "time_per_frame": [1, 30],
        "pixel_format": "YUYV",
        "output_encoding": "rgb8",
        "camera_frame_id": "left/my_frame",
    }


def test_a_camera_that_somebody_else_drives_starts_nothing(tmp_path: Path) -> None:
    assert camera_nodes(Options(robot=robot_with(tmp_path, FOREIGN))) == []
    assert camera_nodes(Options()) == []


def test_missing_driver_plugin_and_device_are_named(
    tmp_path: Path, install: Callable[..., None]
) -> None:
    options = Options(robot=robot_with(tmp_path, DRIVEN))
    with pytest.raises(SetupError, match=r"'top' needs .*install ros-jazzy-usb-cam, or let"):
        camera_nodes(options)
    install("usb_cam")
    compressed = Options(robot=robot_with(tmp_path, {**DRIVEN, "transport": "compressed"}))
    with pytest.raises(SetupError, match="ros-jazzy-compressed-image-transport, or choose"):
        camera_nodes(compressed)
    gone = {**DRIVEN, "device": "/dev/v4l/by-id/none"}
    with pytest.raises(SetupError, match=r"'top': there is no device /dev/v4l/by-id/none; .*ls"):
        camera_nodes(Options(robot=robot_with(tmp_path, gone)))


def test_the_simulation_draws_its_cameras_itself(tmp_path: Path) -> None:
    assert camera_nodes(Options(hardware="sim", robot=robot_with(tmp_path, DRIVEN))) == []
