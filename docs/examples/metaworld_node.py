# SPDX-License-Identifier: Apache-2.0
"""The benchmark Meta-World as a robot of one's own: states and pictures out, commands in.

    scripts/with_metaworld.sh python docs/examples/metaworld_node.py --tasks reach-v3 --episodes 10

plays episodes through policy_node and executor_node, which run already (your_own_stack.md in
docs/how-to has the commands), and says how many succeeded. Exits with 0 when all were played, with
2 when that was not possible, and with 130 after Ctrl-C. The world has no clock: it does one step
for each command, and stands still without.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from smolvla_core.client import ClientError, SmolVLAClient
from smolvla_core.ros import qos
from smolvla_core.ros.converters import image_message
from smolvla_sim.evaluate import success_line
from smolvla_sim.world.rendering import choose_gl
from std_msgs.msg import Bool, Float64MultiArray

from smolvla_msgs.action import RunTask

JOINTS = ("x", "y", "z", "gripper")  # as in metaworld.yaml: the order of state and commands
LOADING = 120.0  # so long a checkpoint may take [s]
SETTLE = 0.5  # commands of the episode before have come by then, and new pictures have left [s]


class StepsOverError(Exception):
    """The episode has had all its steps."""


class Robot:
    """Publishes what is measured and seen, and carries out commands while it is `driven`.

    Args:
        node: of its topics.
        rate: how often it publishes while it stands still [Hz].
    """

    def __init__(self, node: Node, rate: float) -> None:
        self._node = node
        self.world: Any = None  # a smolvla_metaworld.environment.MetaWorld
        self.driven = self._stepped = False
        self._states = node.create_publisher(JointState, "joint_states", 10)
        self._images = node.create_publisher(Image, "camera/corner/image_raw", qos.image_qos())
        self._verdicts = node.create_publisher(Bool, "metaworld/success", qos.instruction_qos())
        node.create_subscription(
            Float64MultiArray, "arm_controller/commands", self._on_command, qos.command_qos()
        )
        node.create_timer(1.0 / rate, self._wait)

    def _on_command(self, message: Float64MultiArray) -> None:
        if self.driven and not self.world.over:
            self.world.step(self.world.toward(np.array(message.data)))
            self._stepped = True
            self.publish()

    def _wait(self) -> None:
        if self.world is not None and not self._stepped:
            self.publish()
        self._stepped = False

    def publish(self) -> None:
        """Publish state, picture and whether the task is done, all of now."""
        state = JointState(name=list(JOINTS), position=self.world.state.tolist())
        state.header.stamp = self._node.get_clock().now().to_msg()
        self._states.publish(state)
        self._verdicts.publish(Bool(data=bool(self.world.success)))
        picture = image_message(self.world.picture())
        picture.header.stamp = state.header.stamp
        self._images.publish(picture)

    def check(self, _feedback: RunTask.Feedback) -> None:
        """End the running goal when the episode is over."""
        if self.world.over and not self.world.success:
            raise StepsOverError


def play(client: SmolVLAClient, robot: Robot, seed: int) -> bool:
    """Play one episode from its seed; return whether the task was done."""
    robot.driven = False
    robot.world.reset(seed)
    robot.publish()
    client.wait_until_ready(LOADING)
    client.spin(SETTLE)
    robot.driven = True
    with suppress(StepsOverError):  # which cancels the goal
        result = client.run_task(robot.world.task.sentence, on_feedback=robot.check)
        if result.reason != RunTask.Result.SUCCEEDED:
            raise ClientError(f"episode {seed} was broken off: {result.message}")
    robot.driven = False
    return bool(robot.world.success)


def play_all(client: SmolVLAClient, robot: Robot, task: str, seeds: Sequence[int]) -> None:
    """Play the episodes of a task and print how they went."""
    done = 0
    for seed in seeds:
        done += play(client, robot, seed)
        word = "done" if robot.world.success else "not done"
        print(f"{task} {seed}: {word} after {robot.world.steps} steps", flush=True)
    print(f"{task}: {success_line(done, len(seeds))}", flush=True)


def metaworld(task: str) -> Any:
    """Make a world; its pictures have coarser shadows, which takes a third of the time."""
    from smolvla_metaworld.environment import TASKS, MetaWorld

    if task not in TASKS:
        raise ValueError(f"there is no task '{task}'; choose of {', '.join(TASKS)}")
    choose_gl()
    return MetaWorld(task, quick=True)


def main(arguments: Sequence[str] | None = None, make: Callable[[str], Any] = metaworld) -> int:
    """Play the episodes of each task."""
    parser = argparse.ArgumentParser(description="Play Meta-World through the nodes.")
    parser.add_argument("--tasks", nargs="+", default=["reach-v3"], help="of Meta-World")
    parser.add_argument("--episodes", type=int, default=10, help="of each task")
    parser.add_argument("--seed", type=int, default=1000, help="of the first episode")
    parser.add_argument("--rate", type=float, default=10.0, help="of executor_node [Hz]")
    given = parser.parse_args(arguments)
    if given.episodes < 1 or given.rate <= 0.0:
        parser.error("--episodes and --rate must be above 0")
    try:
        with SmolVLAClient.connect("metaworld_node") as client:
            robot = Robot(client.node, given.rate)
            for task in given.tasks:
                with closing(make(task)) as robot.world:
                    play_all(client, robot, task, range(given.seed, given.seed + given.episodes))
    except (ClientError, ImportError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
