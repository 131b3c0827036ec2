"""Train what a study lacks: every task through every phase, resumable at any point."""

from __future__ import annotations

import importlib.metadata
import platform
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import counted
from metagd_optuna.tasks import Task, audit, fingerprint, measure_complexity
from metagd_optuna.tasks.download import md5_of
from metagd_optuna.tasks.readers.registry import is_path
from metagd_optuna.tasks.resampling import dealt_rows
from metagd_optuna.tuning.cost import cost_sentence
from metagd_optuna.tuning.exclusive import UNSHARED, Hold
from metagd_optuna.tuning.flow import Flow, side_by_side, to_the_end
from metagd_optuna.tuning.metadata import NetworkMetadata, TaskMetadata
from metagd_optuna.tuning.opening import load_study_task, study_network
from metagd_optuna.tuning.outages import regained, through_outages
from metagd_optuna.tuning.parts import held_tasks
from metagd_optuna.tuning.phases import TaskState, planned_runs, run_phases
from metagd_optuna.tuning.phases.confirm import Confirm
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.seeds import MOST_LOOKS, phase_seeds
from metagd_optuna.tuning.settings import ARTICLE_CNN, TABLE_MLP, StudySpec, as_it_was
from metagd_optuna.tuning.snapshots import SNAPSHOTS, Snapshots
from metagd_optuna.tuning.store import Identity, StudyStore, TaskStore
from metagd_optuna.tuning.task_trainer import TaskTrainer
from metagd_optuna.tuning.worker import Opening, decisive_versions, kind_of
from metagd_optuna.tuning.workers import HERE, Places, Workers, open_workers
from metagd_optuna.tuning.write_ahead import write_ahead

if TYPE_CHECKING:
    from metagd_optuna.training.network import BuildNetwork

HANDING_BACK = 3.0  # seconds that a stopped study waits for its storage
PACKAGES = ("metagd-optuna", "optuna", "tensorflow", "keras", "numpy", "scikit-learn", "scipy")


class Interrupted(MetaGDError):  # noqa: N818 - not an error: the user's wish
    """The user stopped the study with Ctrl-C; the text says how to go on."""


def train_study(
    spec: StudySpec,
    storage: RDBStorage,
    *,
    out: Path,
    data_dir: str | Path | None,
    progress: Progress,
    build_network: BuildNetwork | None,
    allow_code: bool = False,
    hold: Hold = UNSHARED,
    places: Places = HERE,
) -> StudyStore:
    """Train whatever a study lacks, and return its store; a study that is complete trains nothing.

    Args:
        spec: its settings.
        storage: where everything is kept.
        out: the study's own folder.
        data_dir: where data files are looked for before a download.
        progress: where to say how it goes.
        build_network: trained instead of the network that the study file names; None for that one.
        allow_code: whether a function that the study file names may be run if it is in no installed package.
        hold: keeps others from running the study.
        places: where it trains.

    Raises:
        MetaGDError: if the data cannot be used, or the storage holds a study of this name with other settings; if a
            worker cannot train it, or a job fails everywhere.
    """
    earlier = StudyStore.find(storage, spec.name)
    if earlier is not None:
        raising = _raises_trials(spec, earlier)
        stored = earlier.identity
        if raising:
            stored = replace(stored, settings={**stored.settings, "trials": spec.trials})
        _check_unchanged(spec, stored)
        complete = all(earlier.task(name).is_complete for name in spec.task_locations)
        # What is trained on is compared where it is loaded; a complete study loads nothing, unless a file is another.
        if complete and not raising and not _files_changed(spec, earlier, data_dir):
            progress.log(f"study {spec.name!r} is complete: nothing to train")
            return earlier
    # TensorFlow takes seconds to load, which a complete study and a mistake in the study file should not cost.
    from metagd_optuna.training.startup import load_tensorflow

    load_tensorflow()
    from metagd_optuna.training.device import share_gpus

    share_gpus()
    build, network = study_network(spec, build_network, allow_code=allow_code)
    with open_workers(places, build, progress) as workers:
        study = _Study(spec, storage, earlier, out, data_dir, progress, build_network, allow_code, network, workers)
        return study.train(hold)


