"""TPE whose proposals do not depend on where a study was cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from metagd_optuna.tuning.seeds import sampler_seed


def all_trials(study: optuna.Study) -> optuna.Study:
    """Return a study all of whose trials count."""
    return study


class ResumableTPESampler(BaseSampler):
    """Optuna's ``TPESampler``, seeded anew for every trial and parameter.

    A stream of random numbers goes on from where it is, so a trial that was cut off between two parameters would get
    other values for the rest, and a resumed study would repeat its first proposals. Here a value depends only on the
    seed, the study's name, the trial's number, the parameter's name and the trials before. The sampler itself remembers
    nothing, so trials may ask for their parameters in any order.

    It passes Optuna's conformance suite for samplers of one objective, and serves any study of one. In a study without
    a name, Optuna makes one up, and the proposals are others every time.

    Args:
        seed: of the study.
        n_startup_trials: random trials before TPE begins.
        view: a study -> the same study without trials that are to decide nothing.

    A study of several objectives raises ``ValueError``, as with Optuna's samplers of one.

    >>> def second(trials):
    ...     study = optuna.create_study(study_name="s", sampler=ResumableTPESampler(seed=0))
    ...     return [study.ask().suggest_float("x", 0, 1) for _ in range(trials)][1]
    >>> second(trials=2) == second(trials=3)
    True
    """

    def __init__(
        self, seed: int, n_startup_trials: int = 10, view: Callable[[optuna.Study], optuna.Study] = all_trials
    ) -> None:
        self._seed = seed
        self._n_startup_trials = n_startup_trials
        self._view = view

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that every trial has."""
        self._raise_error_if_multi_objective(study)
        return self._tpe(study, trial, "").infer_relative_search_space(self._view(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose the parameters that every trial has, together."""
        return dict(self._tpe(study, trial, "").sample_relative(self._view(study), trial, search_space))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Propose one parameter by itself."""
        self._raise_error_if_multi_objective(study)
        sampler = self._tpe(study, trial, param_name)
        return sampler.sample_independent(self._view(study), trial, param_name, param_distribution)

    def _tpe(self, study: optuna.Study, trial: FrozenTrial, parameter: str) -> TPESampler:
        seed = sampler_seed(self._seed, f"{study.study_name}/{parameter}", trial.number)
        return TPESampler(seed=seed, n_startup_trials=self._n_startup_trials)
