"""The searches of one task as a small JSON file: to go on with elsewhere, or to be put together with other tasks'."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy.document import write
from metagd_optuna.search import trial_store
from metagd_optuna.search.methods import Method, methods_of
from metagd_optuna.search.own_trials import finished_runs, finished_settings
from metagd_optuna.search.shared_design import designed
from metagd_optuna.search.study_file import UNIVERSAL, StudySpec, with_defaults
from metagd_optuna.search.trial_store import CALIBRATE

COLUMNS = "columns"  # the folder in a study's own
SCHEMA = 1
PACKAGE = "metagd-optuna"
# What a column does not depend on: the other tasks, and everything that comes after the searches.
ELSEWHERE = ("tasks", "shortlist_seeds", "confirmation_seeds", "population")


# What reading a file may raise that was damaged or changed by hand.
DAMAGE = (
    OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError, UserWarning,
    MetaGDError,
)  # fmt: skip


class _Column(NamedTuple):
    """What is taken from a file: the target of the searches, and the trials of every part."""

    t_search: float
    trials: Mapping[str, Sequence[FrozenTrial]]


class Columns:
    """The columns of a study, one file per task.

    Args:
        folder: where they are kept.
        storage, identity, spec: of the study.
        say: called with a line about what is taken from a file.
    """

    def __init__(
        self,
        folder: Path,
        storage: BaseStorage,
        identity: trial_store.Identity,
        spec: StudySpec,
        say: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._storage = storage
        self._identity = identity
        self._spec = spec
        self._say = say

    def check(self, task: str, facts: Mapping[str, Any]) -> None:
        """Check a task's file if anything will be taken, so that a bad one is told before anything trains.

        Args:
            task: its name.
            facts: what is known about the task here.

        Raises:
            MetaGDError: if the file is damaged; of other settings, data or network; or holds searches for another
                target than the storage has.
        """
        self._missing(task, facts)

    def restore(self, task: str, facts: Mapping[str, Any]) -> None:
        """Take from a task's file every search that is through there and not begun in the storage.

        Raises:
            MetaGDError: as ``check``.
        """
        column = self._missing(task, facts)
        if column is None:
            return
        for part, trials in column.trials.items():
            study = self._open(task, part)
            for trial in trials[len(_own_trials(study, part)) :]:
                study.add_trial(trial)
        # Last, so that a column that was cut off while it was taken is gone on with. What is known about the task is
        # not taken from the file: it is written here, by the machine that confirms.
        self._open(task, CALIBRATE).set_user_attr(trial_store.T_SEARCH, column.t_search)
        names = ", ".join(part for part in column.trials if part != CALIBRATE)
        self._say(f"task {task}: taken from {self._path(task)}: {names or 'the calibration'}")

    def _missing(self, task: str, facts: Mapping[str, Any]) -> _Column | None:
        """Return what a task's file has and the storage has not begun; None if that is nothing.

        A file for another target is refused as long as a search is missing here, even if it lacks that one as well: it
        was brought to be used, and what is found here would be written over it.
        """
        if not self._path(task).is_file():
            return None
        calibration = trial_store.held_studies(self._storage).get(self._name(task, CALIBRATE), {})
        t_search = calibration.get(trial_store.T_SEARCH)
        wanted = [method.name for method in methods_of(self._spec) if self._is_to_come(task, method)]
        if t_search is not None and not wanted:
            return None
        column = self._read(task, facts)
        if t_search is None and not any(map(trial_store.was_begun, self._trials(task, CALIBRATE))):
            wanted.append(CALIBRATE)
        elif t_search != column.t_search:
            found = "is not through" if t_search is None else f"found {t_search:g}"
            raise MetaGDError(
                f"{self._path(task)}: these searches are for the target {column.t_search:g}, and the calibration that "
                f"this study has begun itself {found}; delete the file to train without it, or use it in a new study, "
                "with another --out"
            )
        trials = {part: rows for part, rows in column.trials.items() if part in wanted}
        return _Column(column.t_search, trials) if trials else None

    def _is_to_come(self, task: str, method: Method) -> bool:
        """Return whether nothing of a search was trained here, nor all of it taken from a file."""
        trials = self._trials(task, method.name)
        return len(finished_settings(trials)) < self._spec.trials and not any(map(trial_store.was_begun, trials))

    def _trials(self, task: str, part: str) -> list[FrozenTrial]:
        # Looked for, because to open a part is to make it.
        if self._name(task, part) not in trial_store.held_studies(self._storage):
            return []
        return self._open(task, part).get_trials(deepcopy=False)

    def _name(self, task: str, part: str) -> str:
        return f"{self._identity.name}/{task}/{part}"

    def _path(self, task: str) -> Path:
        return self._folder / f"{task}.json"

    def save(self, task: str) -> None:
        """Write a task's column with the methods that are through: in the universal league all of them, once."""
        path = self._path(task)
        if self._spec.league == UNIVERSAL and path.is_file():
            return
        calibrate = self._open(task, CALIBRATE)
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "task": task,
            "settings": dict(self._identity.settings),
            "versions": dict(self._identity.versions),
            "device": self._identity.device,
            "facts": calibrate.user_attrs[trial_store.FACTS],
            "t_search": calibrate.user_attrs[trial_store.T_SEARCH],
            "trials": {
                part: [_row(trial) for trial in _own_trials(self._open(task, part), part)[: self._most(part)]]
                for part in (CALIBRATE, *(m.name for m in methods_of(self._spec) if self._is_through(task, m)))
            },
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetaGDError(f"{self._folder}: cannot be made ({error.strerror}); make the folder writable") from error
        write(_lines(document) + "\n", path)

    def _is_through(self, task: str, method: Method) -> bool:
        return len(finished_settings(self._trials(task, method.name))) >= self._spec.trials

    def _most(self, part: str) -> int | None:
        return None if part == CALIBRATE else self._spec.trials

    def _open(self, task: str, part: str) -> optuna.Study:
        if part == CALIBRATE:
            return trial_store.open_calibration(self._storage, self._identity, task)
        return trial_store.open_study(self._storage, self._identity, task, part)

    def _settings(self, settings: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
        # A search per task stops trials that cannot enter the shortlist, so there its length counts.
        elsewhere = (*ELSEWHERE, "shortlist_trials") if self._spec.league == UNIVERSAL else ELSEWHERE
        kept = {key: value for key, value in with_defaults(settings).items() if key not in elsewhere}
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
            self._check_numbers(t_search, facts["chance"], trials)
        except DAMAGE as error:
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

    def _check_numbers(self, t_search: float, chance: float, trials: Mapping[str, Sequence[FrozenTrial]]) -> None:
        """Raise ValueError for numbers that no search has: what the storage takes in stays there."""
        if not chance < t_search <= 1 + 1e-9:  # balanced accuracies once came out a rounding above 1
            raise ValueError(f"t_search {t_search:g} is not between guessing ({chance:g}) and 1")
        runs = {(t.params["contender"], t.params["seed"]) for t in trials[CALIBRATE]}
        rates, seeds = ({run[place] for run in runs} for place in (0, 1))
        if not runs or len(runs) != len(rates) * len(seeds) or len(seeds) != self._spec.calibration_seeds:
            raise ValueError("runs of the calibration are missing")
        least = 1 if self._spec.league == UNIVERSAL else self._spec.shortlist_trials
        for part, found in trials.items():
            if sum(trial.state == TrialState.COMPLETE for trial in found) < least and part != CALIBRATE:
                raise ValueError(f"fewer than {least} trials of {part} are complete")


def _alike(params: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Return whether two trials have the same parameters, up to the last bits, in which machines may differ."""
    return params.keys() == others.keys() and all(
        math.isclose(value, others[name], rel_tol=1e-9) if isinstance(value, float) else value == others[name]
        for name, value in params.items()
    )


def _own_trials(study: optuna.Study, part: str) -> list[FrozenTrial]:
    return finished_runs(study) if part == CALIBRATE else finished_settings(study.get_trials(deepcopy=False))


def _lines(document: Mapping[str, Any]) -> str:
    """Return a column as JSON, one trial per line, so that a version control shows what was added."""
    rest = {key: value for key, value in document.items() if key != "trials"}
    parts = ",\n".join(
        f"{_compact(part)}:[" + ",\n".join(map(_compact, rows)) + "]" for part, rows in document["trials"].items()
    )
    return _compact(rest)[:-1] + ',"trials":{' + parts + "}}"


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _row(trial: FrozenTrial) -> list[Any]:
    """Return what is kept of a trial: whether it was pruned, its objective (at least), steps, seconds, parameters."""
    return [
        trial.state == TrialState.PRUNED,
        trial_store.objective_of(trial),
        trial_store.steps_of(trial),
        round(trial_store.seconds_of([trial]), 3),
        trial.params,
    ]


def _checked(row: list[Any]) -> list[Any]:
    """Return a row as it was read, if its numbers are some that a trial can have."""
    pruned, objective, steps, seconds, params = row
    numbers = [value for value in (objective, steps, seconds) if not isinstance(value, bool) and math.isfinite(value)]
    fits = isinstance(pruned, bool) and isinstance(steps, int) and isinstance(params, dict)
    if not fits or len(numbers) < 3 or min(numbers) < 0:
        raise ValueError(f"{row} is no row of a trial: pruned, objective, steps, seconds, parameters")
    return row


def _run(row: list[Any], names: list[str]) -> FrozenTrial:
    """Return a run of the calibration, without its curve."""
    _, value, steps, seconds, params = _checked(row)
    return optuna.create_trial(
        value=value,
        params=params,
        distributions=trial_store.run_distributions(names),
        user_attrs={trial_store.STEPS: steps, trial_store.SECONDS: seconds},
    )


def _trial(method: Method, row: list[Any]) -> FrozenTrial:
    """Return a trial of a method, without its curves."""
    pruned, objective, steps, seconds, params = _checked(row)
    fixed = FixedTrial(params)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # all that Optuna says of a parameter out of range
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