@dataclass(frozen=True)
class _Study:
    """A study that is about to train; the arguments are those of ``train_study``.

    Args:
        network: the network's name.
        workers: whatever trains.
        run: tells this run of the study from others.
    """

    spec: StudySpec
    storage: RDBStorage
    earlier: StudyStore | None
    out: Path
    data_dir: str | Path | None
    progress: Progress
    build_network: BuildNetwork | None
    allow_code: bool
    network: str
    workers: Workers
    run: str = field(default_factory=lambda: str(uuid.uuid4()))

    def train(self, hold: Hold) -> StudyStore:
        spec, earlier, progress, workers = self.spec, self.earlier, self.progress, self.workers
        loaded = {name: load_study_task(spec, name, self.data_dir, progress.log) for name in spec.task_locations}
        identity = Identity(spec.name, spec.to_dict(), versions(), workers.device, tuple(spec.task_locations))
        looks = () if earlier is None else earlier.looks
        raising = bool(looks) and looks[-1] < spec.trials
        store = StudyStore(self.storage, identity, earlier.looks_with(spec.trials) if earlier and raising else looks)
        write_ahead(self.storage)
        snapshots = Snapshots(self.out / SNAPSHOTS, spec, progress.log)
        with progress:
            for change in _changes_that_are_no_error(earlier.identity, store.identity) if earlier else ():
                progress.log(f"note: {change}")
            progress.log(f"device: {workers.device}")
            progress.plan(len(loaded) * planned_runs(spec))
            try:
                states = to_the_end(self._states(store, loaded, snapshots), workers.look)
                if earlier and raising:  # now that nothing refuses it
                    progress.notice(_on_raised(earlier.looks, store.looks))
                    for name in store.begun_tasks:  # a snapshot of shorter searches would be refused from here on
                        (self.out / SNAPSHOTS / f"{name}.json").unlink(missing_ok=True)
                    store.note_looks()
                for state in states:
                    snapshots.check(state.store, state.metadata)
                progress.log(cost_sentence(states))

                def look() -> None:
                    workers.look()
                    hold.check()  # which also keeps its connection from idling for as long as a training takes

                def run() -> None:
                    progress.plan(len(states) * planned_runs(spec))
                    to_the_end(run_phases(states, spec.scope), look)

                through_outages(run, self.storage, hold, progress)
            finally:
                workers.cancel()
            for line in workers.summary():
                progress.log(line)
        return StudyStore.find(self.storage, spec.name) or store  # what a study says of itself is what it began with

    def _states(self, store: StudyStore, loaded: dict[str, Task], snapshots: Snapshots) -> Flow[list[TaskState]]:
        states: dict[str, TaskState] = {}

        def opened(name: str) -> Flow[None]:
            states[name] = yield from self._state(store.task(name), loaded.pop(name), snapshots)

        names = tuple(loaded)
        yield from side_by_side(opened(name) for name in names)
        return [states[name] for name in names]

    def _state(self, store: TaskStore, task: Task, snapshots: Snapshots) -> Flow[TaskState]:
        """Return a task made ready for its phases.

        Raises:
            MetaGDError: if the data or the network are not those that the study began with, or cannot be trained so.
        """
        spec, progress = self.spec, self.progress
        found = audit(task)
        if spec.resample_splits:  # a draw that cannot be made should not cost a search
            for seed in phase_seeds(spec.seed, Confirm.first_seed, spec.confirmation_seeds, store.look):
                dealt_rows(task, seed)
        known = store.metadata
        complexity = (
            known.complexity if known else measure_complexity(task.train_images, task.train_labels, spec.complexity)
        )
        progress.log(f"task {task.name}: complexity {complexity:.3f} ({spec.complexity})")
        for finding in found.findings:
            progress.log(f"  audit: {finding}")
        opening = Opening(
            token=f"{self.run}/{task.name}",
            spec=spec.model_copy(update={"file": (spec.file or Path(f"{spec.name}.toml")).absolute()}),
            task=task.name,
            data_dir=None if self.data_dir is None else Path(self.data_dir).absolute(),
            fingerprint=fingerprint(task),
            complexity=complexity,
            population=known.population if known else 0,
            build_network=self.build_network,
            allow_code=self.allow_code,
            versions=decisive_versions(),
            network_md5=None if spec.network_file is None else md5_of(spec.network_file),
        )
        trainer = yield from self.workers.open(opening, task)
        rows = len(task.input_shape) == 1
        network = TABLE_MLP if self.network == ARTICLE_CNN and rows else self.network
        metadata = _metadata(spec, task, trainer, network, found.to_dict())
        if known is not None:
            _check_same(task.name, known, metadata)
        return TaskState(store, spec, metadata, snapshots, progress, trainer)


