"""Figures of the best trials of a study whose trials hold the parameters of a meta-policy."""

from __future__ import annotations

import math
from html import escape

import optuna
import plotly.graph_objects as go
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from plotly.subplots import make_subplots

from metagd_optuna import MetaGDError, MetaPolicy
from metagd_optuna.given import as_given
from metagd_optuna.report.figures import finished, rate_axis, surface
from metagd_optuna.report.panels import positive
from metagd_optuna.report.styles import BASELINE_COLOURS, WINNER_COLOUR
from metagd_optuna.report.surface import surface_of
from metagd_optuna.tuning.stored_trials import records_of

COLUMNS = 2
PANEL_HEIGHT = 380
COLOURS = (WINNER_COLOUR, *BASELINE_COLOURS)


def plot_rate_surfaces(study: optuna.Study, *, n_best: int = 4, complexity: float | None = None) -> go.Figure:
    """Plot the learning rate of the best trials over performance p and difficulty d, in the middle of the budget.

    A rule that does not look at d is a line over p. All heat maps share one scale of colours.

    Args:
        study: its trials hold the parameters of a meta-policy; others, such as a dropout, are left alone.
        n_best: how many complete trials are drawn, best first.
        complexity: of the task, in [0, 1]; with it a line marks d = f(c, p), the difficulties that the task visits.

    Raises:
        MetaGDError: if no trial is complete, or one of the best holds no meta-policy.
    """
    trials = _best(study, n_best)
    rows = math.ceil(len(trials) / COLUMNS)
    columns = min(COLUMNS, len(trials))
    spacing = {"horizontal_spacing": 0.16, "vertical_spacing": 0.3 / rows}
    figure = make_subplots(rows, columns, subplot_titles=[_title(trial) for trial in trials], **spacing)
    for place, trial in enumerate(trials):
        at = {"row": place // columns + 1, "col": place % columns + 1}
        panel = surface_of(MetaPolicy.from_trial(trial), complexity)
        if panel is None:  # the rate of a rule that remembers is no function of d and p
            note = {"text": "the rate depends on the past", "x": 0.5, "y": 0.5, "showarrow": False}
            figure.add_annotation(**note, **at).update_xaxes(range=[0, 1], **at).update_yaxes(range=[0, 1], **at)
            continue
        drawn = surface(panel, math.nan if complexity is None else complexity)
        for trace in drawn.data:
            trace.showlegend = False
            if isinstance(trace, go.Heatmap):
                trace.colorbar, trace.colorscale, trace.coloraxis = None, None, "coloraxis"
        figure.add_traces(drawn.data, rows=at["row"], cols=at["col"])
        figure.update_xaxes(drawn.layout.xaxis, **at).update_yaxes(drawn.layout.yaxis, **at)
    logs = [z for trace in figure.select_traces({"type": "heatmap"}) for row in trace.z for z in row if z is not None]
    scale = rate_axis([10**z for z in (min(logs), max(logs))]) if logs else {}
    bar = {"title": {"text": "learning rate", "side": "right"}, "thickness": 14, "ticktext": scale.get("ticktext")}
    bar["tickvals"] = [math.log10(tick) for tick in scale.get("tickvals", ())] or None
    figure.update_layout(coloraxis={"colorscale": "Cividis", "colorbar": bar, "showscale": bool(logs)})
    return finished(figure, rows * PANEL_HEIGHT, margin={"l": 80, "r": 30, "t": 50, "b": 60})


def plot_policy_table(study: optuna.Study, *, n_best: int = 10) -> go.Figure:
    """Plot a table of the best trials: value, optimizer, forms of f and g, and the rule with its coefficients.

    Args:
        study, n_best: as for ``plot_rate_surfaces``.

    Raises:
        MetaGDError: as ``plot_rate_surfaces``.
    """
    trials = _best(study, n_best)
    policies = [MetaPolicy.from_trial(trial) for trial in trials]
    table = {
        "trial": [str(trial.number) for trial in trials],
        "value": [f"{trial.value:.4g}" for trial in trials],
        "optimizer": [policy.optimizer for policy in policies],
        "f": [policy.difficulty or "none" for policy in policies],
        "g": [policy.rate for policy in policies],
        "rule": [policy.formula for policy in policies],
    }
    figure = go.Figure(
        go.Table(
            columnwidth=[1, 1.4, 2.5, 1.6, 1.6, 12],
            header={"values": [f"<b>{name}</b>" for name in table], "align": "left"},
            cells={"values": [[escape(cell, quote=False) for cell in cells] for cells in table.values()]},
        )
    )
    figure.update_traces(cells_align="left", cells_height=44)
    return finished(figure, 110 + 48 * len(trials), margin={"l": 20, "r": 20, "t": 20, "b": 20})


def plot_rate_traces(study: optuna.Study, *, n_best: int = 5) -> go.Figure:
    """Plot the learning rates that the best trials set while they trained, a line per run, a colour per trial.

    Args:
        study: a search of ``metagd run``, whose trials keep their runs.
        n_best: how many of the complete trials that keep their runs are drawn, best first.

    Raises:
        MetaGDError: if no complete trial keeps its runs.
    """
    trials = [trial for trial in _best(study, None) if records_of(trial)][:n_best]
    if not trials:
        raise MetaGDError(
            f"no complete trial of study {as_given(study.study_name)} keeps its runs: searches of metagd run do, other "
            "studies and searches that were taken from a snapshot do not; plot_rate_surfaces draws their rules"
        )
    figure = go.Figure()
    drawn: list[float] = []
    for rank, trial in enumerate(trials):
        for number, run in enumerate(records_of(trial)):
            drawn += run.rates
            figure.add_trace(
                go.Scatter(
                    x=list(range(1, len(run.rates) + 1)),
                    y=positive(run.rates),
                    mode="lines",
                    line={"color": COLOURS[rank % len(COLOURS)], "width": 1.5, "shape": "hv"},
                    name=_title(trial),
                    legendgroup=str(trial.number),
                    showlegend=number == 0,
                    hovertemplate=f"seed {run.seed}, step %{{x}}: %{{y:.3g}}",
                )
            )
    figure.update_xaxes(title_text="steps of the optimizer", rangemode="tozero")
    figure.update_yaxes(**rate_axis(drawn))
    return finished(figure, 460, showlegend=True)


def _best(study: optuna.Study, most: int | None) -> list[FrozenTrial]:
    """Return complete trials, best first, at most ``most``."""
    if most is not None and most < 1:
        raise MetaGDError(f"n_best is {as_given(most)}; it has to be at least 1")
    if len(study.directions) != 1:
        raise MetaGDError(f"study {as_given(study.study_name)} has {len(study.directions)} objectives; allowed is one")
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not trials:
        raise MetaGDError(f"study {as_given(study.study_name)} has no complete trial yet; run some first")
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    return sorted(trials, key=lambda trial: (sign * float(trial.value or 0.0), trial.number))[:most]


def _title(trial: FrozenTrial) -> str:
    return f"trial {trial.number}: {trial.value:.4g}"
