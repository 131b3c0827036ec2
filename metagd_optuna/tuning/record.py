"""From the storage to the records that a report is written from, and to the policies that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.analysis import best_elsewhere, regrets
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import validate_choice
from metagd_optuna.policy import BASELINES, MetaPolicy, Policy, policy_from_dict, with_provenance
from metagd_optuna.records import CandidateRecord, EarlierLook, Regret, Selection, StudyRecord, TaskRecord, TrialRecord
from metagd_optuna.tasks.properties import TaskProperties, task_properties
from metagd_optuna.tuning.metadata import TaskMetadata
from metagd_optuna.tuning.methods import META_POLICY
from metagd_optuna.tuning.own_trials import finished_runs, finished_settings, objectives
from metagd_optuna.tuning.parts import CONFIRM, PHASES, SHORTLIST
from metagd_optuna.tuning.settings import UNIVERSAL, StudySettings
from metagd_optuna.tuning.storage import plain_content_errors
from metagd_optuna.tuning.store import CANDIDATES, StudyStore, TaskStore
from metagd_optuna.tuning.stored_trials import candidate_of_trial, objective_of, records_of, seconds_of, steps_of

# What the data of a task depend on beside where they are and how a reader reads them.
READ_KEYS = ("max_train", "max_eval", "drop_duplicates", "drop_contradictions")
BEST_BASELINE = "best tuned baseline"
# What the properties of a task depend on beside its data; ``metagd recommend`` measures a new one with the same.
MEASURED_WITH = ("complexity", "max_train", "drop_duplicates", "drop_contradictions")


@plain_content_errors()
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


@plain_content_errors()
def confirmed_policy(study: StudyStore, task: str, method: str) -> Policy:
    """Return the rule of any method as it was confirmed on a finished task, with where it comes from.

    Args:
        study: of the task.
        task: its name.
        method: name of a candidate of the confirmation: ``meta-policy``, a baseline, an untuned rule or a control.

    Raises:
        MetaGDError: if the task is not complete, or the method was not confirmed there.
    """
    store = study.task(task)
    if not store.is_complete:
        raise MetaGDError(
            f"study {study.name!r} has not finished task {task!r} yet, so its policy is not fixed; run it to its end "
            "first"
        )
    runs = finished_runs(store.trials(CONFIRM))
    confirmed = {found.name: found for found in map(candidate_of_trial, runs)}
    validate_choice(method, confirmed, f"the method of study {study.name!r} on task {task!r}")
    metadata, outcome = store.known_metadata, store.outcome
    provenance: dict[str, Any] = {
        "study": study.name,
        "task": task,
        "scope": study.settings.scope,
        "method": method,
        "trial": outcome.chosen_trials.get(method),
        "complexity": metadata.complexity,
        "properties": properties_of(metadata),
        "data": {"fingerprint": metadata.fingerprint, **_read_with(study.settings)},
        "rate_updates": metadata.rate_updates,
        "budget_epochs": metadata.budget_epochs,
        "confirmation_seeds": sorted({run.seed for trial in runs for run in records_of(trial)}),
        "versions": study.identity.versions,
    }
    # The verdict is on the searched policy; of another method it says why that one is used, or not.
    about = "result" if method == META_POLICY else "searched_policy"
    provenance[about] = store.verdict
    if method == outcome.best_baseline:
        provenance["role"] = BEST_BASELINE
    given = {key: value for key, value in provenance.items() if value is not None}
    return with_provenance(policy_from_dict(confirmed[method].settings), given)


def winning_policy(study: StudyStore, task: str) -> MetaPolicy:
    """Return the searched meta-policy of a finished task, with where it comes from.

    In a study of the universal scope, ``universal`` stands for the rule that is chosen on all tasks.

    Raises:
        MetaGDError: if the task is not complete.
    """
    if task == UNIVERSAL and task not in study.begun_tasks:
        return universal_policy(study)
    found = confirmed_policy(study, task, META_POLICY)
    assert isinstance(found, MetaPolicy)
    return found


@plain_content_errors()
def method_to_use(store: TaskStore) -> str:
    """Return which method a finished task says to use: the searched policy if it is faster, else the best baseline.

    The best baseline is the one that was fixed before the confirmation; the best of the confirmation would be luck.

    Raises:
        MetaGDError: if the task is not complete, or there is no verdict yet.
    """
    best_baseline, verdict = store.outcome.best_baseline, store.verdict
    if verdict is None:
        raise MetaGDError(
            f"study {store.study.name!r} has no verdict on task {store.name!r} yet, so nothing says what to use; run "
            "it to its end, or name a method"
        )
    return META_POLICY if verdict["label"] == "faster" else best_baseline


def _read_with(settings: StudySettings) -> dict[str, Any]:
    """Return what of the data is used, as arguments of ``load_task``; names of columns stay in the storage."""
    kept = {key: value for key in READ_KEYS if (value := getattr(settings, key))}
    return {"read_with": kept} if kept else {}


def universal_policy(study: StudyStore) -> MetaPolicy:
    """Return the searched rule that a finished study of the universal scope chooses on all its tasks; see below."""
    found = universal_rule(study, META_POLICY)
    assert isinstance(found, MetaPolicy)
    return found


@plain_content_errors()
def universal_rule(study: StudyStore, method: str | None = None) -> Policy:
    """Return the rule of a method that a finished study of the universal scope chooses on all its tasks.

    What is known about how well the choice does on a task that it never saw are the verdicts of the folds, each of
    which left one task out; they travel along.

    Args:
        study: of the universal scope.
        method: ``meta-policy`` or a baseline; None for the best baseline over all tasks.

    Raises:
        MetaGDError: if the study is of the other scope, a task is not through, or the method was not tuned.
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
    choice = best_elsewhere(found, None, settings.baselines)
    method = choice.best_baseline if method is None else method
    validate_choice(method, methods, f"the method of study {study.name!r}")
    at_least = {task: objectives(store, [method], stopped_counts=True) for task, store in stores.items()}
    number = choice.settings[method]
    trials = next(iter(stores.values())).load(method).get_trials(deepcopy=False)
    metadata = {task: store.known_metadata for task, store in stores.items()}
    provenance = {
        "study": study.name,
        "scope": UNIVERSAL,
        "method": method,
        "tasks": study.begun_tasks,
        "trial": number,
        "versions": study.identity.versions,
        "rate_updates": max(known.rate_updates for known in metadata.values()),
        "properties": {task: properties_of(known) for task, known in metadata.items()},
        "measure": {key: value for key, value in settings.to_dict().items() if key in MEASURED_WITH},
        "regrets": regrets(
            {task: each[method] for task, each in found.items()},
            {task: each[method] for task, each in at_least.items()},
        ),
        "chosen_without": {task: dict(store.outcome.chosen_trials) for task, store in stores.items()},
    }
    about = "results" if method == META_POLICY else "searched_policy"
    provenance[about] = {task: store.verdict for task, store in stores.items()}
    if method == choice.best_baseline:
        provenance["role"] = BEST_BASELINE
    return with_provenance(policy_from_dict(candidate_of_trial(finished_settings(trials)[number]).settings), provenance)


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
    spent = {part: _of_all_looks(store, part, found) for part, found in trials.items()}
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
        spent_epochs={part: _spent_epochs(found, per_epoch) for part, found in spent.items()},
        importances=outcome.importances,
        importance_ci95=outcome.importance_ci95,
        baselines_left_out=tuple(b for b in BASELINES if b not in settings.baselines),
        scope=settings.scope,
        selections={} if settings.universal else _selections(trials, outcome.chosen_trials),
        regrets=_regrets(trials, outcome.chosen_trials) if settings.universal else {},
        resampled=settings.resample_splits,
        earlier_looks=tuple(
            EarlierLook(trials=count, label=found["label"], speedup=found["speedup"], p_value=found["p_value"])
            for count, found in store.earlier_verdicts()
        ),
        target_share=settings.target_share,
    )
    return record, {part: seconds_of(found) for part, found in spent.items()}


def _of_all_looks(store: TaskStore, part: str, found: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials of a phase or method that cost something: those of the current look, and of earlier ones."""
    earlier = [trial for name in store.parts(part)[:-1] for trial in store.trials_at(name)]
    return [*finished_runs(earlier), *found]


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
