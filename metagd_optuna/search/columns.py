"""The searches of one task as a small JSON file: to go on with elsewhere, or to be put together with other tasks'."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy.document import write
from metagd_optuna.search import trial_store
from metagd_optuna.search.methods import Method, methods_of
from metagd_optuna.search.shared_design import designed
from metagd_optuna.search.study_file import UNIVERSAL, StudySpec

COLUMNS = "columns"  # the folder in a study's own
SCHEMA = 1
CALIBRATE = "calibrate"
PACKAGE = "metagd-optuna"
# What a column does not depend on: the other tasks, and everything that comes after the searches.
ELSEWHERE = ("tasks", "shortlist_trials", "shortlist_seeds", "confirmation_seeds", "population")


class _Column(NamedTuple):
    """What is taken from a file: the target of the searches, and the trials of every part."""

    t_search: float
    trials: Mapping[str, Sequence[FrozenTrial]]


class Columns:
    """The columns of a study, one file per task.

    Args:
        folder: where they are kept.
        storage, identity, spec: of the study.
    """

    def __init__(self, folder: Path, storage: BaseStorage, identity: trial_store.Identity, spec: StudySpec) -> None:
        self._folder = folder
        self._storage = storage
        self._identity = identity
        self._spec = spec

    def check(self, task: str, facts: Mapping[str, Any]) -> None:
        """Check a task's file if it will be taken, so that a bad one is told before anything trains.

        Args:
            task: its name.
            facts: what is known about the task here.

        Raises:
            MetaGDError: if the file is damaged, or of other settings, data or network.
        """
        if self._is_wanted(task):
            self._read(task, facts)

    def restore(self, task: str, facts: Mapping[str, Any]) -> None:
        """Take a task's column from its file, if there is one and the task has not begun to train here.

        Raises:
            MetaGDError: as ``check``.
        """
        if not self._is_wanted(task):
            return
        column = self._read(task, facts)
        for part, trials in column.trials.items():
            study = self._open(task, part)
            for trial in trials[len(study.get_trials(deepcopy=False)) :]:
                study.add_trial(trial)
        # Last, so that a column that was cut off while it was taken is gone on with. What is known about the task is
        # not taken from the file: it is written here, by the machine that confirms.
        self._open(task, CALIBRATE).set_user_attr(trial_store.T_SEARCH, column.t_search)

    def _is_wanted(self, task: str) -> bool:
        attributes = self._open(task, CALIBRATE).user_attrs
        begun = trial_store.FACTS in attributes or trial_store.T_SEARCH in attributes
        return not begun and self._path(task).is_file()

    def _path(self, task: str) -> Path:
        return self._folder / f"{task}.json"

    def save(self, task: str) -> None:
        """Write a task's column with the methods that are through: in the universal league all of them, once."""
        path = self._path(task)
        if self._spec.league == UNIVERSAL and path.is_file():
            return
        calibrate = self._open(task, CALIBRATE)
        document = {
            "schema": SCHEMA,
            "task": task,
            "settings": dict(self._identity.settings),
            "versions": dict(self._identity.versions),
            "device": self._identity.device,
            "facts": calibrate.user_attrs[trial_store.FACTS],
            "t_search": calibrate.user_attrs[trial_store.T_SEARCH],
            "trials": {
                part: [_row(trial) for trial in self._open(task, part).get_trials(deepcopy=False)]
                for part in (CALIBRATE, *(m.name for m in methods_of(self._spec) if self._is_through(task, m)))
            },
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetaGDError(f"{self._folder}: cannot be made ({error.strerror}); make the folder writable") from error
        write(json.dumps(document, indent=None, separators=(",", ":")).replace("],[", "],\n[") + "\n", path)

    def _is_through(self, task: str, method: Method) -> bool:
        # Looked for, because to open a part is to make it.
        if f"{self._identity.name}/{task}/{method.name}" not in trial_store.held_studies(self._storage):
            return False
        states = [trial.state for trial in self._open(task, method.name).get_trials(deepcopy=False)]
        return sum(state in trial_store.SETTLED for state in states) == self._spec.trials

    def _open(self, task: str, part: str) -> optuna.Study:
        calibrating = part == CALIBRATE
        value = f"best {self._spec.metric}" if calibrating else "ladder objective (epochs)"
        return trial_store.open_study(self._storage, self._identity, task, part, value=value, maximize=calibrating)

    def _settings(self, settings: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
        kept = {key: value for key, value in settings.items() if key not in ELSEWHERE}
        return kept | {PACKAGE: versions[PACKAGE]}

    def _read(self, task: str, facts: Mapping[str, Any]) -> _Column:
        path = self._path(task)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            theirs = self._settings(document["settings"], document["versions"])
            data = [document["facts"]["fingerprint"], document["facts"][trial_store.NETWORK]["fingerprint"]]
            rows = document["trials"]
            names = list(dict.fromkeys(row[-1]["contender"] for row in rows[CALIBRATE]))
            trials = {CALIBRATE: [_run(row, names) for row in rows[CALIBRATE]]}
            # A search goes on with the method that comes next; a design is of use whole.
            taken = [m for m in methods_of(self._spec) if self._spec.league == UNIVERSAL or m.name in rows]
            trials |= {m.name: [_trial(m, row) for row in rows[m.name]] for m in taken}
            t_search, schema = float(document["t_search"]), document["schema"]
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise MetaGDError(
                f"{path}: no column of a study, or a damaged one ({error!r}); delete it to train it anew"
            ) from error
        ours = self._settings(self._identity.settings, self._identity.versions)
        other = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        if other:
            raise MetaGDError(
                f"{path}: this column is of a study with other settings ({', '.join(other)}); delete it to train it "
                "anew, or set them as they were"
            )
        if data != [facts["fingerprint"], facts[trial_store.NETWORK]["fingerprint"]]:
            raise MetaGDError(
                f"{path}: this column is of other data or another network than task {task!r} has here; delete it to "
                "train it anew, or bring the data and the network that it was trained with"
            )
        counts = {len(found) for part, found in trials.items() if part != CALIBRATE}
        if schema != SCHEMA or not counts <= {self._spec.trials}:
            raise MetaGDError(f"{path}: the column is of another schema or lacks trials; delete it to train it anew")
        for method in taken if self._spec.league == UNIVERSAL else ():
            proposed = designed(method, self._spec.seed, self._spec.trials)
            if not all(map(_alike, (t.params for t in trials[method.name]), proposed)):
                raise MetaGDError(
                    f"{path}: the settings of {method.name} are not those that this version's design has, so they "
                    "cannot stand beside other tasks' columns; delete it to train it anew, or go back to the version "
                    "that wrote it"
                )
        return _Column(t_search, trials)


def _alike(params: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Return whether two trials have the same parameters, up to the last bits, in which machines may differ."""
    return params.keys() == others.keys() and all(
        math.isclose(value, others[name], rel_tol=1e-9) if isinstance(value, float) else value == others[name]
        for name, value in params.items()
    )


def _row(trial: FrozenTrial) -> list[Any]:
    """Return what is kept of a trial: whether it was pruned, its objective (at least), steps, seconds, parameters."""
    return [
        trial.state == TrialState.PRUNED,
        trial_store.objective_of(trial),
        trial_store.steps_of(trial),
        round(trial_store.seconds_of([trial]), 3),
        trial.params,
    ]


def _run(row: list[Any], names: list[str]) -> FrozenTrial:
    """Return a run of the calibration, without its curve."""
    _, value, steps, seconds, params = row
    return optuna.create_trial(
        value=value,
        params=params,
        distributions={
            "contender": CategoricalDistribution(names),
            "seed": IntDistribution(0, 2**53),
        },
        user_attrs={trial_store.STEPS: steps, trial_store.SECONDS: seconds},
    )


def _trial(method: Method, row: list[Any]) -> FrozenTrial:
    """Return a trial of a method, without its curves."""
    pruned, objective, steps, seconds, params = row
    fixed = FixedTrial(params)
    contender = method.suggest(fixed)  # type: ignore[arg-type]
    attributes: dict[str, Any] = {
        trial_store.SUBJECT: trial_store.describe_contender(contender),
        trial_store.STEPS: steps,
        trial_store.SECONDS: seconds,
    }
    if pruned:
        attributes[trial_store.LEAST_OBJECTIVE] = objective
    return optuna.create_trial(
        state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
        value=None if pruned else objective,
        params=dict(fixed.params),
        distributions=dict(fixed.distributions),
        user_attrs=attributes,
    )
