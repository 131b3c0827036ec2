"""The sampler that searches had before: TPE in turn with mutations of good trials, a rival in ``samplers``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.tuning.resumable_sampler import ResumableTPESampler
from metagd_optuna.tuning.seeds import sampler_seed

ALIKE = 1.1  # a trial is good if its objective is within a tenth of the best one's
SHORTEST, LONGEST = 0.02, 0.2  # standard deviation of a mutation on a scale of 0 to 1, drawn log-uniformly
KEEP_CHOICE = 0.9


class Mutation(ResumableTPESampler):
    """Mutates a good trial with a given probability as soon as there is one; else TPE proposes.

    Args:
        seed, n_startup_trials: as for ``ResumableTPESampler``.
        share: of the trials that are mutations.
    """

    def __init__(self, seed: int, n_startup_trials: int, share: float) -> None:
        super().__init__(seed, n_startup_trials)
        self._share = share
        self._parent: FrozenTrial | None = None  # of the trial that asks

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Draw the good trial that this one mutates, if it does."""
        rng = self._rng(study, trial, "parent")
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = min((each.values[0] for each in finished), default=math.inf)
        good = sorted((each for each in finished if each.values[0] <= ALIKE * best), key=lambda each: each.values[0])
        self._parent = good[int(rng.integers(len(good)))] if good and rng.random() < self._share else None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing for a mutation, which moves every parameter by itself."""
        return {} if self._parent else super().infer_relative_search_space(study, trial)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Move the good trial's value, if it has one; else TPE proposes."""
        parent = self._parent
        if parent is None or parent.distributions.get(param_name) != param_distribution:
            return super().sample_independent(study, trial, param_name, param_distribution)
        return moved(parent.params[param_name], param_distribution, self._rng(study, trial, f"step/{param_name}"))

    def _rng(self, study: optuna.Study, trial: FrozenTrial, purpose: str) -> np.random.Generator:
        return np.random.default_rng(sampler_seed(self._seed, f"{study.study_name}/{purpose}", trial.number))


def moved(value: Any, allowed: BaseDistribution, rng: np.random.Generator) -> Any:
    """Return a value near ``value``: a choice is kept nine times in ten, a number is reflected at its bounds."""
    if isinstance(allowed, CategoricalDistribution):
        others = [choice for choice in allowed.choices if choice != value]
        return value if not others or rng.random() < KEEP_CHOICE else others[rng.integers(len(others))]
    if not isinstance(allowed, FloatDistribution | IntDistribution) or allowed.low == allowed.high:
        return value
    low, high, now = (math.log(number) if allowed.log else number for number in (allowed.low, allowed.high, value))
    step = math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST))) * rng.normal()
    place = low + abs(((now - low) / (high - low) + step + 1) % 2 - 1) * (high - low)
    number = math.exp(place) if allowed.log else place
    number = round(number) if isinstance(allowed, IntDistribution) else number
    return min(max(number, allowed.low), allowed.high)
