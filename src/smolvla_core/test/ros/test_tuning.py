# SPDX-License-Identifier: Apache-2.0
"""New values of parameters while a node runs, as clients of every kind send them."""

import json
from dataclasses import dataclass

import pytest
import rclpy
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.parameter import get_parameter_value
from smolvla_core.ros.parameters import Tuning, declare
from smolvla_core.settings import Settings, live_setting, setting, settings_of


@dataclass(frozen=True, kw_only=True)
class Machine(Settings):
    gain: float = live_setting(2.0, "Gain.", 0.5, 8.0)
    low: tuple[float, ...] = live_setting((-1.0, -2.0), "Lower ends [rad].")
    high: tuple[float, ...] = live_setting((1.0, 2.0), "Upper ends [rad].")
    speeds: tuple[float, ...] = live_setting((3.0,), "Speeds [rad/s].", 0.25, 9.0)
    shape: str = live_setting("round", "Shape.", choices=("round", "square"))
    names: tuple[str, ...] = live_setting((), "Names.")
    count: int = live_setting(4, "How many.")
    port: str = setting("/dev/a", "Read once.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("the ends leave no room")


@dataclass(frozen=True, kw_only=True)
class Other(Settings):
    gain: float = live_setting(3.0, "Gain.", 0.5, 8.0)
    color: str = live_setting("red", "Color.")


@dataclass(frozen=True, kw_only=True)
class Renamed(Settings):
    port: str = setting("/dev/a", "Read once.", fixed=True)
    aggregate: str = live_setting("mean", "Blending.")


class Tuned:
    """A node whose `port` stays and whose lower ends must be below the upper ones."""

    def __init__(self, context):
        self.node = Node("tuned", context=context)
        self.taken = []
        self.in_use = True
        declare(self.node, Machine, settable=True)
        self.tuning = Tuning(
            self.node,
            Machine,
            check=lambda settings, changed: self.check(settings),
            take=lambda settings, names: self.taken.append((settings, names)),
            refusal=lambda name: f"{name} is soldered on",
            in_use=lambda: self.in_use,
        )

    def check(self, settings):
        """Raise what a node has against them."""

    def set(self, **texts):
        """Set, all or none, what is typed as ``ros2 param set`` reads it."""
        return self.node.set_parameters_atomically(
            [
                RosParameter.from_parameter_msg(
                    ParameterMessage(name=name, value=get_parameter_value(text))
                )
                for name, text in texts.items()
            ]
        )

    def values(self):
        return {name: self.node.get_parameter(name).value for name in settings_of(Machine)}


@pytest.fixture
def tuned():
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    tuned = Tuned(context)
    yield tuned
    tuned.node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("gain", "3.5", 3.5),
        ("gain", "3", 3.0),
        ("low", "[-3, -4]", [-3.0, -4.0]),
        ("low", "[-3, -4.5]", [-3.0, -4.5]),
        ("speeds", "[1, 2.5]", [1.0, 2.5]),
        ("speeds", "[1, 5e-1]", [1.0, 0.5]),
        ("speeds", "6", [6.0]),
        ("gain", "5e-1", 0.5),
        ("names", "[]", []),
        ("names", "[left, right]", ["left", "right"]),
        ("count", "7", 7),
    ],
)
def test_what_is_meant_without_doubt_is_taken_as_typed(tuned, name, text, value):
    assert tuned.set(**{name: text}).successful
    taken = tuned.node.get_parameter(name).value
    assert (list(taken) if isinstance(value, list) else taken) == value
    if isinstance(value, float):
        assert isinstance(taken, float)
    settings, names = tuned.taken[-1]
    value = tuple(value) if isinstance(value, list) else value
    assert (getattr(settings, name), names) == (value, {name})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"gain": "9.0"}, "gain is 9.0, but must be from 0.5 up to 8"),
        ({"gain": "9"}, "gain is 9.0, but must be from 0.5 up to 8"),
        ({"gain": ".nan"}, "gain is nan, but must be a finite number"),
        ({"gain": "quick"}, "gain is quick, but must be a number"),
        ({"gain": "[3.0]"}, "gain is [3.0], but must be a number"),
        ({"gain": "true"}, "gain is true, but must be a number"),
        ({"gain": "nan"}, "gain is nan, but must be a finite number"),
        ({"low": "[.nan, -1.0]"}, "low[0] is nan, but must be a finite number"),
        ({"low": "[-.inf, -1.0]"}, "low[0] is -inf, but must be a finite number"),
        ({"shape": "square", "speeds": "quick"}, "speeds[0] is quick, but must be a number"),
        ({"low": "[a, 1]"}, "low[0] is a, but must be a number"),
        ({"low": f"[1.5, {10**400}]"}, "low[1] is inf, but must be a finite number"),
        ({"low": "[1.0, , 2]"}, 'low[1] is " ", but must be a number'),
        ({"low": "[[1], 2.0]"}, "low[0] is"),
        ({"low": "[true, 2.0]"}, 'low[0] is "true", but must be a number'),
        ({"low": "[-1.0]"}, "low not set: zip"),
        ({"low": "[1.0, -2.0]"}, "low not set: the ends leave no room"),
        ({"speeds": "[1.0, 0.1]"}, "speeds[1] is 0.1, but must be from 0.25 up to 9"),
        ({"speeds": "[]", "gain": "3.0", "shape": "flat"}, "not one of round, square"),
        ({"gain": "3.0", "low": "[0.5, 2.5]"}, "gain, low not set"),
        ({"gain": "3.0", "port": "/dev/b"}, "port is soldered on"),
        ({"count": "2.5"}, "count is 2.5, but must be a whole number"),
    ],
)
def test_a_refusal_says_why_and_leaves_no_trace(tuned, texts, message):
    before = tuned.values()
    result = tuned.set(**texts)
    assert not result.successful
    assert message in result.reason
    assert tuned.values() == before
    assert tuned.taken == []
    assert tuned.tuning.settings.gain == 2.0


