"""Notes and figures of one task for a dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metagd_optuna.report.markdown import code, prose, task_in_brief
from metagd_optuna.report.sentences import contender_named
from metagd_optuna.report.styles import contender_styles

if TYPE_CHECKING:
    import plotly.graph_objects as go


def task_note(results: Mapping[str, Any], task: str) -> str:
    """Return the verdict on one task as a Markdown note, with the winner's formula as LaTeX where there is one.

    Args:
        results: what ``build_results`` returned.
        task: name of one of its tasks.

    Raises:
        MetaGDError: if the results hold no such task.
    """
    found = task_of(results, task)
    winner = contender_named(found, found["policy"])
    formula = f"$${winner['latex']}$$" if winner["latex"] else code(winner["formula"])
    return f"{task_in_brief(task, found)}\n\n{formula}\n\n{prose(found['policy_in_words'])}\n"


def task_figures(results: Mapping[str, Any], task: str) -> dict[str, go.Figure]:
    """Return the figures of one task by name; colours are those of the whole report.

    Args:
        results, task: as in ``task_note``.

    Raises:
        MetaGDError: if the results hold no such task.
    """
    from metagd_optuna.report.figures import task_panel

    return task_panel(task_of(results, task), contender_styles(results))


def task_of(results: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    """Return the part of the results that is about ``task``, or raise a ``MetaGDError`` that lists what there is."""
    import difflib

    from metagd_optuna.contracts import MetaGDError

    tasks: Mapping[str, Mapping[str, Any]] = results["tasks"]
    if task not in tasks:
        near = difflib.get_close_matches(task, tasks, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise MetaGDError(f"the results hold no task {task!r}, only {sorted(tasks)}{hint}")
    return tasks[task]
