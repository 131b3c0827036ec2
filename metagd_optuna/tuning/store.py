"""Everything that is written to and read from Optuna's storage, by study and task.

``parts`` knows which studies are the package's own; this module alone knows their attributes, and ``stored_trials``
those of trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.models import checked
from metagd_optuna.tuning import stored_trials
from metagd_optuna.tuning.light_storage import storage_of
from metagd_optuna.tuning.metadata import Outcome, TaskMetadata
from metagd_optuna.tuning.parts import (
    CALIBRATE,
    CONFIRM,
    DEVICE,
    OF_A_LOOK,
    SETTINGS,
    SHORTLIST,
    TASKS,
    VERSIONS,
    begin,
    check_among,
    check_empty,
    held_studies,
    held_tasks,
    is_ours,
    looked,
    tasks_among,
)
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.storage import artifact_folder, plain_content_errors

METADATA = "metadata"
OUTCOME = "outcome"
VERDICT = "verdict"
PUBLISHED = "published"
CHOSEN = "chosen_trial"
CANDIDATES = "candidates"
SEARCH_TARGET = "search_target"
LOOKS = "looks"

REMEDY = "another version of metagd_optuna wrote it: continue with that one, or start a new study with another --out"


@dataclass(frozen=True, slots=True)
class Identity:
    """What must not change while a study is resumed, and what its trials carry along.

    Args:
        name: the study's name.
        settings: the study file's content with defaults filled in.
        versions: package name to version.
        device: what trains, in words.
        tasks: names of all tasks, in the order of the study file. They are kept, because a path's last name is cut by
            the readers that are registered, and a study is also read where its reader is not.
    """

    name: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    device: str
    tasks: tuple[str, ...]


class StudyStore:
    """What one study keeps in a storage.

    Args:
        storage: Optuna's.
        identity: of the study.
        looks: how many trials each method had at every look at a confirmation, the current one last.
    """

    def __init__(self, storage: BaseStorage, identity: Identity, looks: Sequence[int] = ()) -> None:
        self.storage = storage
        self.identity = identity
        self.looks = tuple(looks) or (int(identity.settings["trials"]),)

    @classmethod
    @plain_content_errors()
    def find(cls, storage: BaseStorage, name: str) -> StudyStore | None:
        """Return the store of a study that an earlier run began, or None if there was none.

        Raises:
            MetaGDError: if the storage holds a study of that name that this package did not make.
        """
        return cls._among(held_studies(storage), storage, name)

    @classmethod
    def _among(cls, studies: Mapping[str, Mapping[str, Any]], storage: BaseStorage, name: str) -> StudyStore | None:
        found = {held: attributes for held, attributes in studies.items() if held.split("/")[0] == name}
        for held, attributes in found.items():
            if is_ours(held, attributes):
                settings, *known = (attributes[key] for key in (SETTINGS, VERSIONS, DEVICE, TASKS))
                # All tasks have the same looks, but for those that a killed process did not come to.
                looks = max((part.get(LOOKS, ()) for part in found.values()), key=lambda held: (len(held), *held[-1:]))
                raised = {"trials": looks[-1]} if looks else {}
                return cls(storage, Identity(name, {**settings, **raised}, *known), looks)
        for held in found:
            check_empty(optuna.load_study(study_name=held, storage=storage))
        return None

    @classmethod
    @plain_content_errors()
    def load(cls, storage: BaseStorage, name: str, *tasks: str) -> StudyStore:
        """Return the store of a study that has to be there, and these tasks of it.

        Raises:
            MetaGDError: if the storage does not hold it; the error names what it holds.
        """
        studies = held_studies(storage)
        held = tasks_among(studies)
        check_among("study", name, sorted(held))
        for task in tasks:
            check_among(f"task of study {as_given(name)}", task, held[name])
        found = cls._among(studies, storage, name)
        assert found is not None  # it is among those that are held
        return found

    @property
    def name(self) -> str:
        """The study's name."""
        return self.identity.name

    @property
    def settings(self) -> StudySettings:
        """The settings that the study was begun with.

        Raises:
            MetaGDError: if another version of the package stored them.
        """
        return checked(StudySettings, self.identity.settings, f"study {self.name!r}", REMEDY)

    @property
    def begun_tasks(self) -> list[str]:
        """Names of the tasks that were begun, sorted."""
        return held_tasks(self.storage).get(self.name, [])

    @property
    def tasks(self) -> list[str]:
        """Names of all tasks, in the order of the study file."""
        return list(self.identity.tasks)

    def looks_with(self, trials: int) -> tuple[int, ...]:
        """Return what the looks are once every method has more trials: one more, if the current one has begun."""
        begun = any(self.task(task).trials(SHORTLIST) for task in self.begun_tasks)
        return (*self.looks, trials) if begun else (*self.looks[:-1], trials)

    def note_looks(self) -> None:
        """Store the looks with every task that was begun."""
        for task in self.begun_tasks:
            self.task(task).open_calibration().set_user_attr(LOOKS, list(self.looks))

    @property
    def artifacts(self) -> Path | None:
        """The folder of the dashboard's files; None for a storage that has none beside it."""
        return artifact_folder(self.storage.url) if isinstance(self.storage, RDBStorage) else None

    def task(self, name: str) -> TaskStore:
        """Return what the study keeps of one task."""
        return TaskStore(self, name)

    def requeue(self) -> int:
        """Let every trial that still runs wait, with its parameters, for the next run; return how many."""
        count = 0
        for held, attributes in held_studies(self.storage).items():
            if held.split("/")[0] == self.name and is_ours(held, attributes):
                study = optuna.load_study(storage=self.storage, study_name=held)
                for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                    self.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
                    count += 1
        return count


