# SPDX-License-Identifier: Apache-2.0
"""The parameters of `policy_node`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rclpy.parameter import Parameter as RosParameter

from smolvla_core.observation import ObservationConfig
from smolvla_core.ros.parameters import AUTOSTART, Parameter
from smolvla_core.units.calibration import LEROBOT_JOINTS

SO100_JOINTS = list(LEROBOT_JOINTS)

POLICY_PARAMETERS = (
    Parameter(
        "backend",
        "smolvla",
        "Who thinks: 'smolvla' runs a checkpoint, 'scripted' the simulation's expert; other "
        "packages may offer more (entry points smolvla_policy.backends).",
    ),
    Parameter(
        "checkpoint",
        "",
        "LeRobot checkpoint of the backend 'smolvla': a folder or a hub id.",
    ),
    Parameter(
        "model",
        "so100",
        "Which arm the backend 'scripted' plans for.",
        choices=("so100", "so101"),
    ),
    Parameter(
        "chunk_size",
        50,
        "Rows of a chunk of the backend 'scripted'; a checkpoint has its own number.",
        minimum=1,
        maximum=10_000,
    ),
    Parameter("device", "auto", "Where the model runs: auto, cpu, cuda, cuda:0, mps, …"),
    Parameter(
        "dtype",
        "auto",
        "Number type of the model; 'auto' is what LeRobot would use for the checkpoint.",
        choices=("auto", "float32", "bfloat16"),
    ),
    Parameter(
        "stats",
        "",
        "Which statistics to use where the checkpoint has several or none: a name in it "
        "(so100), or the path of a data set's meta/stats.json. Empty: the checkpoint's own.",
    ),
    Parameter(
        "tokenizer",
        "",
        "Where the tokenizer is: a folder, a tokenizer.json or a hub id. Empty: where the "
        "checkpoint says.",
    ),
    Parameter(
        "units",
        "auto",
        "What the checkpoint's state and actions are in. 'auto': what the checkpoint says "
        "(robot.json), else what its statistics imply; "
        "'degrees': LeRobot since 0.4.4, gripper 0-100; 'normalized': LeRobot June 2025 to 0.4.3, "
        "-100 to 100 over the calibrated ranges; 'degrees_old': LeRobot before June 2025.",
        choices=("auto", "degrees", "normalized", "degrees_old", "radians"),
    ),
    Parameter(
        "calibration",
        "",
        "The arm's LeRobot calibration: the path of its JSON file, or LeRobot's --robot.id. "
        "'normalized' needs it.",
    ),
    Parameter(
        "allow_units_mismatch",
        False,
        "Move the arm although the checkpoint's statistics contradict 'units', or the "
        "calibration's ranges cannot be this arm's.",
    ),
    Parameter(
        "joints",
        SO100_JOINTS,
        "Names of the joints in the order of the checkpoint's state and action.",
    ),
    Parameter(
        "joint_signs",
        [],
        "+1 or -1 per joint where the checkpoint's positive direction is the URDF's or its "
        "opposite; one number serves all. Empty: those of the recordings (robot.json), else +1.",
        kind=RosParameter.Type.DOUBLE_ARRAY,
    ),
    Parameter(
        "gripper_range",
        [],
        "Gripper angles [rad] that LeRobot calls 0 (closed) and 100 (open); the same two as the "
        "driver's closed_position and open_position. Empty: those of the recordings "
        "(robot.json), else [-0.174, 1.75].",
        kind=RosParameter.Type.DOUBLE_ARRAY,
    ),
    Parameter(
        "cameras",
        [],
        "The cameras that there are, as 'name' or 'name:feature', e.g. "
        "'wrist:observation.images.camera2'; those of the checkpoint that are not named are left "
        "out, as in LeRobot. Empty: those that the checkpoint was trained with, called as in its "
        "rename_map or else by their features' last names.",
        kind=RosParameter.Type.STRING_ARRAY,
    ),
    Parameter(
        "camera_topic",
        "camera/{name}/image_raw",
        "Topic of a camera's images; {name} is replaced.",
    ),
    Parameter(
        "image_transport",
        "raw",
        "'compressed' subscribes to sensor_msgs/CompressedImage on <camera_topic>/compressed.",
        choices=("raw", "compressed"),
    ),
    Parameter(
        "max_image_age",
        0.5,
        "An image older than this is stale and no chunk is made from it [s].",
        minimum=0.01,
        maximum=60.0,
        live=True,
    ),
    Parameter(
        "max_joint_state_age",
        0.25,
        "A joint state older than this is stale and no chunk is made from it [s].",
        minimum=0.01,
        maximum=60.0,
        live=True,
    ),
    Parameter(
        "max_skew",
        0.1,
        "Largest difference between the stamps of an observation's images and joint state [s].",
        minimum=0.001,
        maximum=10.0,
        live=True,
    ),
    Parameter(
        "period",
        0.0,
        "Time between two actions of a chunk: 1/fps of the data that the checkpoint was trained "
        "on [s]. 0: what the checkpoint says (robot.json), else 1/30 with a warning.",
        minimum=0.0,
        maximum=1.0,
    ),
    Parameter(
        "real_time_chunking",
        False,
        "Chunks continue the actions that the executor has queued instead of being drawn without "
        "regard to them, so that seams do not jump (arXiv 2506.07339).",
        live=True,
    ),
    Parameter(
        "inference_delay",
        0.0,
        "For benchmarks: an answer takes at least this long, from taking the observation to "
        "publishing the chunk, the inference included [s].",
        minimum=0.0,
        maximum=60.0,
        live=True,
    ),
    Parameter(
        "seed",
        -1,
        "Seed of the noise that actions are made from: the same seed gives the same actions for "
        "the same observations. -1: fresh noise.",
        minimum=-1,
        live=True,
    ),
    Parameter(
        "noise_scale",
        1.0,
        "The noise that actions are made from is multiplied by this: 1 as trained and as LeRobot; "
        "0 the checkpoint's most typical actions, the same for the same observation, so that "
        "chunks agree and seams are small.",
        minimum=0.0,
        maximum=1.0,
        live=True,
    ),
    Parameter(
        "threads",
        0,
        "Threads of the model on the CPU; 0: one less than the cores, so that the control loop "
        "keeps one.",
        minimum=0,
        maximum=256,
    ),
    Parameter(
        "niceness",
        5,
        "How far the policy's process steps back behind the control loop on the same machine "
        "(0-19, as nice(1)).",
        minimum=0,
        maximum=19,
        fixed=True,
    ),
    Parameter(
        "executor",
        "executor_node",
        "Name of the executor's node that is answered, in the namespace of this node or, with a "
        "slash in front, in full; the requests of others are refused.",
        live=True,
    ),
    AUTOSTART,
    Parameter(
        "status_rate",
        2.0,
        "How often the status is published [Hz].",
        minimum=0.1,
        maximum=100.0,
        live=True,
    ),
)


def observation_config(values: Mapping[str, Any]) -> ObservationConfig:
    """Return how fresh and how near to each other cameras and joints must be.

    Args:
        values: of `POLICY_PARAMETERS` by name.
    """
    return ObservationConfig(
        max_image_age=values["max_image_age"],
        max_state_age=values["max_joint_state_age"],
        max_camera_skew=values["max_skew"],
        max_state_skew=values["max_skew"],
    )
