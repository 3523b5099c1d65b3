# SPDX-License-Identifier: Apache-2.0
"""What becomes of the system when a node ends: one rule for launch and starter, without ROS.

A real arm is held by its driver. Policy, executor, cameras and what draws may therefore die and
come back; only the end of the arm's own nodes ends a system that holds an arm.
"""

from __future__ import annotations

import enum
import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from smolvla_bringup.system.node_spec import NodeSpec

RESTART_DELAY = 2.0
"""From the end of a node to its new start [s]: memory and devices are free again by then."""
RESTARTS = 5
"""How often in a row a node is restarted."""
STEADY = 120.0
"""A node that has run for this long [s] has come up; its next end is the first one again."""

_ERROR = re.compile(r"\[(ERROR|FATAL)\]|Error\b|error:")
_LOG_HEAD = re.compile(r"^\[\w+\] \[[\d.]+\] \[[^\]]*\]: ")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


class Outcome(enum.Enum):
    """What to do when a node has ended."""

    RESTART = "restart it after RESTART_DELAY"
    WITHOUT = "go on without it"
    HOLD = "go on without it, and the arm holds"
    END = "end the system"


@dataclass(frozen=True)
class Verdict:
    """What to do, and the message for the user.

    Attributes:
        outcome: what to do.
        message: one line; for `Outcome.END` the reason alone.
        level: of a log: info, warning or error.
    """

    outcome: Outcome
    message: str
    level: str = "error"


class Supervisor:
    """Decides about each node of `specs` that ends.

    A node that failed is restarted, `RESTARTS` times in a row. One that ended with exit status 0
    was ended by somebody and one with ``EX_CONFIG`` would only fail again, so both stay ended.

    Args:
        specs: all nodes that are started together.
        at: when [s], on any steady clock.
    """

    def __init__(self, specs: Sequence[NodeSpec], at: float) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._errors: dict[str, list[str]] = {spec.name: [] for spec in specs}
        self._begun = {spec.name: at for spec in specs}
        self._restarts = {spec.name: 0 for spec in specs}
        self._arm_is_held = any(spec.holds_arm for spec in specs)

    def add_output(self, name: str, text: str) -> None:
        """Look for errors in what the node `name` printed; the first and the last are kept."""
        errors = self._errors[name]
        for line in text.splitlines():
            if _ERROR.search(line):
                errors[1:] = [_LOG_HEAD.sub("", _COLOR.sub("", line)).strip()]

    def ended(self, name: str, code: int, at: float) -> Verdict | None:
        """Decide what to do now that the node `name` has ended.

        Args:
            name: of the node.
            code: its exit status; negative is the number of the signal that killed it.
            at: when [s].

        Returns:
            None where it has done its work.
        """
        spec = self._specs[name]
        if spec.one_shot and code == 0:
            return None
        message = f"{name} {describe_exit(code)}"
        if reason := self._reason(spec, code):
            message += f": {reason}"
        if self._may_restart(spec, code, at):
            self._restarts[name] += 1
            self._begun[name] = at + RESTART_DELAY
            self._errors[name].clear()
            meanwhile = "; the arm holds meanwhile" if self._arm_is_held and spec.critical else ""
            return Verdict(
                Outcome.RESTART,
                f"{message}; it is restarted in {RESTART_DELAY:g} s "
                f"({self._restarts[name]} of {RESTARTS} times in a row){meanwhile}",
                "warning",
            )
        # Its name is still to be seen in the graph, and a second one of a name is not started.
        wait = " (wait 20 s first)" if code < 0 else ""
        again = f"start it again{wait}: {spec.restart_command}"  # last, so that it can be copied
        if not spec.critical:
            message += "; the rest goes on without it"
            if spec.restart_command:
                message += f"; to {again}"
            return Verdict(Outcome.WITHOUT, message, "error" if code else "info")
        if self._arm_is_held and spec.restarts:
            return Verdict(
                Outcome.HOLD,
                f"{message}; as long as its driver runs, the arm holds its position with its "
                "torque on. Hold the arm and press Ctrl-C, which takes the torque off"
                f"{f', or {again}' if spec.restart_command else ''}",
            )
        return Verdict(Outcome.END, message)

    def _may_restart(self, spec: NodeSpec, code: int, at: float) -> bool:
        if at - self._begun[spec.name] >= STEADY:
            self._restarts[spec.name] = 0
        final = code in (0, os.EX_CONFIG)
        return spec.restarts and not final and self._restarts[spec.name] < RESTARTS

    def _reason(self, spec: NodeSpec, code: int) -> str:
        if code == -signal.SIGKILL:
            return ""  # it did not see it come
        if source := self._errors.get(spec.error_source):
            return source[0]
        return "".join(self._errors[spec.name][-1:])


def describe_exit(code: int) -> str:
    """Return the exit status `code` of a process as text; negative is a signal's number."""
    if code >= 0:
        return "ended by itself" if code == 0 else f"failed with exit status {code}"
    if -code == signal.SIGKILL:
        return "was killed by SIGKILL (by hand, or because the machine ran out of memory)"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
