# SPDX-License-Identifier: Apache-2.0
"""New values of parameters while a node runs, as clients of every kind send them."""

import json

import pytest
import rclpy
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.parameter import get_parameter_value
from smolvla_core.ros.parameters import Parameter, declare
from smolvla_core.ros.tuning import Tuning

PARAMETERS = (
    Parameter("gain", 2.0, "Gain.", minimum=0.5, maximum=8.0, live=True),
    Parameter("low", [-1.0, -2.0], "Lower ends [rad].", live=True),
    Parameter("high", [1.0, 2.0], "Upper ends [rad].", live=True),
    Parameter("speeds", [3.0], "Speeds [rad/s].", minimum=0.25, maximum=9.0, live=True),
    Parameter("shape", "round", "Shape.", choices=("round", "square"), live=True),
    Parameter("names", [], "Names.", kind=RosParameter.Type.STRING_ARRAY, live=True),
    Parameter("count", 4, "How many.", live=True),
    Parameter("port", "/dev/a", "Read once."),
)


class Tuned:
    """A node whose `port` stays and whose lower ends must be below the upper ones."""

    def __init__(self, context):
        self.node = Node("tuned", context=context)
        self.taken = []
        declare(self.node, PARAMETERS, settable=True)
        self.tuning = Tuning(
            self.node,
            PARAMETERS,
            check=self.check,
            take=lambda values, names: self.taken.append((dict(values), names)),
            refusal=lambda name: f"{name} is soldered on",
        )

    @staticmethod
    def check(values, changed):
        if any(low >= high for low, high in zip(values["low"], values["high"], strict=True)):
            raise ValueError("the ends leave no room")

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
        return {
            parameter.name: self.node.get_parameter(parameter.name).value
            for parameter in PARAMETERS
        }


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
    values, names = tuned.taken[-1]
    assert (values[name], names) == (value, {name})


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"gain": "9.0"}, "Max: 8.0"),
        ({"gain": "9"}, "Max: 8.0"),
        ({"gain": ".nan"}, "out of range"),
        ({"gain": "quick"}, "'gain' is 'quick', of type STRING, but must be of type DOUBLE"),
        ({"gain": "[3.0]"}, "must be of type DOUBLE, as 2.0"),
        ({"gain": "true"}, "'gain' is true, of type BOOL"),
        ({"gain": "nan"}, "out of range"),
        ({"low": "[.nan, -1.0]"}, "nan is no number"),
        ({"low": "[-.inf, -1.0]"}, "-inf is no number"),
        ({"shape": "square", "speeds": "quick"}, "but must be of type DOUBLE_ARRAY"),
        ({"low": "[a, 1]"}, "must be of type"),
        ({"low": f"[1.5, {10**400}]"}, "inf is no number"),
        ({"low": "[1.0, , 2]"}, "must be of type"),
        ({"low": "[[1], 2.0]"}, "must be of type"),
        ({"low": "[true, 2.0]"}, "must be of type"),
        ({"low": "[-1.0]"}, "low not set: zip"),
        ({"low": "[1.0, -2.0]"}, "low not set: the ends leave no room"),
        ({"speeds": "[0.1, 1.0]"}, "each number must be from 0.25 up to 9"),
        ({"speeds": "[]", "gain": "3.0", "shape": "flat"}, "not one of round, square"),
        ({"gain": "3.0", "low": "[0.5, 2.5]"}, "gain, low not set"),
        ({"gain": "3.0", "port": "/dev/b"}, "port is soldered on"),
        ({"count": "2.5"}, "must be of type"),
    ],
)
def test_a_refusal_says_why_and_leaves_no_trace(tuned, texts, words):
    before = tuned.values()
    result = tuned.set(**texts)
    assert not result.successful
    assert words in result.reason
    assert tuned.values() == before
    assert tuned.taken == []
    assert tuned.tuning.values["gain"] == 2.0


def test_values_that_fit_only_together_are_set_together(tuned):
    assert not tuned.set(low="[1.5, 2.5]").successful
    assert tuned.set(low="[1.5, 2.5]", high="[3.0, 4.0]").successful
    assert tuned.taken[-1][0]["high"] == [3.0, 4.0]
    assert len(tuned.taken) == 1


def test_a_dump_of_the_present_values_can_be_loaded(tuned):
    for parameter in PARAMETERS:  # one after the other, as `ros2 param load` has it
        value = tuned.node.get_parameter(parameter.name).value
        text = json.dumps(list(value) if isinstance(parameter.default, list) else value)
        assert tuned.set(**{parameter.name: text}).successful, parameter.name


def test_each_change_is_told_once_with_both_values(tuned, capfd):
    tuned.set(speeds="[1, 2.5]", shape="square", gain="2.0")
    tuned.set(gain="77.0")
    tuned.set(speeds="[1.0, 2.5]")
    said = capfd.readouterr().err
    assert said.count("speeds is now [1.0, 2.5] (was [3.0])") == 1
    assert said.count('shape is now "square" (was "round")') == 1
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
    tuned.tuning._check = lambda values, changed: values["nothing"]
    assert "KeyError" in tuned.set(gain="3.0").reason


def test_describe_tells_when_a_value_takes_effect(tuned):
    assert "Takes effect at once." in tuned.node.describe_parameter("gain").description
    said = tuned.node.describe_parameter("port").description
    assert "Takes effect when the node is configured." in said
