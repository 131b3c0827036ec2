"""TPE and neighbours of good trials, whose proposals do not depend on where a study was cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.search.neighbours import good_trials, moved, parent_of
from metagd_optuna.search.seeds import sampler_seed

# In spaces with a dozen parameters and budgets of a few dozen trials, TPE alone is still close to random search; steps
# from the best trials, the well-known schedules among them, find what is slightly better. Half each.
NEIGHBOURS = 0.5

Own = Callable[[optuna.Study], optuna.Study]


def as_it_is(study: optuna.Study) -> optuna.Study:
    """Return a study all of whose trials count."""
    return study


class SteadySampler(BaseSampler):
    """Optuna's TPE in turn with steps from good trials, seeded anew for every trial and parameter.

    A stream of random numbers goes on from where it is, so a trial that was cut off between two parameters would
    get other values for the rest, and a resumed study would repeat its first proposals. Here a value depends only
    on the seed, the trial's number, the parameter's name and the trials before.

    Args:
        seed: of the study.
        startup_trials: random trials before TPE begins.
        neighbours: share of the trials that are steps from a good trial, as soon as there is one.
        own: a study -> the same study without trials that are to decide nothing.
    """

    def __init__(self, seed: int, startup_trials: int, neighbours: float = NEIGHBOURS, own: Own = as_it_is) -> None:
        self._seed = seed
        self._startup_trials = startup_trials
        self._neighbours = neighbours
        self._own = own
        self._parents: tuple[int, FrozenTrial | None] = (-1, None)  # the number of the last trial, and its parent

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Draw the good trial that this one steps from, if it is to be a step.

        Once per trial: whoever asks Optuna for trials makes it read all unfinished ones from the database anew.
        """
        rng = np.random.default_rng(self._number(study, trial, "parent"))
        parent = parent_of(good_trials(self._own(study)), rng) if rng.random() < self._neighbours else None
        self._parents = (trial.number, parent)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that TPE proposes together; none in a step, which moves every one by itself."""
        if self._parent_of(trial) is not None:
            return {}
        return self._tpe(study, trial, "").infer_relative_search_space(self._own(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose the parameters that every trial has, together."""
        return dict(self._tpe(study, trial, "").sample_relative(self._own(study), trial, search_space))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Propose one parameter: near a good trial's value if this trial is a step from it, else TPE's."""
        parent = self._parent_of(trial)
        if parent is not None and parent.distributions.get(param_name) == param_distribution:
            own = np.random.default_rng(self._number(study, trial, f"step/{param_name}"))
            return moved(parent.params[param_name], param_distribution, own)
        sampler = self._tpe(study, trial, param_name)
        return sampler.sample_independent(self._own(study), trial, param_name, param_distribution)

    def _parent_of(self, trial: FrozenTrial) -> FrozenTrial | None:
        number, parent = self._parents
        if number != trial.number:
            raise MetaGDError(
                f"trial {trial.number} asks for parameters after trial {number} began; suggest all parameters of a "
                "trial before asking for the next"
            )
        return parent

    def _tpe(self, study: optuna.Study, trial: FrozenTrial, parameter: str) -> TPESampler:
        return TPESampler(seed=self._number(study, trial, parameter), n_startup_trials=self._startup_trials)

    def _number(self, study: optuna.Study, trial: FrozenTrial, purpose: str) -> int:
        return sampler_seed(self._seed, f"{study.study_name}/{purpose}", trial.number)
