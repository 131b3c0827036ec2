"""What is stored with a trial: the one module that knows the names of its attributes.

A trial of a method is a setting with its runs, one per seed; a trial of the other phases is one run.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.contracts import RunRecord
from metagd_optuna.policy import Candidate, candidate_from_settings

SUBJECT = "candidate"
RUNS = "runs"
OBJECTIVES = "objectives"
SEED = "seed"
LEAST_OBJECTIVE = "least_objective"
STEPS = "steps"
SECONDS = "seconds"
NUMBER = "number"
PLACE = "place"
REFUSED = "refused"

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def described(candidate: Candidate) -> dict[str, Any]:
    """Return what ``candidate_of_trial`` needs to build the candidate again."""
    return {"name": candidate.name, "settings": dict(candidate.settings)}


def subject_of(trial: FrozenTrial) -> Mapping[str, Any] | None:
    """Return name and settings of what a trial is about; None if it does not say."""
    found = trial.user_attrs.get(SUBJECT)
    return found if isinstance(found, Mapping) and {"name", "settings"} <= found.keys() else None


def candidate_of_trial(trial: FrozenTrial) -> Candidate:
    """Return the candidate that a trial was about."""
    subject = trial.user_attrs[SUBJECT]
    return candidate_from_settings(subject["name"], subject["settings"])


def is_own_setting(trial: FrozenTrial) -> bool:
    """Return whether a method's trial is finished and has all that the package stores with one.

    A copy, which somebody added, has another number than the one that it was made with.
    """
    attributes = trial.user_attrs
    outcome = trial.value is not None if trial.state == TrialState.COMPLETE else LEAST_OBJECTIVE in attributes
    return (
        trial.state in FINISHED
        and outcome
        and subject_of(trial) is not None
        and (runs_of(trial) is not None or STEPS in attributes)
        and attributes.get(NUMBER, trial.number) == trial.number
    )


def is_own_run(trial: FrozenTrial) -> bool:
    """Return whether a trial of calibration, shortlist or confirmation has all that the package stores with one."""
    attributes = trial.user_attrs
    stored = STEPS in attributes or (runs_of(trial) is not None and subject_of(trial) is not None)
    return trial.state == TrialState.COMPLETE and "candidate" in trial.params and seed_of(trial) is not None and stored


def was_begun(trial: FrozenTrial) -> bool:
    """Return whether a trial was trained or asked for here, not taken from a file and not added by somebody else."""
    if trial.state == TrialState.WAITING:
        return SUBJECT in trial.user_attrs
    own = is_own_setting(trial) or is_own_run(trial)
    return trial.state == TrialState.RUNNING or (own and runs_of(trial) is not None)


def note_subject(trial: optuna.Trial, candidate: Candidate, place: int) -> None:
    """Store what an unfinished trial is about, its place among its method's, and that it is this one and no copy."""
    trial.set_user_attr(SUBJECT, described(candidate))
    trial.set_user_attr(NUMBER, trial.number)
    trial.set_user_attr(PLACE, place)


def place_of(trial: FrozenTrial) -> int | None:
    """Return the place that a trial was begun in, None if it has none of its own."""
    place = trial.user_attrs.get(PLACE)
    return place if isinstance(place, int) and trial.user_attrs.get(NUMBER) == trial.number else None


def runs_of(trial: FrozenTrial) -> list[dict[str, Any]] | None:
    """Return the runs of a trial as they are stored; None if it has none.

    They are thousands of numbers, which a dashboard would print with the user's attributes, so they are among the
    system's; in storages of before they are among the user's.
    """
    found: list[dict[str, Any]] | None = trial.system_attrs.get(RUNS, trial.user_attrs.get(RUNS))
    return found


def note_runs(storage: BaseStorage, trial: optuna.Trial, runs: Sequence[RunRecord]) -> None:
    """Store the runs of a trial that still runs.

    Raises:
        UpdateFinishedTrialError: if somebody else has ended it.
    """
    # Optuna has a method for users' attributes alone.
    storage.set_trial_system_attr(trial._trial_id, RUNS, [record.to_dict() for record in runs])


def records_of(trial: FrozenTrial) -> list[RunRecord]:
    """Return the runs of a finished trial, one per seed (fewer if it was pruned)."""
    return [RunRecord.from_dict(table) for table in runs_of(trial) or []]


def without_steps(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial without what was measured at every step and rate update of its runs; their curves remain."""
    if RUNS not in trial.system_attrs:
        return trial
    light = copy(trial)
    light.system_attrs = {**trial.system_attrs, RUNS: [_without_steps(run) for run in trial.system_attrs[RUNS]]}
    return light


def _without_steps(run: Mapping[str, Any]) -> dict[str, Any]:
    # An array takes a third of the memory that a list of numbers takes.
    curve = {name: array("q" if name == "steps" else "d", values) for name, values in run["validation"].items()}
    return {
        **run,
        "validation": curve,
        "test": None,
        "update_steps": [],
        "train_loss": [],
        "train_accuracy": [],
        "rates": [],
    }


def seed_of(trial: FrozenTrial) -> int | None:
    """Return the seed of a run of calibration, shortlist or confirmation; None if the trial is no run."""
    # A parameter in storages of before; a dashboard then asks how important it is.
    found = trial.user_attrs.get(SEED, trial.params.get(SEED))
    return found if isinstance(found, int) else None


def steps_of(trial: FrozenTrial) -> int:
    """Return the steps, each a batch of the study, that a trial took over all its runs."""
    # A trial that was read from a snapshot has no runs.
    stored = trial.user_attrs.get(STEPS)
    return int(stored) if stored is not None else sum(run["steps"] for run in runs_of(trial) or [])


def seconds_of(trials: Iterable[FrozenTrial]) -> float:
    """Return the wall-clock that trials took."""
    return sum(float(trial.user_attrs.get(SECONDS, 0.0)) for trial in trials)


def run_objectives(trial: FrozenTrial) -> list[float]:
    """Return the objectives of the seeds that a trial came through, in epochs."""
    return list(trial.user_attrs.get(OBJECTIVES, []))


def objective_of(trial: FrozenTrial) -> float:
    """Return the objective of a finished trial of a method, in epochs.

    Of one that was stopped, it is the best that it could still have had.
    """
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return trial.value
    return float(trial.user_attrs[LEAST_OBJECTIVE])


def run_trial(
    candidate: Candidate,
    record: RunRecord,
    *,
    candidates: Sequence[str],
    value: float,
    seconds: float,
    trained: tuple[datetime, datetime],
) -> FrozenTrial:
    """Return a run of calibration, shortlist or confirmation as a finished trial.

    The seed is no parameter, or a dashboard would say how important it is.

    Args:
        candidate: what was trained.
        record: the run.
        candidates: names of all candidates of the phase.
        value: of the trial; finite.
        seconds: its share of the wall-clock of all that trained together.
        trained: when those began and ended.
    """
    trial = optuna.create_trial(
        params={"candidate": candidate.name},
        distributions=run_distributions(candidates),
        value=value,
        user_attrs={
            SUBJECT: described(candidate),
            SEED: record.seed,
            SECONDS: seconds,
        },
        system_attrs={RUNS: [record.to_dict()]},
    )
    trial.datetime_start, trial.datetime_complete = trained
    return trial


def run_distributions(candidates: Sequence[str]) -> dict[str, BaseDistribution]:
    """Return the distribution of the parameter of a run: the candidate's name."""
    return {"candidate": CategoricalDistribution(candidates)}
