# SPDX-License-Identifier: Apache-2.0
"""Parameters reach the node with type, range and description, and bad ones are refused."""

from dataclasses import dataclass

import pytest
import rclpy
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from smolvla_core.node_settings import ExecutorSettings, PolicySettings, RecordSettings
from smolvla_core.ros.parameters import declare, present, read, wrong_type
from smolvla_core.settings import SettingError, Settings, setting, settings_of


@dataclass(frozen=True, kw_only=True)
class Example(Settings):
    rate: float = setting(30.0, "Rate [Hz].", 1.0, 100.0)
    count: int = setting(3, "How many.", 0)
    mode: str = setting("a", "Mode.", choices=("a", "b"))
    names: tuple[str, ...] = setting((), "Names.")
    limits: tuple[float, ...] = setting((1.0, 2.0), "Limits [rad].")
    force: float = setting(0.5, "Force [N].", above=0)


def values_of(cls, *arguments):
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", *arguments], context=context)
    node = Node("parameters_under_test", context=context)
    try:
        settings = read(node, cls)
        described = {name: node.describe_parameter(name) for name in settings_of(cls)}
        return settings, described
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_defaults_and_overrides():
    values, described = values_of(Example, "-p", "names:=[top,side]", "-p", "limits:=[3.0]")
    assert values == Example(names=("top", "side"), limits=(3.0,))
    said = "Mode. One of: a, b. Takes effect at the start of the process."
    assert described["mode"].description == said
    assert described["rate"].floating_point_range[0].to_value == 100.0
    assert described["rate"].read_only


@pytest.mark.parametrize("settable", [True, False])
def test_every_parameter_has_a_value_so_that_all_can_be_dumped(settable):
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = Node("parameters_under_test", context=context)
    try:
        declare(node, Example, settable=settable)
        # What `ros2 param dump` asks for; one parameter without a value empties the answer.
        values = node.get_parameters(list(settings_of(Example)))
        assert [value.value for value in values] == [30.0, 3, "a", [], [1.0, 2.0], 0.5]
        assert Example(**present(node, Example)) == Example()
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("rate:=1000.0", SettingError),
        ("count:=-1", SettingError),
        ("rate:=fast", InvalidParameterTypeException),
        ("mode:=c", SettingError),
        ("limits:=[1.0, .nan]", SettingError),
        ("force:=0.0", SettingError),
    ],
)
def test_a_bad_value_is_refused(argument, error):
    with pytest.raises(error, match=argument.split(":")[0]):
        values_of(Example, "-p", argument)


@pytest.mark.parametrize("cls", [PolicySettings, ExecutorSettings, RecordSettings])
def test_every_parameter_of_the_nodes_is_described(cls):
    values, described = values_of(cls)
    assert values == cls()
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
def test_a_value_of_a_wrong_type_is_reported_with_both_types(name, value, given):
    said = wrong_type(settings_of(Example)[name], value)
    assert bool(said) == bool(given)
    if given:
        assert said.startswith(f"{name} is ")
        assert f", of type {given}, but must be of type" in said
