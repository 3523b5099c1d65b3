# SPDX-License-Identifier: Apache-2.0
"""Parameters declared once, with type, unit, range and description.

A node lists its parameters as `Parameter` values; `declare` gives them to ROS, so that
``ros2 param describe`` shows the text and ROS itself refuses a value of the wrong type or
outside the range, also at run time.
"""

from __future__ import annotations

import math
import re
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
        minimum, maximum: inclusive range of a number, or of each number of a list; None where it
            is open.
        choices: the allowed values of a text; checked by `values_of`.
        kind: type, for an empty list.
        fixed: can be given at the start of the process only, also where the others may be set.
        live: takes effect at once when it is set, also while the node runs; see `ros.tuning`.
    """

    name: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    kind: RosParameter.Type | None = None
    fixed: bool = False
    live: bool = False

    def problem(self, value: Any) -> str:
        """Say why `value` cannot be taken; empty when it can.

        Its type is ROS's to check, and the range of a single number.
        """
        if self.choices and value not in self.choices:
            return (
                f"parameter '{self.name}' is '{value}', which is not one of "
                f"{', '.join(self.choices)}"
            )
        numbers = value if isinstance(value, (list, tuple)) else [value]
        for number in numbers:
            if isinstance(number, float) and not math.isfinite(number):
                return f"parameter '{self.name}' is {value}: {number} is no number to go by"
        if numbers is value and any(map(self._beyond, numbers)):
            return f"parameter '{self.name}' is {value}, but each number must be {self._range()}"
        return ""

    def _range(self) -> str:
        if self.minimum is None:
            return f"up to {self.maximum:g}"
        if self.maximum is None:
            return f"{self.minimum:g} or more"
        return f"from {self.minimum:g} up to {self.maximum:g}"

    def _beyond(self, number: Any) -> bool:
        low, high = self.minimum, self.maximum
        return (low is not None and number < low) or (high is not None and number > high)

    def takes_effect(self, managed: bool) -> str:
        """Say when a value that is set takes effect.

        Args:
            managed: whether the node reads its parameters when it is configured.
        """
        if self.live:
            return "at once"
        if managed and not self.fixed:
            return "when the node is configured"
        return "at the start of the process"

    @property
    def type(self) -> RosParameter.Type:
        """What ROS takes for it."""
        return self.kind or RosParameter.Type.from_parameter_value(self.default)

    def wrong_type(self, value: Any) -> str:
        """Say why a value of a parameter file is of the wrong type; empty when it is not.

        ROS itself drops such a value without a word where another file has the parameter, too.
        What YAML and ROS may read differently (``y``, ``1e3``) is left to ROS.
        """
        texts = value if isinstance(value, list) else [value]
        if not texts or any(
            isinstance(text, str) and _AMBIGUOUS.fullmatch(text) for text in texts
        ):
            return ""
        try:
            given = RosParameter.Type.from_parameter_value(value)
        except TypeError:
            return ""
        if given in (self.type, RosParameter.Type.NOT_SET):
            return ""
        return self.of_type(value, given)

    def of_type(self, value: Any, given: RosParameter.Type) -> str:
        """Say that `value` is of the type `given`, which is not that of the parameter."""
        return (
            f"parameter '{self.name}' is {_written(value)}, of type {given.name}, but must be of "
            f"type {self.type.name}, as {_written(self.default)}"
        )


def _written(value: Any) -> str:
    """Return a value as it is typed."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


# Numbers and truth values for ROS's parser that are texts for PyYAML.
_AMBIGUOUS = re.compile(r"[yYnN]|[-+.\d][-+.\w]*")

AUTOSTART = Parameter(
    "autostart",
    False,
    "Configure and activate the node by itself at its start; false: wait for `ros2 lifecycle "
    "set`. A node that is to start by itself and cannot be configured ends its process.",
    fixed=True,
)
"""Of every managed node."""


def _descriptor(parameter: Parameter, settable: bool) -> ParameterDescriptor:
    text = parameter.description
    if parameter.choices:
        text += f" One of: {', '.join(parameter.choices)}."
    text += f" Takes effect {parameter.takes_effect(managed=settable)}."
    read_only = parameter.fixed or not (settable or parameter.live)
    descriptor = ParameterDescriptor(description=text, read_only=read_only)
    kind = parameter.type
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


def declare(node: Node, parameters: Iterable[Parameter], *, settable: bool) -> None:
    """Declare `parameters` on `node`.

    Args:
        node: where.
        parameters: what.
        settable: whether those that are not `live` may be set after the start, too, but for those
            that are `fixed`.

    Raises:
        rclpy.exceptions.InvalidParameterTypeException: a value of the start has the wrong type.
        rclpy.exceptions.InvalidParameterValueException: one is outside its range.
    """
    for parameter in parameters:
        descriptor = _descriptor(parameter, settable)
        if parameter.kind is None:
            node.declare_parameter(parameter.name, parameter.default, descriptor)
            continue
        # ROS cannot tell the type of an empty list, so the type is declared and the list then
        # set. Left without a value it would empty `ros2 param dump` of the whole node.
        node.declare_parameter(parameter.name, parameter.kind, _descriptor(parameter, True))
        if node.get_parameter_or(parameter.name).value is None:
            empty = RosParameter(parameter.name, parameter.kind, list(parameter.default))
            node.set_parameters([empty])
        node.set_descriptor(parameter.name, descriptor)


def values_of(node: Node, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Return the present values of declared `parameters` by name.

    Raises:
        ValueError: a text is not one of its choices, a number is not finite, or one of a list is
            outside the range; the message names the parameter and the value.
    """
    values: dict[str, Any] = {}
    for parameter in parameters:
        value = node.get_parameter_or(parameter.name).value
        value = parameter.default if value is None else value
        is_list = isinstance(parameter.default, (list, tuple))
        values[parameter.name] = value = list(value) if is_list else value
        problem = parameter.problem(value)
        if problem:
            raise ValueError(problem)
    return values


def read(node: Node, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Declare `parameters` on `node`, for its whole life, and return their values by name.

    Raises:
        ValueError: see `values_of`.
        rclpy.exceptions.InvalidParameterTypeException: see `declare`.
        rclpy.exceptions.InvalidParameterValueException: see `declare`.
    """
    parameters = tuple(parameters)
    declare(node, parameters, settable=False)
    return values_of(node, parameters)
