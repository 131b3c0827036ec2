"""Run a study: every task through every phase, resumable at any point."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, RDBStorage

from metagd_optuna.contracts import MetaGDError, StudyRecord
from metagd_optuna.given import as_path
from metagd_optuna.search import trial_store
from metagd_optuna.search.exclusive import own_file, own_study
from metagd_optuna.search.progress import Progress
from metagd_optuna.search.record import is_complete, load_record
from metagd_optuna.search.storage import DATABASE, open_storage, plain_storage_errors
from metagd_optuna.search.study_file import ARTICLE_CNN, UNIVERSAL, StudySpec
from metagd_optuna.search.write_ahead import write_ahead
from metagd_optuna.tasks import Task, fingerprint, load_task
from metagd_optuna.training.startup import check_backend, load_tensorflow

if TYPE_CHECKING:
    from metagd_optuna.training.network import BuildNetwork

PACKAGES = ("metagd-optuna", "optuna", "tensorflow", "keras", "numpy", "scikit-learn", "scipy")


class Interrupted(MetaGDError):  # noqa: N818 - not an error: the user's wish
    """The user stopped the study with Ctrl-C; the text says how to go on."""


def run_study(
    spec: StudySpec,
    *,
    out: str | Path,
    storage_url: str | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    build_network: BuildNetwork | None = None,
) -> StudyRecord:
    """Run a study to its end, going on wherever an earlier run of it stopped.

    Args:
        spec: the settings, from ``load_study``.
        out: the study's own folder, created if it is not there.
        storage_url: an Optuna storage; by default an SQLite file in ``out``.
        data_dir: where data files are looked for before a download.
        progress: where to say how it goes; by default on standard output.
        build_network: (input shape, classes, seed=...) -> a built Keras model that ends in logits; trained instead of
            the network that the study file names.

    Returns:
        everything that a report is written from. A study that is complete trains nothing.

    Raises:
        MetaGDError: if the data, the storage or ``out`` cannot be used, ``out`` is another study's folder, or the
            storage holds a study of this name with other settings, or Keras runs on another backend than TensorFlow.
        Interrupted: on Ctrl-C; no trial is left running.
    """
    check_backend()
    out = as_path(out, "out")
    progress = progress or Progress()
    with own_file(out / ".lock", str(out)):
        storage = open_storage(storage_url or out / DATABASE, must_exist=False)
        with plain_storage_errors(), own_study(storage, spec.name):
            if storage_url is None:
                _check_own(storage, spec, out)
            try:
                return _run(spec, storage, out, data_dir, progress, build_network)
            except KeyboardInterrupt:
                waiting = _give_back(storage, spec.name)
                raise Interrupted(
                    f"stopped; what was trained is kept, and {waiting} trials wait for their turn. "
                    "Go on with the same command"
                ) from None


def _run(
    spec: StudySpec,
    storage: BaseStorage,
    out: Path,
    data_dir: str | Path | None,
    progress: Progress,
    build_network: BuildNetwork | None,
) -> StudyRecord:
    tasks = tuple(spec.task_locations)
    stored = trial_store.stored_identity(storage, spec.name)
    if stored is not None:
        _check_unchanged(spec, stored)
    missing = [task for task in tasks if stored is None or not is_complete(storage, spec.name, task)]
    # What is trained on is compared where it is loaded; a complete study loads nothing, unless a file is another one.
    if missing or _files_changed(spec, storage, data_dir):
        _train(spec, storage, stored, out, data_dir, progress, build_network)
    else:
        progress.say(f"study {spec.name!r} is complete: nothing to train")
    return load_record(storage, spec.name, tasks)


def _check_own(storage: BaseStorage, spec: StudySpec, out: Path) -> None:
    """Refuse a folder of another study, whose searches, report and policies this one would take over or overwrite."""
    held = sorted(trial_store.held_tasks(storage))
    if held and spec.name not in held:
        raise MetaGDError(
            f"{out}: this folder belongs to the study {held[0]!r}, and {spec.source} is the study {spec.name!r}; "
            "choose another --out, or leave it out. Several studies may share a --storage, with a folder for each"
        )


def _files_changed(spec: StudySpec, storage: BaseStorage, data_dir: str | Path | None) -> bool:
    """Return whether the data of a complete study, or the file of its network, is another than when it began."""
    from metagd_optuna.tasks.download import md5_of

    for name, location in spec.task_locations.items():
        facts = trial_store.stored_facts(storage, spec.name, name) or {}
        network, known = spec.network_file, facts[trial_store.NETWORK].get("md5")  # the first storages have none
        if network is not None and known is not None and md5_of(network) != known:
            return True
        # The same data written anew is another file.
        if location.endswith(".npz") and md5_of(Path(location)) != facts["source"]["md5"]:
            task = _load(spec, location, data_dir, lambda line: None)
            if fingerprint(task) != facts["fingerprint"]:
                return True
    return False


def _load(spec: StudySpec, location: str, data_dir: str | Path | None, say: Callable[[str], None]) -> Task:
    return load_task(
        location,
        data_dir=data_dir,
        max_train=spec.max_train or None,
        max_eval=spec.max_eval or None,
        drop_duplicates=spec.drop_duplicates,
        drop_contradictions=spec.drop_contradictions,
        log=say,
    )


def _train(
    spec: StudySpec,
    storage: BaseStorage,
    stored: trial_store.Identity | None,
    out: Path,
    data_dir: str | Path | None,
    progress: Progress,
    build_network: BuildNetwork | None,
) -> None:
    # TensorFlow takes seconds to load, which a complete study and a mistake in the study file should not cost.
    load_tensorflow()
    from metagd_optuna.search.columns import COLUMNS, Columns
    from metagd_optuna.search.phases import TaskPhases, planned_runs
    from metagd_optuna.search.universal import run_universal
    from metagd_optuna.search.workshop import open_workshop
    from metagd_optuna.tasks import audit, measure_complexity
    from metagd_optuna.training.device import prepare_device, repeatable

    build, network = _network(spec, build_network)
    loaded = {name: _load(spec, location, data_dir, progress.say) for name, location in spec.task_locations.items()}
    device = prepare_device()
    identity = trial_store.Identity(spec.name, spec.to_dict(), versions(), device.name)
    if isinstance(storage, RDBStorage):
        write_ahead(storage)
    with repeatable(device), progress:
        for change in _changes_that_are_no_error(stored, identity) if stored else ():
            progress.say(f"note: {change}")
        progress.say(f"device: {device.name}")
        progress.plan(planned_runs(spec))
        phases: dict[str, TaskPhases] = {}
        for name, task in loaded.items():
            found = audit(task)
            earlier = trial_store.stored_facts(storage, spec.name, name)
            complexity = (
                earlier["complexity"]
                if earlier
                else measure_complexity(task.train_images, task.train_labels, spec.complexity)
            )
            progress.say(f"task {name}: complexity {complexity:.3f} ({spec.complexity})")
            for finding in found.findings:
                progress.say(f"  audit: {finding}")
            workshop = open_workshop(
                task,
                spec,
                device,
                complexity=complexity,
                population=earlier[trial_store.POPULATION] if earlier else 0,
                build_network=build,
                say=progress.say,
            )
            facts = _facts(workshop, network, spec.network_file, found.to_dict())
            phases[name] = TaskPhases(storage, identity, spec, workshop, facts, progress)
        columns = Columns(out / COLUMNS, storage, identity, spec, progress.say)
        for each in phases.values():
            each.check(columns)
        if spec.league == UNIVERSAL:
            run_universal(phases, storage, identity, spec, columns)
        else:
            while phases:  # a task that is through need not stay in memory
                phases.pop(next(iter(phases))).run(columns)


def _network(spec: StudySpec, given: BuildNetwork | None) -> tuple[BuildNetwork, str]:
    """Return what builds the study's network, and its name."""
    from metagd_optuna.training.cnn import article_cnn
    from metagd_optuna.training.saved_network import read_network

    if given is None:
        file = spec.network_file
        return (article_cnn, spec.network) if file is None else (read_network(file), file.name)
    if spec.network != ARTICLE_CNN:
        raise MetaGDError(
            f"{spec.source}: key 'network' names {spec.network!r}, and build_network= is given too; leave one out"
        )
    return given, getattr(given, "__qualname__", type(given).__qualname__)


