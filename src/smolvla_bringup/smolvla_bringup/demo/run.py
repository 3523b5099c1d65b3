# SPDX-License-Identifier: Apache-2.0
"""The flow of the demo: start, wait, reset, instruct, watch, end, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from smolvla_bringup.demo.cameras import DemoCameras, decode
from smolvla_bringup.demo.live_line import LiveLine
from smolvla_bringup.demo.monitor import DemoMonitor
from smolvla_bringup.demo.plot import plot_record
from smolvla_bringup.demo.report import summarize, write_summary
from smolvla_bringup.demo.video import VideoWriter
from smolvla_bringup.demo.words import run_line, unready
from smolvla_bringup.system.environment import enter_own_graph
from smolvla_bringup.system.node_list import simulation_nodes
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.signals import StopSignals
from smolvla_bringup.system.starter import Starter
from smolvla_msgs.msg import PolicyStatus
from smolvla_msgs.srv import ResetSim, SetTask

_PATIENCE = 10.0  # [s] until the wait quotes what a node printed last
_CALL_LIMIT = 30.0  # [s] for one service call
_HEARD_LIMIT = 10.0  # [s] for the executor to discover the instruction's publisher
_RESEND_PERIOD = 1.0  # [s] until the executor's status names the instruction
_EPILOGUE = 1.5  # [s] recorded after the success, so that the video shows it
_SWEEP_PERIOD = 0.03  # [s] between two looks at messages, nodes and signals


class DemoError(Exception):
    """The demo could not run or not go on; the text says why."""


class InterruptError(Exception):
    """The user ended the demo."""


@dataclass(frozen=True)
class DemoSettings:
    """What belongs to the demo alone.

    Attributes:
        out: folder for video, picture, summary and logs.
        time_limit: for the task, from the instruction on [s].
        ready_limit: for all nodes to become ready [s].
        video: whether to write the video.
    """

    out: Path
    time_limit: float
    ready_limit: float
    video: bool


class DemoRun:
    """One demo.

    Args:
        options: how to start the system.
        settings: the demo's own.
        line: where progress is told.
        stop: tells when the user wants to end.

    Attributes:
        summary: the figures; None until the instruction was sent and the run is over.
    """

    def __init__(
        self, options: Options, settings: DemoSettings, line: LiveLine, stop: StopSignals
    ) -> None:
        self._options = options
        self._settings = settings
        self._line = line
        self._stop = stop
        self._video: VideoWriter | None = None
        self._cameras: DemoCameras | None = None
        self.summary: dict[str, Any] | None = None

    def run(self) -> None:
        """Run the demo and write its files; no process is left, however it ends.

        Raises:
            SetupError: the nodes cannot be started.
            DemoError: a node died, is not ready in time, or refuses.
            InterruptError: a stop signal came.
        """
        enter_own_graph()  # no robot hears the demo's commands
        specs = simulation_nodes(self._options)
        joints = tuple(specs[-1].configured("joints"))
        out = self._settings.out
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name in ("demo.mp4", "demo.png", "summary.json"):
                (out / name).unlink(missing_ok=True)
        except OSError as error:
            raise SetupError(f"cannot write into {out}: {error}") from error
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        try:
            self._starter = Starter(specs, out / "log")
            self._monitor = DemoMonitor(joints, self._options.namespace)
            self._executor = SingleThreadedExecutor()
            self._executor.add_node(self._monitor)
            try:
                with self._starter:
                    self._play()
            finally:
                self._finish()
        finally:
            rclpy.shutdown()

    def _play(self) -> None:
        """Take the started nodes through the task."""
        self._wait_until_ready()
        monitor = self._monitor
        self._call(monitor.reset_client, ResetSim.Request(seed=self._options.seed))
        self._call(monitor.task_client, SetTask.Request(task=self._options.task))
        if not self._spin_until(monitor.instruction_heard, _HEARD_LIMIT):
            raise DemoError("executor_node does not listen to the topic task_instruction")
        if self._settings.video:
            self._video = VideoWriter(self._settings.out / "demo.mp4", self._caption, decode)
            self._cameras = DemoCameras(self._video, self._options.namespace)
        self._line.say(f"instruction: {self._options.task}")
        monitor.begin()
        try:
            monitor.send_instruction(self._options.task)
            self._call(monitor.start_client, Trigger.Request())
            limit = self._settings.time_limit - monitor.now()
            if self._spin_until(self._succeeded, limit, self._watch):
                self._spin_until(lambda: False, _EPILOGUE, self._watch)
        finally:
            monitor.end()

    def _succeeded(self) -> bool:
        record = self._monitor.record
        return record is not None and record.success_time is not None

    def _watch(self) -> None:
        """Show how things stand; repeat the instruction until the executor says it has it."""
        monitor = self._monitor
        if self._cameras is not None:
            self._cameras.feed(monitor.now())
        self._line.update(lambda: run_line(monitor.now(), monitor))
        status = monitor.policy_status
        if status is not None and status.state == PolicyStatus.ERROR:
            raise self._trouble("policy_node", f"policy_node cannot go on: {status.message}")
        executor = monitor.executor_status
        if executor is None or executor.instruction != self._options.task:
            monitor.send_instruction(self._options.task, pause=_RESEND_PERIOD)

    def _wait_until_ready(self) -> None:
        begin = time.monotonic()
        missing: dict[str, str] = {}

        def ready() -> bool:
            missing.clear()
            missing.update(unready(self._monitor))
            return not missing

        def show() -> None:
            self._line.update(lambda: self._waiting_line(time.monotonic() - begin, missing))
            status = self._monitor.policy_status
            if status is not None and status.state == PolicyStatus.ERROR:
                raise self._trouble("policy_node", f"policy_node cannot start: {status.message}")

        self._line.say(
            f"starting the simulation, the policy ({self._options.policy}) and the "
            f"executor on a ROS domain of their own, {os.environ['ROS_DOMAIN_ID']}"
        )
        if not self._spin_until(ready, self._settings.ready_limit, show):
            words = [f"not ready after {self._settings.ready_limit:g} s:"]
            for name, text in missing.items():
                words.append(f"{name}: {text}. {self._last_lines(name)}")
            raise DemoError("\n".join(words))
        self._line.say(f"all nodes are ready after {time.monotonic() - begin:.1f} s")

    def _waiting_line(self, waited: float, missing: Mapping[str, str]) -> str:
        words = []
        for name, text in missing.items():
            said = self._starter.tail(name, 1)
            if waited > _PATIENCE and said:
                text = f"{text}, its last words: {said[0]}"
            words.append(f"{name}: {text}")
        return f"waiting {waited:3.0f} s for {'; '.join(words)}"

    def _call(self, client: Client[Any, Any], request: Any) -> None:
        """Call a service and see to it that it succeeds."""
        future = client.call_async(request)
        if not self._spin_until(future.done, _CALL_LIMIT):
            raise DemoError(f"the service {client.srv_name} did not answer in {_CALL_LIMIT:g} s")
        response: Any = future.result()
        if not response.success:
            raise DemoError(f"the service {client.srv_name} refused: {response.message}")

    def _spin_until(
        self,
        done: Callable[[], bool],
        limit: float,
        between: Callable[[], None] = lambda: None,
    ) -> bool:
        """Serve the monitor until `done()`; False after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not done():
            if self._stop.received is not None:
                raise InterruptError
            ended = self._starter.wait()
            if ended is not None:
                if ended.critical:
                    raise DemoError(ended.words())
                self._line.say(ended.words())
            between()
            if time.monotonic() >= deadline:
                return False
            self._serve()
            time.sleep(_SWEEP_PERIOD)
        return True

    def _serve(self) -> None:
        """Take all messages that are there."""
        idle = 0
        # A spin that serves nothing may only have reached the end of an older look.
        while idle < 2:
            received = self._monitor.received
            self._executor.spin_once(timeout_sec=0.0)
            idle = idle + 1 if self._monitor.received == received else 0

    def _trouble(self, node: str, text: str) -> DemoError:
        return DemoError(f"{text}\n{self._last_lines(node)}")

    def _last_lines(self, node: str) -> str:
        lines = self._starter.tail(node)
        words = f"Its last lines (all of them: {self._starter.log_file(node)}):"
        return "\n".join([words, *(f"    {line}" for line in lines or ("(it printed nothing)",))])

    def _caption(self, at: float) -> str:
        return f"{self._options.task}     {max(at, 0.0):.1f} s"

    def _finish(self) -> None:
        """Write what was recorded; also after an interruption."""
        notes = []
        if self._video is not None and (problem := self._video.close()):
            notes.append(problem)
        record, monitor = self._monitor.record, self._monitor
        if record is None or monitor.executor_status is None or monitor.policy_status is None:
            return
        self._line.say("all nodes have ended; writing the results")
        self.summary = summarize(
            record, self._options, monitor.executor_status, monitor.policy_status, notes
        )
        write_summary(self.summary, self._settings.out / "summary.json")
        title = f"{self._options.task} ({self.summary['policy']}, seed {self._options.seed})"
        plot_record(record, title, self._settings.out / "demo.png")
