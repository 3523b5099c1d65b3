# SPDX-License-Identifier: Apache-2.0
"""The parameters of executor, policy, recorder and those beside them.

What two nodes need is declared once. A backend of `policy_node` adds its own by a class that
inherits from `PolicySettings`; see `smolvla_policy.backends.registry`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from smolvla_core.robot import FORWARD, SHIPPED, TRAJECTORY, Output, Robot, RobotError, load_robot
from smolvla_core.settings import SettingError, Settings, live_setting, same, setting

AGGREGATIONS = {
    "auto": "'latest' where real_time_chunking continues the queued actions, else 'weighted'",
    "latest": "the new actions only",
    "weighted": "0.3 old + 0.7 new",
    "average": "half and half",
    "conservative": "0.7 old + 0.3 new",
    "temporal_ensemble": "ACT's temporal ensemble",
}
"""How a new chunk is combined with queued actions; computed in `smolvla_executor.core`."""


AnyRobotSettings = TypeVar("AnyRobotSettings", bound="RobotSettings")


@dataclass(frozen=True, kw_only=True)
class RobotSettings(Settings):
    """Which robot it is; `body` is what its file says."""

    robot: str = setting(
        "so100",
        f"The robot: {', '.join(SHIPPED)}, or the path of a robot file.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.body  # noqa: B018
        except RobotError as error:
            raise SettingError("robot", f"cannot be used: {error}") from error

    @functools.cached_property
    def body(self) -> Robot:
        """What the robot is."""
        return load_robot(self.robot)

    def with_body(self: AnyRobotSettings, body: Robot) -> AnyRobotSettings:
        """Return the same settings with a robot that stands in no file."""
        settings = replace(self)
        settings.__dict__["body"] = body
        return settings

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the joints that are measured and commanded, the order of all positions."""
        return self.body.joint_names


@dataclass(frozen=True, kw_only=True)
class ManagedSettings(Settings):
    """Of every managed node."""

    autostart: bool = setting(
        False,
        "Configure and activate the node at its start; false: wait for `ros2 lifecycle set`. If "
        "that fails at the start, the process ends.",
        fixed=True,
    )


@dataclass(frozen=True, kw_only=True)
class ObservationSettings(Settings):
    """How old and how far apart the parts of an observation may be."""

    max_image_age: float = live_setting(
        0.5,
        "An image older than this is stale and no chunk is made from it [s].",
        0.01,
        60.0,
    )
    max_joint_state_age: float = live_setting(
        0.25,
        "A joint state older than this is stale and no chunk is made from it [s].",
        0.01,
        60.0,
    )
    max_skew: float = live_setting(
        0.1,
        "Largest difference between the stamps of an observation's images and joint state [s].",
        0.001,
        10.0,
    )
    match_by: str = live_setting(
        "stamp",
        "How the parts of an observation are matched in time: 'stamp' by their headers, which "
        "needs one clock for all publishers; 'reception' by the time at which they are received.",
        choices=("stamp", "reception"),
    )


@dataclass(frozen=True, kw_only=True)
class SensorSettings(ObservationSettings, RobotSettings):
    """What is received from the robot."""

    cameras: tuple[str, ...] = setting(
        (),
        "The robot's cameras, as 'name' or 'name:feature', e.g. "
        "'wrist:observation.images.camera2'; as in LeRobot, other cameras of the checkpoint are "
        "left out. Empty: those of the robot file, else those that the checkpoint was trained "
        "with, by the names of its rename_map or the last part of their features.",
    )
    image_transport: str = setting(
        "",
        "'compressed' subscribes to sensor_msgs/CompressedImage on <topic>/compressed, 'raw' to "
        "sensor_msgs/Image. Empty: as the robot file says of each camera, else raw.",
        choices=("", "raw", "compressed"),
    )

    def image_topic(self, camera: str) -> tuple[str, bool]:
        """Return the topic of a camera's images, and whether they are compressed."""
        there = self.body.camera(camera)
        compressed = (self.image_transport or there.transport) == "compressed"
        return f"{there.topic}/compressed" if compressed else there.topic, compressed


