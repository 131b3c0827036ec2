"""A surrogate of recorded trials that reads a policy by the rates that it would set, not by its coefficients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict

from metagd_optuna import MetaPolicy

FloatArray = npt.NDArray[np.float64]

# Where the rates are read: most of a training is decided early and above chance level, so the points are closer there.
PERFORMANCES = (0.0, 0.5, 0.75, 0.9, 1.0)
BUDGET, STEPS = 1000, (0, 10, 50, 200, 500)
# How far apart two optimizers are, in decades of one rate.
OPTIMIZER_DISTANCE = 3.0
LONGEST_HALF_LIFE = 8.0
# Set by hand, so that the fit is one solution of linear equations, the same on every machine up to rounding.
KERNEL = ConstantKernel(2.0) * Matern(3.0, nu=1.5) + WhiteKernel(0.1)
FOLDS = 8


class RatesSurrogate:
    """A Gaussian process on the logarithms of a policy's rates over performance and time.

    Policies of different forms that set the same rates are the same to it, so it learns from all trials at once.

    Args:
        policies: of the recorded trials.
        objectives: of the same trials, in epochs, positive, shape (trials,).
        complexity: of the task, in [0, 1].
    """

    def __init__(self, policies: Sequence[MetaPolicy], objectives: FloatArray, complexity: float) -> None:
        self._complexity = complexity
        self._most = float(max(objectives))  # of a rule that reaches no target
        self._process = _process().fit(_features(policies, complexity), np.log(objectives))

    def predict(self, policy: MetaPolicy) -> float:
        """Return the objective of a policy in epochs, at most the largest that was recorded."""
        [logarithm] = self._process.predict(_features([policy], self._complexity))
        return min(float(np.exp(logarithm)), self._most)


def held_out_predictions(policies: Sequence[MetaPolicy], objectives: FloatArray, complexity: float) -> FloatArray:
    """Return the objective of every trial as predicted from other trials, by cross-validation, shape (trials,).

    Args:
        policies: of the recorded trials.
        objectives: of the same trials, in epochs, positive, shape (trials,).
        complexity: of the task, in [0, 1].
    """
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    logarithms = cross_val_predict(_process(), _features(policies, complexity), np.log(objectives), cv=folds)
    return np.minimum(np.exp(logarithms), max(objectives))


def _process() -> GaussianProcessRegressor:
    return GaussianProcessRegressor(KERNEL, optimizer=None, normalize_y=True)


def _features(policies: Sequence[MetaPolicy], complexity: float) -> FloatArray:
    """Return what is read of policies, shape (policies, features)."""
    return np.array([_read(policy, complexity) for policy in policies])


def _read(policy: MetaPolicy, complexity: float) -> list[float]:
    difficulties = [policy.difficulty_at(complexity, p) or 0.0 for p in PERFORMANCES]
    rates = [
        policy.rate_at(d, p, step, BUDGET) for step in STEPS for d, p in zip(difficulties, PERFORMANCES, strict=True)
    ]
    optimizer = OPTIMIZER_DISTANCE if policy.optimizer == "adam" else 0.0
    return [*np.log10(rates), optimizer, policy.half_life / LONGEST_HALF_LIFE]
