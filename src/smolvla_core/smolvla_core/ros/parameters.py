# SPDX-License-Identifier: Apache-2.0
"""Settings as ROS parameters.

`declare` gives a `Settings` class to ROS, so that ``ros2 param describe`` shows its texts and ROS
itself refuses a value of the wrong type or outside the range, also at run time.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from smolvla_core.settings import AnySettings, Setting, Settings, from_values, settings_of, written

_TYPES = {bool: "BOOL", int: "INTEGER", float: "DOUBLE", str: "STRING", Path: "STRING"}
# Numbers and truth values for ROS's parser that are texts for PyYAML.
_AMBIGUOUS = re.compile(r"[yYnN]|[-+.\d][-+.\w]*")


def ros_type(declared: Setting) -> Parameter.Type:
    """Return the type of the parameter of a setting."""
    return Parameter.Type[f"{_TYPES[declared.kind]}{'_ARRAY' * declared.is_list}"]


def ros_parameter(declared: Setting, value: Any) -> Parameter[Any]:
    """Return the parameter that holds `value` of a setting."""
    value = list(value) if declared.is_list else value
    return Parameter(declared.name, ros_type(declared), value)


def takes_effect(declared: Setting, managed: bool) -> str:
    """Say when a value that is set takes effect.

    Args:
        declared: whose.
        managed: whether the node reads its parameters when it is configured.
    """
    if declared.live:
        return "at once"
    if managed and not declared.fixed:
        return "when the node is configured"
    return "at the start of the process"


def wrong_type(declared: Setting, value: Any) -> str:
    """Say why a value of a parameter file is of the wrong type; empty when it is not.

    ROS itself drops such a value without a word where another file has the parameter, too.
    What YAML and ROS may read differently (``y``, ``1e3``) is left to ROS.
    """
    texts = value if isinstance(value, list) else [value]
    if not texts or any(isinstance(text, str) and _AMBIGUOUS.fullmatch(text) for text in texts):
        return ""
    try:
        given = Parameter.Type.from_parameter_value(value)
    except TypeError:
        return ""
    wanted = ros_type(declared)
    if given in (wanted, Parameter.Type.NOT_SET):
        return ""
    return (
        f"{declared.name} is {written(value)}, of type {given.name}, but must be of type "
        f"{wanted.name}, as {written(declared.default)}"
    )


def _descriptor(declared: Setting, settable: bool) -> ParameterDescriptor:
    text = declared.description
    if declared.choices:
        text += f" One of: {', '.join(declared.choices)}."
    text += f" Takes effect {takes_effect(declared, managed=settable)}."
    read_only = declared.fixed or not (settable or declared.live)
    descriptor = ParameterDescriptor(description=text, read_only=read_only)
    descriptor.type = ros_type(declared).value
    low = declared.above if declared.lower is None else declared.lower
    high = declared.upper
    if low is None and high is None:
        return descriptor
    if declared.kind is int:
        low, high = (-(2**62) if low is None else low), (2**62 if high is None else high)
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    else:
        low, high = (-1e300 if low is None else low), (1e300 if high is None else high)
        floating = FloatingPointRange(from_value=float(low), to_value=float(high))
        descriptor.floating_point_range = [floating]
    return descriptor


def declare(node: Node, cls: type[Settings], *, settable: bool) -> None:
    """Declare the parameters of `cls` on `node`; those that it has already stay as they are.

    Args:
        node: where.
        cls: what.
        settable: whether those that are not `live` may be set after the start, too, but for those
            that are `fixed`.

    Raises:
        SettingError: a value of the start does not fit.
        rclpy.exceptions.InvalidParameterTypeException: one has the wrong type.
    """
    for name, declared in settings_of(cls).items():
        if node.has_parameter(name):
            continue
        default = ros_parameter(declared, declared.default)
        # First without its range, which ROS would say in words of its own.
        plain = ParameterDescriptor(type=ros_type(declared).value)
        # ROS cannot tell the type of an empty list, so the type is declared and the list then
        # set. Left without a value it would empty `ros2 param dump` of the whole node.
        empty = default.value == []
        node.declare_parameter(name, ros_type(declared) if empty else default.value, plain)
        value = node.get_parameter_or(name).value
        if value is None:
            node.set_parameters([default])
        else:
            declared.check(value)
        node.set_descriptor(name, _descriptor(declared, settable))


def present(node: Node, cls: type[Settings]) -> dict[str, Any]:
    """Return the present values of the parameters of `cls`, which are declared.

    Raises:
        SettingError: a value does not fit; the text names the parameter.
    """
    values = {}
    for name, declared in settings_of(cls).items():
        value = node.get_parameter_or(name).value
        values[name] = declared.default if value is None else declared.check(value)
    return values


def read(node: Node, cls: type[AnySettings]) -> AnySettings:
    """Declare the parameters of `cls` on `node`, for its whole life, and return their values.

    Raises:
        SettingError: a value does not fit, or some do not fit together; the text names them.
        rclpy.exceptions.InvalidParameterTypeException: see `declare`.
    """
    declare(node, cls, settable=False)
    return from_values(cls, present(node, cls))
