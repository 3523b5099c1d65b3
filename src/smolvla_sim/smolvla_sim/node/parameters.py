# SPDX-License-Identifier: Apache-2.0
"""The parameters of `sim_node`."""

from __future__ import annotations

from smolvla_core.ros.parameters import Parameter

from smolvla_sim.world.arm import ARMS, JOINT_NAMES
from smolvla_sim.world.mjcf import PHYSICS_RATE
from smolvla_sim.world.rendering import DEFAULT_CAMERAS
from smolvla_sim.world.scene import CAMERAS
from smolvla_sim.world.simulation import DEFAULT_TASK

SIM_PARAMETERS = (
    Parameter("model", "so100", "Which arm to simulate.", choices=tuple(sorted(ARMS))),
    Parameter("seed", 0, "Layout of the cubes and the bowl; the same seed, the same scene.", 0),
    Parameter("task", DEFAULT_TASK, "The instruction whose success sim/score reports."),
    Parameter("joints", list(JOINT_NAMES), "Order of the joints in arm_controller/commands."),
    Parameter(
        "frame_prefix",
        "",
        "Stands before the names of all frames (base_link, <camera>_camera_optical_frame), as "
        "that of robot_state_publisher does: several arms in one graph.",
    ),
    Parameter("render", True, "Draw the cameras; false needs no OpenGL."),
    Parameter(
        "cameras",
        list(DEFAULT_CAMERAS),
        f"Which cameras to draw, of {', '.join(CAMERAS)}.",
    ),
    Parameter("image_width", 640, "Width of the images [pixels].", 16, 1920),
    Parameter("image_height", 480, "Height of the images [pixels].", 16, 1440),
    Parameter(
        "camera_rate", 30.0, "Images per second of each camera [Hz].", 0.1, 120.0, live=True
    ),
    Parameter("joint_state_rate", 100.0, "Joint states per second [Hz].", 1.0, 1000.0, live=True),
    Parameter("object_rate", 30.0, "Poses of the things per second [Hz].", 0.1, 120.0, live=True),
    Parameter("score_rate", 10.0, "Scores per second [Hz].", 0.1, 100.0, live=True),
    Parameter("physics_rate", PHYSICS_RATE, "Physics steps per second [Hz].", 200.0, 2000.0),
    Parameter(
        "variation",
        True,
        "Draw light, colors and camera mounts from the seed too, as the policies are trained.",
    ),
    Parameter(
        "restock",
        False,
        "For continuous operation: with each new task put the cubes that are in a bowl, on "
        "something or out of reach back at free random places.",
        live=True,
    ),
    Parameter("viewer", False, "Open MuJoCo's window; needs a display."),
)
