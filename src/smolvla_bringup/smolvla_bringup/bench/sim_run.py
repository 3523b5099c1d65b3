# SPDX-License-Identifier: Apache-2.0
"""Runs of the benchmark with real nodes: the same measurements as in simulated time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from smolvla_sim.bench.files import Claim
from smolvla_sim.bench.runs import EPISODE, Cell
from smolvla_sim.world.tasks import task_sequence
from std_srvs.srv import Trigger

from smolvla_bringup.bench.sim_monitor import BenchMonitor
from smolvla_bringup.system.node_list import simulation_nodes
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import Options
from smolvla_bringup.system.starter import Starter
from smolvla_msgs.msg import PolicyStatus
from smolvla_msgs.srv import ResetSim, SetTask

_READY_LIMIT = 300.0  # [s]: a full-size checkpoint loads and warms up meanwhile
_CALL_LIMIT = 30.0  # [s] for one service call
_HEARD_LIMIT = 10.0  # [s] for the executor to take a sentence
_RESEND_PERIOD = 1.0  # [s] between two tries
# After a reset, until joint states and all cameras show the new scene [s].
_SETTLE = 0.4
_SWEEP_PERIOD = 0.005  # [s] between two looks at messages and nodes
# Noise of the policy differs from run to run with real nodes, as requests come when they come.
_POLICY_SEED = 0
_READY_STATES = (PolicyStatus.WAITING, PolicyStatus.READY, PolicyStatus.INFERRING)


class BenchError(Exception):
    """A run could not be measured; the text says why."""


def specs(claim: Claim, cell: Cell) -> list[NodeSpec]:
    """Return the nodes for a cell: those of the demo with the cell's settings.

    Raises:
        SetupError: something is not installed, or the options contradict each other.
    """
    settings, execution = claim.settings, cell.execution
    cameras = list(claim.facts.cameras)
    given: dict[str, dict[str, Any]] = {
        "sim_node": {
            "cameras": cameras,
            "image_width": settings.size[0],
            "image_height": settings.size[1],
            "variation": settings.variation,
            "score_rate": 50.0,
            "restock": True,
        },
        "policy_node": {
            "period": 1.0 / settings.fps,
            "inference_delay": cell.delay_ms / 1e3,
            "cameras": list(settings.cameras) or cameras,
            "stats": settings.stats,
            "device": settings.device,
            "seed": _POLICY_SEED,
            "noise_scale": settings.noise_scale,
            "real_time_chunking": execution.real_time_chunking,
            "chunk_size": claim.facts.chunk_size,
        },
        "executor_node": {
            "alignment": execution.alignment,
            "actions_per_chunk": execution.actions_per_chunk,
            "resume_jump": execution.resume_jump,
            "status_rate": 100.0,  # more than cycles: a status with every one
        },
    }
    nodes = simulation_nodes(
        Options(
            hardware="sim",
            model=settings.model,
            policy=settings.policy,
            checkpoint=settings.checkpoint if settings.policy == "smolvla" else None,
            task=next(task_sequence(settings.asked, 0)).sentence,
            rate=settings.rate,
            g=execution.chunk_size_threshold,
            aggregation=execution.aggregate,
            wait_for_start=True,
        )
    )
    return [
        dataclasses.replace(spec, parameters={**spec.parameters, **given[spec.name]})
        for spec in nodes
    ]


class CellRun:
    """The nodes of one cell while they run; a context manager that ends them.

    Args:
        claim: what is repeated.
        cell: the cell.
        log_folder: of the nodes.
    """

    def __init__(self, claim: Claim, cell: Cell, log_folder: Path) -> None:
        self._settings = claim.settings
        self._starter = Starter(specs(claim, cell), log_folder)
        self._monitor = BenchMonitor(claim.settings.rate)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._monitor)

    def __enter__(self) -> CellRun:
        """Start the nodes and wait until they are ready."""
        self._starter.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the nodes."""
        self._starter.stop()
        self._executor.shutdown()
        self._monitor.destroy_node()

    def run(self, measurement: str, seed: int) -> dict[str, Any]:
        """Measure; return the figures as `smolvla_sim.bench.runs.BenchPlayer` does.

        Raises:
            BenchError: a node died, does not answer or refuses.
        """
        one = measurement == EPISODE
        sentences = (task.sentence for task in task_sequence(self._settings.asked, seed))
        first = next(sentences)
        self._prepare(seed, first)
        monitor = self._monitor
        monitor.begin()
        begun = time.monotonic()
        self._call(monitor.start_client, Trigger.Request())
        done, failed = self._play(sentences, begun, self._settings.limit if one else None)
        taken = time.monotonic() - begun
        trace = monitor.end()
        measures = trace.measures(self._settings.rate / self._settings.fps)
        if one:
            success = bool(done)
            seconds = done[0] if success else taken
            return {"task": first, "success": success, "seconds": seconds, **measures}
        return {"cubes": len(done), "failed": failed, "seconds": done, **measures}

    def _prepare(self, seed: int, sentence: str) -> None:
        """Bring arm, scene and policy to the start of a run."""
        monitor = self._monitor
        self._call(monitor.stop_client, Trigger.Request())
        self._call(monitor.task_client, SetTask.Request(task=sentence))
        self._call(monitor.reset_client, ResetSim.Request(seed=seed))
        resend = 0.0

        def heard() -> bool:
            nonlocal resend
            status = monitor.executor_status
            if status is not None and status.instruction == sentence:
                return True
            if time.monotonic() >= resend:
                resend = time.monotonic() + _RESEND_PERIOD
                monitor.instruct(sentence)
            return False

        monitor.instruct(sentence)
        if not self._spin(heard, _HEARD_LIMIT):
            raise BenchError("executor_node does not listen to the topic task_instruction")
        self._spin(lambda: False, _SETTLE)

    def _play(
        self, sentences: Iterator[str], begun: float, only: float | None
    ) -> tuple[list[float], int]:
        """Watch one task with the time limit `only`, or a minute of tasks.

        Returns:
            The times of the tasks that were done [s], and how many were not done in time.
        """
        monitor = self._monitor
        end = begun + (self._settings.minute if only is None else only)
        done: list[float] = []
        failed, start = 0, begun
        while True:
            limit = min(start + self._settings.limit, end)
            success = self._spin(
                lambda: monitor.score is not None and monitor.score >= 1.0,
                limit - time.monotonic(),
            )
            now = time.monotonic()
            if success:
                done.append(round(now - start, 3))
            if only is not None or now >= end:
                return done, failed
            failed += not success
            sentence = next(sentences)
            monitor.instruct(sentence)
            self._call(monitor.task_client, SetTask.Request(task=sentence))
            start = now

    def _wait_until_ready(self) -> None:
        monitor = self._monitor

        def ready() -> bool:
            status = monitor.policy_status
            if status is not None and status.state == PolicyStatus.ERROR:
                raise BenchError(f"policy_node cannot start: {status.message}")
            return (
                status is not None
                and status.state in _READY_STATES
                and monitor.executor_status is not None
                and monitor.joint_states_seen
                and not monitor.absent_services()
            )

        if not self._spin(ready, _READY_LIMIT):
            lines = "\n".join(self._starter.tail("policy_node", 3))
            raise BenchError(
                f"the nodes are not ready after {_READY_LIMIT:g} s; policy_node said:\n{lines}"
            )

    def _call(self, client: Client[Any, Any], request: Any) -> None:
        """Call a service and see to it that it succeeds."""
        future = client.call_async(request)
        if not self._spin(future.done, _CALL_LIMIT):
            raise BenchError(f"the service {client.srv_name} did not answer in {_CALL_LIMIT:g} s")
        response: Any = future.result()
        if not response.success:
            raise BenchError(f"the service {client.srv_name} refused: {response.message}")

    def _spin(self, done: Callable[[], bool], limit: float) -> bool:
        """Serve the monitor until `done()`; False after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not done():
            ended = self._starter.wait()
            if ended is not None:
                raise BenchError(ended.words())
            if time.monotonic() >= deadline:
                return False
            received = self._monitor.received
            self._executor.spin_once(timeout_sec=0.0)
            if self._monitor.received == received:
                time.sleep(_SWEEP_PERIOD)
        return True
