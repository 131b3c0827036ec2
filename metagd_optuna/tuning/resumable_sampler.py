"""TPE whose proposals do not depend on where a study was cut off."""

from __future__ import annotations

import copy
import functools
import heapq
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.tuning.seeds import sampler_seed

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
MOST_GOOD = 25  # of TPE's default gamma


def all_trials(study: optuna.Study) -> optuna.Study:
    """Return a study all of whose trials count."""
    return study


class _Opened(NamedTuple):
    """What is kept from trial to trial, because it takes all trials to find it.

    Args:
        study: that it is of.
        view: of it.
        space: which parameters all finished trials have, as TPE finds it.
    """

    study: optuna.Study
    view: optuna.Study
    space: IntersectionSearchSpace


class _Seen(optuna.Study):
    """A study as it was when a trial asked for its first parameter: TPE reads all trials several times for each.

    Args:
        study: what is looked at.
        asking: number of the trial that asks.
        trials: that count, by number.
    """

    def __init__(self, study: optuna.Study, asking: int, trials: Sequence[FrozenTrial]) -> None:
        vars(self).update(vars(study))
        self.study = study
        self.asking = asking
        self._trials = trials

    # TPE reads trials by this method alone, and Optuna has no public one that it uses.
    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        wanted = [trial for trial in self._trials if states is None or trial.state in states]
        return copy.deepcopy(wanted) if deepcopy else wanted

    def that_decide(self, parameter: str, least: int) -> _Seen:
        """Return the study with the trials on which TPE's proposal of one parameter depends, where they are many.

        TPE divides all trials into good and bad ones and then uses those that have the parameter. The good ones are a
        tenth of those that ended, but at most 25, so that without the rest of the bad ones they remain the same.

        Args:
            parameter: that is proposed by itself.
            least: finished trials that TPE needs.
        """
        good = {trial.number for trial in self._good}
        kept = [
            each
            for each in self._trials
            if parameter in each.params or each.number in good or not each.state.is_finished()
        ]
        ended = sum(each.state in ENDED for each in kept)
        if len(good) < MOST_GOOD or ended < max(least, 10 * MOST_GOOD):
            return self
        return _Seen(self.study, self.asking, kept)

    @functools.cached_property
    def _good(self) -> list[FrozenTrial]:
        complete = [
            trial
            for trial in self._trials
            if trial.state == TrialState.COMPLETE and not any(value > 0 for value in trial.constraints.values())
        ]
        sign = -1 if self.direction == StudyDirection.MAXIMIZE else 1
        return heapq.nsmallest(MOST_GOOD, complete, key=lambda trial: sign * trial.values[0])


class ResumableTPESampler(BaseSampler):
    """Optuna's ``TPESampler``, seeded anew for every trial and parameter.

    A stream of random numbers goes on from where it is, so a trial that was cut off between two parameters would get
    other values for the rest, and a resumed study would repeat its first proposals. Here a value depends only on the
    seed, the study's name, the trial's number, the parameter's name and the trials before. The sampler remembers
    only what it would find again, so trials may ask for their parameters in any order.

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
        self._opened: _Opened | None = None
        self._seen: _Seen | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that every trial has."""
        self._raise_error_if_multi_objective(study)
        space = self._open(study).space.calculate(self._look(study, trial))
        return {name: allowed for name, allowed in space.items() if not allowed.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose the parameters that every trial has, together."""
        return dict(self._tpe(study, trial, "").sample_relative(self._look(study, trial), trial, search_space))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Propose one parameter by itself."""
        self._raise_error_if_multi_objective(study)
        seen = self._look(study, trial).that_decide(param_name, self._n_startup_trials)
        sampler = self._tpe(study, trial, param_name)
        return sampler.sample_independent(seen, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forget what was seen before a trial ended."""
        self._seen = None

    def _look(self, study: optuna.Study, trial: FrozenTrial) -> _Seen:
        # Until a trial ends, nothing changes but trials that run, and they have parameters before the next one asks.
        seen = self._seen
        if seen is None or seen.study is not study or seen.asking != trial.number:
            seen = self._seen = _Seen(study, trial.number, self._open(study).view.get_trials(deepcopy=False))
        return seen

    def _open(self, study: optuna.Study) -> _Opened:
        if self._opened is None or self._opened.study is not study:
            self._opened = _Opened(study, self._view(study), IntersectionSearchSpace(include_pruned=True))
        return self._opened

    def _tpe(self, study: optuna.Study, trial: FrozenTrial, parameter: str) -> TPESampler:
        seed = sampler_seed(self._seed, f"{study.study_name}/{parameter}", trial.number)
        return TPESampler(seed=seed, n_startup_trials=self._n_startup_trials)