def _metadata(spec: StudySpec, task: Task, made: TaskTrainer, network: str, found: object) -> TaskMetadata:
    file, trainer, plan = spec.network_file, made.trainer, made.plan
    return TaskMetadata.model_validate(
        {
            "fingerprint": fingerprint(task),
            "audit": found,
            "source": dict(task.source),
            "complexity": made.complexity,
            "classes": len(task.classes),
            "class_names": list(task.classes),
            "class_frequencies": list(task.class_frequencies),
            "chance": made.chance,
            "train_examples": len(task.train_labels),
            "val_examples": len(task.val_labels),
            "test_examples": len(task.test_labels),
            "steps": plan.steps,
            "steps_per_epoch": plan.steps_per_epoch,
            "budget_epochs": plan.budget_epochs,
            "evaluations": len(plan.evaluation_steps),
            "rate_updates": len(plan.update_steps),
            "population": trainer.population,
            "network": NetworkMetadata(
                text=f"{network}, {trainer.weights:,} weights",
                fingerprint=trainer.fingerprint,
                md5=md5_of(file) if file else None,
            ),
        }
    )


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version()}
    return found | {package: importlib.metadata.version(package) for package in PACKAGES}


def _files_changed(spec: StudySpec, store: StudyStore, data_dir: str | Path | None) -> bool:
    """Return whether the data of a complete study, or the file of its network, is another than when it began."""
    for name, location in spec.task_locations.items():
        known = store.task(name).known_metadata
        network, md5 = spec.network_file, known.network.md5
        if network is not None and md5 is not None and md5_of(network) != md5:
            return True
        # The same data written anew is another file.
        path, before = Path(location), known.source.get("md5")
        if is_path(location) and (before is None or not path.is_file() or md5_of(path) != before):
            task = load_study_task(spec, name, data_dir, lambda line: None)
            if fingerprint(task) != known.fingerprint:
                return True
    return False


def _check_same(task: str, was: TaskMetadata, now: TaskMetadata) -> None:
    """Refuse a network or data that are not those that the study began with."""
    if was.network.fingerprint != now.network.fingerprint or _other_weights(was, now):
        raise MetaGDError(
            f"task {task!r}: the network changed since this study began (it was {was.network.text}, now "
            f"{now.network.text}); restore the old one, or start a new study with another --out"
        )
    if was.fingerprint != now.fingerprint:
        raise MetaGDError(
            f"the data of task {task!r} changed since this study began (its fingerprint was {was.fingerprint[:12]}, "
            f"now {now.fingerprint[:12]}); restore the old data, or start a new study with another --out"
        )


def _other_weights(was: TaskMetadata, now: TaskMetadata) -> bool:
    """Return whether a network that keeps the weights of its file has been given another file."""
    return "head on" in now.network.text and was.network.md5 != now.network.md5