class TaskStore:
    """What a study keeps of one task.

    Args:
        study: that it belongs to.
        name: of the task.
    """

    def __init__(self, study: StudyStore, name: str) -> None:
        self.study = study
        self.name = name
        self._value_names: dict[str, str] = {}

    def open(
        self, part: str, *, value: str = "mean time to the targets (epochs)", maximize: bool = False
    ) -> optuna.Study:
        """Return the Optuna study of one part, created if it is not there; a method's trials lack rates and losses.

        Args:
            part: a phase's or a method's name.
            value: what the dashboard calls the trials' value.
            maximize: whether more of it is better.
        """
        identity = self.study.identity
        study = optuna.create_study(
            storage=storage_of(part, self.study.storage),
            study_name=self._path(part),
            direction="maximize" if maximize else "minimize",
            pruner=optuna.pruners.NopPruner(),  # pruning is decided by tuning/pruning.py, from whole batches
            load_if_exists=True,
        )
        # The settings are written last, so a study without them was cut off while it was made, or is somebody else's.
        if SETTINGS not in study.user_attrs:
            begin(study, value=value, maximize=maximize)
            held = {**self.evidence, TASKS: list(identity.tasks), SETTINGS: dict(identity.settings)}
            for key, each in held.items():
                study.set_user_attr(key, each)
        return study

    def value_name(self, study: optuna.Study) -> str:
        """Return what the dashboard calls the value of a part's trials; Optuna reads all trials' notes for it."""
        if study.study_name not in self._value_names:
            [self._value_names[study.study_name]] = study.metric_names or ["value"]
        return self._value_names[study.study_name]

    def open_calibration(self) -> optuna.Study:
        """Return the Optuna study of the calibration, whose value is a score, created if it is not there."""
        return self.open(CALIBRATE, value=f"best {self.study.identity.settings['metric']}", maximize=True)

    def load(self, part: str) -> optuna.Study:
        """Return a part that has to be there.

        Raises:
            MetaGDError: if the storage does not hold it; the error names what it holds.
        """
        try:
            return optuna.load_study(storage=storage_of(part, self.study.storage), study_name=self._path(part))
        except KeyError:
            ours = (name for name, attributes in held_studies(self.study.storage).items() if is_ours(name, attributes))
            held = ", ".join(sorted(ours)) or "nothing of metagd"
            raise MetaGDError(f"the storage holds no {self._path(part)}; it holds: {held}") from None

    def trials(self, part: str) -> list[FrozenTrial]:
        """Return all trials of a part, ones that were added by hand included; none if it was not begun."""
        return self.trials_at(self.parts(part)[-1]) if self._attributes(part) else []

    def trials_at(self, name: str) -> list[FrozenTrial]:
        """Return all trials of a part by its name in the storage, as of an earlier look; none if there is no such."""
        try:
            held = storage_of(name, self.study.storage)
            study = optuna.load_study(storage=held, study_name=f"{self.study.name}/{self.name}/{name}")
        except KeyError:
            return []
        return study.get_trials(deepcopy=False)

    @property
    def metadata(self) -> TaskMetadata | None:
        """What was known about the task before it trained; None if it was not begun."""
        found = self._attributes(CALIBRATE).get(METADATA)
        return None if found is None else checked(TaskMetadata, found, f"the storage, task {self.name!r}", REMEDY)

    @property
    def known_metadata(self) -> TaskMetadata:
        """What was known about a task that was begun."""
        found = self.metadata
        if found is None:
            raise MetaGDError(f"study {self.study.name!r} has not begun task {self.name!r}; run it to its end first")
        return found

    def note_metadata(self, metadata: TaskMetadata) -> None:
        """Store what is known about the task."""
        self.open_calibration().set_user_attr(METADATA, metadata.model_dump(mode="json", exclude_none=True))

    @property
    def search_target(self) -> float | None:
        """The target of the searches; None until the calibration is complete."""
        found = self._attributes(CALIBRATE).get(SEARCH_TARGET)
        return None if found is None else float(found)

    def note_search_target(self, target: float) -> None:
        """Store the target of the searches, which ends the calibration."""
        self.open_calibration().set_user_attr(SEARCH_TARGET, target)

    @property
    def is_complete(self) -> bool:
        """Whether every phase is complete."""
        return OUTCOME in self._attributes(CONFIRM)

    @property
    def outcome(self) -> Outcome:
        """What was selected before the confirmation.

        Raises:
            MetaGDError: if the task is not complete.
        """
        found = self._attributes(CONFIRM).get(OUTCOME)
        if found is None:
            raise MetaGDError(
                f"study {self.study.name!r} has not finished task {self.name!r} yet; run it to its end first"
            )
        return checked(Outcome, found, f"the storage, task {self.name!r}", REMEDY)

    def note_outcome(self, outcome: Outcome) -> None:
        """Store what was selected; the task is complete with it."""
        self.load(CONFIRM).set_user_attr(OUTCOME, outcome.model_dump(mode="json"))

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        """The report's verdict, JSON-able; None if none was written."""
        return self._attributes(CONFIRM).get(VERDICT)

    def note_verdict(self, verdict: Mapping[str, Any]) -> None:
        """Store the report's verdict."""
        self.load(CONFIRM).set_user_attr(VERDICT, dict(verdict))

    @property
    def is_published(self) -> bool:
        """Whether this very verdict has been shown in the dashboard."""
        found = self._attributes(CONFIRM)
        return bool(VERDICT in found and found.get(PUBLISHED) == found[VERDICT])

    def note_published(self) -> None:
        """Remember that the verdict has been shown in the dashboard."""
        self.load(CONFIRM).set_user_attr(PUBLISHED, self.verdict)

    @property
    def metric(self) -> str:
        """Name of the validation score that has to converge."""
        return str(self.study.identity.settings["metric"])

    def add_run(self, study: optuna.Study, run: FrozenTrial) -> int:
        """Store one finished run of calibration, shortlist or confirmation, in one transaction; return its identifier.

        Raises:
            MetaGDError: if somebody added trials with the same parameters, but other choices, before.
        """
        try:  # as ``add_trial`` does it, which does not say what it made
            return self.study.storage.create_new_trial(study._study_id, template_trial=run)
        except ValueError as error:  # Optuna keeps one kind of range per parameter
            raise MetaGDError(
                f"{study.study_name}: a run cannot be stored beside trials that somebody added ({error}); delete that "
                "study, in the dashboard or with optuna delete-study, and call the same command again: only "
                "its phase runs anew"
            ) from error

    @property
    def evidence(self) -> dict[str, Any]:
        """What every trial carries along: device and versions."""
        return {DEVICE: self.study.identity.device, VERSIONS: dict(self.study.identity.versions)}

    def resume(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
        """Return an unfinished trial for going on with it, whichever process left it.

        A trial that waits (enqueued, or requeued on Ctrl-C) or that a killed process left running keeps its number and
        its parameters; suggesting them again returns what is stored.
        """
        identifier = trial._trial_id  # Optuna has no public name for it
        if trial.state == TrialState.WAITING:
            self.study.storage.set_trial_state_values(identifier, TrialState.RUNNING)
        return optuna.Trial(study, identifier)

    def stored(self, trial: optuna.Trial) -> FrozenTrial:
        """Return what the storage holds of a trial."""
        return self.study.storage.get_trial(trial._trial_id)

    def refuse(self, study: optuna.Study, trial: FrozenTrial, why: str) -> str:
        """Tell Optuna that an enqueued trial failed, store the reason, and return a line that says so."""
        identifier, storage = trial._trial_id, self.study.storage
        if trial.state == TrialState.WAITING:
            storage.set_trial_state_values(identifier, TrialState.RUNNING)
        storage.set_trial_user_attr(identifier, stored_trials.REFUSED, why)
        storage.set_trial_state_values(identifier, TrialState.FAIL)
        return f"  note: trial {trial.number} of {study.study_name} cannot be trained and is marked as failed: {why}"

    @property
    def look(self) -> int:
        """Which look at a confirmation this is, counted from 1."""
        return len(self.study.looks)

    def parts(self, part: str) -> list[str]:
        """Return the names of a phase in the storage, one for every look; a search goes on through all of them."""
        return [looked(part, look + 1) for look in range(self.look)] if part in OF_A_LOOK else [part]

    def earlier_verdicts(self) -> list[tuple[int, Mapping[str, Any]]]:
        """Return the trials of every earlier look that came to a verdict, and that verdict, JSON-able."""
        if self.look == 1:
            return []
        held = held_studies(self.study.storage)
        found = []
        for look, trials in enumerate(self.study.looks[:-1], start=1):
            verdict = held.get(f"{self.study.name}/{self.name}/{looked(CONFIRM, look)}", {}).get(VERDICT)
            if verdict is not None:
                found.append((trials, verdict))
        return found

    def _path(self, part: str) -> str:
        return f"{self.study.name}/{self.name}/{self.parts(part)[-1]}"

    def _attributes(self, part: str) -> Mapping[str, Any]:
        storage = self.study.storage
        try:
            return storage.get_study_user_attrs(storage.get_study_id_from_name(self._path(part)))
        except KeyError:
            return {}
