"""From the storage to the records that a report is written from, and to the policies that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.analysis import best_elsewhere, regrets
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import BASELINES, MetaPolicy
from metagd_optuna.records import CandidateRecord, Regret, Selection, StudyRecord, TaskRecord, TrialRecord
from metagd_optuna.search.metadata import TaskMetadata
from metagd_optuna.search.methods import META_POLICY
from metagd_optuna.search.own_trials import finished_runs, finished_settings, objectives
from metagd_optuna.search.settings import UNIVERSAL
from metagd_optuna.search.store import CALIBRATE, CANDIDATES, CONFIRM, SHORTLIST, StudyStore, TaskStore
from metagd_optuna.search.stored_trials import candidate_of_trial, objective_of, records_of, seconds_of, steps_of
from metagd_optuna.tasks.properties import TaskProperties, task_properties

# What the properties of a task depend on beside its data; ``metagd recommend`` measures a new one with the same.
MEASURED_WITH = ("complexity", "max_train", "drop_duplicates", "drop_contradictions")

PHASES = (CALIBRATE, SHORTLIST, CONFIRM)


def load_record(study: StudyStore) -> StudyRecord:
    """Return the record of a finished study, its tasks in the order of the study file.

    Raises:
        MetaGDError: if a task is not complete.
    """
    found = {task: _load_task(study.task(task)) for task in study.tasks}
    identity = study.identity
    return StudyRecord(
        study.name,
        study.settings.to_dict(),
        identity.versions,
        identity.device,
        {"seconds": {task: seconds for task, (_, seconds) in found.items()}},
        tuple(record for record, _ in found.values()),
    )


def winning_policy(study: StudyStore, task: str) -> MetaPolicy:
    """Return the searched meta-policy of a finished task, with where it comes from.

    In a study of the universal scope, ``universal`` stands for the rule that is chosen on all tasks.

    Raises:
        MetaGDError: if the task is not complete.
    """
    if task == UNIVERSAL and task not in study.begun_tasks:
        return universal_policy(study)
    store = study.task(task)
    if not store.is_complete:
        raise MetaGDError(
            f"study {study.name!r} has not finished task {task!r} yet, so its policy is not fixed; run it to its end "
            "first"
        )
    runs = finished_runs(store.trials(CONFIRM))
    winner = next(found for found in map(candidate_of_trial, runs) if found.name == META_POLICY)
    metadata = store.known_metadata
    return replace(
        MetaPolicy.from_dict(winner.settings),
        provenance={
            "study": study.name,
            "task": task,
            "scope": study.settings.scope,
            "trial": store.outcome.chosen_trials[META_POLICY],
            "complexity": metadata.complexity,
            "properties": properties_of(metadata),
            "rate_updates": metadata.rate_updates,
            "budget_epochs": metadata.budget_epochs,
            "confirmation_seeds": sorted({run.seed for trial in runs for run in records_of(trial)}),
            "versions": study.identity.versions,
            "result": store.verdict,
        },
    )


def universal_policy(study: StudyStore) -> MetaPolicy:
    """Return the rule that a finished study of the universal scope chooses on all its tasks.

    What is known about how well the choice does on a task that it never saw are the verdicts of the folds, each of
    which left one task out; they travel along.

    Raises:
        MetaGDError: if the study is of the other scope, or a task is not through.
    """
    settings = study.settings
    if not settings.universal:
        raise MetaGDError(
            f"study {study.name!r} searched a rule for each of its tasks, not one for all; name a task of it"
        )
    stores = {task: study.task(task) for task in study.begun_tasks}
    unfinished = [task for task, store in stores.items() if not store.is_complete]
    if unfinished:
        raise MetaGDError(f"study {study.name!r} has not finished {', '.join(unfinished)} yet; run it to its end first")
    methods = (*settings.baselines, META_POLICY)
    found = {task: objectives(store, methods) for task, store in stores.items()}
    at_least = {task: objectives(store, [META_POLICY], stopped_counts=True) for task, store in stores.items()}
    number = best_elsewhere(found, None, settings.baselines).settings[META_POLICY]
    searched = next(iter(stores.values())).load(META_POLICY)
    trial = finished_settings(searched.get_trials(deepcopy=False))[number]
    metadata = {task: store.known_metadata for task, store in stores.items()}
    return replace(
        MetaPolicy.from_dict(candidate_of_trial(trial).settings),
        provenance={
            "study": study.name,
            "scope": UNIVERSAL,
            "tasks": study.begun_tasks,
            "trial": number,
            "versions": study.identity.versions,
            "rate_updates": max(known.rate_updates for known in metadata.values()),
            "properties": {task: properties_of(known) for task, known in metadata.items()},
            "measure": {key: value for key, value in settings.to_dict().items() if key in MEASURED_WITH},
            "regrets": regrets(
                {task: each[META_POLICY] for task, each in found.items()},
                {task: each[META_POLICY] for task, each in at_least.items()},
            ),
            "chosen_without": {task: dict(store.outcome.chosen_trials) for task, store in stores.items()},
            "results": {task: store.verdict for task, store in stores.items()},
        },
    )


def properties_of(metadata: TaskMetadata) -> TaskProperties:
    """Return the properties of a task that trained, out of what was known about it before."""
    return task_properties(metadata.complexity, metadata.class_frequencies, metadata.train_examples)


def _load_task(store: TaskStore) -> tuple[TaskRecord, dict[str, float]]:
    settings, metadata, outcome = store.study.settings, store.known_metadata, store.outcome
    methods = (*settings.baselines, META_POLICY)
    confirm = store.load(CONFIRM)
    trials = {part: finished_runs(store.trials(part)) for part in PHASES} | {
        method: finished_settings(store.trials(method), settings.trials) for method in methods
    }
    per_epoch = metadata.steps_per_epoch
    record = TaskRecord(
        name=store.name,
        metric=settings.metric,
        chance=metadata.chance,
        classes=metadata.classes,
        train_examples=metadata.train_examples,
        val_examples=metadata.val_examples,
        test_examples=metadata.test_examples,
        steps_per_epoch=per_epoch,
        budget_epochs=metadata.budget_epochs,
        evaluations=metadata.evaluations,
        complexity=metadata.complexity,
        complexity_measure=settings.complexity,
        population=metadata.population,
        network=metadata.network.text,
        audit=metadata.audit,
        source=metadata.source,
        search_target=outcome.search_target,
        target=outcome.target,
        policy=META_POLICY,
        best_baseline=outcome.best_baseline,
        candidates=_candidates(confirm, {m: len(trials[m]) for m in methods}),
        trials={
            m: tuple(
                _trial_record(trial, place if settings.universal else trial.number, per_epoch)
                for place, trial in enumerate(trials[m])
            )
            for m in methods
        },
        spent_epochs={part: _spent_epochs(found, per_epoch) for part, found in trials.items()},
        importances=outcome.importances,
        importance_ci95=outcome.importance_ci95,
        baselines_left_out=tuple(b for b in BASELINES if b not in settings.baselines),
        scope=settings.scope,
        selections={} if settings.universal else _selections(trials, outcome.chosen_trials),
        regrets=_regrets(trials, outcome.chosen_trials) if settings.universal else {},
        resampled=settings.resample_splits,
    )
    return record, {part: seconds_of(found) for part, found in trials.items()}


def _candidates(confirm: optuna.Study, trials: Mapping[str, int]) -> tuple[CandidateRecord, ...]:
    found = finished_runs(confirm.get_trials(deepcopy=False))
    candidates = {candidate.name: candidate for candidate in map(candidate_of_trial, found)}
    runs = sorted((run for trial in found for run in records_of(trial)), key=lambda run: run.seed)
    return tuple(
        CandidateRecord(
            name=name,
            kind=candidates[name].kind,
            optimizer=candidates[name].optimizer,
            formula=candidates[name].formula,
            latex=candidates[name].latex,
            trials=trials.get(name, 0),
            settings=candidates[name].settings,
            runs=tuple(run for run in runs if run.candidate == name),
        )
        for name in confirm.user_attrs[CANDIDATES]
    )


def _selections(trials: Mapping[str, Sequence[FrozenTrial]], chosen: Mapping[str, int]) -> dict[str, Selection]:
    found = {}
    for method, number in chosen.items():
        again = [t.values[0] for t in trials[SHORTLIST] if t.params["candidate"] == f"{method}#{number}"]
        searched = {t.number: t.values[0] for t in trials[method] if t.state == TrialState.COMPLETE}
        found[method] = Selection(number, min(searched.values()), searched[number], sum(again) / len(again))
    return found


def _regrets(trials: Mapping[str, Sequence[FrozenTrial]], chosen: Mapping[str, int]) -> dict[str, Regret]:
    found = {}
    for method, number in chosen.items():
        setting = trials[method][number]  # in a design a setting goes by its place, the same on every task
        finished = [trial for trial in trials[method] if trial.state == TrialState.COMPLETE]
        best = min(finished, key=objective_of)
        found[method] = Regret(
            trial=number,
            chosen=objective_of(setting),
            stopped=setting.state != TrialState.COMPLETE,
            best_trial=trials[method].index(best),
            best=objective_of(best),
        )
    return found


def _trial_record(trial: FrozenTrial, number: int, steps_per_epoch: float) -> TrialRecord:
    complete = trial.state == TrialState.COMPLETE
    return TrialRecord(
        number=number,
        state="complete" if complete else "pruned",
        objective=trial.value if complete else None,
        parameters=trial.params,
        spent_epochs=_spent_epochs([trial], steps_per_epoch),
    )


def _spent_epochs(trials: Sequence[FrozenTrial], steps_per_epoch: float) -> float:
    return sum(map(steps_of, trials)) / steps_per_epoch
