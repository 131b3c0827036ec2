"""GreedyLR (arXiv 2512.14527), by the rule of its published code, transformers.optimization.GreedyLR."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from metagd_optuna.contracts import Context, FloatArray, Observation

# Changes of the rate no larger than this are not made, as in the original.
EPSILON = 1e-8


class GreedyState(NamedTuple):
    """Rate, best loss, evaluations in a row that were good or bad, and what is left of the pauses."""

    rate: float
    best: float = math.inf
    good: int = 0
    bad: int = 0
    cooldown: int = 0
    warmup: int = 0
    until_reset: int = 0
    window: tuple[float, ...] = ()
    validation_step: int = -1


class GreedyController:
    """Raises the rate while the loss keeps falling and lowers it when the loss does not.

    Like the original in its trainer, it decides once per evaluation, on the validation loss.

    Args:
        lr0: the rate at the start.
        low, high: bounds of the rate.
        factor: below 1; the rate is multiplied by it after ``patience`` bad evaluations, divided after as many good.
        patience: evaluations in a row that must be exceeded.
        threshold: absolute fall of the best loss that counts as good.
        cooldown, warmup: evaluations to sit out after a fall and after a rise.
        window: evaluations that the loss is averaged over; 1 is no smoothing.
        reset: falls asked for at the lower bound after which everything starts afresh.
    """

    def __init__(
        self,
        lr0: float,
        low: float,
        high: float,
        *,
        factor: float = 0.95,
        patience: int = 10,
        threshold: float = 1e-6,
        cooldown: int = 0,
        warmup: int = 0,
        window: int = 1,
        reset: int = 500,
    ) -> None:
        self.lr0 = lr0
        self.low = low
        self.high = high
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.cooldown = cooldown
        self.warmup = warmup
        self.window = window
        self.reset = reset

    def start(self, context: Context) -> GreedyState:
        """Return the state before any observation."""
        return self._fresh()

    def rates(self, state: GreedyState, observation: Observation, steps: int) -> tuple[FloatArray, GreedyState]:
        """Return one rate for all steps until the next update, shape (steps,), and the new state."""
        validation = observation.validation
        if validation is not None and validation.step != state.validation_step:
            state = self._after(state, validation.loss)._replace(validation_step=validation.step)
        return np.full(steps, state.rate), state

    def _fresh(self) -> GreedyState:
        return GreedyState(self.lr0, until_reset=self.reset)

    def _after(self, state: GreedyState, loss: float) -> GreedyState:
        window = (*state.window, loss)[-self.window :]
        state = state._replace(window=window)
        if state.cooldown > 0:
            return state._replace(cooldown=state.cooldown - 1, good=0, bad=0)
        if state.warmup > 0:
            return state._replace(warmup=state.warmup - 1, good=0, bad=0)
        current = sum(window) / len(window)
        if current < state.best - self.threshold:
            state = state._replace(best=current, good=state.good + 1, bad=0)
        else:
            state = state._replace(good=0, bad=state.bad + 1)
        if state.good > self.patience:
            rate = self._changed(state.rate, min(state.rate / self.factor, self.high))
            return state._replace(rate=rate, warmup=self.warmup, good=0, until_reset=self.reset)
        if state.bad > self.patience:
            return self._lowered(state)
        return state

    def _lowered(self, state: GreedyState) -> GreedyState:
        rate = self._changed(state.rate, max(state.rate * self.factor, self.low))
        until_reset = state.until_reset - (rate <= self.low)
        if until_reset <= 0:
            # The original resets inside its fall, and only then starts the cooldown of that fall.
            return self._fresh()._replace(cooldown=self.cooldown)
        return state._replace(rate=rate, cooldown=self.cooldown, bad=0, until_reset=until_reset)

    @staticmethod
    def _changed(old: float, new: float) -> float:
        return new if abs(new - old) > EPSILON else old
