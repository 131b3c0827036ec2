"""Which trials of an Optuna study are the package's own: anyone may add, enqueue and end trials in a storage.

An enqueued setting that its method's space allows is a trial like any other, as long as there is a place for it. All
else is left alone: it decides nothing, and no result counts it.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import validate_choice
from metagd_optuna.tuning.methods import Method
from metagd_optuna.tuning.store import TaskStore
from metagd_optuna.tuning.stored_trials import (
    LEAST_OBJECTIVE,
    is_own_run,
    is_own_setting,
    objective_of,
    place_of,
    seed_of,
    steps_of,
)
from metagd_optuna.tuning.suggest import distribution_of

UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)

# An unfinished trial, and its place among a method's -> why it cannot be trained there, "" if it can.
Refusal = Callable[[FrozenTrial, int], str]


class Places(NamedTuple):
    """Which trial of a method stands in which of its places; the place is the number, unless somebody added trials.

    Args:
        own: place to trial, finished or to be trained.
        refused: enqueued ones that cannot be trained, with the reason.
        others: how many more there are, which are left alone.
    """

    own: dict[int, FrozenTrial]
    refused: list[tuple[FrozenTrial, str]]
    others: int


def finished_settings(trials: Iterable[FrozenTrial], most: int = sys.maxsize) -> list[FrozenTrial]:
    """Return the finished trials of a method that the package trained, or took from a file, by place; at most ``most``.

    Of a design that is through, the place in the list is the place in the design.
    """
    return list(_finished(trials, most).values())


def _finished(trials: Iterable[FrozenTrial], most: int) -> dict[int, FrozenTrial]:
    own = [trial for trial in trials if is_own_setting(trial)]
    found: dict[int, FrozenTrial] = {}
    for trial in own:
        place = place_of(trial)
        if place is not None and place < most:
            found.setdefault(place, trial)
    # Those that were taken from a file, or stored by the first versions, have the places that are left.
    for trial in own:
        if place_of(trial) is None and len(found) < most:
            found[_free(found)] = trial
    return {place: found[place] for place in sorted(found)}


def _free(taken: Mapping[int, FrozenTrial]) -> int:
    return next(place for place in range(len(taken) + 1) if place not in taken)


def finished_runs(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the runs of calibration, shortlist or confirmation that the package made, one per candidate and seed."""
    found: dict[tuple[str, int | None], FrozenTrial] = {}
    for trial in trials:
        if is_own_run(trial):
            found.setdefault((trial.params["candidate"], seed_of(trial)), trial)
    return list(found.values())


def places(trials: Sequence[FrozenTrial], most: int, refusal: Refusal) -> Places:
    """Return which trials of a method take its places.

    Args:
        trials: all of its Optuna study, by number.
        most: how many places there are.
        refusal: why an unfinished trial cannot be trained.
    """
    own = _finished(trials, most)
    refused = []
    unfinished = [trial for trial in trials if trial.state in UNFINISHED]
    for trial in unfinished:
        place = place_of(trial)
        if place is not None and place < most:
            own.setdefault(place, trial)
    begun = {trial.number for trial in own.values()}
    for trial in unfinished:
        if trial.number in begun or len(own) == most:
            continue
        place = _free(own)
        why = refusal(trial, place)
        if not why:
            own[place] = trial
        elif trial.state == TrialState.WAITING:
            refused.append((trial, why))
    return Places(own, refused, len(trials) - len(own) - len(refused))


def refusal_of(method: Method) -> Refusal:
    """Return what says why a method's space does not allow the parameters that a trial was given."""

    def refusal(trial: FrozenTrial, place: int) -> str:
        try:
            for name, value in given_params(trial).items():
                validate_choice(name, method.ranges, "a parameter")
                method.ranges[name].check(name, value)
        except MetaGDError as error:
            return str(error)
        return _incompatible(method, trial)

    return refusal


