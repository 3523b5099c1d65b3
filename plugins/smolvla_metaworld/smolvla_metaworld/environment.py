# SPDX-License-Identifier: Apache-2.0
"""One task of Meta-World, seen, driven and judged as LeRobot's environment does it.

LeRobot 0.6.1, ``lerobot/envs/metaworld.py``: camera ``corner2`` at another place and turned by
180 degrees, a state and an action of four numbers, an episode from its seed alone, 500 steps at
most, the judge's word is Meta-World's ``info["success"]``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import metaworld
import mujoco
import numpy as np
from metaworld import policies
from numpy.typing import NDArray

CAMERA = "observation.image"
STATE_NAMES = ("x", "y", "z", "gripper")
"""Position of the hand [m], and how far the gripper is open, 0 to 1."""
ACTION_NAMES = ("dx", "dy", "dz", "gripper")
"""Motion of the hand in a step, 1 is 1 cm, and force of the gripper, 1 closes; all -1 to 1."""
STEP = 0.01
"""How far an action of 1 moves the hand [m]."""
FPS = 80
MAX_STEPS = 500
SIZE = 480

GOAL = "goal"
OBJECTS = (GOAL, "puck", "peg", "drawer", "button", "door", "window")
"""What the sentences name."""

_CAMERA_POSITION = (0.75, 0.075, 0.7)


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        sentence: LeRobot's instruction.
        expert: name of Meta-World's scripted policy.
        thing: one of `OBJECTS`; the task's object.
        goal: whether a sphere shows where it shall be brought.
    """

    sentence: str
    expert: str
    thing: str
    goal: bool = False


TASKS = {
    "reach-v3": Task("Reach a goal position", "SawyerReachV3Policy", "puck", goal=True),
    "push-v3": Task("Push the puck to a goal", "SawyerPushV3Policy", "puck", goal=True),
    "pick-place-v3": Task(
        "Pick and place a puck to a goal", "SawyerPickPlaceV3Policy", "puck", goal=True
    ),
    "door-open-v3": Task("Open a door with a revolving joint", "SawyerDoorOpenV3Policy", "door"),
    "drawer-open-v3": Task("Open a drawer", "SawyerDrawerOpenV3Policy", "drawer"),
    "drawer-close-v3": Task("Push and close a drawer", "SawyerDrawerCloseV3Policy", "drawer"),
    "button-press-topdown-v3": Task(
        "Press a button from the top", "SawyerButtonPressTopdownV3Policy", "button"
    ),
    "peg-insert-side-v3": Task("Insert a peg sideways", "SawyerPegInsertionSideV3Policy", "peg"),
    "window-open-v3": Task("Push and open a window", "SawyerWindowOpenV3Policy", "window"),
    "window-close-v3": Task("Push and close a window", "SawyerWindowCloseV3Policy", "window"),
}
"""MT10."""

FIVE = (
    "reach-v3",
    "drawer-close-v3",
    "button-press-topdown-v3",
    "door-open-v3",
    "window-open-v3",
)
"""The tasks of the checkpoint that comes with the suite."""


class MetaWorld:
    """An environment of one task.

    Args:
        name: one of `TASKS`.
        size: side of the square picture [pixels].
        quick: draw with coarser shadows and without smoothed edges: in software 49 ms instead of
            130, with a mean difference of 0.7 of 255.

    Attributes:
        task: what there is to do.
        success: whether it has been done in this episode.
        steps: of this episode.
    """

    def __init__(self, name: str, size: int = SIZE, *, quick: bool = False) -> None:
        self.task = TASKS[name]
        made = metaworld.MT1(name, seed=42)
        self._env: Any = made.train_classes[name](
            render_mode="rgb_array", camera_name="corner2", width=size, height=size
        )
        self._env.set_task(made.train_tasks[0])
        self._camera = self._env.model.camera("corner2").id
        self._env.model.cam_pos[self._camera] = _CAMERA_POSITION
        if quick:
            self._env.model.vis.quality.shadowsize = 1024
            self._env.model.vis.quality.offsamples = 0
        self._env.reset()
        self._env._freeze_rand_vec = False
        self._env.seeded_rand_vec = True
        self._expert = getattr(policies, self.task.expert)()
        self._observation: NDArray[np.float64] = np.zeros(0)
        self.success, self.steps = False, 0

    def reset(self, seed: int) -> None:
        """Start the episode of a seed."""
        self._env.seed(seed)
        self._observation, _ = self._env.reset(seed=seed)
        # Else the first picture has the goal of the episode before, as it has in LeRobot.
        mujoco.mj_kinematics(self._env.model, self._env.data)
        self.success, self.steps = False, 0

    def step(self, action: NDArray[np.floating[Any]]) -> None:
        """Do one step with an action (4,), see `ACTION_NAMES`; what is beyond 1 counts as 1."""
        self._observation, _, _, _, info = self._env.step(np.asarray(action))
        self.success = self.success or bool(info["success"])
        self.steps += 1

    def toward(self, wanted: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the action (4,) of a step toward a commanded state (4,), see `STATE_NAMES`.

        Actions move a point that the hand is drawn to, up to 4 cm ahead of it; this point is
        brought to the position that is wanted.
        """
        motion = (wanted[:3] - self._env.data.mocap_pos[0]) / STEP
        return np.clip([*motion, 1.0 - 2.0 * wanted[3]], -1.0, 1.0)

    @property
    def over(self) -> bool:
        """Whether the episode has had all of its steps."""
        return self.steps >= MAX_STEPS

    @property
    def state(self) -> NDArray[np.float32]:
        """(4,), see `STATE_NAMES`."""
        return self._observation[:4].astype(np.float32)

    def picture(self) -> NDArray[np.uint8]:
        """Draw the scene: (size, size, 3) RGB."""
        return np.ascontiguousarray(np.flip(self._env.render(), (0, 1)))

    def expert_action(self) -> NDArray[np.float32]:
        """Return what Meta-World's expert does now, (4,) within -1 to 1."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of gains that lead beyond 1, which is cut off
            # A copy: some experts change what they are given.
            action = self._expert.get_action(self._observation.copy())
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def labels(self) -> NDArray[np.float32]:
        """Return where `OBJECTS` are in the picture: (objects, 3) u, v (0 to 1) and presence.

        Right and down; what is hidden behind the arm counts as present.
        """
        found = np.zeros((len(OBJECTS), 3), dtype=np.float32)
        found[OBJECTS.index(self.task.thing)] = self._seen(self._observation[4:7])
        if self.task.goal:
            found[OBJECTS.index(GOAL)] = self._seen(self._env._target_pos)
        return found

    def _seen(self, position: NDArray[np.float64]) -> tuple[float, float, float]:
        data, model = self._env.data, self._env.model
        axes = data.cam_xmat[self._camera].reshape(3, 3)
        right, up, back = axes.T @ (position - data.cam_xpos[self._camera])
        half = np.tan(np.deg2rad(model.cam_fovy[self._camera]) / 2) * -back
        if half <= 0.0:
            return 0.0, 0.0, 0.0
        # The picture is turned by 180 degrees.
        u, v = 0.5 - right / half / 2, 0.5 + up / half / 2
        return (u, v, 1.0) if 0.0 <= u < 1.0 and 0.0 <= v < 1.0 else (0.0, 0.0, 0.0)

    def close(self) -> None:
        """Free the renderer."""
        self._env.close()
