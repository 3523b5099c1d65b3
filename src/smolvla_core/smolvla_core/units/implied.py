# SPDX-License-Identifier: Apache-2.0
"""What the statistics of a checkpoint imply about the units it was trained in.

Two kinds of facts are used. *Reach*: in each regime a joint of the SO-100 stays within limits
that the arm's mechanics and LeRobot's formulas set; statistics beyond them rule the regime out.
*Traces*: LeRobot's numbers come from whole servo ticks, and ±100 is where it cuts off; both
leave marks in the extremes of the data. What cannot be decided is reported as ambiguous: a wrong
guess would send the arm to wrong poses. docs/explanation/units.md gives the facts' sources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smolvla_core.robot import LEROBOT_ARM, VELOCITY, Joint
from smolvla_core.units.calibration import GRIPPER, MAX_TICK, REACH, TICKS_PER_TURN, ZERO_SLACK
from smolvla_core.units.joint_units import OLD_ZEROS, REGIMES, Calibrations, calibration_of

FeatureStatistics = Mapping[str, ArrayLike]

GRIPPER_RADIANS = (-0.2, 2.0)
MEAN_SLACK = 5.0
"""The mean of whole recordings stays nearer to the limits than one extreme [degrees]."""
CUT_SLACK = 0.5
"""Numbers that LeRobot cuts off at ±100 go no farther but for rounding."""
STILL = 3.5
"""In degrees or shares of a range, data whose numbers all stay below this show an arm that
never moved; in radians it is more than half a turn."""
ON_GRID = 0.01
"""Distance from a whole tick [ticks] that rounding to float32 can make up, with a margin."""
ENOUGH = 6
"""So many numbers on a grid are no accident: by chance each is there with 1 : 50."""

EXPLANATIONS = {
    "radians": "radians",
    "degrees": "degrees from the middle of the ranges, LeRobot 0.4.4 and later",
    "normalized": "-100 to 100 over the calibrated ranges, LeRobot June 2025 to 0.4.3",
    "degrees_old": "degrees from the zero before June 2025",
}


class Implied(NamedTuple):
    """What the statistics imply.

    Attributes:
        regime: name of the units; empty where it cannot be decided.
        reason: why these, or why none and what to do.
    """

    regime: str
    reason: str


@dataclass(frozen=True)
class _Numbers:
    """The numbers of one joint in one feature; NaN where there are none."""

    feature: str
    of: Joint
    low: float
    high: float
    mean: float
    std: float


def _numbers(
    statistics: Mapping[str, FeatureStatistics], joints: Sequence[Joint]
) -> list[_Numbers]:
    found = []
    for feature in ("observation.state", "action"):
        columns: dict[str, NDArray[np.float64]] = {}
        for name, values in statistics.get(feature, {}).items():
            array = np.asarray(values, dtype=np.float64).reshape(-1)
            if array.size == len(joints):
                columns[name] = array
        nothing = np.full(len(joints), np.nan)
        low = columns.get("min", columns.get("q01", nothing))
        high = columns.get("max", columns.get("q99", nothing))
        mean, std = columns.get("mean", nothing), columns.get("std", nothing)
        if not columns or (np.isnan(mean).all() and np.isnan(high).all()):
            continue
        for i, joint in enumerate(joints):
            # Other quantities than positions show nothing.
            if joint.role != VELOCITY and (feature != "action" or joint.positional):
                found.append(_Numbers(feature, joint, low[i], high[i], mean[i], std[i]))
    return found


def _limits(regime: str, joint: Joint) -> tuple[float, float, float, float]:
    """Return lower and upper limit in the regime, and the slack of extremes and means."""
    name = joint.kind
    degree = 1.0 if regime != "radians" else math.pi / 180.0
    slack, mean_slack = ZERO_SLACK * degree, MEAN_SLACK * degree
    if name == GRIPPER:
        # Little is known about how far grippers go; they separate radians from the rest.
        low, high = GRIPPER_RADIANS if regime == "radians" else (0.0, 100.0)
        return low, high, slack, slack
    if regime == "normalized":
        return -100.0, 100.0, CUT_SLACK, CUT_SLACK
    reach = math.degrees(REACH.get(name, 2.0 * math.pi)) * degree
    if regime == "degrees_old":
        direction, zero = OLD_ZEROS.get(name, (1.0, 0.0))
        middle = zero * abs(direction)
        return middle - reach, middle + reach, slack, mean_slack
    return -reach, reach, slack, mean_slack


def _beyond(regime: str, numbers: Sequence[_Numbers]) -> str:
    """Return why the numbers cannot be of this regime, empty when they can."""
    for n in numbers:
        low, high, slack, mean_slack = _limits(regime, n.of)
        where = f"of {n.of.name} ({n.feature})"
        limits = f"beyond the {low:.3g} to {high:.3g} of '{regime}'"
        if not (low - mean_slack <= n.mean <= high + mean_slack) and math.isfinite(n.mean):
            return f"the mean {where} is {n.mean:.4g}, {limits}"
        for end, value in (("minimum", n.low), ("maximum", n.high)):
            if math.isfinite(value) and not (low - slack <= value <= high + slack):
                return f"the {end} {where} is {value:.4g}, {limits}"
        # Numbers within [a, b] with this mean spread no more than sqrt((b-mean)(mean-a)).
        most = (high + slack - n.mean) * (n.mean - low + slack)
        if math.isfinite(n.std * most) and n.std > 1.01 * math.sqrt(max(most, 0.0)):
            return f"the standard deviation {where} is {n.std:.4g}, which leads {limits}"
    if regime != "radians" and numbers:
        largest = max(numbers, key=_size)
        if _size(largest) <= STILL:
            return (
                f"no number exceeds {_size(largest):.3g} ({largest.of.name}, {largest.feature}), "
                f"so in '{regime}' the arm would hardly have moved"
            )
    return ""


def _size(n: _Numbers) -> float:
    ends = [abs(end) for end in (n.low, n.high) if math.isfinite(end)]
    if ends:
        return max(ends)
    return abs(n.mean) + 3.0 * (n.std if math.isfinite(n.std) else 0.0)


def _trace(numbers: Sequence[_Numbers], calibrations: Calibrations) -> Implied:
    """Find the marks that LeRobot's formulas leave in the extremes of body joints."""
    body = [n for n in numbers if n.of.role != GRIPPER]
    traces = [
        _grid(feature, [n for n in body if n.feature == feature], calibrations)
        for feature in ("observation.state", "action")
    ]
    cut = {(n.of.name, e) for n in body for e in (n.low, n.high) if abs(abs(e) - 100.0) < 1e-4}
    if len(cut) >= 2:  # one may be an accident
        names = [n.of.name for n in body if {(n.of.name, n.low), (n.of.name, n.high)} & cut]
        ends = f"extremes of {', '.join(dict.fromkeys(names))} are exactly ±100"
        traces.append(Implied("normalized", f"{ends}, where it cuts off"))
    found = [trace for trace in traces if trace.regime]
    agree = len({trace.regime for trace in found}) == 1
    return found[0] if agree else Implied("", "")


