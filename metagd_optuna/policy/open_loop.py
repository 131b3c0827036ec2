"""Controllers that look at nothing but the step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metagd_optuna.contracts import Context, FloatArray, MetaGDError, Observation
from metagd_optuna.policy.schedules import rates_of


class RunState(NamedTuple):
    """The budget of the run, in steps; it never changes."""

    budget: int


class ScheduleController:
    """Follows a schedule.

    Args:
        schedule: a name in ``SCHEDULES``.
        lr0: the highest rate.
        horizon: length of the schedule, as a multiple of the budget.
        warmup: share of the horizon that the warm-up takes.
    """

    def __init__(self, schedule: str, lr0: float, horizon: float = 1.0, warmup: float = 0.0) -> None:
        self.schedule = schedule
        self.lr0 = lr0
        self.horizon = horizon
        self.warmup = warmup

    def start(self, context: Context) -> RunState:
        """Return the budget."""
        return RunState(context.steps)

    def rates(self, state: RunState, observation: Observation, steps: int) -> tuple[FloatArray, RunState]:
        """Return the rates until the next update, shape (steps,)."""
        rates = rates_of(self.schedule, observation.step, steps, self.lr0, self.horizon, self.warmup, state.budget)
        return rates, state


class Replay:
    """Plays rates that were recorded; the last one holds for ever.

    Args:
        rates: the rate of every step, at least one, finite and not negative.

    Raises:
        MetaGDError: if there is no rate, or one is negative or not finite.
    """

    def __init__(self, rates: Sequence[float]) -> None:
        self.recorded = tuple(float(rate) for rate in rates)
        self._rates = np.array(self.recorded)
        if not self._rates.size or not np.all(np.isfinite(self._rates) & (self._rates >= 0)):
            raise MetaGDError("a replay needs the rate of one step or more, each a finite number that is not negative")

    def start(self, context: Context) -> RunState:
        """Return the budget."""
        return RunState(context.steps)

    def rates(self, state: RunState, observation: Observation, steps: int) -> tuple[FloatArray, RunState]:
        """Return the rates until the next update, shape (steps,)."""
        at = np.minimum(np.arange(observation.step, observation.step + steps), self._rates.size - 1)
        return self._rates[at], state
