"""From the storage to the records that a report is written from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.analysis import best_elsewhere, regrets
from metagd_optuna.contracts import (
    ContenderRecord,
    MetaGDError,
    Regret,
    Selection,
    StudyRecord,
    TaskRecord,
    TrialRecord,
)
from metagd_optuna.given import as_given
from metagd_optuna.policy import BASELINES, MetaPolicy, contender_from_settings
from metagd_optuna.search import trial_store
from metagd_optuna.search.methods import META_POLICY
from metagd_optuna.search.own_trials import finished_runs, finished_settings
from metagd_optuna.search.setting import did_you_mean
from metagd_optuna.search.study_file import PER_TASK, UNIVERSAL, with_defaults
from metagd_optuna.tasks.properties import TaskProperties, task_properties

# What the properties of a task depend on beside its data; ``metagd recommend`` measures a new one with the same.
MEASURED_WITH = ("complexity", "max_train", "drop_duplicates", "drop_contradictions")

PHASES = ("calibrate", "shortlist", "confirm")


def is_complete(storage: BaseStorage, name: str, task: str) -> bool:
    """Return whether every phase of a task is through."""
    return trial_store.OUTCOME in trial_store.held_studies(storage).get(f"{name}/{task}/confirm", {})


def load_record(storage: BaseStorage, name: str, tasks: tuple[str, ...]) -> StudyRecord:
    """Return the record of a finished study.

    Raises:
        MetaGDError: if the storage does not hold it, or a task is not through.
    """
    for task in tasks:
        _check_held(storage, name, task)
    identity = trial_store.stored_identity(storage, name)
    if identity is None:
        raise MetaGDError(f"the storage holds no study {as_given(name)}; run it first: metagd run STUDY.toml")
    records = []
    timing: dict[str, Any] = {"seconds": {}}
    for task in tasks:
        record, seconds = _load_task(storage, identity, task)
        records.append(record)
        timing["seconds"][task] = seconds
    return StudyRecord(
        name, with_defaults(identity.settings), identity.versions, identity.device, timing, tuple(records)
    )


def winning_policy(storage: BaseStorage, name: str, task: str) -> MetaPolicy:
    """Return the searched meta-policy of a finished task, with where it comes from.

    In a study of the universal league, ``universal`` stands for the rule that is chosen on all tasks.

    Raises:
        MetaGDError: if the storage does not hold the task, or it is not through.
    """
    if task == UNIVERSAL and task not in trial_store.held_tasks(storage).get(name, [UNIVERSAL]):
        return universal_policy(storage, name)
    _check_held(storage, name, task)
    if not is_complete(storage, name, task):
        raise MetaGDError(
            f"study {name!r} has not finished task {task!r} yet, so its policy is not fixed; run it to its end first"
        )
    confirm = trial_store.load_part(storage, name, task, "confirm")
    runs = finished_runs(confirm)
    trial = next(t for t in runs if t.user_attrs[trial_store.SUBJECT]["name"] == META_POLICY)
    facts = trial_store.facts_of(trial_store.load_part(storage, name, task, "calibrate").user_attrs)
    policy = MetaPolicy.from_dict(trial.user_attrs[trial_store.SUBJECT]["settings"])
    settings = confirm.user_attrs[trial_store.SETTINGS]
    outcome = confirm.user_attrs[trial_store.OUTCOME]
    return replace(
        policy,
        provenance={
            "study": name,
            "task": task,
            "league": league_of(settings),
            "trial": outcome["chosen_trials"][META_POLICY],
            "complexity": facts["complexity"],
            "properties": properties_of(facts),
            "ticks": facts["ticks"],
            "budget_epochs": facts["budget_epochs"],
            "confirmation_seeds": sorted({run.params["seed"] for run in runs}),
            "versions": confirm.user_attrs[trial_store.VERSIONS],
            "result": confirm.user_attrs.get(trial_store.VERDICT),
        },
    )


def league_of(settings: Mapping[str, Any]) -> str:
    """Return the league of a stored study; the first ones knew only one."""
    return str(settings.get("league", PER_TASK))


def universal_policy(storage: BaseStorage, name: str) -> MetaPolicy:
    """Return the rule that a finished study of the universal league chooses on all its tasks.

    What is known about how well the choice does on a task that it never saw are the verdicts of the folds, each of
    which left one task out; they travel along.

    Raises:
        MetaGDError: if the storage does not hold the study, it is of the other league, or a task is not through.
    """
    _check_held(storage, name, None)
    tasks = trial_store.held_tasks(storage)[name]
    identity = trial_store.stored_identity(storage, name)
    if identity is None or league_of(identity.settings) != UNIVERSAL:
        raise MetaGDError(f"study {name!r} searched a rule for each of its tasks, not one for all; name a task of it")
    unfinished = [task for task in tasks if not is_complete(storage, name, task)]
    if unfinished:
        raise MetaGDError(f"study {name!r} has not finished {', '.join(unfinished)} yet; run it to its end first")
    methods = (*identity.settings["baselines"], META_POLICY)
    columns = {task: column_of(storage, name, task, methods) for task in tasks}
    at_least = {task: column_of(storage, name, task, [META_POLICY], stopped_counts=True) for task in tasks}
    number = best_elsewhere(columns, None, identity.settings["baselines"]).settings[META_POLICY]
    searched = trial_store.load_part(storage, name, tasks[0], META_POLICY)
    trial = finished_settings(searched.get_trials(deepcopy=False))[number]
    confirms = {task: trial_store.load_part(storage, name, task, "confirm").user_attrs for task in tasks}
    facts = {
        task: trial_store.facts_of(trial_store.load_part(storage, name, task, "calibrate").user_attrs) for task in tasks
    }
    return replace(
        MetaPolicy.from_dict(trial.user_attrs[trial_store.SUBJECT]["settings"]),
        provenance={
            "study": name,
            "league": UNIVERSAL,
            "tasks": tasks,
            "trial": number,
            "versions": identity.versions,
            "ticks": max(known["ticks"] for known in facts.values()),
            "properties": {task: properties_of(known) for task, known in facts.items()},
            "measure": {key: with_defaults(identity.settings)[key] for key in MEASURED_WITH},
            "regrets": regrets(
                {task: column[META_POLICY] for task, column in columns.items()},
                {task: column[META_POLICY] for task, column in at_least.items()},
            ),
            "chosen_without": {task: found[trial_store.OUTCOME]["chosen_trials"] for task, found in confirms.items()},
            "results": {task: found.get(trial_store.VERDICT) for task, found in confirms.items()},
        },
    )


def properties_of(facts: Mapping[str, Any]) -> TaskProperties:
    """Return the properties of a task that trained, out of what was known about it before."""
    return task_properties(facts["complexity"], facts["class_shares"], facts["train_examples"])


def column_of(
    storage: BaseStorage, name: str, task: str, methods: Sequence[str], *, stopped_counts: bool = False
) -> dict[str, list[float]]:
    """Return the objectives of all settings of a universal study on one task, by method.

    Args:
        stopped_counts: whether a setting that was stopped counts with the best objective that it could still have had;
            otherwise it is infinite, because how bad it is was not seen.
    """

    def objective(trial: FrozenTrial) -> float:
        complete = trial.state == TrialState.COMPLETE
        return trial_store.objective_of(trial) if complete or stopped_counts else math.inf

    found = {}
    for method in methods:
        study = trial_store.load_part(storage, name, task, method)
        most = study.user_attrs[trial_store.SETTINGS]["trials"]
        found[method] = [objective(trial) for trial in finished_settings(study.get_trials(deepcopy=False), most)]
    return found


def _check_held(storage: BaseStorage, name: str, task: str | None) -> None:
    """Refuse a study, or a task of it, that the storage does not hold, naming those that it holds."""
    held = trial_store.held_tasks(storage)
    for what, given, known in (
        ("study", name, sorted(held)),
        (f"task of study {as_given(name)}", task, held.get(name, [])),
    ):
        if given is not None and given not in known:
            raise MetaGDError(
                f"the storage holds no {what} {as_given(given)}{did_you_mean(given, known)}; it holds: "
                f"{', '.join(known) or 'nothing of metagd'}"
            )


def _load_task(storage: BaseStorage, identity: trial_store.Identity, task: str) -> tuple[TaskRecord, dict[str, float]]:
    name = identity.name
    settings = identity.settings
    methods = (*settings["baselines"], META_POLICY)
    parts = {part: trial_store.load_part(storage, name, task, part) for part in (*PHASES, *methods)}
    facts = trial_store.facts_of(parts["calibrate"].user_attrs)
    if trial_store.OUTCOME not in parts["confirm"].user_attrs:
        raise MetaGDError(f"study {name!r} has not finished task {task!r} yet; run it to its end first")
    outcome = parts["confirm"].user_attrs[trial_store.OUTCOME]
    trials = {part: finished_runs(parts[part]) for part in PHASES} | {
        method: finished_settings(parts[method].get_trials(deepcopy=False), settings["trials"]) for method in methods
    }
    per_epoch = float(facts["steps_per_epoch"])
    universal = league_of(settings) == UNIVERSAL
    spent = {part: _spent_epochs(found, per_epoch) for part, found in trials.items()}
    record = TaskRecord(
        name=task,
        metric=settings["metric"],
        chance=facts["chance"],
        classes=facts["classes"],
        train_examples=facts["train_examples"],
        val_examples=facts["val_examples"],
        test_examples=facts["test_examples"],
        steps_per_epoch=per_epoch,
        budget_epochs=facts["budget_epochs"],
        evaluations=facts["evaluations"],
        complexity=facts["complexity"],
        complexity_measure=settings["complexity"],
        population=facts[trial_store.POPULATION],
        network=facts[trial_store.NETWORK]["text"],
        audit=facts["audit"],
        source=facts["source"],
        t_search=outcome["t_search"],
        target=outcome["target"],
        policy=META_POLICY,
        best_baseline=outcome["best_baseline"],
        contenders=_contenders(parts["confirm"], {m: len(trials[m]) for m in methods}),
        trials={
            m: tuple(
                _trial_record(trial, place if universal else trial.number, per_epoch)
                for place, trial in enumerate(trials[m])
            )
            for m in methods
        },
        spent_epochs=spent,
        importances=outcome["importances"],
        importance_ci95=outcome.get("importance_ci95", {}),  # the first storages have none
        baselines_left_out=tuple(b for b in BASELINES if b not in settings["baselines"]),
        league=league_of(settings),
        selections={} if universal else _selections(trials, outcome["chosen_trials"]),
        regrets=_regrets(trials, outcome["chosen_trials"]) if universal else {},
    )
    return record, {part: trial_store.seconds_of(found) for part, found in trials.items()}


def _contenders(confirm: optuna.Study, trials: Mapping[str, int]) -> tuple[ContenderRecord, ...]:
    runs = trial_store.stored_runs(confirm)
    found = [trial.user_attrs[trial_store.SUBJECT] for trial in finished_runs(confirm)]
    subjects = {subject["name"]: subject for subject in found}
    records = []
    for name in confirm.user_attrs[trial_store.CONTENDERS]:
        contender = contender_from_settings(name, subjects[name]["settings"])
        records.append(
            ContenderRecord(
                name=name,
                kind=contender.kind,
                optimizer=contender.optimizer,
                formula=contender.formula,
                latex=contender.latex,
                trials=trials.get(name, 0),
                settings=contender.settings,
                runs=tuple(runs[key] for key in sorted(runs, key=lambda key: key[1]) if key[0] == name),
            )
        )
    return tuple(records)


def _selections(trials: Mapping[str, list[FrozenTrial]], chosen: Mapping[str, int]) -> dict[str, Selection]:
    found = {}
    for method, number in chosen.items():
        again = [t.values[0] for t in trials["shortlist"] if t.params["contender"] == f"{method}#{number}"]
        searched = {t.number: t.values[0] for t in trials[method] if t.state == TrialState.COMPLETE}
        found[method] = Selection(number, min(searched.values()), searched[number], sum(again) / len(again))
    return found


def _regrets(trials: Mapping[str, list[FrozenTrial]], chosen: Mapping[str, int]) -> dict[str, Regret]:
    found = {}
    for method, number in chosen.items():
        setting = trials[method][number]  # in a design a setting goes by its place, the same on every task
        finished = [trial for trial in trials[method] if trial.state == TrialState.COMPLETE]
        best = min(finished, key=trial_store.objective_of)
        found[method] = Regret(
            trial=number,
            chosen=trial_store.objective_of(setting),
            stopped=setting.state != TrialState.COMPLETE,
            best_trial=trials[method].index(best),
            best=trial_store.objective_of(best),
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


def _spent_epochs(trials: list[FrozenTrial], steps_per_epoch: float) -> float:
    return sum(map(trial_store.steps_of, trials)) / steps_per_epoch
