"""The application: run a study to its verdict, report on it, and hand out its policies.

The command line only parses arguments and prints; these functions do the work, and are the Python API as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, as_path
from metagd_optuna.models import did_you_mean
from metagd_optuna.policy import MetaPolicy, policy_schema
from metagd_optuna.report.notes import task_figures, task_note, verdict_figures
from metagd_optuna.report.results import (
    Results,
    build_results,
    merge_results,
    read_results,
    results_file,
    results_schema,
)
from metagd_optuna.report.sentences import across_sentence, verdict_sentence
from metagd_optuna.report.writing import write_report
from metagd_optuna.search.exclusive import own_file, own_study
from metagd_optuna.search.progress import Progress, quieten_optuna
from metagd_optuna.search.publish import publish, save_policy
from metagd_optuna.search.record import load_record, winning_policy
from metagd_optuna.search.runner import Interrupted, check_own, requeueing, train_study
from metagd_optuna.search.settings import UNIVERSAL, StudySpec, settings_schema
from metagd_optuna.search.storage import (
    DATABASE,
    artifact_folder,
    database_of,
    opened_storage,
    shown,
)
from metagd_optuna.search.store import StudyStore, held_tasks
from metagd_optuna.search.study_file import load_study
from metagd_optuna.search.study_pages import show_summary

if TYPE_CHECKING:
    from metagd_optuna.training.network import BuildNetwork

RUNS = Path("runs")

__all__ = [
    "RUNS",
    "Interrupted",
    "StudyResults",
    "export_policy",
    "report_studies",
    "run_study",
    "schema_of",
    "sentences_of",
]


@dataclass(frozen=True, slots=True, repr=False)
class StudyResults:
    """What a finished study found, and where it is written.

    Args:
        name: the study's name.
        results: everything that the report says, as ``results.json`` holds it.
        report: path of the page.
        policies: task to the path of its searched policy; ``universal`` is the rule chosen on all tasks.
    """

    name: str
    results: Results
    report: Path
    policies: Mapping[str, Path]

    @property
    def sentences(self) -> list[str]:
        """The verdicts in plain sentences, one per task, and one over all tasks where there are several."""
        return sentences_of(self.results)

    def __repr__(self) -> str:
        lines = [f"study {self.name}", *self.sentences, f"report: {self.report}"]
        return "\n".join([*lines, *(f"policy of {task}: {path}" for task, path in self.policies.items())])


def run_study(
    study: StudySpec | str | Path,
    *,
    out: str | Path | None = None,
    storage: str | Path | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    build_network: BuildNetwork | None = None,
    allow_code: bool = False,
) -> StudyResults:
    """Run a study to its end, going on wherever an earlier run of it stopped; write its report and its policies.

    Args:
        study: the path of a study file, or its settings, from ``load_study`` or made in Python.
        out: the study's own folder, created if it is not there; by default ``runs/<study>``.
        storage: an Optuna storage; by default an SQLite file in ``out``.
        data_dir: where data files are looked for before a download.
        progress: where progress is reported; by default on standard output.
        build_network: (input shape, classes, seed=...) -> a built Keras model that ends in logits; trained instead of
            the network that the study file names.
        allow_code: whether a function that the study file names as its network may be run, although it is in no
            installed package; modules in the study file's folder are found then.

    Returns:
        the verdicts, with the places of report and policies. Nothing is trained if the study is complete.

    Raises:
        MetaGDError: if the data, the storage or ``out`` cannot be used, ``out`` is another study's folder, or the
            storage holds a study of this name with other settings, or Keras runs on another backend than TensorFlow.
        Interrupted: on Ctrl-C; no trial is left running.
    """
    from metagd_optuna.training.startup import check_backend

    check_backend()
    spec = study if isinstance(study, StudySpec) else load_study(study)
    folder = RUNS / spec.name if out is None else as_path(out, "out")
    place = storage or folder / DATABASE
    progress = progress or Progress()
    quieten_optuna()
    with (
        own_file(folder / ".lock", str(folder)),
        opened_storage(place, must_exist=False) as opened,
        own_study(opened, spec.name),
    ):
        if storage is None:
            check_own(opened, spec, folder)
        with requeueing(opened, spec.name):
            store = train_study(
                spec,
                opened,
                out=folder,
                data_dir=data_dir,
                progress=progress,
                build_network=build_network,
                allow_code=allow_code,
            )
        return _finish(store, folder, artifact_folder(place))


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


def export_policy(study: str, task: str, storage: str | Path | None = None) -> MetaPolicy:
    """Return the searched policy of a finished task, with where it comes from.

    Args:
        study: its name.
        task: its name; ``universal`` is the rule chosen on all tasks.
        storage: that holds the study; by default ``runs/<study>/optuna.db``, or else the newest under ``runs``.

    Raises:
        MetaGDError: if the storage does not hold the task, or it is not through.
    """
    quieten_optuna()
    place = storage or database_of(study, RUNS)
    with opened_storage(place, must_exist=True) as opened:
        try:
            held = held_tasks(opened).get(study, [])
            store = StudyStore.load(opened, study, *([] if task == UNIVERSAL and task not in held else [task]))
            return winning_policy(store, task)
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


def sentences_of(results: Results) -> list[str]:
    """Return the verdicts in plain sentences, one per task, and one over all tasks where there are several."""
    found = [verdict_sentence(name, task) for name, task in results.tasks.items()]
    return [*found, across_sentence(results.across)] if results.across else found


def _finish(store: StudyStore, folder: Path, artifacts: Path | None) -> StudyResults:
    """Evaluate, report and publish a study that is through."""
    results = build_results(load_record(store))
    page = write_report(results, folder / "report")
    policies = {
        name: publish(
            store.task(name),
            out=folder,
            artifacts=artifacts,
            verdict=task.verdict.model_dump(mode="json"),
            note=task_note(results, name),
            figures=task_figures(results, name),
        )
        for name, task in results.tasks.items()
    }
    sentences = {name: verdict_sentence(name, task) for name, task in results.tasks.items()}
    show_summary(store, sentences, verdict_figures(results))
    if store.settings.universal:
        policies[UNIVERSAL] = save_policy(store.task(UNIVERSAL), folder)
    return StudyResults(store.name, results, page, policies)
