"""ReduceLROnPlateau, by the rule of Keras' own class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metagd_optuna.contracts import Context, FloatArray, Observation


class PlateauState(NamedTuple):
    """The rate, the best validation loss, evaluations without a better one, evaluations of cooldown left."""

    rate: float
    best: float | None = None
    wait: int = 0
    rest: int = 0
    validation_step: int = -1


class PlateauController:
    """Cuts the rate when the validation loss has stopped falling, as keras.callbacks.ReduceLROnPlateau does.

    It decides once per new validation, where Keras decides once per epoch.

    Args:
        lr0: the rate at the start.
        factor: what a cut multiplies the rate by, below 1.
        patience: evaluations without improvement before a cut.
        min_delta: absolute fall of the loss that counts as improvement.
        cooldown: evaluations after a cut during which none is counted against it.
        min_lr: the rate never falls below this.
    """

    def __init__(
        self,
        lr0: float,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self.lr0 = lr0
        self.factor = factor
        self.patience = patience
        self.min_delta = min_delta
        self.cooldown = cooldown
        self.min_lr = min_lr

    def start(self, context: Context) -> PlateauState:
        """Return the state before any observation."""
        return PlateauState(self.lr0)

    def rates(self, state: PlateauState, observation: Observation, steps: int) -> tuple[FloatArray, PlateauState]:
        """Return one rate for all steps until the next update, shape (steps,), and the new state."""
        validation = observation.validation
        if validation is not None and validation.step != state.validation_step:
            state = self._after(state, validation.loss)._replace(validation_step=validation.step)
        return np.full(steps, state.rate), state

    def _after(self, state: PlateauState, loss: float) -> PlateauState:
        rest, wait = (state.rest - 1, 0) if state.rest > 0 else (0, state.wait)
        if state.best is None or loss + self.min_delta < state.best:
            return state._replace(best=loss, wait=0, rest=rest)
        if rest > 0:
            return state._replace(wait=wait, rest=rest)
        if wait + 1 >= self.patience and state.rate > self.min_lr:
            return state._replace(rate=max(state.rate * self.factor, self.min_lr), wait=0, rest=self.cooldown)
        return state._replace(wait=wait + 1, rest=0)
