"""Trainings of two tiny models in NumPy, milliseconds each, on which hundreds of searches of the real space can be run.

The models are a noisy quadratic, whose curvatures are known, and logistic regression on scikit-learn's breast-cancer
data. Seeds train side by side, shape (S, D); what a seed draws does not depend on who trains with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from metagd_optuna.analysis.convergence import (
    final_best,
    mean_time_bounds,
    mean_time_to_targets,
    search_target,
    targets_up_to,
)
from metagd_optuna.contracts import Context, Observation

Array = npt.NDArray[np.float64]

STEPS, EVALUATIONS, TICK = 120, 40, 1
PERIOD = STEPS // EVALUATIONS
EPOCHS = np.arange(1, EVALUATIONS + 1, dtype=np.float64)  # an evaluation counts as an epoch
LOOK = 4  # evaluations from one look at whether a trial is hopeless to the next
CALIBRATION_RATES, CALIBRATION_SEEDS = (1e-3, 3e-3, 1e-2, 3e-2), 4


class Model(Protocol):
    """What is trained; all arrays have one row per seed."""

    chance_loss: float

    def start(self, seeds: Sequence[int]) -> Array:
        """Return initial weights, shape (S, D)."""

    def gradient(self, weights: Array, seeds: Sequence[int], step: int) -> tuple[Array, Array]:
        """Return training loss, shape (S,), and gradient of one mini-batch, shape (S, D)."""

    def loss(self, weights: Array) -> Array:
        """Return the loss that counts, shape (S,)."""


class Quadratic:
    """L = 1/2 sum of h x^2 with curvatures h_i = 1/i, i = 1 to 64, gradients with noise, and x of 0.1 at the start."""

    def __init__(self) -> None:
        self._h = 1 / np.arange(1, 65)
        self.chance_loss = 0.01 * float(self._h.sum() / 2)  # expected at the start

    def start(self, seeds: Sequence[int]) -> Array:
        """Return weights of a tenth of a standard normal."""
        return np.stack([_noise(seed)[0] / 10 for seed in seeds])

    def gradient(self, weights: Array, seeds: Sequence[int], step: int) -> tuple[Array, Array]:
        """Return the exact loss and a noisy gradient."""
        noise = np.stack([_noise(seed)[step + 1] for seed in seeds])
        return self.loss(weights), self._h * weights + 0.05 * np.sqrt(self._h) * noise

    def loss(self, weights: Array) -> Array:
        """Return the loss without noise."""
        return np.asarray(0.5 * (weights**2) @ self._h)


@lru_cache(maxsize=128)
def _noise(seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((STEPS + 1, 64))


class Logistic:
    """Logistic regression on 569 breast-cancer cases, two thirds of them for training, in batches of 16.

    Features have a standard deviation of 5, so that good rates lie within the range that is searched.
    """

    def __init__(self) -> None:
        from sklearn.datasets import load_breast_cancer

        x, y = load_breast_cancer(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(y))
        x = np.hstack([5 * (x - x.mean(0)) / x.std(0), np.ones((len(y), 1))])[order]
        y = 2.0 * y[order] - 1
        self._train, self._validate = -(x * y[:, np.newaxis])[:379], -(x * y[:, np.newaxis])[379:]
        self.chance_loss = float(np.log(2))

    def start(self, seeds: Sequence[int]) -> Array:
        """Return weights near 0."""
        return np.stack([np.random.default_rng(seed).standard_normal(31) / 50 for seed in seeds])

    def gradient(self, weights: Array, seeds: Sequence[int], step: int) -> tuple[Array, Array]:
        """Return loss and gradient of a mini-batch."""
        batch = self._train[np.stack([_batches(seed)[step] for seed in seeds])]  # (S, 16, 31)
        margin = np.clip((batch @ weights[..., np.newaxis])[..., 0], -500, 500)
        loss = np.logaddexp(0, margin).mean(axis=1)
        slope = 1 / (1 + np.exp(-margin)) / margin.shape[1]
        return loss, (slope[:, np.newaxis] @ batch)[:, 0]

    def loss(self, weights: Array) -> Array:
        """Return the validation loss."""
        return np.asarray(np.logaddexp(0, weights @ self._validate.T).mean(axis=1))


@lru_cache(maxsize=128)
def _batches(seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed + 1).integers(0, 379, (STEPS, 16))


class Task:
    """A model with targets that a calibration fixed, as a study's: the objective of its trainings is in evaluations."""

    def __init__(self, model: Model) -> None:
        from metagd_optuna.policy import baseline_from_params

        self._model = model
        found = {}
        for rate in CALIBRATION_RATES:
            candidate = baseline_from_params("adam-constant", {"adam-constant.lr0": rate})
            scores = self._scores(candidate, range(CALIBRATION_SEEDS), None)[0]
            found[rate] = [final_best(row) for row in scores]
        self.targets = targets_up_to(0.0, search_target(0.0, found))

    def objectives(self, candidate: Any, seeds: Sequence[int]) -> list[float]:
        """Return the objective of every seed."""
        return [self._objective(row) for row in self._scores(candidate, seeds, None)[0]]

    def bounds(self, candidate: Any, seeds: Sequence[int], limit: float, best_run: float) -> tuple[list[float], Array]:
        """Train all seeds; stop as soon as the first one makes the trial hopeless, by the rule of studies.

        Returns:
            Objectives, empty if it was stopped, and the bounds at every evaluation, shape (S, E).
        """
        scores, ends = self._scores(candidate, seeds, (limit, best_run))
        bounds = np.stack([self._bounds(row[:ends]) for row in scores])
        return [] if ends < EVALUATIONS else [self._objective(row) for row in scores], bounds

    def _objective(self, scores: Array) -> float:
        return mean_time_to_targets(EPOCHS, np.nan_to_num(scores, nan=-1.0), self.targets, EVALUATIONS)

    def _bounds(self, scores: Array) -> Array:
        epochs = EPOCHS[: len(scores)]
        return mean_time_bounds(epochs, scores, self.targets, epochs)

    def _scores(self, candidate: Any, seeds: Sequence[int], hopeless: tuple[float, float] | None) -> tuple[Array, int]:
        """Return 1 - loss / chance loss at every evaluation, shape (S, E), and how many there were."""
        model, shape = self._model, (0.5, 0.5)
        context = Context(0.5, shape, candidate.optimizer, STEPS, float(PERIOD), model.chance_loss)
        states = [candidate.controller.start(context) for _ in seeds]
        seen = [Observation(0)] * len(seeds)
        weights = model.start(seeds)
        update = {"adam": Adam, "sgd-nesterov": Nesterov}[candidate.optimizer]()
        scores = np.full((len(seeds), EVALUATIONS), np.nan)
        with np.errstate(all="ignore"):  # a run that diverges is a result
            for begin in range(0, STEPS, TICK):
                rates = []
                for row, (state, observation) in enumerate(zip(states, seen, strict=True)):
                    rate, states[row] = candidate.controller.rates(state, observation, TICK)
                    rates.append(rate)
                table = np.array(rates)
                losses = np.zeros(len(seeds))
                for step in range(TICK):
                    loss, gradient = model.gradient(weights, seeds, begin + step)
                    weights = update(weights, gradient, table[:, step : step + 1])
                    losses += loss / TICK
                end = begin + TICK
                seen = [
                    Observation(end, float(loss), 0.5, None, float(rate))
                    for loss, rate in zip(losses, table[:, -1], strict=True)
                ]
                if end % PERIOD == 0:
                    now = end // PERIOD
                    scores[:, now - 1] = np.nan_to_num(1 - model.loss(weights) / model.chance_loss, nan=-1, neginf=-1)
                    if hopeless and now % LOOK == 0:
                        limit, best_run = hopeless
                        if max(self._bounds(scores[0, :now])[-1], best_run) + best_run > 2 * limit:
                            return scores, now
        return scores, EVALUATIONS


class Adam:
    """Adam as Keras has it: beta 0.9 and 0.999, epsilon 1e-7."""

    def __init__(self) -> None:
        self._m: Any = 0.0
        self._v: Any = 0.0
        self._step = 0

    def __call__(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after a step."""
        self._step += 1
        self._m = 0.9 * self._m + 0.1 * gradient
        self._v = 0.999 * self._v + 0.001 * gradient**2
        scale = rate * np.sqrt(1 - 0.999**self._step) / (1 - 0.9**self._step)
        return np.asarray(weights - scale * self._m / (np.sqrt(self._v) + 1e-7))


class Nesterov:
    """SGD with Nesterov's momentum of 0.9, as Keras has it."""

    def __init__(self) -> None:
        self._m: Any = 0.0

    def __call__(self, weights: Array, gradient: Array, rate: Array) -> Array:
        """Return the weights after a step."""
        self._m = 0.9 * self._m - rate * gradient
        return np.asarray(weights + 0.9 * self._m - rate * gradient)
