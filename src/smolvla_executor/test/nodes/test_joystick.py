# SPDX-License-Identifier: Apache-2.0
"""What axes and buttons mean: the map, the dead zone, the dead-man, a silent joystick."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from smolvla_core.robot import SHIPPED, load_robot
from smolvla_executor.teleop_node.joystick import Joystick, RunningTime, load_map

JOINTS = ("a", "gripper")
MAP = {
    "dead_zone": 0.2,
    "tip": {"x": {"axis": 0, "speed": 0.1}, "roll": {"axis": 1, "speed": -2.0}},
    "joints": {"gripper": {"buttons": [1, 2], "speed": 1.5}},
    "buttons": {"dead_man": 0, "estop": 3, "home": {"axis": 2, "at": -1}, "re_record": 4},
}
SHIPPED_MAP = Path(__file__).parents[2] / "config" / "joy_map.yaml"


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "map.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


class Pad:
    """A joystick and the time."""

    def __init__(self, path):
        self.joystick = Joystick(load_map(path, JOINTS), JOINTS, timeout=0.2)
        self.now = 5.0

    def send(self, axes=(0.0, 0.0, 0.0), pressed=(), human=False, buttons=5):
        self.now += 0.05
        states = [int(number in pressed) for number in range(buttons)]
        return self.joystick.on_message(axes, states, human, self.now)

    def motion(self, *axes, pressed=()):
        self.send((*axes, 0.0), (0, *pressed))
        motion = self.joystick.motion(self.now)
        return motion.joints.tolist(), motion.tip.tolist()


@pytest.fixture
def pad(write):
    pad = Pad(write(MAP))
    assert pad.send() == []
    return pad


def test_axes_and_pairs_of_buttons_move_at_their_speed_beyond_the_dead_zone(pad):
    assert pad.motion(0.0, 0.0) == ([0, 0], [0, 0, 0, 0, 0])
    assert pad.motion(0.15, -0.2) == ([0, 0], [0, 0, 0, 0, 0])
    assert pad.motion(0.6, 1.0) == ([0, 0], pytest.approx([0.05, 0, 0, 0, -2.0]))
    assert pad.motion(-1.0, 0.0, pressed=[1]) == ([0, 1.5], [-0.1, 0, 0, 0, 0])
    assert pad.motion(-1.2, 0.0, pressed=[2]) == ([0, -1.5], [-0.1, 0, 0, 0, 0])
    assert pad.motion(0.0, 0.0, pressed=[1, 2])[0] == [0, 0]


def test_nothing_moves_unless_the_dead_man_is_held(pad):
    pad.send((1.0, 1.0, 0.0), (1,))
    assert not pad.joystick.motion(pad.now).tip.any()
    assert not pad.joystick.held
    pad.send((1.0, 1.0, 0.0), (0, 1))
    assert pad.joystick.motion(pad.now).tip.any()
    pad.send((1.0, 1.0, 0.0))
    assert not pad.joystick.motion(pad.now).tip.any()


def test_the_dead_man_takes_over_and_gives_back(pad):
    assert pad.send(pressed=[0]) == ["take_over"]
    assert pad.send(pressed=[0], human=True) == []
    assert pad.send(human=True) == ["give_back"]
    assert pad.send() == []


def test_what_a_human_had_before_stays_his(pad):
    assert pad.send(pressed=[0], human=True) == []
    assert pad.joystick.held
    assert pad.send(human=True) == []


def test_after_a_silence_the_dead_man_has_to_be_pressed_anew(pad):
    pad.send((1.0, 0.0, 0.0), [0])
    pad.now += 0.19
    assert pad.joystick.motion(pad.now).tip.any()
    pad.now += 0.02
    assert pad.joystick.motion(pad.now) is None
    assert not pad.joystick.held
    assert pad.send((1.0, 0.0, 0.0), [0], human=True) == []
    assert not pad.joystick.motion(pad.now).tip.any()
    assert pad.send((1.0, 0.0, 0.0), human=True) == []
    assert pad.send((1.0, 0.0, 0.0), [0], human=True) == []
    assert pad.joystick.motion(pad.now).tip.any()
    # What it has taken over it gives back.
    assert pad.send(human=True) == ["give_back"]


def test_while_its_node_does_not_run_a_joystick_is_not_silent():
    now = 100.0
    clock = RunningTime(lambda: now, longest=0.06)
    begun = clock()
    for step in (0.05, 0.03, 0.7):
        now += step
        clock()
    assert clock() - begun == pytest.approx(0.05 + 0.03 + 0.06)


def test_a_button_that_is_held_from_the_start_orders_nothing_but_the_estop(write):
    assert Pad(write(MAP)).send((0, 0, -1.0), [0, 4]) == []
    assert Pad(write(MAP)).send(pressed=[3]) == ["estop"]


def test_buttons_order_once_when_they_are_pressed(pad):
    assert pad.send(pressed=[4]) == ["re_record"]
    assert pad.send(pressed=[4]) == []
    assert pad.send((0, 0, -0.9)) == ["home"]
    assert pad.send((0, 0, 0.9)) == []
    assert pad.send(pressed=[3]) == ["estop"]
    assert pad.send() == ["release_estop"]


def test_axes_that_are_not_finite_move_nothing_and_then_count_as_silence(pad):
    pad.send((1.0, 0.0, 0.0), [0])
    for _ in range(3):
        pad.send((np.nan, 0.0, 0.0), [0])
        assert not pad.joystick.motion(pad.now).tip.any()
        assert "axis 0 is not finite" in pad.joystick.problem
    # Its buttons are still good for a stop.
    assert pad.send((np.nan, 0.0, 0.0), [0, 3]) == ["estop"]
    pad.send((np.nan, 0.0, 0.0), [0])
    assert pad.joystick.motion(pad.now) is None
    pad.send()
    assert pad.joystick.problem == ""


def test_a_joystick_with_too_few_of_them_is_told(pad):
    pad.send((0.0, 0.0), [0])
    assert "2 axes" in pad.joystick.problem
    pad.send((0.0, 0.0, 0.0), [0], buttons=3)
    assert "3 buttons" in pad.joystick.problem
    assert not pad.joystick.motion(pad.now).tip.any()


def test_the_shipped_map_fits_the_shipped_arms():
    fitting = [name for name in SHIPPED if "gripper" in load_robot(name).joint_names]
    assert fitting
    for name in fitting:
        found = load_map(SHIPPED_MAP, load_robot(name).joint_names)
        assert (found.axes_needed, found.buttons_needed) == (8, 9)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("tip: [", "no YAML"),
        ([], "must hold names"),
        ({"buttons": {"estop": 1}}, "no dead_man"),
        ({"buttons": {"dead_man": 1, "hom": 2}}, "did you mean 'home'"),
        ({"buttons": {"dead_man": True}}, "whole number"),
        ({"buttons": {"dead_man": {"axis": 1, "at": 0}}}, "dead_man: at is 0"),
        ({"buttons": {"dead_man": {}}}, "dead_man: axis or the number"),
        ({**MAP, "tip": {"yaw": {"axis": 1}}}, "has no 'yaw'"),
        ({**MAP, "joints": {"elbow": {"axis": 1}}}, "there are a, gripper"),
        ({**MAP, "joints": {"a": {"axis": 1, "buttons": [1, 2]}}}, "joints: a: axis or two"),
        ({**MAP, "joints": {"a": {"buttons": [1]}}}, "joints: a: axis or two"),
        ({**MAP, "joints": {"a": {"axis": 1, "sped": 1.0}}}, "did you mean 'speed'"),
        ({**MAP, "dead_zone": 1.0}, "dead_zone"),
        ({**MAP, "axes": {}}, "has no 'axes'"),
    ],
)
def test_a_map_that_does_not_fit_is_told(write, content, words):
    path = write(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_map(path, JOINTS)
    assert str(path) in str(caught.value)


def test_a_map_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        load_map(tmp_path / "none.yaml", JOINTS)
