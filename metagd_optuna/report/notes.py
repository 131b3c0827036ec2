"""Notes and figures of one task for a dashboard."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from metagd_optuna.policy.formula import formula_lines
from metagd_optuna.report import blocks
from metagd_optuna.report.content import verdict_card
from metagd_optuna.report.document import Results
from metagd_optuna.report.figures import speedups, task_drawings
from metagd_optuna.report.markdown import markdown
from metagd_optuna.report.styles import candidate_styles
from metagd_optuna.report.task_content import FIGURES

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Of the place that optuna-dashboard has for a figure, in pixels; what is higher runs into the next one.
HEIGHT = 440


def task_note(results: Results, task: str) -> str:
    """Return the verdict on one task as a Markdown note, with the winner's formula.

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
            # A dashboard sets no mathematics.
            blocks.Listing(formula_lines(winner.formula), "text"),
            blocks.Prose(found.policy_in_words),
        ]
    )


def task_figures(results: Results, task: str) -> dict[str, go.Figure]:
    """Return the figures of one task by name, with titles and as high as a dashboard shows them.

    Colours are those of the whole report.

    Args:
        results, task: as in ``task_note``.

    Raises:
        MetaGDError: if the results hold no such task.
    """
    drawings = task_drawings(results.task(task), candidate_styles(results))
    return {name: _titled(draw(), FIGURES[name][0]) for name, draw in drawings.items()}


def verdict_figures(results: Results) -> dict[str, go.Figure]:
    """Return the speed-ups of every task, by its name, as figures for a dashboard."""
    styles = candidate_styles(results)
    return {name: _titled(speedups(task, styles), f"Speed-ups on {name}") for name, task in results.tasks.items()}


def _titled(figure: go.Figure, title: str) -> go.Figure:
    heading = {"text": escape(title, quote=False), "x": 0.02, "y": 0.98, "yanchor": "top"}
    return figure.update_layout(height=HEIGHT, title=heading, margin={"t": 84})
