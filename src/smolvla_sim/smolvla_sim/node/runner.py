# SPDX-License-Identifier: Apache-2.0
"""Lets a simulation keep pace with a clock and returns what is due to be published.

Deadlines are absolute: step k is due k periods after the start, so delays do not add up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from smolvla_sim.world.simulation import Simulation


class RealTimeRunner:
    """Steps a `Simulation` by a clock.

    Attributes:
        lock: to be held by whoever else uses the simulation.
        rates: channel name -> times per simulated second; another mapping may take its place at
            any time, see `check_rates`.

    Args:
        simulation: what to run.
        rates: see the attribute; at most the physics rate.
        clock: returns seconds; must never go backward.
        max_lag: a longer standstill (a suspended machine, a stopped process) is skipped
            instead of being caught up, seconds.

    Raises:
        ValueError: a rate is not between 0 and the physics rate.
    """

    def __init__(
        self,
        simulation: Simulation,
        rates: Mapping[str, float],
        clock: Callable[[], float],
        *,
        max_lag: float = 0.1,
    ) -> None:
        self.simulation = simulation
        self.lock = threading.Lock()
        self._clock = clock
        self._max_lag = max_lag
        self._physics_rate = round(1.0 / simulation.period, 6)
        self.check_rates(rates)
        self.rates = dict(rates)
        self._start = clock()
        self._steps = 0

    def check_rates(self, rates: Mapping[str, float]) -> None:
        """Raise ValueError where `rates` are not between 0 and the physics rate."""
        for name, rate in rates.items():
            if not 0.0 < rate <= self._physics_rate + 1e-6:
                raise ValueError(
                    f"the rate of {name} is {rate} Hz; it must be above 0 and at most the "
                    f"physics rate of {self._physics_rate:.0f} Hz"
                )

    def wait_time(self) -> float:
        """Return the seconds until the next step is due; 0 when it is overdue."""
        due = self._start + (self._steps + 1) / self._physics_rate
        return max(0.0, due - self._clock())

    def advance(self) -> frozenset[str]:
        """Make all steps that are due and return the channels that became due by them."""
        behind = self._clock() - self._start - self._steps / self._physics_rate
        if behind > self._max_lag:
            self._start += behind - 1.0 / self._physics_rate
            behind = 1.0 / self._physics_rate
        due: set[str] = set()
        # A hair of tolerance: a wait that ends on the deadline must not lose its step.
        for _ in range(int(behind * self._physics_rate + 1e-6)):
            with self.lock:
                self.simulation.step()
            self._steps += 1
            due |= {name for name, rate in self.rates.items() if self._passes(rate)}
        return frozenset(due)

    def _passes(self, rate: float) -> bool:
        now = self._steps * rate / self._physics_rate + 1e-9
        return int(now) > int(now - rate / self._physics_rate)
