"""TPE whose proposals do not depend on where a study was cut off."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from metagd_optuna.search.seeds import sampler_seed


class SteadySampler(BaseSampler):
    """Optuna's TPE, seeded anew for every trial and parameter.

    A stream of random numbers goes on from where it is, so a trial that was cut off between two parameters would
    get other values for the rest, and a resumed study would repeat its first proposals. Here a value depends only
    on the seed, the trial's number, the parameter's name and the trials before.

    Args:
        seed: of the study.
        startup_trials: random trials before TPE begins.
    """

    def __init__(self, seed: int, startup_trials: int) -> None:
        self._seed = seed
        self._startup_trials = startup_trials

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are proposed together."""
        return self._sampler(study, trial, "").infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose the parameters that every trial has, together."""
        return dict(self._sampler(study, trial, "").sample_relative(study, trial, search_space))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Propose one parameter."""
        sampler = self._sampler(study, trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _sampler(self, study: optuna.Study, trial: FrozenTrial, parameter: str) -> TPESampler:
        seed = sampler_seed(self._seed, f"{study.study_name}/{parameter}", trial.number)
        return TPESampler(seed=seed, n_startup_trials=self._startup_trials)
