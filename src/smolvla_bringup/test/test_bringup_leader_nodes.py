# SPDX-License-Identifier: Apache-2.0
"""What a person moves the arm with: the nodes of each leader, and the executor that follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from smolvla_bringup.system.description import robot_description
from smolvla_bringup.system.node_list import leader_nodes, node_list, policy_nodes
from smolvla_bringup.system.options import PARTS, Options, SetupError

CALIBRATION = (
    Path(__file__).resolve().parents[2] / "so100_hardware/test/units/lerobot_calibration.json"
)

pytestmark = pytest.mark.usefixtures("bare_workspace")


@pytest.fixture
def port(tmp_path: Path) -> str:
    path = tmp_path / "ttyACM1"
    path.touch()
    return str(path)


def led(leader: str, **values) -> Options:
    return Options(**{"hardware": "sim", "leader": leader, **values})


@pytest.mark.usefixtures("ros2_control")
def test_a_leader_arm_is_read_by_the_driver_of_any_arm_and_never_activated(port: str) -> None:
    options = led(port, leader_calibration=str(CALIBRATION), namespace="left")
    keeper, driver = leader_nodes(options)
    assert (driver.executable, driver.namespace) == ("ros2_control_node", "left/leader")
    (file,) = driver.params_files
    manager = yaml.safe_load(file.read_text())["/**/controller_manager"]["ros__parameters"]
    description = keeper.configured("robot_description")
    (name,) = manager["hardware_components_initial_state"]["inactive"]
    assert f'<ros2_control name="{name}"' in description
    assert "so100_hardware/SO100System" in description
    assert f"{port}</param>" in description
    assert f"{CALIBRATION}</param>" in description
    assert 'name="write_calibration">false<' in description
    assert 'name="leader">true<' in description
    assert "arm_controller" not in file.read_text()
    assert keeper.namespace == "left"
    assert not any(spec.critical or spec.holds_arm for spec in (keeper, driver))


@pytest.mark.usefixtures("ros2_control")
def test_its_calibration_may_stand_in_the_robot_file(port: str, tmp_path: Path) -> None:
    robot = tmp_path / "mine.yaml"
    robot.write_text(f"base: so100\nleader_calibration: {CALIBRATION}")
    keeper, _ = leader_nodes(led(port, robot=str(robot)))
    assert str(CALIBRATION) in keeper.configured("robot_description")
    with pytest.raises(SetupError, match="leader arm needs its calibration: leader_calibration:="):
        leader_nodes(led(port))
    with pytest.raises(SetupError, match="leader_calibration: no calibration 'nobody' found"):
        leader_nodes(led(port, leader_calibration="nobody"))


def test_a_leader_arm_needs_ros2_control(port: str) -> None:
    with pytest.raises(SetupError, match="a leader arm needs the package controller_manager"):
        leader_nodes(led(port, leader_calibration=str(CALIBRATION)))


def test_the_port_of_the_leader_is_not_that_of_the_arm(port: str) -> None:
    options = Options(port=port, calibration=str(CALIBRATION), leader=port)
    with pytest.raises(SetupError, match="is the port of the arm and of its leader"):
        robot_description(options)


def test_a_person_in_the_simulation_is_a_node() -> None:
    (human,) = leader_nodes(led("sim", task="a task"))
    assert (human.package, human.executable) == ("smolvla_sim", "human_node")
    assert human.configured("task") == "a task"
    assert not human.critical
    with pytest.raises(SetupError, match="choose hardware 'sim'"):
        led("sim", hardware="mock")


def test_a_joystick_is_its_driver_and_teleop_node(install: Callable[..., None]) -> None:
    with pytest.raises(SetupError, match="leader 'joy' needs the package joy"):
        leader_nodes(led("joy"))
    install("joy")
    driver, teleop = leader_nodes(led("joy", policy="none"))
    assert (driver.package, driver.executable) == ("joy", "joy_node")
    assert "<robot" in teleop.configured("robot_description")
    (executor,) = policy_nodes(led("joy", policy="none"))
    assert teleop.configured("rate") == executor.configured("rate")
    assert executor.configured("wait_for_start")
    assert not leader_nodes(led("joy", policy="scripted"))[1].has("rate")


@pytest.mark.parametrize("leader", ["none", "external"])
def test_nobody_else_needs_a_node(leader: str) -> None:
    assert leader_nodes(led(leader)) == []


def test_another_word_is_refused() -> None:
    with pytest.raises(SetupError, match=r"leader is 'ttyACM1'; it must be a serial port"):
        led("ttyACM1")


def test_without_a_policy_the_executor_follows_the_person(tmp_path: Path) -> None:
    (executor,) = policy_nodes(led("external", policy="none"))
    assert (executor.configured("source"), executor.configured("rate")) == ("human", 100.0)
    (executor,) = policy_nodes(led("external", policy="none", rate=50.0))
    assert executor.configured("rate") == 50.0
    extra = tmp_path / "mine.yaml"
    extra.write_text("executor_node:\n  ros__parameters:\n    rate: 60.0\n")
    (executor,) = policy_nodes(led("external", policy="none", params_file=str(extra)))
    assert executor.configured("rate") == 60.0
    assert policy_nodes(led("none", policy="none")) == []


def test_with_a_policy_the_person_takes_over() -> None:
    _, executor = policy_nodes(led("sim", policy="scripted"))
    assert not executor.has("source")
    started = [spec.name for spec in node_list(led("sim", policy="scripted"), PARTS)]
    assert started.index("human_node") < started.index("executor_node")
