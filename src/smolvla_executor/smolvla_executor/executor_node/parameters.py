# SPDX-License-Identifier: Apache-2.0
"""The parameters of `executor_node`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smolvla_core.ros.parameters import AUTOSTART, Parameter
from smolvla_core.ros.policy_parameters import SO100_JOINTS
from smolvla_core.units.joint_units import UnitParameters

from smolvla_executor.core.executor_types import ExecutorConfig
from smolvla_executor.core.guard import GuardConfig

# Joint limits of the SO-100 and SO-101 in SO-101's "new calibration" zero [rad]; the tighter
# of both arms, but for the gripper: fully closed and fully open, as the driver and the units of a
# checkpoint have them, are never beyond its limits.
_CLOSED, _OPEN = UnitParameters.gripper_range
_LOWER = [-1.91986, -1.74533, -1.69, -1.65806, -2.74385, min(-0.174533, _CLOSED)]
_UPPER = [1.91986, 1.74533, 1.569, 1.65806, 2.79, _OPEN]
# Farther than any joint turns [rad].
_FREE = 1e3

EXECUTOR_PARAMETERS = (
    Parameter("joints", SO100_JOINTS, "Names of the joints in the order of the commands."),
    Parameter("rate", 30.0, "Rate of the control loop [Hz].", minimum=1.0, maximum=1000.0),
    Parameter(
        "output",
        "forward",
        "'forward' publishes std_msgs/Float64MultiArray for forward_command_controller, "
        "'joint_trajectory' one-point trajectories for joint_trajectory_controller.",
        choices=("forward", "joint_trajectory"),
    ),
    Parameter(
        "chunk_size_threshold",
        0.7,
        "g: the next chunk is asked for when fewer than this share of a chunk is queued. 0: only "
        "when the queue is empty (synchronous); 1: every tick.",
        minimum=0.0,
        maximum=1.0,
        live=True,
    ),
    Parameter(
        "aggregate",
        "weighted",
        "How a new chunk is blended with the queued actions of the same ticks: new only, "
        "0.3 old + 0.7 new, half and half, 0.7 old + 0.3 new, or ACT's temporal ensemble.",
        choices=("latest", "weighted", "average", "conservative", "temporal_ensemble"),
        live=True,
    ),
    Parameter(
        "alignment",
        "pose",
        "Where in a chunk to go on that comes in motion. 'tick': at the row of the present tick. "
        "'pose': there, or at an earlier row that is nearer to what would be executed next, so "
        "that a new plan is begun at its beginning.",
        choices=("tick", "pose"),
        live=True,
    ),
    Parameter(
        "actions_per_chunk",
        0,
        "Use only so many of a chunk's first actions; 0: all. With chunk_size_threshold 0 it is "
        "LeRobot's n_action_steps: act so many steps, then think anew.",
        minimum=0,
        maximum=10_000,
        live=True,
    ),
    Parameter(
        "request_timeout",
        2.0,
        "A request without an answer is repeated after this time, or after three times the p95 "
        "latency where that is longer [s].",
        minimum=0.05,
        maximum=600.0,
        live=True,
    ),
    Parameter(
        "state_timeout",
        0.25,
        "Joint states older than this are stale: nothing is commanded [s].",
        minimum=0.01,
        maximum=10.0,
        live=True,
    ),
    Parameter("lower_limits", _LOWER, "Lower joint limits [rad].", live=True),
    Parameter("upper_limits", _UPPER, "Upper joint limits [rad].", live=True),
    Parameter(
        "max_speed",
        [3.0, 3.0, 3.0, 3.0, 4.0, 4.0],
        "Largest speed of each joint [rad/s]; commands beyond it are slowed down. One number "
        "serves all joints.",
        minimum=0.001,
        live=True,
    ),
    Parameter(
        "max_step",
        [0.5],
        "Largest change of a command within one control cycle [rad]; one number serves all "
        "joints.",
        minimum=0.0001,
        live=True,
    ),
    Parameter(
        "max_start_jump",
        [2.0],
        "A first action farther than this from where the arm stands is refused [rad]; one number "
        "serves all joints.",
        minimum=0.001,
        live=True,
    ),
    Parameter(
        "max_tracking_error",
        [0.0],
        "Commands stay within this distance of the measured position, which bounds how hard a "
        "blocked arm pushes [rad]; 0: no bound, of all joints or of one. One number serves all "
        "joints.",
        minimum=0.0,
        live=True,
    ),
    Parameter(
        "resume_jump",
        0.2,
        "When an action that ends a hold is farther than this from the held command, the arm "
        "approaches it first [rad].",
        minimum=0.0,
        maximum=10.0,
        live=True,
    ),
    Parameter(
        "approach_speed",
        0.6,
        "Largest joint speed of the approach to the first action [rad/s].",
        minimum=0.01,
        maximum=5.0,
        live=True,
    ),
    AUTOSTART,
    Parameter(
        "wait_for_start",
        False,
        "Stay idle after the activation until ~/start is called or a RunTask goal comes; false: "
        "execute at once.",
        live=True,
    ),
    Parameter(
        "task_stall_timeout",
        10.0,
        "A RunTask goal for which no action has come for this long is aborted, or after three "
        "times the p95 latency where that is longer [s].",
        minimum=0.1,
        maximum=3600.0,
        live=True,
    ),
    Parameter(
        "success_topic",
        "",
        "Topic (std_msgs/Bool) on which a judge says `true` when the task is done, and `false` as "
        "long as it is not: a RunTask goal then ends SUCCEEDED. Empty: nobody does.",
    ),
    Parameter(
        "stop_on_success",
        False,
        "Stop on a success also what is executed without a goal, for a sentence on "
        "task_instruction; ~/start goes on.",
        live=True,
    ),
    Parameter(
        "feedback_rate",
        5.0,
        "How often a RunTask goal gets feedback [Hz].",
        minimum=0.1,
        maximum=100.0,
        live=True,
    ),
    Parameter("dry_run", False, "Compute everything, command nothing.", live=True),
    Parameter(
        "realtime_priority",
        0,
        "SCHED_FIFO priority of the control loop; 0: none. Needs the right to it "
        "(ulimit -r, CAP_SYS_NICE).",
        minimum=0,
        maximum=99,
    ),
    Parameter(
        "period_window",
        1000,
        "The status gives the period of the control loop over so many cycles.",
        minimum=2,
        maximum=1_000_000,
    ),
    Parameter(
        "status_rate",
        10.0,
        "How often the status is published [Hz].",
        minimum=0.1,
        maximum=100.0,
        live=True,
    ),
)


def _tracking_error(limits: list[float]) -> list[float] | float | None:
    """Return `limits` [rad] as `GuardConfig` takes them; a 0 leaves its joint free."""
    if not any(limits):
        return None
    free = [limit or _FREE for limit in limits]
    return free[0] if len(free) == 1 else free


def executor_config(values: Mapping[str, Any], first_request_id: int) -> ExecutorConfig:
    """Return the executor's settings from the values of `EXECUTOR_PARAMETERS` by name.

    Args:
        values: as `parameters.read` returns them.
        first_request_id: see `ExecutorConfig`.

    Raises:
        ValueError: a value is out of range; the text names it.
    """

    def per_joint(name: str) -> float | list[float]:
        value: list[float] = values[name]
        return value[0] if len(value) == 1 else value

    return ExecutorConfig(
        joints=tuple(values["joints"]),
        guard=GuardConfig(
            lower=values["lower_limits"],
            upper=values["upper_limits"],
            max_speed=per_joint("max_speed"),
            max_step=per_joint("max_step"),
            start_jump=per_joint("max_start_jump"),
            max_tracking_error=_tracking_error(values["max_tracking_error"]),
        ),
        control_rate=values["rate"],
        trigger_share=values["chunk_size_threshold"],
        aggregation=values["aggregate"],
        alignment=values["alignment"],
        actions_per_chunk=values["actions_per_chunk"],
        state_timeout=values["state_timeout"],
        request_timeout=values["request_timeout"],
        approach_speed=values["approach_speed"],
        resume_jump=values["resume_jump"],
        period_window=values["period_window"],
        first_request_id=first_request_id,
        dry_run=values["dry_run"],
    )
