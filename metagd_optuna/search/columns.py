"""One task's results of a universal study as a small JSON file, to be put together with other tasks' elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy.document import write
from metagd_optuna.search import trial_store
from metagd_optuna.search.methods import Method, methods_of
from metagd_optuna.search.study_file import StudySpec

SCHEMA = 1
PACKAGE = "metagd-optuna"
# What a column does not depend on: the other tasks, and everything that comes after the design.
ELSEWHERE = ("tasks", "shortlist_trials", "shortlist_seeds", "confirmation_seeds", "population")


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

    def restore(self, task: str) -> None:
        """Take a task's column from its file, if there is one and the storage holds nothing of the task yet.

        Raises:
            MetaGDError: if the file is damaged, or of a study with other settings.
        """
        path = self._folder / f"{task}.json"
        calibrate = self._open(task, "calibrate", maximize=True)
        if trial_store.FACTS in calibrate.user_attrs and trial_store.T_SEARCH not in calibrate.user_attrs:
            return  # it is being trained here
        if trial_store.T_SEARCH in calibrate.user_attrs or not path.is_file():
            return
        column = self._read(path)
        names = list(dict.fromkeys(row[-1]["contender"] for row in column["calibration"]))
        for row in column["calibration"][len(calibrate.get_trials(deepcopy=False)) :]:
            calibrate.add_trial(_run(row, names))
        for method in methods_of(self._spec):
            study = self._open(task, method.name)
            for row in column["methods"][method.name][len(study.get_trials(deepcopy=False)) :]:
                study.add_trial(_trial(method, row))
        calibrate.set_user_attr(trial_store.FACTS, column["facts"])
        # Last, so that a column that was cut off while it was read is read on.
        calibrate.set_user_attr(trial_store.T_SEARCH, column["t_search"])

    def save(self, task: str) -> None:
        """Write a task's column, once all its trials are settled."""
        path = self._folder / f"{task}.json"
        if path.is_file():
            return
        calibrate = self._open(task, "calibrate", maximize=True)
        document = {
            "schema": SCHEMA,
            "task": task,
            "settings": self._settings(self._identity.settings),
            "versions": dict(self._identity.versions),
            "device": self._identity.device,
            "facts": calibrate.user_attrs[trial_store.FACTS],
            "t_search": calibrate.user_attrs[trial_store.T_SEARCH],
            "calibration": [_row(trial) for trial in calibrate.get_trials(deepcopy=False)],
            "methods": {
                method.name: [_row(trial) for trial in self._open(task, method.name).get_trials(deepcopy=False)]
                for method in methods_of(self._spec)
            },
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetaGDError(f"{self._folder}: cannot be made ({error.strerror}); make the folder writable") from error
        write(json.dumps(document, indent=None, separators=(",", ":")).replace("],[", "],\n[") + "\n", path)

    def _open(self, task: str, part: str, *, maximize: bool = False) -> optuna.Study:
        value = f"best {self._spec.metric}" if part == "calibrate" else "ladder objective (epochs)"
        return trial_store.open_study(self._storage, self._identity, task, part, value=value, maximize=maximize)

    def _settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in settings.items() if key not in ELSEWHERE}

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            column = json.loads(path.read_text(encoding="utf-8"))
            found, version = dict(column["settings"]), column["versions"][PACKAGE]
            rows = {method: len(column["methods"][method]) for method in (*self._spec.baselines, "meta-policy")}
            complete = column["schema"] == SCHEMA and {"facts", "t_search", "calibration"} <= column.keys()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MetaGDError(
                f"{path}: no column of a universal study ({error!r}); delete it to train it anew"
            ) from error
        wanted = self._settings(self._identity.settings) | {PACKAGE: self._identity.versions[PACKAGE]}
        found = found | {PACKAGE: version}
        other = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        if other:
            raise MetaGDError(
                f"{path}: this column is of a study with other settings ({', '.join(other)}); delete it to train it "
                "anew, or set them as they were"
            )
        if not complete or set(rows.values()) != {self._spec.trials}:
            raise MetaGDError(f"{path}: the column is damaged; delete it to train it anew")
        return dict(column)


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
