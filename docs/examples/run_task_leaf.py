# SPDX-License-Identifier: Apache-2.0
"""A leaf for py_trees: it runs a sentence as a RunTask goal, or a plan as a RunPlan goal.

    sentence = RunTask.Goal(instruction="put the red cube into the bowl", time_limit=20.0)
    leaf = GoalLeaf("red cube", node, RunTask, "smolvla/run_task", sentence)

While it runs, somebody spins the node. BehaviorTree.CPP has such a leaf: `RosActionNode` of
behaviortree_ros2.
"""

from __future__ import annotations

from typing import Any

from py_trees.behaviour import Behaviour
from py_trees.common import Status
from rclpy.action import ActionClient
from rclpy.node import Node


class GoalLeaf(Behaviour):
    """Succeeds when the goal does, fails when it is rejected or ends otherwise.

    Whatever interrupts it (another branch, the end of the tree) cancels the goal, and the arm
    stops within a control cycle.

    Args:
        name: of the leaf.
        node: in the namespace of the arm.
        action: the type, RunTask or RunPlan.
        topic: its name.
        goal: what to do.
    """

    def __init__(self, name: str, node: Node, action: Any, topic: str, goal: Any) -> None:
        super().__init__(name)
        self._client = ActionClient(node, action, topic)
        self._goal = goal
        self._sent: Any = None
        self._handle: Any = None
        self._ended: Any = None

    def initialise(self) -> None:
        """Forget the goal of before; the new one is sent as soon as somebody serves it."""
        self._sent = self._handle = self._ended = None

    def update(self) -> Status:
        """Look how the goal goes; a tree never waits."""
        if self._sent is None:
            if not self._client.server_is_ready():
                self.feedback_message = "nobody serves the action yet"
                return Status.RUNNING
            self._sent = self._client.send_goal_async(self._goal, self._on_feedback)
            self._sent.add_done_callback(self._on_response)
        if self._handle is not None and not self._handle.accepted:
            self.feedback_message = "rejected; the log of the node has the reason"
            return Status.FAILURE
        if self._ended is None or not self._ended.done():
            return Status.RUNNING
        result = self._ended.result().result
        self.feedback_message = result.message
        return Status.SUCCESS if result.reason == result.SUCCEEDED else Status.FAILURE

    def terminate(self, new_status: Status) -> None:
        """Cancel the goal where the leaf is interrupted."""
        if new_status == Status.INVALID and self._sent is not None:
            self._sent.add_done_callback(_cancel)
        self._sent = None

    def shutdown(self) -> None:
        """Free the action client."""
        self._client.destroy()

    def _on_response(self, sent: Any) -> None:
        if sent is self._sent:
            self._handle = sent.result()
            if self._handle.accepted:
                self._ended = self._handle.get_result_async()

    def _on_feedback(self, message: Any) -> None:
        feedback = message.feedback
        self.feedback_message = getattr(feedback, "seen", "") or f"{self.name} runs"


def _cancel(sent: Any) -> None:
    if sent.result().accepted:
        sent.result().cancel_goal_async()
