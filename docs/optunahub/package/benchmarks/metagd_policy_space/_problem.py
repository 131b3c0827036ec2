"""The policy space of metagd_optuna as a problem of OptunaHub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optunahub.benchmarks import BaseProblem

from metagd_optuna import MetaPolicy
from metagd_optuna.given import validate_choice
from metagd_optuna.policy.parameters import own_params, possible_params, suggest_params
from metagd_optuna.tuning.methods import META_POLICY
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.snapshots import read_snapshot
from metagd_optuna.tuning.suggest import distribution_of, suggest_with

from ._surrogate import RatesSurrogate

RECORDED = Path(__file__).with_name("recorded.json")


class Problem(BaseProblem):
    """The policy space of metagd_optuna: which rule for the learning rate converges fastest.

    The objective is the mean number of epochs to a list of validation scores, to be minimised, on the Wisconsin
    breast-cancer cases with a small network. It is predicted by a surrogate of recorded trials, without noise.

    The space is conditional: the forms of f and g decide which coefficients there are. As an objective, the problem
    asks a trial only for what the chosen forms need. ``search_space`` holds every parameter that may be asked for.

    Attributes:
        policies: of the recorded trials.
        objectives: of the same trials, in epochs, shape (trials,).
        complexity: of the task, in [0, 1].

    Raises:
        MetaGDError: if the recorded trials cannot be read.
    """

    def __init__(self) -> None:
        recorded = read_snapshot(RECORDED)
        settings = StudySettings.model_validate(dict(recorded.settings))
        self._choices: dict[str, Any] = {
            "difficulty_forms": settings.difficulty_forms,
            "rate_forms": settings.rate_forms,
            "optimizers": settings.optimizers,
            "signal": settings.signal,
        }
        self._ranges = possible_params(**self._choices)
        rows = recorded.rows[META_POLICY]
        self.policies = tuple(MetaPolicy.from_params(row.params, RECORDED.name) for row in rows)
        self.objectives = np.array([row.objective for row in rows])
        self.complexity = recorded.metadata.complexity
        self._surrogate = RatesSurrogate(self.policies, self.objectives, self.complexity)

    def __call__(self, trial: optuna.Trial) -> float:
        """Ask a trial for the parameters of one policy and return its objective, in epochs."""
        return self.evaluate(suggest_params(suggest_with(trial), **self._choices))

    def evaluate(self, params: Mapping[str, Any]) -> float:
        """Return the objective of one policy, in epochs.

        Args:
            params: name to value, all that the chosen forms need. Other parameters of ``search_space`` are not looked
                at, so that samplers of a fixed space can be compared too.

        Raises:
            MetaGDError: for a parameter that is missing, out of its range or not in ``search_space``.
        """
        for name, value in params.items():
            self._ranges[validate_choice(name, self._ranges, "a parameter")].check(name, value)
        return self._surrogate.predict(MetaPolicy.from_params(own_params(params)))

    @property
    def search_space(self) -> dict[str, BaseDistribution]:
        """Every parameter that a policy may have."""
        return {name: distribution_of(allowed) for name, allowed in self._ranges.items()}

    @property
    def directions(self) -> list[StudyDirection]:
        """One objective, which is minimised."""
        return [StudyDirection.MINIMIZE]
