# SPDX-License-Identifier: Apache-2.0
"""The e-stop: what stops the arm, latched until somebody resets it."""

from __future__ import annotations

import math

from smolvla_core.instruction import START, order

from smolvla_executor.core.executor_types import RefusedError

TOPIC = "estop"


class EStop:
    """Latches a stop: by an order, by `true` on a topic, or by the topic's silence.

    Attributes:
        reason: why the arm is stopped, and what to do; empty while it is not.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._pressed = ""
        self._heard = -math.inf

    def press(self, by: str) -> None:
        """Stop until `reset`; `by` says who or what did it."""
        if not self.reason:  # the first is the cause
            self.reason = f"e-stop: {by}; when it is safe call {order('reset_estop')}"

    def on_message(self, pressed: bool, topic: str, now: float) -> None:
        """Take a message of a button or a watchdog, received at `now` [s]."""
        self._heard = now
        self._pressed = f"{topic} says true" if pressed else ""
        if pressed:
            self.press(self._pressed)

    def watch(self, timeout: float, now: float) -> str:
        """Stop where the topic is silent for longer than `timeout` [s]; 0: it may be.

        Returns:
            What is waited for before anything may move; empty for nothing.
        """
        if not timeout or self.reason:
            return ""
        if math.isinf(self._heard):
            return f"no message on the topic {TOPIC} yet, which estop_timeout expects"
        if now - self._heard > timeout:
            self.press(f"no message on the topic {TOPIC} for more than {timeout:g} s")
        return ""

    def check_reset(self, timeout: float, now: float) -> str:
        """See whether `reset` would release the stop. Returns nothing to say.

        Raises:
            RefusedError: what stopped the arm goes on.
        """
        if self._pressed:
            raise RefusedError(f"{self._pressed} still: release the button first")
        if timeout and now - self._heard > timeout:
            raise RefusedError(f"the topic {TOPIC} is silent still: is its node running?")
        return ""

    def reset(self, timeout: float, now: float) -> str:
        """Release the stop. Returns a message for the caller.

        Raises:
            RefusedError: what stopped the arm goes on.
        """
        if not self.reason:
            return "was not stopped"
        self.check_reset(timeout, now)
        self.reason = ""
        return f"reset: call {START} or send a RunTask goal"
