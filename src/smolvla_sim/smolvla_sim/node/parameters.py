# SPDX-License-Identifier: Apache-2.0
"""The parameters of `sim_node`, without MuJoCo: launch files read them, too."""

from __future__ import annotations

from dataclasses import dataclass

from smolvla_core.node_settings import RobotSettings
from smolvla_core.robot import FORWARD
from smolvla_core.settings import SettingError, live_setting, setting

from smolvla_sim.world.arm import ARMS, JOINT_NAMES
from smolvla_sim.world.scene import CAMERAS, DEFAULT_CAMERAS, PHYSICS_RATE
from smolvla_sim.world.tasks import DEFAULT_TASK


@dataclass(frozen=True, kw_only=True)
class SimSettings(RobotSettings):
    """Of `sim_node`. It can be a robot with one arm that it draws, whatever its joints' names."""

    seed: int = setting(0, "Layout of the cubes and the bowl; the same seed, the same scene.", 0)
    task: str = setting(DEFAULT_TASK, "The instruction whose success sim/score reports.")
    frame_prefix: str = setting(
        "",
        "Prefix of the names of all frames (base_link, <camera>_camera_optical_frame), as that "
        "of robot_state_publisher: for several arms in one graph.",
    )
    render: bool = setting(True, "Draw the cameras; false needs no OpenGL.")
    cameras: tuple[str, ...] = setting(
        DEFAULT_CAMERAS, f"Which cameras to draw, of {', '.join(CAMERAS)}."
    )
    image_width: int = setting(640, "Width of the images [pixels].", 16, 1920)
    image_height: int = setting(480, "Height of the images [pixels].", 16, 1440)
    camera_rate: float = live_setting(30.0, "Images per second of each camera [Hz].", 0.1, 120.0)
    joint_state_rate: float = live_setting(100.0, "Joint states per second [Hz].", 1.0, 1000.0)
    object_rate: float = live_setting(30.0, "Poses of the objects per second [Hz].", 0.1, 120.0)
    score_rate: float = live_setting(10.0, "Scores per second [Hz].", 0.1, 100.0)
    physics_rate: float = setting(PHYSICS_RATE, "Physics steps per second [Hz].", 200.0, 2000.0)
    variation: bool = setting(
        True,
        "Draw light, colors and camera mounts from the seed too, as the policies are trained.",
    )
    restock: bool = live_setting(
        False,
        "For continuous operation: with each new task, cubes that are in a bowl, on something or "
        "out of reach return to random places.",
    )
    follow_instruction: bool = live_setting(
        False,
        "Score what the executor is to do, as soon as that changes, where the simulation "
        "understands it and the scene has its bowls; for plans of several sentences.",
    )
    viewer: bool = setting(False, "Open MuJoCo's window; needs a display.")

    def __post_init__(self) -> None:
        super().__post_init__()
        robot = self.body
        kinds = [joint.kind for joint in robot.moving]
        if robot.model not in ARMS or sorted(kinds) != sorted(JOINT_NAMES):
            raise SettingError(
                "robot",
                f"is '{robot.source}', with the model '{robot.model}' and LeRobot's joints "
                f"{', '.join(kinds)}, but the simulation has {', '.join(ARMS)}, with "
                f"{', '.join(JOINT_NAMES)}",
            )
        if [output.type for output in robot.outputs] != [FORWARD] or len(robot.joint_states) > 1:
            raise SettingError(
                "robot",
                f"is '{robot.source}', but the simulation takes one output of type {FORWARD}, and "
                "has one topic of joint states",
            )
