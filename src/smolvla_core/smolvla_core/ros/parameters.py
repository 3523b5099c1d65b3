# SPDX-License-Identifier: Apache-2.0
"""Settings as ROS parameters.

`declare` gives a `Settings` class to ROS, so that ``ros2 param describe`` shows its texts and ROS
itself refuses a value of the wrong type or outside the range, also at run time; `Tuning` takes
new values while the node runs.
"""

from __future__ import annotations

import contextlib
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from smolvla_core.settings import (
    AnySettings,
    Setting,
    SettingError,
    Settings,
    from_values,
    instead_of,
    settings_of,
    written,
)

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
    """Return when a value that is set takes effect.

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
    """Return why a value of a parameter file is of the wrong type; empty when it is not.

    ROS itself drops such a value silently where another file has the parameter, too.
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


def error_text(error: Exception) -> str:
    """Return the text of an error, with its type unless it is a ValueError."""
    return f"{'' if isinstance(error, ValueError) else f'{type(error).__name__}: '}{error}"


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
        # First without its range, whose errors ROS would word differently.
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


class Tuning:
    """Takes new values of the declared parameters of a node, in the thread that receives.

    A value that is the present one is always taken, so that what ``ros2 param dump`` wrote can be
    loaded into a running node.

    Args:
        node: whose.
        cls: declared on it.
        check: raises ValueError where settings, given with the names of those that change, cannot
            be taken now.
        take: takes settings, and the names of those that were set, maybe to what they were.
        refusal: returns why a parameter that does not take effect at once cannot be set now; empty
            where it can. By default none can.
        in_use: says whether values must fit together now. Those that a node will read only later
            may be set one after the other.

    Attributes:
        values: the present ones by name; another mapping after each change.

    Raises:
        SettingError: see `parameters.present`.
    """

    def __init__(
        self,
        node: Node,
        cls: type[Settings],
        *,
        check: Callable[[Any, set[str]], None] = lambda settings, changed: None,
        take: Callable[[Any, set[str]], None],
        refusal: Callable[[str], str] = lambda name: f"'{name}' is read at the start",
        in_use: Callable[[], bool] = lambda: True,
    ) -> None:
        self._node = node
        self._check = check
        self._take = take
        self._refusal = refusal
        self._in_use = in_use
        self._wrong = ""
        self._cls = cls
        self._declared = settings_of(cls)
        self.values = present(node, cls)
        node.add_pre_set_parameters_callback(self._before)
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._after)

    @property
    def settings(self) -> Any:
        """The present settings.

        Raises:
            SettingError: values do not fit together.
        """
        return from_values(self._cls, self.values)

    def declare(self, cls: type[Settings]) -> None:
        """Go on with the parameters of another class; what only the old one has ends.

        Raises:
            SettingError: see `parameters.present`; and the exceptions of `parameters.declare`.
        """
        gone = set(self._declared) - set(settings_of(cls))
        self._declared = {}  # no callback for those that are declared now
        for name in gone:
            self._node.undeclare_parameter(name)
        declare(self._node, cls, settable=True)
        self._cls, self._declared = cls, settings_of(cls)
        self.values = present(self._node, cls)

    def _before(self, parameters: Sequence[Parameter[Any]]) -> list[Parameter[Any]]:
        """Let ``1`` be a number where ``1.0`` is wanted: the command line cannot know.

        What does not fit would be refused by ROS with numbers for the types, or by some clients
        only, and an unknown name without the one that was meant. A present value goes on in its
        stead and `_judge` returns what is wrong.
        """
        self._wrong = ""
        given = []
        live = next((one for one in self._declared.values() if one.live), None)
        for parameter in parameters:
            name = parameter.name
            declared = self._declared.get(name)
            if live is not None and not self._node.has_parameter(name):
                self._wrong = f"there is no parameter '{name}'; {instead_of(name, self._declared)}"
                parameter = ros_parameter(live, self.values[live.name])
            elif declared is not None and parameter.type_ != Parameter.Type.NOT_SET:
                value = _meant(parameter.value, declared)
                try:
                    value = declared.check(value)
                except SettingError as error:
                    self._wrong = self._wrong or str(error)
                    value = self.values[name]
                parameter = ros_parameter(declared, value)
            given.append(parameter)
        return given

    def _judge(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        new = self._ours(parameters)
        changed = self._changed(new)
        wrong, self._wrong = self._wrong, ""
        if wrong and new:
            return SetParametersResult(successful=False, reason=wrong)
        try:
            for name in changed:
                reason = "" if self._declared[name].live else self._refusal(name)
                if reason:
                    return SetParametersResult(successful=False, reason=reason)
            if changed and self._in_use():
                self._check(from_values(self._cls, {**self.values, **new}), changed)
        except Exception as error:  # nothing that is typed may end the node
            reason = f"{', '.join(sorted(changed))} not set: {error_text(error)}"
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _after(self, parameters: Sequence[Parameter[Any]]) -> None:
        new = self._ours(parameters)
        changed = self._changed(new)
        old, self.values = self.values, {**self.values, **new}
        for name in new:
            if name in changed:
                was = written(old[name])
                self._node.get_logger().info(f"{name} is now {written(new[name])} (was {was})")
        try:
            settings = self.settings
        except ValueError:  # some are still to be set: see `in_use`
            return
        if new:
            self._take(settings, set(new))

    def _ours(self, parameters: Sequence[Parameter[Any]]) -> dict[str, Any]:
        return {
            parameter.name: self._declared[parameter.name].check(parameter.value)
            for parameter in parameters
            if parameter.name in self._declared
        }

    def _changed(self, new: Mapping[str, Any]) -> set[str]:
        return {name for name, value in new.items() if value != self.values[name]}


def _meant(value: Any, declared: Setting) -> Any:
    """Return numbers where that is meant without doubt."""
    if declared.kind is not float:
        return value
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        value = value[1:-1].split(",")  # a list of whole and other numbers is a text for ROS
    if isinstance(value, (list, array)):
        return [_number(one) for one in value]
    return _number(value)


def _number(value: Any) -> Any:
    """Return a number for a text like 1e-1, which is one for the command line."""
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value
