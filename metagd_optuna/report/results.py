"""The machine-readable truth of a study: made of its records, merged, and read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import read_text
from metagd_optuna.given import as_path, finite_number
from metagd_optuna.models import checked, schema_document
from metagd_optuna.records import StudyRecord
from metagd_optuna.report.across import across_tasks
from metagd_optuna.report.document import SCHEMA, Results, Run
from metagd_optuna.report.evaluate import with_verdicts
from metagd_optuna.report.measure import measured_task
from metagd_optuna.report.task_document import MeasuredTask
from metagd_optuna.report.writing import write_report

__all__ = [
    "SCHEMA",
    "Results",
    "build_results",
    "merge_results",
    "read_results",
    "results_file",
    "results_schema",
    "write_report",
]

REMEDY = "run the study again, which trains nothing anew and writes the file anew"


def build_results(study: StudyRecord) -> Results:
    """Return the results of a study: deterministic, with all wall-clock under ``timing`` and nowhere else.

    Everything that the verdicts are computed from is included, so that ``merge_results`` can judge several studies
    together.

    Args:
        study: with at least one task.

    Raises:
        MetaGDError: if there is no task, two have one name, or the runs of a task cannot be compared.
    """
    names = [task.name for task in study.tasks]
    if not names or len(set(names)) < len(names):
        raise MetaGDError(
            f"study {study.name}: tasks {names}; a report needs at least one task, each with its own name"
        )
    run = Run.of(settings=study.settings, versions=study.versions, device=study.device)
    tasks = {task.name: measured_task(study.name, task) for task in study.tasks}
    return _document({study.name: run}, {study.name: study.timing}, tasks)


def merge_results(results: Sequence[Results]) -> Results:
    """Return one report over the tasks of several, with Holm's correction spanning all of them.

    Args:
        results: what ``build_results``, ``read_results`` or this function returned, at least one.

    Raises:
        MetaGDError: if there is none, or two runs share a task or a study name.
    """
    if not results:
        raise MetaGDError("there are no results to merge; name at least one folder of a finished run")
    runs: dict[str, Run] = {}
    timing: dict[str, Mapping[str, JsonValue]] = {}
    tasks: dict[str, MeasuredTask] = {}
    for one in results:
        twice = runs.keys() & one.runs.keys()
        if twice:
            raise MetaGDError(
                f"two runs are called {min(twice)!r}; if they are the same, name it once, else rename the study file "
                "of one and run it, which trains it anew under that name"
            )
        for name, task in one.tasks.items():
            if name in tasks:
                raise MetaGDError(
                    f"task {name!r} is in both {tasks[name].study!r} and {task.study!r}; one report holds one "
                    "verdict per task, so leave one of the two runs out"
                )
            tasks[name] = task
        runs |= one.runs
        timing |= one.timing
    return _document(runs, timing, tasks)


def results_file(path: Path) -> Path:
    """Return the ``results.json`` that a path means.

    Args:
        path: the file, the folder that holds it, or the folder of a run with its ``report`` folder.

    Raises:
        MetaGDError: if there is none.
    """
    path = as_path(path, "the run")
    candidates = [path] if path.is_file() else [path / "results.json", path / "report" / "results.json"]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise MetaGDError(
            f"no results.json in {path} or {path / 'report'}; name the folder of a finished run, such as "
            "runs/quickstart. A study that was stopped writes it once it has been run to its end"
        )
    return file


def read_results(path: Path) -> Results:
    """Return the results in a ``results.json``, or in the report of a run's folder.

    Args:
        path: as for ``results_file``.

    Raises:
        MetaGDError: naming the file, if it is missing, no JSON, of another schema, or damaged; then with the place.
    """
    file = results_file(path)
    try:
        table = json.loads(read_text(file), parse_constant=_refuse, parse_float=finite_number)
    except OSError as error:
        raise MetaGDError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise MetaGDError(f"{file} is not valid JSON ({error}); {REMEDY}") from error
    schema = table.get("schema") if isinstance(table, dict) else None
    if schema != SCHEMA:
        raise MetaGDError(
            f"{file}: schema {schema!r} is unknown; this version reads schema {SCHEMA}. Run the study again with this "
            "version, which trains nothing anew"
        )
    return checked(Results, table, str(file), REMEDY)


def results_schema() -> dict[str, JsonValue]:
    """Return the JSON Schema of ``results.json``."""
    return schema_document("The results of metagd_optuna", Results.model_json_schema())


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _document(
    runs: Mapping[str, Run], timing: Mapping[str, Mapping[str, object]], tasks: Mapping[str, MeasuredTask]
) -> Results:
    packages = dict.fromkeys(package for run in runs.values() for package in run.versions)
    evaluated = with_verdicts(tasks)
    return Results.of(
        study=" + ".join(runs),
        versions={
            package: _agreed(run.versions.get(package, "absent") for run in runs.values()) for package in packages
        },
        device=_agreed(run.device for run in runs.values()),
        runs=runs,
        timing=timing,
        across=across_tasks(evaluated, runs),
        tasks=evaluated,
    )


def _agreed(values: Iterable[str]) -> str:
    """Return what all runs say, or the different answers."""
    return " / ".join(dict.fromkeys(values))
