# SPDX-License-Identifier: Apache-2.0
"""The action ``smolvla/run_task``: between its callers and a `core.task.TaskRunner`.

The thread that receives never waits for a goal: its coroutine awaits a future that is
completed when the control loop has ended the goal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node
from rclpy.task import Future
from smolvla_core.joints import JointOrder
from smolvla_core.ros import converters

from smolvla_executor.core.task import Goal, Outcome, Progress, Reason, goal_problem
from smolvla_msgs.action import RunTask


class TaskServer:
    """Serves ``smolvla/run_task`` on a node.

    Args:
        node: whose executor receives.
        refusal: returns why no goal can be accepted now; empty when one can.
        joints: returns the names of the columns of recorded actions.
        begin: hands a goal to the control loop.
        cancel: hands the cancel of a goal to it.
    """

    def __init__(
        self,
        node: Node,
        refusal: Callable[[], str],
        joints: Callable[[], Sequence[str]],
        begin: Callable[[Goal], None],
        cancel: Callable[[bytes], None],
    ) -> None:
        self._logger = node.get_logger()
        self._refusal = refusal
        self._joints = joints
        self._begin = begin
        self._cancel = cancel
        self._goals: dict[bytes, tuple[Any, Future[Outcome]]] = {}
        self._outcomes: deque[Outcome] = deque()
        self._progress: Progress | None = None
        self._changed = node.create_guard_condition(self._deliver)
        self._server: Any = ActionServer(
            node,
            RunTask,
            "smolvla/run_task",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )

    # From the control loop's thread.

    def end(self, outcome: Outcome) -> None:
        """Take how a goal ended; the receiving thread answers its caller."""
        self._outcomes.append(outcome)
        self._changed.trigger()

    def feed_back(self, progress: Progress) -> None:
        """Take how a goal goes; the receiving thread publishes the feedback."""
        self._progress = progress
        self._changed.trigger()

    # In the thread that receives.

    @property
    def busy(self) -> bool:
        """Whether a goal runs, or its caller has not got the result yet."""
        return bool(self._goals)

    def abort(self, message: str) -> None:
        """End the running goals without the control loop, which cannot do it any more."""
        for goal_id in list(self._goals):
            self._outcomes.append(Outcome(goal_id, Reason.FAULT, message, 0.0, 0))
        self._deliver()

    def close(self) -> None:
        """End the goals that still run and the server."""
        self.abort("the node ended")
        self._server.destroy()

    def _on_goal(self, request: RunTask.Goal) -> GoalResponse:
        problem = self._refusal()
        if not problem:
            try:
                replay = self._recorded(request) is not None
                problem = goal_problem(request.instruction, request.time_limit, replay)
            except ValueError as error:
                problem = str(error)
        if problem:
            self._logger.warning(f"goal rejected: {problem}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _recorded(self, request: RunTask.Goal) -> NDArray[np.float64] | None:
        """Return the recorded actions (rows, joints) [rad] of a goal, None where it has none.

        Raises:
            ValueError: they cannot be taken apart.
        """
        if not request.replay.positions:
            return None
        return converters.chunk_positions(request.replay, JointOrder(self._joints()))

    def _on_accepted(self, handle: Any) -> None:
        goal_id, request = bytes(handle.goal_id.uuid), handle.request
        goal = Goal(
            goal_id,
            request.instruction,
            request.time_limit,
            self._recorded(request),
            converters.from_duration(request.replay.period),
            request.go_home,
            request.own_judge,
        )
        limit = f" for at most {goal.time_limit:g} s" if goal.time_limit else ""
        what = "" if goal.replay is None else f" from {len(goal.replay)} recorded actions"
        self._logger.info(f'goal: "{goal.instruction}"{what}{limit}')
        self._goals[goal_id] = (handle, Future())
        self._begin(goal)
        handle.execute()

    def _on_cancel(self, handle: Any) -> CancelResponse:
        self._cancel(bytes(handle.goal_id.uuid))
        return CancelResponse.ACCEPT

    async def _execute(self, handle: Any) -> RunTask.Result:
        goal_id = bytes(handle.goal_id.uuid)
        outcome = await self._goals[goal_id][1]
        del self._goals[goal_id]
        assert outcome is not None
        self._logger.info(f'goal "{handle.request.instruction}" ended: {outcome.message}')
        if outcome.reason == Reason.CANCELED:
            handle.canceled()
        elif outcome.reason == Reason.SUCCEEDED:
            handle.succeed()
        else:
            handle.abort()
        return RunTask.Result(
            reason=int(outcome.reason),
            message=outcome.message,
            elapsed=outcome.elapsed,
            chunks=outcome.chunks,
        )

    def _deliver(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None and progress.goal_id in self._goals:
            handle, _ = self._goals[progress.goal_id]
            handle.publish_feedback(
                RunTask.Feedback(
                    elapsed=progress.elapsed,
                    queue_depth=progress.queue_depth,
                    chunks=progress.chunks,
                    latency=progress.latency,
                )
            )
        while self._outcomes:
            outcome = self._outcomes.popleft()
            _, ended = self._goals.get(outcome.goal_id, (None, None))
            if ended is not None and not ended.done():
                ended.set_result(outcome)
