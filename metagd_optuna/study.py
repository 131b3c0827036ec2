"""The application: run a study to its verdict, report on it, and hand out its policies.

The command line only parses arguments and prints; these functions do the work, and are the Python API as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import make_folder
from metagd_optuna.given import as_given, as_path
from metagd_optuna.models import did_you_mean
from metagd_optuna.policy import Policy, policy_schema
from metagd_optuna.report.notes import task_figures, task_note, verdict_figures
from metagd_optuna.report.results import (
    Results,
    build_results,
    merge_results,
    read_results,
    results_file,
    results_schema,
)
from metagd_optuna.report.sentences import use_sentence, verdict_sentence
from metagd_optuna.report.study_results import OnTask, StudyResults, sentences_of
from metagd_optuna.report.writing import write_report
from metagd_optuna.tasks import CATALOGUE, Task, fingerprint, load_task
from metagd_optuna.tasks.archive import save_task
from metagd_optuna.tasks.readers.registry import is_path
from metagd_optuna.tuning.exclusive import own_file, own_study
from metagd_optuna.tuning.parts import held_tasks
from metagd_optuna.tuning.progress import Progress, QuietProgress, quieten_optuna
from metagd_optuna.tuning.publish import note_verdicts, publish, save_universal_policies
from metagd_optuna.tuning.record import confirmed_policy, load_record, method_to_use, universal_rule
from metagd_optuna.tuning.runner import Interrupted, check_own, requeueing, train_study
from metagd_optuna.tuning.settings import UNIVERSAL, StudySpec, check_task_name, settings_schema
from metagd_optuna.tuning.storage import (
    DATABASE,
    artifact_folder,
    database_of,
    opened_storage,
    shown,
)
from metagd_optuna.tuning.store import StudyStore
from metagd_optuna.tuning.study_file import load_study
from metagd_optuna.tuning.study_pages import show_summary
from metagd_optuna.tuning.workers import Places

if TYPE_CHECKING:
    from distributed import Client

    from metagd_optuna.training.network import BuildNetwork

RUNS = Path("runs")

__all__ = [
    "RUNS",
    "Interrupted",
    "OnTask",
    "StudyResults",
    "export_policy",
    "report_studies",
    "run_study",
    "schema_of",
    "search",
    "sentences_of",
]


def run_study(
    study: StudySpec | str | Path | None = None,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    storage: str | Path | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    build_network: BuildNetwork | None = None,
    allow_code: bool = False,
    workers: int = 0,
    cluster: str | Path | None = None,
    client: Client | None = None,
    **settings: Any,
) -> StudyResults:
    """Run a study to its end, going on wherever an earlier run of it stopped; write its report and its policies.

    Args:
        study: the path of a study file, or its settings, from ``load_study`` or made in Python; without it, the keys of
            a study file are arguments, such as ``tasks=["breast_cancer"], trials=24``. A task may then also be a
            ``Task``, whose arrays are written into ``out``.
        name: of a study whose settings are arguments, which is also its folder's; by default ``study``.
        out: the study's own folder, created if it is not there; by default ``runs/<study>``.
        storage: an Optuna storage; by default an SQLite file in ``out``.
        data_dir: where data files are looked for before a download.
        progress: where progress is reported; by default in one bar on standard error.
        build_network: (input shape, classes, seed=...) -> a built Keras model that ends in logits; trained instead of
            the network that the study file names.
        allow_code: whether a function that the study file names as its network may be run, although it is in no
            installed package; modules in the study file's folder are found then.
        workers: processes of this machine that train, a GPU each where there are GPUs; with 0 this process does.
        cluster: a running Dask cluster that trains: the address of its scheduler, or the path of its scheduler file.
        client: one of Dask's, whose cluster trains; it stays open.
        settings: keys of a study file (docs/study-files.md), where ``study`` is left out.

    Returns:
        the verdicts, with the places of report and policies. Nothing is trained if the study is complete.

    Raises:
        MetaGDError: if the data, the storage or ``out`` cannot be used, ``out`` is another study's folder, or the
            storage holds a study of this name with other settings, or Keras runs on another backend than TensorFlow;
            a worker with other versions, or without the data; a job that fails on several workers.
        Interrupted: on Ctrl-C; no trial is left running.
    """
    from metagd_optuna.training.startup import check_backend

    check_backend()
    places = Places(workers, cluster, client)
    spec = _spec(study, name, settings, out)
    folder = RUNS / spec.name if out is None else as_path(out, "out")
    place = storage or folder / DATABASE
    progress = progress or QuietProgress()
    quieten_optuna()
    with (
        own_file(folder / ".lock", str(folder)),
        opened_storage(place, must_exist=False) as opened,
        own_study(opened, spec.name) as hold,
    ):
        if storage is None:
            check_own(opened, spec, folder)
        with requeueing(opened, spec.name, hold):
            store = train_study(
                spec,
                opened,
                out=folder,
                data_dir=data_dir,
                progress=progress,
                build_network=build_network,
                allow_code=allow_code,
                hold=hold,
                places=places,
            )
        return _finish(store, folder, artifact_folder(place), tuple(progress.unprinted))


def search(
    x: Any,
    y: Any = None,
    *,
    name: str = "search",
    out: str | Path | None = None,
    build_network: BuildNetwork | None = None,
    progress: Progress | None = None,
    read: Mapping[str, Any] | None = None,
    **settings: Any,
) -> StudyResults:
    """Search a rule for the learning rate on data that are in memory, and compare it with tuned baselines.

    It runs a whole study: calibration, searches, shortlist, confirmation, report. The data are split into training,
    validation and test as ``load_task`` splits them, and written into the study's folder, so that the same call goes on
    with a study that was stopped.

    Args:
        x: images (n, h, w) or (n, h, w, c), or rows of numbers (n, d); or a DataFrame, a mapping of arrays, a
            ``tf.data.Dataset`` or a ``Task`` with labels in it, without ``y``.
        y: labels, shape (n,).
        name: of the study, and of its folder.
        out: the study's own folder; by default ``runs/<name>``.
        build_network: (input shape, classes, seed=...) -> a built Keras model that ends in logits; by default the
            article's CNN, or an MLP for rows.
        progress: where progress is reported; by default in one bar on standard error.
        read: arguments of ``load_task``, such as ``{"target": "outcome", "patient": "case"}`` for a DataFrame.
        settings: keys of a study file (docs/study-files.md), such as ``trials=24``.

    Returns:
        the results: ``best`` is the rule to use, ``verdict`` the comparison.

    Raises:
        MetaGDError: as ``load_task`` and ``run_study``.

    Example::

        results = search(x, y, trials=24)
        callback = MetaPolicyCallback(results.best, complexity=c, class_frequencies=class_frequencies(y))
    """
    if "tasks" in settings:
        raise MetaGDError("search was given tasks=; it has the one task that x and y are: use run_study(tasks=[...])")
    if isinstance(x, Task):
        if y is not None or read:
            raise MetaGDError(
                "search was given a Task, which holds its labels and is read already; leave y and read out"
            )
        task = x
    else:
        task = load_task(x if y is None else (x, y), **{"name": name, **(read or {})})
    return run_study(name=name, out=out, build_network=build_network, progress=progress, tasks=[task], **settings)


def report_studies(
    study_dirs: str | Path | Sequence[str | Path], out: str | Path | None = None
) -> tuple[Results, Path]:
    """Report on one finished study again, or on several as one; return the results and the path of the page.

    Merging corrects the verdicts for the number of tasks in the whole report.

    Args:
        study_dirs: folders of finished studies, or that of one.
        out: where to write; by default over the report of the one study.

    Raises:
        MetaGDError: if a study is not finished or damaged, two share a task, or several have no ``out``.
    """
    given = [study_dirs] if isinstance(study_dirs, str | Path) else study_dirs
    folders = [as_path(folder, "the run") for folder in given]
    if out is None and len(folders) > 1:
        raise MetaGDError(f"{len(folders)} runs are merged into a folder of their own; name it with out=")
    # One run is evaluated anew too, so that its report says what this version would say.
    results = merge_results([read_results(folder) for folder in folders])
    place = results_file(folders[0]).parent if out is None else as_path(out, "out")
    return results, write_report(results, place)


def export_policy(study: str, task: str, storage: str | Path | None = None, *, method: str | None = None) -> Policy:
    """Return a policy of a finished task, with where it comes from.

    Args:
        study: its name.
        task: its name; ``universal`` is the rule chosen on all tasks.
        storage: that holds the study; by default ``runs/<study>/optuna.db``, or else the newest under ``runs``.
        method: whose rule it is: ``meta-policy``, a baseline, an untuned rule or a control, as the report names them;
            by default the one to use, which is the searched policy if it is faster, else the best baseline.

    Raises:
        MetaGDError: if the storage does not hold the task, it is not through, or has no such method.
    """
    quieten_optuna()
    place = storage or database_of(study, RUNS)
    with opened_storage(place, must_exist=True) as opened:
        try:
            of_all = task == UNIVERSAL and task not in held_tasks(opened).get(study, ())
            store = StudyStore.load(opened, study, *([] if of_all else [task]))
            if of_all:
                return universal_rule(store, method)
            return confirmed_policy(store, task, method_to_use(store.task(task)) if method is None else method)
        except MetaGDError as error:
            raise MetaGDError(f"{shown(place)}: {error}") from error


def schema_of(document: str) -> dict[str, object]:
    """Return the JSON Schema of a document: ``study``, ``policy`` or ``results``.

    Raises:
        MetaGDError: if it is none of them.
    """
    schemas = {"study": settings_schema, "policy": policy_schema, "results": results_schema}
    if not isinstance(document, str) or document not in schemas:
        near = did_you_mean(document, schemas) if isinstance(document, str) else ""
        raise MetaGDError(f"there is no schema of {as_given(document)}{near}; name one of {', '.join(schemas)}")
    return schemas[document]()


def _spec(
    study: StudySpec | str | Path | None, name: str | None, settings: dict[str, Any], out: str | Path | None
) -> StudySpec:
    """Return the settings of a study, from wherever they were given."""
    if study is not None:
        given = {**({} if name is None else {"name": name}), **settings}
        if given:
            raise MetaGDError(
                f"run_study was given a study and also {', '.join(given)}; a study holds its own settings: change them "
                "there, or leave the study out and give all settings as arguments"
            )
        return study if isinstance(study, StudySpec) else load_study(study)
    named = "study" if name is None else name
    tasks = settings.get("tasks")
    listed = list(tasks) if isinstance(tasks, Sequence) and not isinstance(tasks, str) else []
    held = {f"data/{task.name}.npz": task for task in listed if isinstance(task, Task)}
    if not held:
        return StudySpec(name=named, **settings)
    StudySpec(name=named, **(settings | {"tasks": list(CATALOGUE)[: len(listed)]}))  # before anything is written
    folder = RUNS / named if out is None else as_path(out, "out")
    for task in held.values():
        check_task_name(task.name, "a task is")
    for place, task in held.items():
        _keep(task, folder / place, named)
    # Places are relative to the study's folder, so that it can be moved, and says nothing of the machine.
    places = [f"data/{task.name}.npz" if isinstance(task, Task) else _seen_from(folder, task) for task in listed]
    file = str(settings.get("network", "")).endswith(".keras")
    network = {"network": _seen_from(folder, settings["network"])} if file else {}
    return StudySpec(name=named, file=folder / f"{named}.toml", **(settings | network | {"tasks": places}))


def _seen_from(folder: Path, given: Any) -> Any:
    """Return a path, or a table with one, as it is seen from a folder; names are left as they are."""
    if isinstance(given, Mapping) and isinstance(given.get("path"), str | Path):
        return {**given, "path": _seen_from(folder, f"./{given['path']}")}
    if isinstance(given, str | Path) and is_path(str(given)) and not Path(given).is_absolute():
        seen = os.path.relpath(Path(given).absolute(), folder.absolute())
        return f"./{seen}/" if str(given).endswith("/") else f"./{seen}"
    return given


def _keep(task: Task, path: Path, study: str) -> None:
    """Write the arrays of a task into the folder of its study, unless they are there.

    Raises:
        MetaGDError: if others are there.
    """
    if path.is_file():
        if fingerprint(load_task(path)) == fingerprint(task):
            return
        raise MetaGDError(
            f"{path}: study {study!r} was begun with other data; give those, or start a new study: another name= or "
            "out="
        )
    make_folder(path.parent)
    save_task(task, path)


def _finish(store: StudyStore, folder: Path, artifacts: Path | None, log: tuple[str, ...]) -> StudyResults:
    """Evaluate, report and publish a study that is through."""
    results = build_results(load_record(store))
    verdicts = {name: task.verdict.model_dump(mode="json") for name, task in results.tasks.items()}
    note_verdicts(store, verdicts)  # before anybody can read them, so that no look goes uncounted
    page = write_report(results, folder / "report")
    saved = {
        name: publish(
            store.task(name),
            out=folder,
            artifacts=artifacts,
            verdict=verdicts[name],
            note=task_note(results, name),
            figures=task_figures(results, name),
        )
        for name, task in results.tasks.items()
    }
    sentences = {
        name: f"{verdict_sentence(name, task)} {use_sentence(name, task)}".strip()
        for name, task in results.tasks.items()
    }
    show_summary(store, sentences, verdict_figures(results))
    if store.settings.universal:
        across, labels = results.across, [task.verdict.label for task in results.tasks.values()]
        faster = across is not None and (across.ci95[0] or 0.0) > 1 and "slower" not in labels
        saved[UNIVERSAL] = save_universal_policies(store, folder, searched_is_faster=faster)
    use = {name: paths.use for name, paths in saved.items()}
    searched = {name: paths.searched for name, paths in saved.items()}
    return StudyResults(store.name, results, page, use, searched, log)
