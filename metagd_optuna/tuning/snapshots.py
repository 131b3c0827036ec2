"""The searches of one task as a small JSON file: to go on with elsewhere, or to be put together with other tasks'."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from pydantic import Field, JsonValue, Strict

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import make_folder, read_text, write_text
from metagd_optuna.given import as_given, counted, shortened
from metagd_optuna.models import Model, Row, checked
from metagd_optuna.tuning.metadata import TaskMetadata
from metagd_optuna.tuning.methods import Method, methods_of
from metagd_optuna.tuning.own_trials import finished_runs, finished_settings
from metagd_optuna.tuning.parts import CALIBRATE
from metagd_optuna.tuning.settings import HEAD, StudySettings, as_it_was
from metagd_optuna.tuning.shared_design import designed
from metagd_optuna.tuning.store import TaskStore
from metagd_optuna.tuning.stored_trials import (
    LEAST_OBJECTIVE,
    SECONDS,
    SEED,
    STEPS,
    SUBJECT,
    described,
    objective_of,
    run_distributions,
    seconds_of,
    seed_of,
    steps_of,
    was_begun,
)

SNAPSHOTS = "snapshots"  # the folder in a study's own
PACKAGE = "metagd-optuna"
# What a snapshot does not depend on: the other tasks, and everything that comes after the searches.
ELSEWHERE = ("tasks", "shortlist_seeds", "confirmation_seeds", "target_share", "resample_splits", "population")

Amount = Annotated[float, Field(ge=0)]
MOST = 2**53  # of steps, and of the number of a seed
Count = Annotated[int, Field(ge=0, le=MOST)]
Params = dict[str, str | int | float]
# What is kept of a trial: whether it was pruned, its objective (at least), steps, seconds, parameters.
StoredRow = Annotated[tuple[bool, Amount, Count, Amount, Params], Strict(False)]


class _Row(NamedTuple):
    pruned: bool
    objective: float
    steps: int
    seconds: float
    params: Params


class Snapshot(Model):
    """The document: calibration and searches of one task, and what they depend on."""

    version: Literal[2] = Field(alias="schema")
    task: str
    settings: Mapping[str, JsonValue]
    versions: Mapping[str, str]
    device: str
    metadata: TaskMetadata
    search_target: float
    trials: Mapping[str, Row[StoredRow]]

    @property
    def rows(self) -> dict[str, list[_Row]]:
        """What is kept of the trials of every part."""
        return {part: [_Row(*row) for row in rows] for part, rows in self.trials.items()}


class _Taken(NamedTuple):
    """What is taken from a file: the target of the searches, and the trials of every part."""

    search_target: float
    trials: Mapping[str, Sequence[FrozenTrial]]


class Snapshots:
    """The snapshots of a study, one file per task.

    Args:
        folder: where they are kept.
        settings: of the study.
        log: called with a line about what is taken from a file.
    """

    def __init__(self, folder: Path, settings: StudySettings, log: Callable[[str], None]) -> None:
        self._folder = folder
        self._settings = settings
        self._log = log

    def check(self, store: TaskStore, metadata: TaskMetadata) -> None:
        """Check a task's file if anything will be taken, so that a bad one is told before anything trains.

        Args:
            store: of the task.
            metadata: what is known about the task here.

        Raises:
            MetaGDError: if the file is damaged; of other settings, data or network; or holds searches for another
                target than the storage has.
        """
        self._missing(store, metadata)

    def restore(self, store: TaskStore, metadata: TaskMetadata) -> None:
        """Take from a task's file every search that is through there and not begun in the storage.

        Raises:
            MetaGDError: as ``check``.
        """
        taken = self._missing(store, metadata)
        if taken is None:
            return
        for part, trials in taken.trials.items():
            study = store.open_calibration() if part == CALIBRATE else store.open(part)
            for trial in trials[len(_own_trials(study, part)) :]:
                study.add_trial(trial)
        # Last, so that a snapshot that was cut off while it was taken is gone on with. What is known about the task is
        # not taken from the file: it is written here, by the machine that confirms.
        store.note_search_target(taken.search_target)
        names = ", ".join(part for part in taken.trials if part != CALIBRATE)
        self._log(f"task {store.name}: taken from {self._path(store)}: {names or 'the calibration'}")

    def save(self, store: TaskStore) -> None:
        """Write a task's snapshot with the methods that are through: in the universal scope all of them, once."""
        path = self._path(store)
        if self._settings.universal and path.is_file():
            return
        through = [m.name for m in methods_of(self._settings) if self._finished(store, m) >= self._settings.trials]
        rows = {CALIBRATE: _own_trials(store.open_calibration(), CALIBRATE)} | {
            name: _own_trials(store.open(name), name)[: self._settings.trials] for name in through
        }
        identity, target = store.study.identity, store.search_target
        assert target is not None, "the calibration comes first"
        document = Snapshot(
            schema=2,
            task=store.name,
            settings=dict(identity.settings),
            versions=dict(identity.versions),
            device=identity.device,
            metadata=store.known_metadata,
            search_target=target,
            trials={part: tuple(map(_row, trials)) for part, trials in rows.items()},
        )
        make_folder(self._folder)
        write_text(_lines(document.model_dump(mode="json", by_alias=True, exclude_none=True)) + "\n", path)

    def _missing(self, store: TaskStore, metadata: TaskMetadata) -> _Taken | None:
        """Return what a task's file has and the storage has not begun; None if that is nothing.

        A file for another target is refused as long as a search is missing here, even if it lacks that one as well: it
        was brought to be used, and what is found here would be written over it.
        """
        if not self._path(store).is_file():
            return None
        target = store.search_target
        wanted = [method.name for method in methods_of(self._settings) if self._is_to_come(store, method)]
        if target is not None and not wanted:
            return None
        taken = self._read(store, metadata)
        if target is None and not any(map(was_begun, store.trials(CALIBRATE))):
            wanted.append(CALIBRATE)
        elif target != taken.search_target:
            found = "is not through" if target is None else f"found {target:g}"
            raise MetaGDError(
                f"{self._path(store)}: these searches are for the target {taken.search_target:g}, and the calibration "
                f"that this study has begun itself {found}; delete the file to train without it, or use it in a new "
                "study, with another --out"
            )
        trials = {part: rows for part, rows in taken.trials.items() if part in wanted}
        return _Taken(taken.search_target, trials) if trials else None

    def _finished(self, store: TaskStore, method: Method) -> int:
        return len(finished_settings(store.trials(method.name)))

    def _is_to_come(self, store: TaskStore, method: Method) -> bool:
        """Return whether nothing of a search was trained here, nor all of it taken from a file."""
        begun = any(map(was_begun, store.trials(method.name)))
        return not begun and self._finished(store, method) < self._settings.trials

    def _path(self, store: TaskStore) -> Path:
        return self._folder / f"{store.name}.json"

    def _decisive(self, settings: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
        # A search per task stops trials that cannot enter the shortlist, so there its length counts.
        elsewhere = (*ELSEWHERE, "shortlist_trials") if self._settings.universal else ELSEWHERE
        kept = {key: value for key, value in as_it_was(settings).items() if key not in elsewhere}
        return kept | {PACKAGE: versions.get(PACKAGE)}

    def _read(self, store: TaskStore, metadata: TaskMetadata) -> _Taken:
        path, identity = self._path(store), store.study.identity
        document = read_snapshot(path)
        theirs = self._decisive(document.settings, document.versions)
        ours = self._decisive(identity.settings, identity.versions)
        other = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        if other:
            raise MetaGDError(
                f"{path}: this snapshot is of a study with other settings ({', '.join(other)}); delete it to train it "
                "anew, or set them as they were"
            )
        data = (document.metadata.fingerprint, document.metadata.network.fingerprint)
        other_weights = self._settings.trainable == HEAD and document.metadata.network.md5 != metadata.network.md5
        if other_weights or data != (metadata.fingerprint, metadata.network.fingerprint):
            raise MetaGDError(
                f"{path}: this snapshot is of other data or another network than task {store.name!r} has here; delete "
                "it to train it anew, or bring the data and the network that it was trained with"
            )
        # A search goes on with the method that comes next; a design is of use whole.
        rows = document.rows
        methods = [m for m in methods_of(self._settings) if self._settings.universal or m.name in rows]
        self._check_rows(path, document.search_target, rows, metadata.chance, methods)
        trials: dict[str, Sequence[FrozenTrial]] = {}
        made: dict[str, Callable[[Sequence[_Row]], list[FrozenTrial]]] = {CALIBRATE: _runs}
        for part, make in (made | {method.name: partial(_trials, method) for method in methods}).items():
            try:
                trials[part] = make(rows[part])
            # A parameter that is missing, out of its range, or no number that a computer has.
            except (MetaGDError, ValueError, ArithmeticError, UserWarning) as error:
                raise MetaGDError(f"{path}: {part}: {shortened(str(error))}; {_ANEW}") from error
        for method in methods if self._settings.universal else ():
            proposed = designed(method, self._settings.seed, self._settings.trials)
            if not all(map(_alike, (t.params for t in trials[method.name]), proposed)):
                raise MetaGDError(
                    f"{path}: the settings of {method.name} are not those that this version's design has, so they "
                    "cannot stand beside other tasks' snapshots; delete it to train it anew, or go back to the version "
                    "that wrote it"
                )
        return _Taken(document.search_target, trials)

    def _check_rows(
        self, path: Path, target: float, rows: Mapping[str, Sequence[_Row]], chance: float, methods: Sequence[Method]
    ) -> None:
        """Refuse numbers that no search has: what the storage takes in stays there."""
        if not chance < target <= 1 + 1e-9:  # balanced accuracies may be a rounding above 1
            raise MetaGDError(
                f"{path}: search_target {target:g} is not between the chance level ({chance:g}) and 1; {_ANEW}"
            )
        runs = {(row.params.get("candidate"), row.params.get("seed")) for row in rows.get(CALIBRATE, ())}
        names, seeds = ({run[place] for run in runs} for place in (0, 1))
        if not runs or len(runs) != len(names) * len(seeds) or len(seeds) != self._settings.calibration_seeds:
            raise MetaGDError(f"{path}: runs of the calibration are missing; {_ANEW}")
        least = 1 if self._settings.universal else self._settings.shortlist_trials
        for name in (method.name for method in methods):
            found = rows.get(name, ())
            complete = sum(not row.pruned for row in found)
            if len(found) != self._settings.trials or complete < least:
                raise MetaGDError(
                    f"{path}: {name} has {counted(len(found), 'trial')}, {complete} of them complete; "
                    f"a search has {self._settings.trials}, at least {least} of them complete; {_ANEW}"
                )


_ANEW = "delete it to train it anew"


def read_snapshot(path: Path) -> Snapshot:
    """Return the snapshot in a file.

    Raises:
        MetaGDError: if the file cannot be read, or is no snapshot.
    """
    try:
        table = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise MetaGDError(f"{path}: no snapshot of a study, or a damaged one ({error}); {_ANEW}") from error
    return checked(Snapshot, table, str(path), _ANEW)


def _alike(params: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Return whether two trials have the same parameters, up to the last bits, in which machines may differ."""
    return params.keys() == others.keys() and all(
        math.isclose(value, others[name], rel_tol=1e-9) if isinstance(value, float) else value == others[name]
        for name, value in params.items()
    )


def _own_trials(study: optuna.Study, part: str) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False)
    return finished_runs(trials) if part == CALIBRATE else finished_settings(trials)


def _lines(document: Mapping[str, Any]) -> str:
    """Return a snapshot as JSON, one trial per line, so that a version control shows what was added."""
    rest = {key: value for key, value in document.items() if key != "trials"}
    parts = ",\n".join(
        f"{_compact(part)}:[" + ",\n".join(map(_compact, rows)) + "]" for part, rows in document["trials"].items()
    )
    return _compact(rest)[:-1] + ',"trials":{' + parts + "}}"


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _row(trial: FrozenTrial) -> _Row:
    return _Row(
        trial.state == TrialState.PRUNED,
        objective_of(trial),
        steps_of(trial),
        round(seconds_of([trial]), 3),
        dict(trial.params) if (seed := seed_of(trial)) is None else {**trial.params, SEED: seed},
    )


def _runs(rows: Sequence[_Row]) -> list[FrozenTrial]:
    """Return the runs of the calibration, without their curves."""
    names: dict[str, None] = {}
    for name, seed in ((row.params.get("candidate"), row.params.get(SEED)) for row in rows):
        if not isinstance(name, str) or not isinstance(seed, int) or not 0 <= seed <= MOST:
            raise MetaGDError(
                f"a run has the candidate {as_given(name)} and the seed {as_given(seed)}; a text and a whole number "
                f"from 0 to {MOST} belong there"
            )
        names[name] = None
    return [
        optuna.create_trial(
            value=row.objective,
            params={"candidate": row.params["candidate"]},
            distributions=run_distributions(list(names)),
            user_attrs={SEED: row.params[SEED], STEPS: row.steps, SECONDS: row.seconds},
        )
        for row in rows
    ]


def _trials(method: Method, rows: Sequence[_Row]) -> list[FrozenTrial]:
    return [_trial(method, row) for row in rows]


def _trial(method: Method, row: _Row) -> FrozenTrial:
    """Return a trial of a method, without its curves."""
    fixed = FixedTrial(dict(row.params))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # all that Optuna says of a parameter out of range
        candidate = method.suggest(fixed)  # type: ignore[arg-type]
    attributes: dict[str, Any] = {SUBJECT: described(candidate), STEPS: row.steps, SECONDS: row.seconds}
    if row.pruned:
        attributes[LEAST_OBJECTIVE] = row.objective
    return optuna.create_trial(
        state=TrialState.PRUNED if row.pruned else TrialState.COMPLETE,
        value=None if row.pruned else row.objective,
        params=dict(fixed.params),
        distributions=dict(fixed.distributions),
        user_attrs=attributes,
    )