def _grid(feature: str, body: Sequence[_Numbers], calibrations: Calibrations) -> Implied:
    """Find out whether all extremes of a feature are whole ticks of one kind."""
    ends = np.array([[n.low, n.high] for n in body])
    # ±100 is on all grids but the old one, and other whole numbers may be rounded by hand.
    telling = np.abs(ends - np.rint(ends)) > 1e-4
    if not ends.size or not np.isfinite(ends).all() or int(telling.sum()) < ENOUGH:
        return Implied("", "")

    def on_grid(ticks: NDArray[np.float64]) -> bool:
        return bool((np.abs(ticks - np.rint(ticks)) < ON_GRID).all())

    # The middle of a range may be a half tick.
    new, old = on_grid(2.0 * ends * MAX_TICK / 360.0), on_grid(ends * TICKS_PER_TURN / 360.0)
    if new != old:
        regime, tick = ("degrees", "360/4095") if new else ("degrees_old", "360/4096")
        return Implied(regime, f"all extremes of {feature} are whole ticks of {tick} degrees")
    known = [calibration_of(n.of, calibrations) for n in body]
    widths = np.array([[entry.width] for entry in known if entry is not None])
    if len(widths) == len(body) and on_grid((ends + 100.0) / 200.0 * widths):
        text = f"all extremes of {feature} are whole ticks of this arm's calibrated ranges"
        return Implied("normalized", text)
    return Implied("", "")


def implied_units(
    statistics: Mapping[str, FeatureStatistics],
    joints: Sequence[Joint] = LEROBOT_ARM,
    calibrations: Calibrations | None = None,
) -> Implied:
    """Return the units that a checkpoint's statistics imply.

    Args:
        statistics: feature -> statistic (min, max, mean, std, q01, q99) -> (joints,) numbers.
            Those of ``observation.state`` and ``action`` are read.
        joints: what the numbers are of.
        calibrations: of the arms, if known: one more trace to find.

    Returns:
        Regime and reason; an empty regime where the statistics leave a choice or fit none.
    """
    numbers = _numbers(statistics, joints)
    if not numbers:
        return Implied("", f"the checkpoint has no statistics that show its units; {_ADVICE}")
    # Only of LeRobot's arms is it known what the old zero was.
    lerobots = any(joint.kind in OLD_ZEROS for joint in joints)
    candidates = [regime for regime in REGIMES if regime != "degrees_old" or lerobots]
    against = {regime: _beyond(regime, numbers) for regime in candidates}
    fitting = [regime for regime, reason in against.items() if not reason]
    traced = _trace(numbers, calibrations or {})
    if traced.regime in fitting:
        return traced
    if len(fitting) == 1:
        reason = "; ".join(dict.fromkeys(text for text in against.values() if text))
        return Implied(fitting[0], f"no other units fit: {reason}")
    if not fitting:
        reason = "; ".join(f"{regime}: {text}" for regime, text in against.items())
        return Implied("", f"the statistics fit no known units ({reason}); {_ADVICE}")
    choices = "; or ".join(f"units:={r} ({EXPLANATIONS[r]})" for r in fitting)
    return Implied(
        "", f"the statistics fit several units, so say how the data were recorded: {choices}"
    )


_ADVICE = f"set units:=, one of {', '.join(REGIMES)}"


def units_problem(
    regime: str,
    statistics: Mapping[str, FeatureStatistics],
    joints: Sequence[Joint] = LEROBOT_ARM,
    calibrations: Calibrations | None = None,
) -> str:
    """Return why statistics contradict the units that somebody chose; empty when they do not.

    Args:
        regime: one of `units.REGIMES`.
        statistics: see `implied_units`.
        joints: see there.
        calibrations: see there.
    """
    numbers = _numbers(statistics, joints)
    if not numbers:
        return ""
    reason = _beyond(regime, numbers)
    implied = implied_units(statistics, joints, calibrations)
    if not reason and implied.regime not in ("", regime):
        reason = implied.reason
    if not reason:
        return ""
    advice = "check stats:= and the order of the joints in the robot file"
    if implied.regime:
        advice = f"it looks like {EXPLANATIONS[implied.regime]}: set units:={implied.regime}"
    return (
        f"units are '{regime}', but in the statistics {reason}. "
        f"{advice[0].upper()}{advice[1:]}; or, if you are sure, allow_units_mismatch:=true"
    )
