# SPDX-License-Identifier: Apache-2.0
"""What `policy_node`'s parameters leave open, filled in from what the checkpoint says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smolvla_core.units.joint_units import UnitParameters

from smolvla_policy.checkpoint.robot import ROBOT, RobotFacts

USUAL_PERIOD = 1.0 / 30.0
"""Seconds between two actions where nothing says it: LeRobot's usual 30 Hz."""
LEAST_PERIOD = 0.001
SAME = 0.01
"""Periods that differ by a smaller share are one."""


@dataclass(frozen=True)
class Completed:
    """Parameters of which none is open but ``units``.

    Attributes:
        options: the parameters.
        period: what is taken for the period, and why.
        doubt: what is wrong with the period; empty if nothing is.
        remarks: on the other parameters.
    """

    options: Mapping[str, Any]
    period: str
    doubt: str
    remarks: tuple[str, ...]


def complete(options: Mapping[str, Any], facts: RobotFacts) -> Completed:
    """Fill in what the parameters leave open; a parameter that is given wins.

    Args:
        options: `policy_node`'s parameters; ``period`` 0 and empty ``joint_signs`` and
            ``gripper_range`` are open.
        facts: what the checkpoint says.

    Raises:
        ValueError: the period is no time, or the joints are the checkpoint's in another order.
    """
    own = topic_names(facts.joints)
    joints = tuple(options.get("joints") or own)
    if joints != own and sorted(joints) == sorted(own):
        raise ValueError(
            f"joints is {', '.join(joints)}, but the checkpoint's order is {', '.join(own)}: put "
            "joints into that order"
        )
    period, text, doubt = _period(float(options.get("period") or 0.0), facts.fps)
    values = {**options, "period": period}
    remarks = []
    usual: dict[str, tuple[float, ...]] = {
        "joint_signs": (1.0,),
        "gripper_range": UnitParameters.gripper_range,
    }
    for name, default in usual.items():
        given, told = tuple(options.get(name) or ()), tuple(getattr(facts, name))
        values[name] = list(given or told or default)
        if told and not given and not _alike(told, default):
            remarks.append(f"{name}: {_numbers(told)}, as {ROBOT} of the checkpoint says")
        elif told and given and not _alike(told, given):
            remarks.append(
                f"{name}: {_numbers(given)}, as the parameter says; the data were recorded with "
                f"{_numbers(told)}"
            )
    return Completed(values, text, doubt, tuple(remarks))


def topic_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the joints of a dataset's names: ``main_shoulder_pan.pos`` is shoulder_pan."""
    return tuple(name.rpartition("main_")[2].removesuffix(".pos") for name in names)


def _period(given: float, fps: float) -> tuple[float, str, str]:
    if given and not LEAST_PERIOD <= given <= 1.0:
        raise ValueError(f"period is {given:g} s; it must be {LEAST_PERIOD:g} to 1, or 0: unknown")
    told = 1.0 / fps if fps else 0.0
    if given:
        text = f"{_rate(given)}, as the parameter period says"
        if told and abs(given - told) > SAME * told:
            return (
                given,
                text,
                f"the checkpoint was trained on data of {_rate(told)}: its motions are played "
                f"{told / given:.3g} times as fast. Leave out period to take the checkpoint's",
            )
        return given, text, ""
    if told:
        return told, f"{_rate(told)}, as {ROBOT} of the checkpoint says", ""
    return (
        USUAL_PERIOD,
        f"{_rate(USUAL_PERIOD)}, a guess: neither the checkpoint nor the parameter period says it",
        "LeRobot's checkpoints do not name the rate of their data. Set period to 1/fps of the "
        "recordings; with a wrong one motions are too fast or too slow",
    )


def _rate(period: float) -> str:
    return f"{period:.4g} s ({1.0 / period:.4g} Hz)"


def _alike(these: tuple[float, ...], those: tuple[float, ...]) -> bool:
    """Whether two lists say the same; one number stands for as many as there are."""
    length = max(len(these), len(those))
    return _stretched(these, length) == _stretched(those, length)


def _stretched(values: tuple[float, ...], length: int) -> tuple[float, ...]:
    return tuple(map(float, values * length if len(values) == 1 else values))


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
