"""The machine-readable truth of a study, from which the page and the Markdown are written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError, StudyRecord
from metagd_optuna.given import as_path
from metagd_optuna.report.across import across_tasks
from metagd_optuna.report.json_values import json_value
from metagd_optuna.report.judge import judged_tasks
from metagd_optuna.report.measure import measured_task
from metagd_optuna.report.shape import check_document
from metagd_optuna.report.writing import write_report

__all__ = ["SCHEMA", "build_results", "merge_results", "read_results", "results_file", "write_report"]

SCHEMA = 1


def build_results(study: StudyRecord) -> dict[str, Any]:
    """Return the results of a study: JSON-able, deterministic, with all wall-clock under ``timing`` and nowhere else.

    A miss is None, floats have 10 significant digits (curves, which are only drawn, 5), and everything that the
    verdicts are computed from is included, so that ``merge_results`` can judge several studies together.

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
    run = {
        "settings": dict(study.settings),
        "versions": dict(study.versions),
        "device": study.device,
    }
    tasks = {task.name: {"study": study.name, **measured_task(task)} for task in study.tasks}
    return _document({study.name: run}, {study.name: dict(study.timing)}, tasks)


def merge_results(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one report over the tasks of several, with Holm's correction spanning all of them.

    Args:
        results: what ``build_results``, ``read_results`` or this function returned, at least one.

    Raises:
        MetaGDError: if there is none, or two runs share a task or a study name.
    """
    if not results:
        raise MetaGDError("there are no results to merge; name at least one folder of a finished run")
    runs: dict[str, Any] = {}
    timing: dict[str, Any] = {}
    tasks: dict[str, Mapping[str, Any]] = {}
    for one in results:
        twice = runs.keys() & one["runs"].keys()
        if twice:
            raise MetaGDError(
                f"two runs are called {min(twice)!r}; if they are the same, name it once, else rename the study file "
                "of one and run it, which trains it anew under that name"
            )
        for name, task in one["tasks"].items():
            if name in tasks:
                raise MetaGDError(
                    f"task {name!r} is in both {tasks[name]['study']!r} and {task['study']!r}; one report holds one "
                    "verdict per task, so leave one of the two runs out"
                )
            tasks[name] = task
        runs |= one["runs"]
        timing |= one["timing"]
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
            "runs/quickstart. Of a study that was started from Python, metagd run writes it, and trains nothing anew"
        )
    return file


def read_results(path: Path) -> dict[str, Any]:
    """Return the results in a ``results.json``, or in the report of a run's folder.

    Args:
        path: as for ``results_file``.

    Raises:
        MetaGDError: naming the file, if it is missing, no JSON, of another schema, or damaged; then with the place.
    """
    file = results_file(path)
    try:
        results = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise MetaGDError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise MetaGDError(f"{file} is not valid JSON ({error}); run the study again, which writes it anew") from error
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise MetaGDError(
            f"{file}: schema {schema!r} is unknown; this version reads schema {SCHEMA}. "
            "Run the study again with this version, which trains nothing anew"
        )
    check_document(results, str(file))
    return dict(results)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _document(
    runs: Mapping[str, Mapping[str, Any]], timing: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    packages = dict.fromkeys(package for run in runs.values() for package in run["versions"])
    # Rounded before it is judged: judging the file anew must give what the file says.
    judged = judged_tasks(json_value(tasks))
    together = across_tasks(judged, runs)
    document = {
        "schema": SCHEMA,
        "study": " + ".join(runs),
        "versions": {
            package: _agreed(run["versions"].get(package, "absent") for run in runs.values()) for package in packages
        },
        "device": _agreed(run["device"] for run in runs.values()),
        "runs": runs,
        "timing": timing,
        **({"across": together} if together else {}),
        "tasks": judged,
    }
    result: dict[str, Any] = json_value(document)
    return result


def _agreed(values: Any) -> str:
    """Return what all runs say, or the different answers."""
    return " / ".join(dict.fromkeys(str(value) for value in values))