def test_values_that_fit_only_together_are_set_together(tuned):
    assert not tuned.set(low="[1.5, 2.5]").successful
    assert tuned.set(low="[1.5, 2.5]", high="[3.0, 4.0]").successful
    assert tuned.taken[-1][0].high == (3.0, 4.0)
    assert len(tuned.taken) == 1


def test_a_dump_of_the_present_values_can_be_loaded(tuned):
    for name, one in settings_of(Machine).items():  # one by one, as `ros2 param load` has it
        value = tuned.node.get_parameter(name).value
        text = json.dumps(list(value) if one.is_list else value)
        assert tuned.set(**{name: text}).successful, name


def test_each_change_is_reported_once_with_both_values(tuned, capfd):
    tuned.set(speeds="[1, 2.5]", shape="square", gain="2.0")
    tuned.set(gain="77.0")
    tuned.set(speeds="[1.0, 2.5]")
    said = capfd.readouterr().err
    assert said.count("speeds is now [1.0, 2.5] (was [3.0])") == 1
    assert said.count("shape is now square (was round)") == 1
    assert "gain" not in said


def test_after_a_wrong_type_the_next_set_is_judged_by_itself(tuned):
    tuned.node.set_descriptor(
        "count", ParameterDescriptor(type=RosParameter.Type.INTEGER.value, read_only=True)
    )
    assert "read-only" in tuned.set(count="7", gain="quick").reason
    assert tuned.node.set_parameters([RosParameter("gain", value=3.0)])[0].successful
    assert not tuned.set(speeds="quick").successful
    tuned.node.declare_parameter("of_a_plugin", 1.0)
    assert tuned.set(of_a_plugin="2.0").successful


def test_nothing_that_is_typed_ends_the_node(tuned):
    tuned.check = lambda settings: {}["nothing"]
    assert "KeyError" in tuned.set(gain="3.0").reason


def test_describe_shows_when_a_value_takes_effect(tuned):
    assert "Takes effect at once." in tuned.node.describe_parameter("gain").description
    said = tuned.node.describe_parameter("port").description
    assert "Takes effect when the node is configured." in said


def test_what_is_read_later_may_be_set_one_after_the_other(tuned):
    tuned.in_use = False
    assert tuned.set(low="[5.0, 5.0]").successful
    assert tuned.taken == []  # nobody is given what does not fit together
    assert tuned.set(high="[6.0, 6.0]").successful
    assert tuned.taken[-1][0].low == (5.0, 5.0)


def test_other_parameters_can_take_the_place_of_the_first(tuned):
    tuned.set(gain="4.0")
    tuned.tuning.declare(Other)
    assert tuned.tuning.settings == Other(gain=4.0)
    assert not tuned.node.has_parameter("shape")
    assert tuned.set(color="blue").successful
    assert tuned.taken[-1] == (Other(gain=4.0, color="blue"), {"color"})


@pytest.mark.parametrize(
    ("name", "advice"),
    [("gian", "did you mean 'gain'?"), ("output", "there are gain, low, high")],
)
def test_an_unknown_name_is_refused_with_the_one_that_was_meant(tuned, name, advice):
    before = tuned.values()
    result = tuned.set(**{name: "1.0"})
    assert not result.successful
    assert result.reason.startswith(f"there is no parameter '{name}'; {advice}")
    assert tuned.values() == before
    assert tuned.taken == []
    assert not tuned.node.has_parameter(name)


def test_a_name_of_before_is_refused_with_the_present_one(tuned):
    tuned.tuning.declare(Renamed)
    reason = tuned.set(blend="mean").reason
    assert reason == "there is no parameter 'blend'; it has become 'aggregate'"