def _check_unchanged(spec: StudySpec, stored: Identity) -> None:
    changes = spec.changes_from(stored.settings)
    was, now = stored.versions["metagd-optuna"], versions()["metagd-optuna"]
    if was != now:
        changes.append(f"metagd-optuna: was {was}, now {now}")
    if tuple(spec.task_locations) != tuple(stored.tasks):  # the readers that are registered decide how a path is cut
        was, now = ", ".join(stored.tasks), ", ".join(spec.task_locations)
        changes.append(f"names of its tasks, by the readers that are registered: were {was}, now {now}")
    if changes:
        raise MetaGDError(
            f"{spec.source}: study {spec.name!r} was begun with other settings: {'; '.join(changes)}. "
            "Set them back to go on with it, or start a new study: another --out, or, without --out, a study file of "
            "another name"
        )


def _raises_trials(spec: StudySpec, earlier: StudyStore) -> bool:
    """Return whether a study file differs from its study in more trials alone, with which a study may go on.

    Raises:
        MetaGDError: if there were as many looks at a confirmation as there are seeds for.
    """
    was = earlier.looks[-1]
    if spec.trials <= was or spec.universal or spec.to_dict() | {"trials": was} != as_it_was(earlier.identity.settings):
        return False
    if len(earlier.looks_with(spec.trials)) > MOST_LOOKS:
        raise MetaGDError(
            f"{spec.source}: study {spec.name!r} was looked at {MOST_LOOKS} times, and there are no fresh seeds for "
            "another look; start a new study: another --out, or a study file of another name"
        )
    return True


def _on_raised(before: Sequence[int], now: Sequence[int]) -> str:
    """Return what it means that the trials of a study were raised."""
    again = ""
    if len(now) > len(before):
        again = (
            f"; shortlist and confirmation are done anew on fresh seeds. This is look {len(now)} at a confirmation, "
            "and Holm's correction counts every look that came to a verdict"
        )
    return f"trials: was {before[-1]}, now {now[-1]}. The searches go on{again}"


def _changes_that_are_no_error(was: Identity, now: Identity) -> list[str]:
    """Return what is another than when the study began, and may move its results a little."""
    changes = []
    if kind_of(was.device) != kind_of(now.device):
        changes.append(f"this study began on {was.device}; what is trained now may differ in rounding")
    packages = [
        f"{package} {was.versions[package]} (now {version})"
        for package, version in now.versions.items()
        if was.versions.get(package, version) != version
    ]
    if packages:
        changes.append(
            f"this study began with {', '.join(packages)}; proposals and rounding may differ from here on, and the "
            "report names the versions that it began with"
        )
    return changes


@contextmanager
def requeueing(storage: RDBStorage, name: str, hold: Hold) -> Iterator[None]:
    """Let the trials of a study that is stopped by Ctrl-C wait for the next run, if it is still ours."""
    try:
        yield
    except KeyboardInterrupt:
        waiting = 0
        # Without its storage nothing can be handed back, and nothing is if another process runs the study now; the
        # next run takes over what still runs.
        with suppress(StorageInternalError, SQLAlchemyError, MetaGDError):
            regained(hold, HANDING_BACK)  # the interruption may have come while the lock was looked after
            store = StudyStore.find(storage, name)
            waiting = store.requeue() if store else 0
        wait = "waits for its turn" if waiting == 1 else "wait for their turn"
        raise Interrupted(
            f"stopped; what was trained is kept, and {counted(waiting, 'trial')} {wait}. Go on with the same command"
        ) from None


def check_own(storage: RDBStorage, spec: StudySpec, out: Path) -> None:
    """Refuse a folder of another study, whose searches, report and policies this one would take over or overwrite."""
    held = sorted(held_tasks(storage))
    if held and spec.name not in held:
        raise MetaGDError(
            f"{out}: this folder belongs to the study {held[0]!r}, and {spec.source} is the study {spec.name!r}; "
            "choose another --out, or leave it out. Several studies may share a --storage, with a folder for each"
        )
