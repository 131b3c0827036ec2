"""Notes and figures of one task for a dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metagd_optuna.report import blocks
from metagd_optuna.report.content import verdict_card
from metagd_optuna.report.document import Results
from metagd_optuna.report.figures import task_drawings
from metagd_optuna.report.markdown import markdown
from metagd_optuna.report.styles import candidate_styles

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
    winner = found.winner
    return markdown(
        [
            verdict_card(task, found, anchor=""),
            blocks.Formula(winner.formula, winner.latex),
            blocks.Prose(found.policy_in_words),
        ]
    )


def task_figures(results: Results, task: str) -> dict[str, go.Figure]:
    """Return the figures of one task by name; colours are those of the whole report.

    Args:
        results, task: as in ``task_note``.

    Raises:
        MetaGDError: if the results hold no such task.
    """
    drawings = task_drawings(results.task(task), candidate_styles(results))
    return {name: draw() for name, draw in drawings.items()}
