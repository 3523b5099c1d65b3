# SPDX-License-Identifier: Apache-2.0
"""New values of parameters while a node runs: all that are set together, or none of them.

``ros2 param set``, ``ros2 param load``, rqt_reconfigure and every other client come in here. ROS
asks before it takes a value and tells afterwards: what cannot be taken is refused before, with the
reason, and leaves no trace; what was taken is told in the log and handed to the node.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from smolvla_core.ros.parameters import declare, present, ros_parameter
from smolvla_core.settings import (
    Setting,
    SettingError,
    Settings,
    from_values,
    settings_of,
    written,
)


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
        refusal: says why a parameter that does not take effect at once cannot be set now; empty
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
        self._declared = {}  # nobody is told of those that are declared now
        for name in gone:
            self._node.undeclare_parameter(name)
        declare(self._node, cls, settable=True)
        self._cls, self._declared = cls, settings_of(cls)
        self.values = present(self._node, cls)

    def _before(self, parameters: Sequence[Parameter[Any]]) -> list[Parameter[Any]]:
        """Let ``1`` be a number where ``1.0`` is wanted: the command line cannot know.

        What does not fit would be refused by ROS with numbers for the types, or by some clients
        only. The present value goes on in its stead and `_judge` says what is wrong.
        """
        self._wrong = ""
        given = []
        for parameter in parameters:
            declared = self._declared.get(parameter.name)
            if declared is not None and parameter.type_ != Parameter.Type.NOT_SET:
                value = _meant(parameter.value, declared)
                try:
                    value = declared.check(value)
                except SettingError as error:
                    self._wrong = self._wrong or str(error)
                    value = self.values[parameter.name]
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
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            reason = f"{', '.join(sorted(changed))} not set: {kind}{error}"
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
    """Return a number, also one like 1e-1 that is a text for the command line."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    try:
        return float(value)
    except (ValueError, OverflowError):
        return value
