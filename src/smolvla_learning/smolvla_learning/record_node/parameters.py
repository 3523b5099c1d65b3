# SPDX-License-Identifier: Apache-2.0
"""The parameters of `record_node`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smolvla_core.observation import ObservationConfig
from smolvla_core.ros.parameters import Parameter
from smolvla_core.ros.policy_parameters import POLICY_PARAMETERS, SO100_JOINTS
from smolvla_core.units.joint_units import units_from_lists
from smolvla_policy.checkpoint.robot import RobotFacts

from smolvla_learning.dataset import VideoOptions
from smolvla_learning.recording.recorder import RecorderConfig
from smolvla_learning.recording.store import EpisodeStore

_SHARED = tuple(
    parameter
    for parameter in POLICY_PARAMETERS
    if parameter.name in ("camera_topic", "image_transport")
)

RECORD_PARAMETERS = (
    Parameter(
        "dataset",
        "",
        "Folder of the dataset: a new one, or one recorded with the same settings, which is "
        "continued.",
    ),
    Parameter(
        "task",
        "",
        "The instruction until one comes on task_instruction. Set while the node runs, it counts "
        "from then on.",
        live=True,
    ),
    Parameter("cameras", ["top", "wrist"], "Names of the cameras; observation.images.<name>."),
    *_SHARED,
    Parameter(
        "joints", SO100_JOINTS, "Names of the joints in the order of state, action and commands."
    ),
    Parameter(
        "action_source",
        "command",
        "What the action is: 'command' arm_controller/commands (Float64MultiArray), "
        "'joint_trajectory' arm_controller/joint_trajectory, 'leader' the joint states of a "
        "leader arm on leader/joint_states, 'next_state' the measured state one frame later.",
        choices=("command", "joint_trajectory", "leader", "next_state"),
    ),
    Parameter("fps", 30, "Frames per second, the same for the whole dataset.", 1, 240),
    Parameter("robot_type", "so100_follower", "Name of the robot in the dataset."),
    Parameter(
        "units",
        "degrees",
        "What state and action are written in: 'degrees' (as LeRobot records: degrees, gripper "
        "0-100) or 'radians'.",
        choices=("degrees", "radians"),
    ),
    Parameter(
        "joint_signs",
        [1.0],
        "+1 or -1 per joint where the dataset's positive direction is the URDF's or its "
        "opposite; one number serves all.",
    ),
    Parameter(
        "gripper_range",
        [-0.174, 1.75],
        "Gripper angles [rad] that are written as 0 (closed) and 100 (open).",
    ),
    Parameter(
        "max_image_age",
        0.2,
        "With an image older than this, or when the recorder itself is late by more, the episode "
        "is broken [s].",
        minimum=0.01,
        maximum=10.0,
        live=True,
    ),
    Parameter(
        "max_joint_state_age",
        0.2,
        "With a joint state older than this the episode is broken [s].",
        minimum=0.01,
        maximum=10.0,
        live=True,
    ),
    Parameter(
        "max_command_age",
        0.5,
        "With a command older than this the episode is broken [s]; 0: a command holds until "
        "the next one, however long.",
        minimum=0.0,
        maximum=3600.0,
        live=True,
    ),
    Parameter(
        "max_skew",
        0.1,
        "Largest difference between the stamps of a frame's images and joint state [s].",
        minimum=0.001,
        maximum=10.0,
        live=True,
    ),
    Parameter(
        "max_episode_seconds",
        0.0,
        "After this an episode takes no more frames and waits to be saved or discarded [s]; 0: "
        "no limit.",
        minimum=0.0,
        maximum=86400.0,
        live=True,
    ),
    Parameter(
        "max_start_speed",
        0.05,
        "With a joint faster than this an episode is not begun, as episodes begin at rest "
        "[rad/s]; 0: they may begin in motion.",
        minimum=0.0,
        maximum=100.0,
        live=True,
    ),
    Parameter(
        "min_motion",
        0.02,
        "An episode in which no joint moves, or no command changes, by this much is saved only "
        "when asked twice [rad]; 0: it is saved like any other.",
        minimum=0.0,
        maximum=100.0,
        live=True,
    ),
    Parameter(
        "min_free_disk",
        2.0,
        "With less free space no frame is taken [GB]. Closing a dataset needs as much again as "
        "the new episodes take.",
        minimum=0.0,
        maximum=1e6,
        live=True,
    ),
    Parameter(
        "queue_size",
        60,
        "Frames that may wait to be compressed, in memory; with more the episode is broken.",
        minimum=1,
        maximum=10_000,
    ),
    Parameter(
        "video_codec",
        "h264",
        "'h264' is fast and decoded everywhere, 'av1' smaller and slower.",
        choices=("h264", "av1"),
    ),
    Parameter("video_crf", 20, "Quality of the videos: smaller is better and larger.", 0, 63),
    Parameter(
        "video_preset",
        "",
        "The encoder's own speed setting, e.g. ultrafast or veryfast for h264, 12 for av1. Empty: "
        "a fast one.",
    ),
    Parameter("video_threads", 1, "Threads of each camera's encoder.", 1, 64),
)


def observation_config(values: Mapping[str, Any]) -> ObservationConfig:
    """Return how fresh the parts of a frame must be."""
    return ObservationConfig(
        max_image_age=values["max_image_age"],
        max_state_age=values["max_joint_state_age"],
        max_camera_skew=values["max_skew"],
        max_state_skew=values["max_skew"],
    )


def recorder_config(values: Mapping[str, Any]) -> RecorderConfig:
    """Return the recorder's settings from the values of `RECORD_PARAMETERS` by name.

    Raises:
        ValueError: a value does not fit; the text names the parameter.
    """
    cameras = tuple(values["cameras"])
    for camera in cameras:
        if not re.fullmatch(r"[A-Za-z]\w*", camera, re.ASCII):
            raise ValueError(
                f"parameter 'cameras': '{camera}' must be letters, digits and underscores"
            )
    return RecorderConfig(
        fps=values["fps"],
        cameras=cameras,
        units=units_from_lists(
            values["units"], values["joints"], values["joint_signs"], values["gripper_range"]
        ),
        next_state=values["action_source"] == "next_state",
        max_late=values["max_image_age"],
        max_seconds=values["max_episode_seconds"],
        min_free_bytes=round(values["min_free_disk"] * 1e9),
        max_start_speed=values["max_start_speed"],
        min_motion=values["min_motion"],
    )


def episode_store(values: Mapping[str, Any]) -> EpisodeStore:
    """Open the dataset that the parameters name.

    Raises:
        ValueError: no folder is named, or it cannot be recorded into; the text says why.
    """
    if not values["dataset"].strip():
        raise ValueError(
            "parameter 'dataset' is empty: name a folder, e.g. -p dataset:=$HOME/datasets/cubes"
        )
    return EpisodeStore(
        Path(values["dataset"]).expanduser(),
        fps=values["fps"],
        robot_type=values["robot_type"],
        joints=values["joints"],
        cameras=values["cameras"],
        video=VideoOptions(
            codec=values["video_codec"],
            crf=values["video_crf"],
            preset=values["video_preset"] or None,
            threads=values["video_threads"],
        ),
        robot=robot_facts(values),
    )


def robot_facts(values: Mapping[str, Any]) -> RobotFacts:
    """Return how the numbers of the dataset are made from joint positions."""
    signs = [float(sign) for sign in values["joint_signs"]]
    return RobotFacts(
        units=values["units"],
        joint_signs=tuple(signs * len(values["joints"]) if len(signs) == 1 else signs),
        gripper_range=tuple(float(angle) for angle in values["gripper_range"]),
    )
