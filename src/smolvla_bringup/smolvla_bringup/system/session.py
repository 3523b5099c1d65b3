# SPDX-License-Identifier: Apache-2.0
"""Nodes as processes around the simulation, and a client for them: for demo and benchmarks."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from smolvla_core.client import ClientError, SmolVLAClient
from smolvla_core.robot import load_robot

from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.run_log import RunLogger
from smolvla_bringup.system.starter import Starter, stop_signals
from smolvla_msgs.msg import PolicyStatus


class SessionError(ClientError):
    """The nodes could not become ready or not go on; the text has the reason."""


class Session:
    """Runs the nodes of `specs`; a context manager that ends them at its exit.

    While the client waits, a node that dies raises SessionError, a stop signal KeyboardInterrupt.

    Args:
        specs: the nodes, executor_node among them.
        log_folder: gets one file per node.
        name: of the client's node.
        log: called with what happens to nodes that are not needed.
        period: of the client's polls for messages [s].

    Attributes:
        client: commands the nodes and has their status.
        on_poll: called with each poll.
    """

    client: SmolVLAClient

    def __init__(
        self,
        specs: Sequence[NodeSpec],
        log_folder: Path,
        name: str,
        log: Callable[[str], object] = print,
        period: float = 0.01,
    ) -> None:
        self.on_poll: Callable[[], None] = lambda: None
        self._specs = specs
        self._starter = Starter(specs, log_folder)
        self._name, self._log, self._period = name, log, period

    def __enter__(self) -> Session:
        """Start the nodes."""
        with contextlib.ExitStack() as stack:
            self._stop = stack.enter_context(stop_signals())
            self.client = stack.enter_context(
                SmolVLAClient.connect(self._name, on_wait=self._poll, period=self._period)
            )
            stack.enter_context(self._starter)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End the nodes."""
        self._stack.close()

    @functools.cached_property
    def logger(self) -> RunLogger:
        """Logs what happens on the topics."""
        (executor,) = (spec for spec in self._specs if spec.name == "executor_node")
        return RunLogger(self.client.node, load_robot(executor.configured("robot")).joint_names)

    def wait_until_ready(self, limit: float) -> None:
        """Wait until all nodes are ready.

        Args:
            limit: how long at most [s].

        Raises:
            SessionError: they are not; the text names them and quotes what they printed last.
        """
        client = self.client
        if not client.until(lambda: not client.unready(simulation=True), limit):
            lines = [f"not ready after {limit:g} s:"]
            for name, text in client.unready(simulation=True).items():
                lines.append(f"{name}: {text}. {self._starter.last_lines(name)}")
            raise SessionError("\n".join(lines))

    def last_line(self, name: str) -> str:
        """Return what the node `name` printed last; empty for nothing."""
        return "".join(self._starter.tail(name, 1))

    def _poll(self) -> None:
        if self._stop:
            raise KeyboardInterrupt
        if ended := self._starter.wait():
            if ended.critical:
                raise SessionError(ended.message)
            self._log(ended.message)
        status = self.client.policy_status
        if status is not None and status.state == PolicyStatus.ERROR:
            last = self._starter.last_lines("policy_node")
            raise SessionError(f"policy_node cannot go on: {status.message}\n{last}")
        self.on_poll()
