# SPDX-License-Identifier: Apache-2.0
"""Parameters declared once, with type, unit, range and description.

A node lists its parameters as `Parameter` values; `declare` gives them to ROS, so that
``ros2 param describe`` shows the text and ROS itself refuses a value of the wrong type or
outside the range, also at run time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter


@dataclass(frozen=True)
class Parameter:
    """One parameter of a node.

    Attributes:
        name: its ROS name.
        default: value and, through it, type. A list of strings, numbers or booleans may be
            empty; then `kind` says of what.
        description: what it does, with the unit.
        minimum, maximum: inclusive range of a number; None where it is open.
        choices: the allowed values of a text; checked by `read`.
        kind: type, for an empty list.
    """

    name: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    kind: RosParameter.Type | None = None


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    text = parameter.description
    if parameter.choices:
        text += f" One of: {', '.join(parameter.choices)}."
    descriptor = ParameterDescriptor(description=text, read_only=True)
    kind = parameter.kind or RosParameter.Type.from_parameter_value(parameter.default)
    descriptor.type = kind.value
    if parameter.minimum is not None or parameter.maximum is not None:
        if kind == RosParameter.Type.INTEGER:
            low = -(2**62) if parameter.minimum is None else int(parameter.minimum)
            high = 2**62 if parameter.maximum is None else int(parameter.maximum)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
        else:
            floating = FloatingPointRange(
                from_value=-1e300 if parameter.minimum is None else float(parameter.minimum),
                to_value=1e300 if parameter.maximum is None else float(parameter.maximum),
            )
            descriptor.floating_point_range = [floating]
    return descriptor


def read(node: Node, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Declare `parameters` on `node` and return their values by name.

    Raises:
        ValueError: a text is not one of its choices; the message names the parameter, the
            value and the choices.
        rclpy.exceptions.InvalidParameterTypeException: wrong type.
        rclpy.exceptions.InvalidParameterValueException: outside its range.
    """
    values: dict[str, Any] = {}
    for parameter in parameters:
        descriptor = _descriptor(parameter)
        if parameter.kind is not None:
            # ROS cannot tell the type of an empty list, so only the type is declared.
            value: Any = node.declare_parameter(parameter.name, parameter.kind, descriptor).value
            value = parameter.default if value is None else value
        else:
            value = node.declare_parameter(parameter.name, parameter.default, descriptor).value
        if parameter.choices and value not in parameter.choices:
            raise ValueError(
                f"parameter '{parameter.name}' is '{value}', which is not one of "
                f"{', '.join(parameter.choices)}"
            )
        is_list = isinstance(parameter.default, (list, tuple))
        values[parameter.name] = list(value) if is_list else value
    return values
