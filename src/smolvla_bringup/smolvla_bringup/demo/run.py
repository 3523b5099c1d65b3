# SPDX-License-Identifier: Apache-2.0
"""The flow of the demo: start, wait, reset, instruct, watch, end, report."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

from smolvla_core.client import SmolVLAClient
from smolvla_core.console import write_json
from smolvla_core.ros.diagnostics import EXECUTOR_STATES

from smolvla_bringup.demo.plan import PlanView
from smolvla_bringup.demo.plot import plot_run
from smolvla_bringup.demo.report import LiveLine, status_line, summarize
from smolvla_bringup.demo.video import CameraFeed, Caption, VideoWriter
from smolvla_bringup.system.description import robot_description
from smolvla_bringup.system.environment import enter_own_graph
from smolvla_bringup.system.node_list import simulation_nodes
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.run_log import RunLog
from smolvla_bringup.system.session import Session

FILES = ("demo.mp4", "demo.png", "summary.json")
_PATIENCE = 10.0  # [s] until the wait quotes what a node printed last
_EPILOGUE = 1.5  # [s] recorded after the success, so that the video shows it
_PERIOD = 0.03  # [s] between two polls of messages, nodes and signals


class Demo:
    """One demo.

    Args:
        options: how to start the system.
        folder: for `FILES` and logs.
        time_limit: for the task, from the instruction on [s].
        line: where progress is shown.

    Attributes:
        summary: what was measured; None until the instruction was sent and the run is over.
    """

    def __init__(self, options: Options, folder: Path, time_limit: float, line: LiveLine) -> None:
        self._options = options
        self._folder = folder
        self._time_limit = time_limit
        self._line = line
        self._notes: list[str] = []
        self._log: RunLog | None = None
        self.summary: dict[str, Any] | None = None

    def run(self, ready_limit: float, video: bool) -> None:
        """Run the demo and write its files; no process is left, however it ends.

        Args:
            ready_limit: for all nodes to become ready [s].
            video: whether to write the video.

        Raises:
            SetupError: the nodes cannot be started.
            ClientError: a node died, is not ready in time, or refuses.
            KeyboardInterrupt: a stop signal came.
        """
        enter_own_graph()  # the demo's commands reach no robot
        specs = simulation_nodes(self._options)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise SetupError(f"cannot write into {self._folder}: {error}") from error
        session = Session(specs, self._folder / "log", "smolvla_demo", self._line.log, _PERIOD)
        try:
            with session:
                self._wait_until_ready(session, ready_limit)
                session.client.reset(self._options.seed)
                session.client.set_task(self._options.task)
                self._play(session, video)
        finally:
            if self._log is not None:
                self._report(self._log, session.client)

    def _wait_until_ready(self, session: Session, limit: float) -> None:
        begun = time.monotonic()

        def waiting_line(width: int) -> str:
            waited, parts = time.monotonic() - begun, []
            for name, text in session.client.unready(simulation=True).items():
                last = session.last_line(name) if waited > _PATIENCE else ""
                parts.append(f"{name}: {text}" + (f", it printed last: {last}" if last else ""))
            return f"waiting {waited:3.0f} s for {'; '.join(parts) or 'the last answer'}"

        self._line.log(
            f"starting the simulation, the policy ({self._options.policy}) and the "
            f"executor on a ROS domain of their own, {os.environ['ROS_DOMAIN_ID']}"
        )
        session.on_poll = lambda: self._line.update(waiting_line)
        session.wait_until_ready(limit)
        self._line.log(f"all nodes are ready after {time.monotonic() - begun:.1f} s")

    def _play(self, session: Session, video: bool) -> None:
        """Take the started nodes through the task."""
        client, logger, task = session.client, session.logger, self._options.task
        writer = None
        if video:
            plan = PlanView(robot_description(self._options, with_drivers=False))
            caption = functools.partial(self._caption, client, plan)
            writer = VideoWriter(self._folder / FILES[0], caption)
        feed = CameraFeed(writer, client.node) if writer is not None else None

        def poll() -> None:
            if feed is not None:
                feed.feed(logger.now())
            self._line.update(lambda width: status_line(logger.now(), client, width))

        self._line.log(f"instruction: {task}")
        session.on_poll = poll
        self._log = logger.begin()
        try:
            client.instruct(task)
            client.start()
            if client.until(lambda: client.succeeded, self._time_limit - logger.now()):
                client.spin(_EPILOGUE)
        finally:
            logger.end()
            outcome = "" if client.succeeded else f"NOT DONE in {self._log.end_time:.1f} s"
            if writer is not None and (problem := writer.close(outcome)):
                self._notes.append(problem)

    def _caption(self, client: SmolVLAClient, plan: PlanView, at: float) -> Caption:
        """Return what the video says at `at` [s]."""
        assert self._log is not None
        status = client.executor_status
        done = self._log.success_time
        return Caption(
            instruction=self._options.task,
            time=at,
            score=client.score,
            plan=""
            if status is None
            else f"plan: {status.queue_depth} of {status.chunk_size} "
            f"actions ahead, {EXECUTOR_STATES.get(status.state, '?')}",
            paths=plan.paths(self._log),
            outcome="" if done is None else f"DONE in {done:.1f} s",
            done=done is not None,
        )

    def _report(self, log: RunLog, client: SmolVLAClient) -> None:
        """Write what was recorded; also after an interruption."""
        options = self._options
        assert client.executor_status is not None  # both were ready
        assert client.policy_status is not None
        self._line.log("all nodes have ended; writing the results")
        self.summary = summarize(
            log, options, client.executor_status, client.policy_status, self._notes
        )
        write_json(self._folder / FILES[2], self.summary)
        done = log.success_time
        outcome = f"NOT done in {log.end_time:.1f} s" if done is None else f"done in {done:.1f} s"
        title = f"{options.task}: {outcome} ({self.summary['policy']}, seed {options.seed})"
        plot_run(log, title, self._folder / FILES[1])