@dataclass(frozen=True, kw_only=True)
class PolicySettings(SensorSettings, ManagedSettings):
    """Of `policy_node`, whatever the backend."""

    backend: str = setting(
        "smolvla",
        "The policy: 'smolvla' runs a checkpoint, 'scripted' the simulation's expert; other "
        "packages may add more (entry points smolvla_policy.backends). Each has further "
        "parameters.",
    )
    period: float = setting(
        0.0,
        "Time between two actions of a chunk: 1/fps of the data that the checkpoint was trained "
        "on [s]. 0: what the checkpoint says (robot.json), else 1/30 with a warning.",
        0.0,
        1.0,
    )
    inference_delay: float = live_setting(
        0.0,
        "For benchmarks: least time from taking the observation to publishing the chunk, "
        "inference included [s].",
        0.0,
        60.0,
    )
    niceness: int = setting(
        5,
        "Nice value of the policy's process (0-19, as nice(1)); the control loop on the same "
        "machine goes first.",
        0,
        19,
        fixed=True,
    )
    executor: str = live_setting(
        "executor_node",
        "Node name of the executor whose requests are answered, in the namespace of this node "
        "or, with a slash in front, in full; the requests of others are refused.",
    )
    status_rate: float = live_setting(2.0, "How often the status is published [Hz].", 0.1, 100.0)


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings(RobotSettings, ManagedSettings):
    """Of `executor_node` and of `smolvla_executor.core`."""

    robot: str = same(
        RobotSettings,
        "robot",
        "so100",
        note="Set while the node runs, limits and speeds take effect if joints and topics are the "
        "same.",
        live=True,
    )
    rate: float = setting(30.0, "Rate of the control loop [Hz].", 1.0, 1000.0)
    source: str = live_setting(
        "policy",
        "Whose actions are executed after a start: 'policy', or 'human' to follow targets on "
        "human_topic. ~/take_over and ~/give_back change it meanwhile.",
        choices=("policy", "human"),
    )
    human_topic: str = setting(
        "leader/joint_states",
        "Topic (sensor_msgs/JointState) of where a human wants the joints, by the robot file's "
        "names: a leader arm, a joystick.",
    )
    human_timeout: float = live_setting(
        0.25, "A target of a human older than this is stale: the arm holds [s].", 0.01, 10.0
    )
    estop_timeout: float = live_setting(
        0.0,
        "The topic estop (std_msgs/Bool) must come at least so often, else the arm is stopped "
        "[s]; 0: it may be silent.",
        0.0,
        60.0,
    )
    drivers: tuple[str, ...] = live_setting(
        (),
        "Node names of the arm's drivers: at an e-stop their ~/stop is called, and the status has "
        "what they answer. Empty: none is asked.",
    )
    output: str = setting(
        "",
        "Overrides the robot file's outputs: 'forward' sends std_msgs/Float64MultiArray on "
        "arm_controller/commands, 'joint_trajectory' trajectories of one point on "
        "arm_controller/joint_trajectory. Empty: the robot file's.",
        choices=("", FORWARD, TRAJECTORY),
    )
    chunk_size_threshold: float = live_setting(
        -1.0,
        "g: the next chunk is requested when less than this share of a chunk is queued. 0: only "
        "when the queue is empty (synchronous); 1: every tick; below 0: chosen from the measured "
        "latency and what the checkpoint was trained for, as the status says (execution).",
        -1.0,
        1.0,
    )
    aggregate: str = live_setting(
        "auto",
        "How a new chunk is blended with the queued actions of the same ticks: "
        + "; ".join(f"'{name}': {meaning}" for name, meaning in AGGREGATIONS.items())
        + ".",
        choices=AGGREGATIONS,
    )
    alignment: str = live_setting(
        "pose",
        "Where a chunk that arrives in motion begins. 'tick': at the row of the present tick. "
        "'pose': there, or at an earlier row that is nearer to the next planned action, so that "
        "a new motion is executed from its beginning.",
        choices=("tick", "pose"),
    )
    actions_per_chunk: int = live_setting(
        0,
        "Use only this many first actions of a chunk; 0: all. With chunk_size_threshold 0 it is "
        "LeRobot's n_action_steps: execute that many, then infer again.",
        0,
        10_000,
    )
    request_timeout: float = live_setting(
        2.0,
        "A request without an answer is repeated after this time, or after three times the p95 "
        "latency where that is longer [s].",
        0.05,
        600.0,
    )
    retry_delay: float = live_setting(
        0.2,
        "Pause after a refusal or an invalid chunk before the next request [s].",
        0.0,
        60.0,
    )
    state_timeout: float = live_setting(
        0.25,
        "Joint states older than this are stale: nothing is commanded [s].",
        0.01,
        10.0,
    )
    max_speed: tuple[float, ...] = live_setting(
        (),
        "Largest speed of each joint [rad/s]; faster commands are slowed down. One number is for "
        "all joints. The robot file's speed is never exceeded. Empty: the robot file's.",
        0.001,
    )
    max_step: tuple[float, ...] = live_setting(
        (0.5,),
        "Largest change of a command within one control cycle [rad]; one number is for all "
        "joints.",
        0.0001,
    )
    max_start_jump: tuple[float, ...] = live_setting(
        (2.0,),
        "A first action farther than this from the measured position is refused [rad]; one "
        "number is for all joints.",
        0.001,
    )
    max_tracking_error: tuple[float, ...] = live_setting(
        (0.0,),
        "Commands stay within this distance of the measured position, which limits how hard a "
        "blocked arm pushes [rad]; 0: no limit. One number is for all joints.",
        0.0,
    )
    resume_jump: float = live_setting(
        0.2,
        "When an action that ends a hold is farther than this from the held command, the arm "
        "approaches it first [rad].",
        0.0,
        10.0,
    )
    approach_speed: float = live_setting(
        0.6,
        "Largest joint speed of the approach to the first action [rad/s].",
        0.01,
        1000.0,
    )
    approach_duration: float = live_setting(
        0.5, "Shortest duration of an approach [s].", 0.0, 60.0
    )
    wait_for_start: bool = live_setting(
        False,
        "Stay idle after activation until ~/start is called or a RunTask goal comes; false: "
        "execute at once.",
    )
    task_stall_timeout: float = live_setting(
        10.0,
        "A RunTask goal is aborted when it gets no action for this long, or for three times the "
        "p95 latency where that is longer [s].",
        0.1,
        3600.0,
    )
    success_topic: str = setting(
        "",
        "Topic (std_msgs/Bool) with `true` when the task is done and `false` before: a RunTask "
        "goal then ends SUCCEEDED. Empty: none.",
    )
    stop_on_success: bool = live_setting(
        False,
        "Success also stops what an instruction on task_instruction started; ~/start continues.",
    )
    feedback_rate: float = live_setting(
        5.0, "How often a RunTask goal gets feedback [Hz].", 0.1, 100.0
    )
    dry_run: bool = live_setting(False, "Compute everything, command nothing.")
    realtime_priority: int = setting(
        0,
        "SCHED_FIFO priority of the control loop; 0: none. The thread that takes messages gets "
        "the next lower one. Needs the right to it (ulimit -r, CAP_SYS_NICE).",
        0,
        99,
    )
    period_window: int = setting(
        1000,
        "Number of control cycles over which the status gives the period of the control loop.",
        2,
        1_000_000,
    )
    status_rate: float = live_setting(10.0, "How often the status is published [Hz].", 0.1, 100.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in PER_JOINT:
            count = len(getattr(self, name))
            if count not in (1, len(self.joints)) and not (name == "max_speed" and count == 0):
                raise SettingError(
                    name,
                    f"has {count} numbers, but needs one, or one for each of "
                    f"{', '.join(self.joints)}",
                )

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Where commands go."""
        return self.body.chosen_outputs(self.output)

    def per_joint(self, name: str) -> tuple[float, ...]:
        """Return one number for each joint of the setting `name`."""
        values: tuple[float, ...] = getattr(self, name)
        return values * len(self.joints) if len(values) == 1 else values

    @property
    def speeds(self) -> NDArray[np.float64]:
        """(joints,) largest speeds [rad/s]: the robot's, or `max_speed` where that is less."""
        return np.minimum(self.body.speed, self.per_joint("max_speed") or np.inf)


PER_JOINT = ("max_speed", "max_step", "max_start_jump", "max_tracking_error")
"""Settings of the executor that are one number for all joints or one for each."""


@dataclass(frozen=True, kw_only=True)
class RecordSettings(SensorSettings):
    """Of `record_node`."""

    dataset: str = setting(
        "",
        "Folder of the dataset: a new one, or one recorded with the same settings, which is "
        "continued.",
    )
    task: str = live_setting(
        "",
        "The instruction until one comes on task_instruction; it can be set while the node runs.",
    )
    cameras: tuple[str, ...] = setting(
        ("top", "wrist"), "Names of the cameras; observation.images.<name>."
    )
    action_source: str = setting(
        "command",
        "What the action is: 'command' what comes on the robot file's outputs, "
        "'joint_trajectory' on arm_controller/joint_trajectory, 'leader' the joint states of a "
        "leader arm on leader/joint_states, 'next_state' the measured state one frame later.",
        choices=("command", "joint_trajectory", "leader", "next_state"),
    )
    intervention: bool = setting(
        False,
        "Write the Boolean column 'intervention', as lerobot-rollout does: true while the "
        "executor follows a human.",
    )
    fps: int = setting(30, "Frames per second, the same for the whole dataset.", 1, 240)
    units: str = setting(
        "degrees",
        "What state and action are written in: 'degrees' (as LeRobot records: degrees, gripper "
        "0-100) or 'radians'.",
        choices=("degrees", "radians"),
    )
    max_image_age: float = live_setting(
        0.2,
        "A frame is left out while an image is older than this, or when the recorder is late by "
        "more [s].",
        0.01,
        10.0,
    )
    max_joint_state_age: float = live_setting(
        0.2, "A frame is left out while a joint state is older than this [s].", 0.01, 10.0
    )
    max_command_age: float = live_setting(
        0.5,
        "A frame is left out while the command is older than this [s]; 0: a command applies until "
        "the next one, however long.",
        0.0,
        3600.0,
    )
    max_episode_seconds: float = live_setting(
        0.0,
        "After this time an episode takes no more frames and waits to be saved or discarded [s]; "
        "0: no limit.",
        0.0,
        86400.0,
    )
    max_start_speed: float = live_setting(
        0.05,
        "An episode cannot begin while a joint is faster than this [rad/s]; 0: it can begin in "
        "motion.",
        0.0,
        100.0,
    )
    min_motion: float = live_setting(
        0.02,
        "An episode in which no joint moves, or no command changes, by this much is saved only "
        "by a second save [rad]; 0: saved like any other.",
        0.0,
        100.0,
    )
    min_free_disk: float = live_setting(
        2.0,
        "With less free space no frame is recorded [GB]. Closing a dataset temporarily needs the "
        "space of the new episodes again.",
        0.0,
        1e6,
    )
    queue_size: int = setting(
        60,
        "Frames that may wait in memory to be compressed; more are left out.",
        1,
        10_000,
    )
    video_codec: str = setting(
        "h264",
        "'h264' is fast and decoded everywhere, 'av1' smaller and slower.",
        choices=("h264", "av1"),
    )
    video_crf: int = setting(20, "Quality of the videos: smaller is better and larger.", 0, 63)
    video_preset: str = setting(
        "",
        "The encoder's own speed setting, e.g. ultrafast or veryfast for h264, 12 for av1. Empty: "
        "a fast one.",
    )
    video_threads: int = setting(1, "Threads of each camera's encoder.", 1, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        for camera in self.cameras:
            if not re.fullmatch(r"[A-Za-z]\w*", camera, re.ASCII):
                raise SettingError(
                    "cameras", f"holds '{camera}', which must be letters, digits and underscores"
                )
        if increments := self.body.increments:
            raise SettingError(
                "robot",
                f"drives {', '.join(increments)} by increments (increment in the robot file), "
                "which are not recorded here: leave the entry out to record positions, or write "
                "the dataset with LeRobot",
            )


@dataclass(frozen=True, kw_only=True)
class JogSettings(RobotSettings):
    """How a person moves the arm by an input that says how fast: a joystick, keys."""

    rate: float = setting(30.0, "How often a target is published [Hz].", 1.0, 1000.0)
    human_topic: str = same(ExecutorSettings, "human_topic", "leader/joint_states")
    max_lead: float = live_setting(
        0.3,
        "A target is at most this far ahead of where the arm is, so that it does not run away "
        "from an arm that is blocked [rad]; a gripper's only where it opens again.",
        0.01,
        3.0,
    )
    tip_link: str = setting("gripper_frame_link", "Link of the URDF that is moved in space.")
    robot_description: str = setting(
        "",
        "The URDF as text, for motions of the tip. Empty: it is taken from the topic "
        "robot_description, as robot_state_publisher publishes it.",
    )


@dataclass(frozen=True, kw_only=True)
class TeleopSettings(JogSettings):
    """Of `teleop_node`."""

    joy_map: str = setting(
        "",
        "Path of the YAML file that says what axes and buttons do. Empty: the one for a pad like "
        "the Xbox's.",
    )
    joy_timeout: float = live_setting(
        0.2,
        "Without a valid sensor_msgs/Joy for so long no target is published and the arm holds "
        "[s]; joy_node repeats itself at its autorepeat_rate.",
        0.02,
        5.0,
    )


@dataclass(frozen=True, kw_only=True)
class PlanSettings(SensorSettings, ManagedSettings):
    """Of `plan_node`."""

    cameras: tuple[str, ...] = setting(
        (), "Cameras that a judge is shown, by name. Empty: those of the robot file."
    )
    judge: str = live_setting(
        "topic",
        "Who judges steps that name no judge: 'topic', the executor's success_topic; or another "
        "installed one (entry points smolvla_core.judges).",
    )
    judge_options: tuple[str, ...] = live_setting((), "Its options, each 'name=value'.")
    judge_period: float = live_setting(
        0.2, "Least time between two questions to a judge [s].", 0.01, 60.0
    )
    feedback_rate: float = live_setting(
        2.0, "How often a RunPlan goal gets feedback [Hz].", 0.1, 100.0
    )


WINDOW, BROWSER, RECORDING = "window", "browser", ".rrd"
"""Where Rerun shows a run; the last is how the names of its files end."""


def check_show(show: str, name: str = "show") -> None:
    """Make sure that `show` says where Rerun shows a run.

    Args:
        show: one of `WINDOW`, `BROWSER`, the path of a file, or empty.
        name: of the setting.

    Raises:
        SettingError: it does not.
    """
    if show not in ("", WINDOW, BROWSER) and not show.endswith(RECORDING):
        raise SettingError(
            name,
            f"is '{show}', but must be {WINDOW}, {BROWSER} or a file whose name ends in "
            f"{RECORDING}",
        )


@dataclass(frozen=True, kw_only=True)
class RerunSettings(RobotSettings):
    """Of `rerun_node`."""

    show: str = setting(
        "",
        f"Where Rerun shows the run: in a '{WINDOW}', in a '{BROWSER}' (the log has the address), "
        f"or later, from a file that is written (*{RECORDING}). Empty: in a window where there is "
        "a display, else in a browser.",
    )
    cameras: tuple[str, ...] = setting(
        (), "Names of the cameras that are shown. Empty: those of the robot file."
    )
    robot_description: str = setting(
        "",
        "The URDF as text. Empty: it is taken from the topic robot_description, as "
        "robot_state_publisher publishes it.",
    )
    tip_link: str = setting(
        "gripper_frame_link", "Link of the URDF whose predicted and executed path is drawn."
    )
    frame_prefix: str = setting(
        "", "What stands before the frames' names on the topics; it is left out here."
    )
    rate: float = live_setting(
        10.0, "How often images, arm and path are shown at most [Hz]; plots have all.", 0.5, 60.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_show(self.show)