def _facts(workshop: Any, network: str, network_file: Path | None, audit: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a report needs to know about a task, JSON-able."""
    from metagd_optuna.tasks.download import md5_of
    from metagd_optuna.training.architecture import network_fingerprint

    task, plan, model = workshop.task, workshop.plan, workshop.engine.model
    return {
        "fingerprint": fingerprint(task),
        "audit": dict(audit),
        "source": dict(task.source),
        "complexity": workshop.complexity,
        "classes": len(task.classes),
        "class_names": list(task.classes),
        "class_shares": list(task.class_shares),
        "chance": workshop.chance,
        "train_examples": len(task.train_labels),
        "val_examples": len(task.val_labels),
        "test_examples": len(task.test_labels),
        "steps": plan.steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "budget_epochs": plan.budget_epochs,
        "evaluations": len(plan.evaluation_steps),
        "ticks": len(plan.tick_ends),
        trial_store.POPULATION: workshop.engine.population,
        trial_store.NETWORK: {
            "text": f"{network}, {model.count_params():,} weights",
            "fingerprint": network_fingerprint(model),
            **({"md5": md5_of(network_file)} if network_file else {}),
        },
    }


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version()}
    return found | {package: importlib.metadata.version(package) for package in PACKAGES}


def _check_unchanged(spec: StudySpec, stored: trial_store.Identity) -> None:
    changes = spec.changes_from(stored.settings)
    was, now = stored.versions["metagd-optuna"], versions()["metagd-optuna"]
    if was != now:
        changes.append(f"metagd-optuna: was {was}, now {now}")
    if changes:
        raise MetaGDError(
            f"{spec.source}: study {spec.name!r} was begun with other settings: {'; '.join(changes)}. "
            "Set them back to go on with it, or start a new study: another --out, or, without --out, a study file of "
            "another name"
        )


def _changes_that_are_no_error(was: trial_store.Identity, now: trial_store.Identity) -> list[str]:
    """Return what is another than when the study began, and may move its results a little."""
    changes = []
    if was.device != now.device:
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


def _give_back(storage: BaseStorage, name: str) -> int:
    """Let every trial of the study that still runs wait for the next run; return how many."""
    return sum(
        trial_store.give_back(optuna.load_study(storage=storage, study_name=study), storage)
        for study in trial_store.held_parts(storage, name)
    )
