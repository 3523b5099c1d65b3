# SPDX-License-Identifier: Apache-2.0
"""New values of parameters while a node runs: all that are set together, or none of them.

``ros2 param set``, ``ros2 param load``, rqt_reconfigure and every other client come in here. ROS
asks before it takes a value and tells afterwards: what cannot be taken is refused before, with the
reason, and leaves no trace; what was taken is told in the log and handed to the node.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from smolvla_core.ros.parameters import Parameter, values_of

_DOUBLE, _DOUBLES = RosParameter.Type.DOUBLE, RosParameter.Type.DOUBLE_ARRAY


class Tuning:
    """Takes new values of the declared parameters of a node, in the thread that receives.

    A value that is the present one is always taken, so that what ``ros2 param dump`` wrote can be
    loaded into a running node.

    Args:
        node: whose.
        parameters: declared on it.
        check: raises ValueError where values by name, given with the names of those that change,
            do not fit together.
        take: takes values by name, and the names of those that were set, maybe to what they were.
        refusal: says why a parameter that does not take effect at once cannot be set now; empty
            where it can. By default none can.

    Attributes:
        values: the present ones by name; another mapping after each change.

    Raises:
        ValueError: see `parameters.values_of`.
    """

    def __init__(
        self,
        node: Node,
        parameters: Iterable[Parameter],
        *,
        check: Callable[[dict[str, Any], set[str]], None],
        take: Callable[[dict[str, Any], set[str]], None],
        refusal: Callable[[str], str] = lambda name: f"'{name}' is read at the start",
    ) -> None:
        self._declared = {parameter.name: parameter for parameter in parameters}
        self._logger = node.get_logger()
        self._check = check
        self._take = take
        self._refusal = refusal
        self._wrong = ""
        self.values: dict[str, Any] = values_of(node, self._declared.values())
        node.add_pre_set_parameters_callback(self._before)
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._after)

    def _before(self, parameters: Sequence[RosParameter[Any]]) -> list[RosParameter[Any]]:
        """Let ``1`` be a number where ``1.0`` is wanted: the command line cannot know.

        Of another type than the declared one a value would be refused by ROS, with numbers for the
        types. The present value goes on in its stead and `_judge` says what is wrong.
        """
        self._wrong = ""
        given = []
        for ros in parameters:
            declared = self._declared.get(ros.name)
            if declared is not None and ros.type_ != RosParameter.Type.NOT_SET:
                ros = _as_declared(ros, declared)
                if ros.type_ != declared.type:
                    self._wrong = declared.of_type(ros.value, ros.type_)
                    ros = RosParameter(ros.name, declared.type, self.values[ros.name])
            given.append(ros)
        return given

    def _judge(self, parameters: Sequence[RosParameter[Any]]) -> SetParametersResult:
        new = self._ours(parameters)
        changed = self._changed(new)
        wrong, self._wrong = self._wrong, ""
        if wrong and new:
            return SetParametersResult(successful=False, reason=wrong)
        try:
            for name, value in new.items():
                declared = self._declared[name]
                reason = declared.problem(value)
                if not reason and name in changed and not declared.live:
                    reason = self._refusal(name)
                if reason:
                    return SetParametersResult(successful=False, reason=reason)
            if changed:
                self._check({**self.values, **new}, changed)
        except Exception as error:  # nothing that is typed may end the node
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            reason = f"{', '.join(sorted(changed))} not set: {kind}{error}"
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _after(self, parameters: Sequence[RosParameter[Any]]) -> None:
        new = self._ours(parameters)
        changed = self._changed(new)
        old, self.values = self.values, {**self.values, **new}
        for name in new:
            if name in changed:
                self._logger.info(f"{name} is now {_text(new[name])} (was {_text(old[name])})")
        if new:
            self._take(self.values, set(new))

    def _ours(self, parameters: Sequence[RosParameter[Any]]) -> dict[str, Any]:
        return {
            ros.name: list(ros.value) if isinstance(self.values[ros.name], list) else ros.value
            for ros in parameters
            if ros.name in self._declared
        }

    def _changed(self, new: Mapping[str, Any]) -> set[str]:
        return {name for name, value in new.items() if value != self.values[name]}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _as_declared(ros: RosParameter[Any], declared: Parameter) -> RosParameter[Any]:
    """Return a value as the type that is declared where that is meant without doubt."""
    wanted, value = declared.type, ros.value
    if wanted in (_DOUBLE, _DOUBLES):
        if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
            value = value[1:-1].split(",")  # a list of whole and other numbers is a text for ROS
        many = isinstance(value, (list, array))
        numbers = [_number(one) for one in (value if many else [value])]
        if None not in numbers and (wanted == _DOUBLES or not many):
            return RosParameter(ros.name, wanted, numbers if wanted == _DOUBLES else numbers[0])
    elif isinstance(value, (list, array)) and not value and wanted.name.endswith("_ARRAY"):
        return RosParameter(ros.name, wanted, [])
    return ros


def _number(value: Any) -> float | None:
    """Return a number, also one like 1e-1 that is a text for the command line."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