def refusal_in_design(design: Sequence[Mapping[str, Any]]) -> Refusal:
    """Return what says why a trial is not the one that a design has in its place."""

    def refusal(trial: FrozenTrial, place: int) -> str:
        point = design[place]
        if all(name in point and _close(value, point[name]) for name, value in given_params(trial).items()):
            return ""
        return "the settings of a universal study are the same on every task, so none can be added to them"

    return refusal


def _close(value: Any, other: Any) -> bool:
    numbers = isinstance(value, int | float) and isinstance(other, int | float)
    return math.isclose(value, other, rel_tol=1e-9) if numbers else bool(value == other)


def given_params(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters that an unfinished trial already has, enqueued or suggested."""
    fixed = trial.system_attrs.get("fixed_params")  # Optuna's own name for what was enqueued
    return {**(fixed if isinstance(fixed, Mapping) else {}), **trial.params}


def check_ranges(study: optuna.Study, method: Method, trials: Iterable[FrozenTrial]) -> None:
    """Refuse a study to which somebody added trials whose parameters keep Optuna from storing the method's.

    Raises:
        MetaGDError: naming the trial and the parameter.
    """
    for trial in trials:
        if trial.state.is_finished() and (why := _incompatible(method, trial)):
            raise MetaGDError(
                f"trial {trial.number} of {study.study_name!r} was added by somebody else or by another version: {why}."
                " Optuna keeps one kind of range per parameter: delete that study, in the dashboard or with optuna "
                "delete-study, and call the same command again: only its search is trained anew"
            )


def _incompatible(method: Method, trial: FrozenTrial) -> str:
    for name, held in trial.distributions.items():
        if name in method.ranges:
            try:
                check_distribution_compatibility(held, distribution_of(method.ranges[name]))
            except ValueError:
                return f"its parameter {name!r} has another kind of range or other choices than the method's"
    return ""


def objectives(store: TaskStore, methods: Sequence[str], *, stopped_counts: bool = False) -> dict[str, list[float]]:
    """Return the objectives of all settings of a universal study on one task, by method.

    Args:
        store: of the task.
        stopped_counts: whether a setting that was stopped counts with the best objective that it could still have had;
            otherwise it is infinite, because how bad it is was not seen.
    """

    def objective(trial: FrozenTrial) -> float:
        complete = trial.state == TrialState.COMPLETE
        return objective_of(trial) if complete or stopped_counts else math.inf

    most = store.study.settings.trials
    return {method: [objective(trial) for trial in finished_settings(store.trials(method), most)] for method in methods}


class OwnView(optuna.Study):
    """A study as its own trials make it: finished ones that somebody else added are not there.

    Which ones are its own is found once for every number of finished trials, because nobody can change or remove one.

    Args:
        study: what is looked at.
        most: how many finished trials count.
    """

    def __init__(self, study: optuna.Study, most: int = sys.maxsize) -> None:
        vars(self).update(vars(study))
        self._most = most
        self._finished = 0
        self._own: dict[int, FrozenTrial] = {}

    # Optuna's samplers and evaluators read trials by this method alone, and it has no public one that they use.
    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = super()._get_trials(False, None, use_cache)
        unfinished = {trial.number for trial in trials if trial.state in UNFINISHED}
        if self._finished != len(trials) - len(unfinished):
            self._finished = len(trials) - len(unfinished)
            self._own = {trial.number: _ranked(trial) for trial in finished_settings(trials, self._most)}
        seen = [
            self._own.get(trial.number, trial)
            for trial in trials
            if trial.number in self._own or trial.number in unfinished
        ]
        wanted = [trial for trial in seen if states is None or trial.state in states]
        return copy.deepcopy(wanted) if deepcopy else wanted


def _ranked(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial as TPE ranks it: of those that were stopped, the ones that came furthest are the better ones.

    TPE reads that from intermediate values. None are stored, because whoever draws them takes a bound for a value.
    """
    if trial.state != TrialState.PRUNED:
        return trial
    ranked = copy.copy(trial)
    ranked.intermediate_values = {steps_of(trial): trial.user_attrs[LEAST_OBJECTIVE]}
    return ranked
