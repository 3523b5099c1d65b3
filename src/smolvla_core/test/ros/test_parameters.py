# SPDX-License-Identifier: Apache-2.0
"""Parameters reach the node with type, range and description, and bad ones are refused."""

import pytest
import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from smolvla_core.ros.parameters import Parameter, declare, read
from smolvla_core.ros.policy_parameters import POLICY_PARAMETERS
from smolvla_executor.executor_node.parameters import EXECUTOR_PARAMETERS

EXAMPLES = (
    Parameter("rate", 30.0, "Rate [Hz].", minimum=1.0, maximum=100.0),
    Parameter("count", 3, "How many.", minimum=0),
    Parameter("mode", "a", "Mode.", choices=("a", "b")),
    Parameter("names", [], "Names.", kind=RosParameter.Type.STRING_ARRAY),
    Parameter("limits", [1.0, 2.0], "Limits [rad]."),
)


def values_of(parameters, *arguments):
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", *arguments], context=context)
    node = Node("parameters_under_test", context=context)
    try:
        values = read(node, parameters)
        described = {p.name: node.describe_parameter(p.name) for p in parameters}
        return values, described
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_defaults_and_overrides():
    values, described = values_of(EXAMPLES, "-p", "names:=[top,side]", "-p", "limits:=[3.0]")
    assert values == {
        "rate": 30.0,
        "count": 3,
        "mode": "a",
        "names": ["top", "side"],
        "limits": [3.0],
    }
    said = "Mode. One of: a, b. Takes effect at the start of the process."
    assert described["mode"].description == said
    assert described["rate"].floating_point_range[0].to_value == 100.0
    assert described["rate"].read_only


def test_an_empty_list_stays_a_list():
    values, described = values_of(EXAMPLES)
    assert values["names"] == []
    assert described["names"].read_only


@pytest.mark.parametrize("settable", [True, False])
def test_every_parameter_has_a_value_so_that_all_can_be_dumped(settable):
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = Node("parameters_under_test", context=context)
    try:
        declare(node, EXAMPLES, settable=settable)
        # What `ros2 param dump` asks for; one parameter without a value empties the answer.
        values = node.get_parameters([parameter.name for parameter in EXAMPLES])
        assert [value.value for value in values] == [30.0, 3, "a", [], [1.0, 2.0]]
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("rate:=1000.0", InvalidParameterValueException),
        ("count:=-1", InvalidParameterValueException),
        ("rate:=fast", InvalidParameterTypeException),
        ("mode:=c", ValueError),
    ],
)
def test_a_bad_value_is_refused(argument, error):
    with pytest.raises(error, match=argument.split(":")[0]):
        values_of(EXAMPLES, "-p", argument)


@pytest.mark.parametrize("parameters", [POLICY_PARAMETERS, EXECUTOR_PARAMETERS])
def test_every_parameter_of_the_nodes_is_described(parameters):
    values, described = values_of(parameters)
    assert len(values) == len(parameters)
    assert all(len(text.description) > 15 for text in described.values())


@pytest.mark.parametrize(
    ("name", "value", "given"),
    [
        ("rate", 30, "INTEGER"),
        ("rate", "fast", "STRING"),
        ("count", 2.5, "DOUBLE"),
        ("count", [2], "INTEGER_ARRAY"),
        ("mode", True, "BOOL"),
        ("names", "top", "STRING"),
        ("limits", ["low", "high"], "STRING_ARRAY"),
        ("rate", 7.5, ""),
        ("rate", "1e3", ""),  # a number for ROS
        ("mode", "b", ""),
        ("names", ["top"], ""),
        ("limits", [], ""),
        ("limits", None, ""),
    ],
)
def test_a_value_of_a_wrong_type_is_told_with_both_types(name, value, given):
    parameter = next(one for one in EXAMPLES if one.name == name)
    said = parameter.wrong_type(value)
    assert bool(said) == bool(given)
    if given:
        shown = "true" if value is True else repr(value)  # as one types it
        assert f"parameter '{name}' is {shown}, of type {given}, but must be of type" in said
