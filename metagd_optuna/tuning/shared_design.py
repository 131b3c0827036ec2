"""The design of the universal scope: the same settings on every task, fixed before anything is trained.

Because nothing that was seen on one task decides what is tried on another, every task can be left out of the choice
without a search of its own, and no fold leaks into another.
"""

from __future__ import annotations

import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from metagd_optuna.analysis import sobol_points
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tuning.methods import Method
from metagd_optuna.tuning.seeds import sampler_seed

# More than any rule has parameters.
DIMENSIONS = 24


class SharedDesign(BaseSampler):
    """Points of a scrambled Sobol sequence: trial n of a method has the same parameters on every task.

    The parameters that a trial asks for take the coordinates of its point in turn, so forms, which are asked first, are
    spread evenly, and so are the coefficients of each.

    Args:
        seed: of the study.
        method: whose trials these are; every method has a sequence of its own.
        trials: how many points there are.

    ``places`` holds the point of a trial whose number is another one, because somebody added trials before it.
    """

    def __init__(self, seed: int, method: str, trials: int) -> None:
        self._points = sobol_points(DIMENSIONS, trials, sampler_seed(seed, f"design/{method}", 0))
        self.places: dict[int, int] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: every parameter is asked for by itself."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, as above."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return what the next coordinate of the trial's point means in this parameter's range."""
        place = len(trial.params)
        if place >= DIMENSIONS:
            raise MetaGDError(f"a rule asked for more than {DIMENSIONS} parameters; please report this")
        point = self.places.get(trial.number, trial.number)
        return value_at(float(self._points[point, place]), param_distribution)


def designed(method: Method, seed: int, trials: int) -> list[dict[str, Any]]:
    """Return the parameters of all trials of a method: initial points, then points of the design."""
    study = optuna.create_study(sampler=SharedDesign(seed, method.name, trials))
    for known in method.initial_points[:trials]:
        study.enqueue_trial(dict(known))
    found = []
    for _ in range(trials):
        trial = study.ask()
        method.suggest(trial)
        found.append(dict(trial.params))
    return found


def value_at(place: float, allowed: BaseDistribution) -> Any:
    """Return the value at a place from 0 to 1 of a range, on its own scale.

    >>> round(value_at(0.5, FloatDistribution(1e-4, 1e-2, log=True)), 9)
    0.001
    >>> value_at(0.99, CategoricalDistribution(("a", "b"))), value_at(0.99, IntDistribution(1, 3))
    ('b', 3)
    """
    if isinstance(allowed, CategoricalDistribution):
        return allowed.choices[int(place * len(allowed.choices))]
    if isinstance(allowed, IntDistribution):
        if allowed.log:
            return min(round(_between(place, allowed.low, allowed.high, log=True)), allowed.high)
        return allowed.low + int(place * (allowed.high - allowed.low + 1))
    if isinstance(allowed, FloatDistribution):
        return min(max(_between(place, allowed.low, allowed.high, log=allowed.log), allowed.low), allowed.high)
    raise MetaGDError(f"{allowed} is no range that a rule has; please report this")


def _between(place: float, low: float, high: float, *, log: bool) -> float:
    if not log:
        return low + place * (high - low)
    return math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
