"""Notes and figures of one task for a dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metagd_optuna.report.document import Results
from metagd_optuna.report.markdown import code, prose, task_in_brief
from metagd_optuna.report.styles import contender_styles

if TYPE_CHECKING:
    import plotly.graph_objects as go


def task_note(results: Results, task: str) -> str:
    """Return the verdict on one task as a Markdown note, with the winner's formula as LaTeX where there is one.

    Args:
        results: what ``build_results`` returned.
        task: name of one of its tasks.

    Raises:
        MetaGDError: if the results hold no such task.
    """
    found = results.task(task)
    formula = f"$${found.winner.latex}$$" if found.winner.latex else code(found.winner.formula)
    return f"{task_in_brief(task, found)}\n\n{formula}\n\n{prose(found.policy_in_words)}\n"


def task_figures(results: Results, task: str) -> dict[str, go.Figure]:
    """Return the figures of one task by name; colours are those of the whole report.

    Args:
        results, task: as in ``task_note``.

    Raises:
        MetaGDError: if the results hold no such task.
    """
    from metagd_optuna.report.figures import task_panel

    return task_panel(results.task(task), contender_styles(results))
