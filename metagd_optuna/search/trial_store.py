"""Everything that is written to and read from Optuna's storage; the only place that knows attribute names.

One Optuna study per task and phase or method: ``<study>/<task>/calibrate``, ``.../<method>``,
``.../shortlist``, ``.../confirm``. A trial of a method is a setting; a trial of the other three is one run.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.contracts import MetaGDError, RunRecord
from metagd_optuna.policy import BASELINES, Contender, contender_from_settings
from metagd_optuna.search.methods import META_POLICY
from metagd_optuna.search.study_file import ARTICLE_CNN, task_name

CALIBRATE = "calibrate"
SETTINGS = "settings"
VERSIONS = "versions"
DEVICE = "device"
POPULATION = "population"
NETWORK = "network"
FACTS = "facts"
OUTCOME = "outcome"
VERDICT = "verdict"
PUBLISHED = "published"
CONTENDERS = "contenders"
SUBJECT = "contender"
RUNS = "runs"
OBJECTIVES = "objectives"
LEAST_OBJECTIVE = "least_objective"
T_SEARCH = "t_search"
STEPS = "steps"
SECONDS = "seconds"
NUMBER = "number"
PLACE = "place"
REFUSED = "refused"

SETTLED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, slots=True)
class Identity:
    """What must not change while a study is resumed, and what its trials carry along.

    Args:
        name: the study's name.
        settings: the study file's content with defaults filled in.
        versions: package name to version.
        device: what trains, in words.
    """

    name: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    device: str


def open_study(
    storage: BaseStorage,
    identity: Identity,
    task: str,
    part: str,
    *,
    value: str = "ladder objective (epochs)",
    maximize: bool = False,
) -> optuna.Study:
    """Return the Optuna study of one part of a task, created if it is not there.

    Args:
        part: ``shortlist``, ``confirm`` or a method's name.
        value: what the dashboard calls the trials' value.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=f"{identity.name}/{task}/{part}",
        direction="maximize" if maximize else "minimize",
        pruner=optuna.pruners.NopPruner(),  # pruning is decided by search/pruning.py, from whole batches
        load_if_exists=True,
    )
    # The settings are written last, so a study without them was cut off while it was made, or is somebody else's.
    if SETTINGS not in study.user_attrs:
        _check_empty(study)
        if [direction.name for direction in study.directions] != ["MAXIMIZE" if maximize else "MINIMIZE"]:
            raise MetaGDError(
                f"the storage already holds an Optuna study {study.study_name!r} with another direction, so it is not "
                "one of metagd's; rename or delete it, in the dashboard or with optuna delete-study"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([value])
        study.set_user_attr(VERSIONS, dict(identity.versions))
        study.set_user_attr(DEVICE, identity.device)
        study.set_user_attr(SETTINGS, dict(identity.settings))
    return study


def open_calibration(storage: BaseStorage, identity: Identity, task: str) -> optuna.Study:
    """Return the Optuna study of a task's calibration, created if it is not there."""
    value = f"best {identity.settings['metric']}"
    return open_study(storage, identity, task, CALIBRATE, value=value, maximize=True)


def stored_identity(storage: BaseStorage, name: str) -> Identity | None:
    """Return what an earlier run of the study stored, or None if there was none.

    Raises:
        MetaGDError: if the storage holds a study of that name that this package did not make.
    """
    found = {held: attributes for held, attributes in held_studies(storage).items() if held.split("/")[0] == name}
    for held, attributes in found.items():
        if _is_ours(held, attributes):
            return Identity(name, attributes[SETTINGS], attributes[VERSIONS], attributes[DEVICE])
    for held in found:
        _check_empty(optuna.load_study(study_name=held, storage=storage))
    return None


def _check_empty(study: optuna.Study) -> None:
    """Refuse a study that is somebody else's; without trials it may be one that was cut off while it was made."""
    if study.get_trials(deepcopy=False):
        raise MetaGDError(
            f"the storage already holds an Optuna study {study.study_name!r} that is not one of metagd's; "
            "name another storage with --storage or another folder with --out, rename the study file, or rename or "
            "delete that study"
        )


def held_studies(storage: BaseStorage) -> dict[str, dict[str, Any]]:
    """Return the attributes of all Optuna studies in a storage, by name.

    Optuna's summaries read every trial for it, which takes seconds in a storage that holds a universal study.
    """
    return {study.study_name: study.user_attrs for study in storage.get_all_studies()}


def _is_ours(name: str, attributes: Mapping[str, Any]) -> bool:
    """Return whether a study was made by this package, and completely; a copy under another name was not."""
    if name.count("/") != 2 or not {SETTINGS, VERSIONS, DEVICE} <= attributes.keys():
        return False
    _, task, part = name.split("/")
    settings = attributes[SETTINGS]
    named = isinstance(settings, Mapping) and task in map(task_name, settings.get("tasks", ()))
    return named and part in (CALIBRATE, "shortlist", "confirm", META_POLICY, *BASELINES)


def is_own_setting(trial: FrozenTrial) -> bool:
    """Return whether a method's trial is finished and has all that the package stores with one.

    A copy, which somebody added, has another number than the one that it was made with.
    """
    attributes = trial.user_attrs
    outcome = trial.value is not None if trial.state == TrialState.COMPLETE else LEAST_OBJECTIVE in attributes
    return (
        trial.state in SETTLED
        and outcome
        and _is_subject(attributes.get(SUBJECT))
        and (RUNS in attributes or STEPS in attributes)
        and attributes.get(NUMBER, trial.number) == trial.number
    )


def is_own_run(trial: FrozenTrial) -> bool:
    """Return whether a trial of calibration, shortlist or confirmation has all that the package stores with one."""
    attributes = trial.user_attrs
    stored = STEPS in attributes or (RUNS in attributes and _is_subject(attributes.get(SUBJECT)))
    return trial.state == TrialState.COMPLETE and {"contender", "seed"} <= trial.params.keys() and stored


def was_begun(trial: FrozenTrial) -> bool:
    """Return whether a trial was trained or asked for here, not taken from a file and not added by somebody else."""
    if trial.state == TrialState.WAITING:
        return SUBJECT in trial.user_attrs
    own = is_own_setting(trial) or is_own_run(trial)
    return trial.state == TrialState.RUNNING or (own and RUNS in trial.user_attrs)


def _is_subject(found: object) -> bool:
    return isinstance(found, Mapping) and {"name", "settings"} <= found.keys()


def facts_of(calibrate: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known about a task before it trains, out of the attributes of its calibration."""
    # The first storages kept one population for all tasks of a study, beside the facts of each, and knew one network.
    return {POPULATION: calibrate.get(POPULATION), NETWORK: {"text": ARTICLE_CNN}, **calibrate[FACTS]}


def stored_facts(storage: BaseStorage, name: str, task: str) -> dict[str, Any] | None:
    """Return what an earlier run of the study knew about a task before it trained, or None if there was none."""
    wanted = f"{name}/{task}/{CALIBRATE}"
    found = held_studies(storage).get(wanted, {})
    return facts_of(found) if FACTS in found else None


def held_tasks(storage: BaseStorage) -> dict[str, list[str]]:
    """Return the tasks of every study of metagd's in a storage, by the study's name, both sorted."""
    held: dict[str, set[str]] = {}
    for name, attributes in held_studies(storage).items():
        if _is_ours(name, attributes):
            study, task, _ = name.split("/")
            held.setdefault(study, set()).add(task)
    return {study: sorted(held[study]) for study in sorted(held)}


def held_parts(storage: BaseStorage, name: str) -> list[str]:
    """Return the names of the Optuna studies that are parts of a study of metagd's."""
    return [
        held
        for held, attributes in held_studies(storage).items()
        if held.split("/")[0] == name and _is_ours(held, attributes)
    ]


def load_part(storage: BaseStorage, name: str, task: str, part: str) -> optuna.Study:
    """Return an existing part of a study.

    Raises:
        MetaGDError: if the storage does not hold it; the error names what it holds.
    """
    try:
        return optuna.load_study(storage=storage, study_name=f"{name}/{task}/{part}")
    except KeyError:
        held = sorted(study for study, attributes in held_studies(storage).items() if _is_ours(study, attributes))
        raise MetaGDError(
            f"the storage holds no {name}/{task}/{part}; it holds: {', '.join(held) or 'nothing of metagd'}"
        ) from None


def describe_contender(contender: Contender) -> dict[str, Any]:
    """Return what ``stored_contender`` needs to build the contender again."""
    return {"name": contender.name, "settings": dict(contender.settings)}


def stored_contender(trial: FrozenTrial) -> Contender:
    """Return the contender that a trial was about."""
    subject = trial.user_attrs[SUBJECT]
    return contender_from_settings(subject["name"], subject["settings"])


def note_subject(trial: optuna.Trial, contender: Contender, place: int) -> None:
    """Store what an unfinished trial is about, its place among its method's, and that it is this one and no copy."""
    trial.set_user_attr(SUBJECT, describe_contender(contender))
    trial.set_user_attr(NUMBER, trial.number)
    trial.set_user_attr(PLACE, place)


def place_of(trial: FrozenTrial) -> int | None:
    """Return the place that a trial was begun in, None if it has none of its own."""
    place = trial.user_attrs.get(PLACE)
    return place if isinstance(place, int) and trial.user_attrs.get(NUMBER) == trial.number else None


def stored(storage: BaseStorage, trial: optuna.Trial) -> FrozenTrial:
    """Return what the storage holds of a trial."""
    return storage.get_trial(trial._trial_id)  # Optuna has no public name for it


def add_run(
    study: optuna.Study, identity: Identity, contender: Contender, record: RunRecord, *, value: float, seconds: float
) -> None:
    """Store one finished run of calibration, shortlist or confirmation as one trial, in one transaction.

    Raises:
        MetaGDError: if somebody added trials with the same parameters, but other choices, before.
    """
    run = optuna.create_trial(
        state=TrialState.COMPLETE,
        params={"contender": contender.name, "seed": record.seed},
        distributions=run_distributions(study.user_attrs[CONTENDERS]),
        value=value,
        intermediate_values=dict(_scores(identity, record)),
        user_attrs={
            SUBJECT: describe_contender(contender),
            RUNS: [record.to_dict()],
            SECONDS: seconds,
            DEVICE: identity.device,
            VERSIONS: dict(identity.versions),
        },
    )
    try:
        study.add_trial(run)
    except ValueError as error:  # Optuna keeps one kind of range per parameter
        raise MetaGDError(
            f"{study.study_name}: a run cannot be stored beside trials that somebody added ({error}); delete that "
            "study, in the dashboard or with optuna delete-study, and call the same command again: only "
            "its phase runs anew"
        ) from error


def run_distributions(contenders: Sequence[str]) -> dict[str, BaseDistribution]:
    """Return the distributions of the parameters of a run: the contender's name and the seed."""
    return {"contender": CategoricalDistribution(contenders), "seed": IntDistribution(0, 2**53)}


def stored_runs(study: optuna.Study) -> dict[tuple[str, int], RunRecord]:
    """Return the finished runs of calibration, shortlist or confirmation by contender and seed."""
    return {
        (record.contender, record.seed): record
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if is_own_run(trial)
        for record in trial_records(trial)
    }


def adopt(study: optuna.Study, storage: BaseStorage, trial: FrozenTrial) -> optuna.Trial:
    """Return an unfinished trial for going on with it, whichever process left it.

    A trial that waits (enqueued, or given back on Ctrl-C) or that a killed process left running keeps its number
    and its parameters; suggesting them again returns what is stored.
    """
    identifier = trial._trial_id  # Optuna has no public name for it
    if trial.state == TrialState.WAITING:
        storage.set_trial_state_values(identifier, TrialState.RUNNING)
    return optuna.Trial(study, identifier)


def fail(storage: BaseStorage, trial: FrozenTrial, why: str) -> None:
    """Tell Optuna that an enqueued trial failed, and store why."""
    identifier = trial._trial_id
    if trial.state == TrialState.WAITING:
        storage.set_trial_state_values(identifier, TrialState.RUNNING)
    storage.set_trial_user_attr(identifier, REFUSED, why)
    storage.set_trial_state_values(identifier, TrialState.FAIL)


def give_back(study: optuna.Study, storage: BaseStorage) -> int:
    """Let all running trials of a study wait, with their parameters, for the next run; return how many."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    return len(running)


def note_verdict(confirm: optuna.Study, verdict: Mapping[str, Any]) -> None:
    """Store a task's verdict with its confirmation."""
    confirm.set_user_attr(VERDICT, dict(verdict))


def is_published(confirm: optuna.Study, verdict: Mapping[str, Any]) -> bool:
    """Return whether this very verdict has been shown in the dashboard."""
    return bool(confirm.user_attrs.get(PUBLISHED) == verdict)


def note_published(confirm: optuna.Study, verdict: Mapping[str, Any]) -> None:
    """Remember that this verdict has been shown in the dashboard."""
    confirm.set_user_attr(PUBLISHED, dict(verdict))


def seconds_of(trials: Iterable[FrozenTrial]) -> float:
    """Return the wall-clock that trials took."""
    return sum(float(trial.user_attrs.get(SECONDS, 0.0)) for trial in trials)


def trial_records(trial: FrozenTrial) -> list[RunRecord]:
    """Return the runs of a settled trial of a method, one per seed (fewer if it was pruned)."""
    return [RunRecord.from_dict(table) for table in trial.user_attrs.get(RUNS, [])]


def steps_of(trial: FrozenTrial) -> int:
    """Return the steps, each a batch of the study, that a trial took over all its runs."""
    # A trial that was read from a column has no runs any more.
    stored = trial.user_attrs.get(STEPS)
    return int(stored) if stored is not None else sum(run["steps"] for run in trial.user_attrs.get(RUNS, []))


def objective_of(trial: FrozenTrial) -> float:
    """Return the objective of a settled trial of a method, in epochs.

    Of one that was stopped, it is the best that it could still have had.
    """
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return trial.value
    return float(trial.user_attrs[LEAST_OBJECTIVE])


def _scores(identity: Identity, record: RunRecord) -> list[tuple[int, float]]:
    curve = record.validation
    return list(zip(curve.steps, curve.metric(identity.settings["metric"]), strict=True))
