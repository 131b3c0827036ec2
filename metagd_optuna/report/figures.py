"""The figures of a report, drawn with plotly from the panels' numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from math import log10

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from metagd_optuna.report import panels
from metagd_optuna.report.document import Profile
from metagd_optuna.report.sentences import METRIC_NAMES, NOT_COMPARABLE, ratio
from metagd_optuna.report.styles import BASELINE_COLOURS, WINNER_COLOUR, Style
from metagd_optuna.report.task_document import CandidateResults, Surface, TaskResults

INK = "#1f2933"
MUTED = "#616e7c"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
FONT_SIZE = 14


def learning_curves(task: TaskResults, styles: Mapping[str, Style]) -> go.Figure:
    """Return the validation score over epochs, median and quartiles over seeds, and under it the learning rate."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.62, 0.38], vertical_spacing=0.06)
    epochs = task.evaluation_epochs
    # The winner is drawn last, on top of the others.
    for row in sorted(task.candidates, key=lambda row: row.name == task.policy):
        style, curve = styles[row.name], row.curve
        shown = True if style.prominent else "legendonly"
        rates = [panels.positive(line) for line in (curve.rate, curve.rate_low, curve.rate_high)]
        for subplot, (middle, low, high) in enumerate(((curve.median, curve.low, curve.high), rates), 1):
            common = {"x": epochs, "legendgroup": _text(row.name), "visible": shown}
            edge = {
                "mode": "lines",
                "line": {"width": 0, "color": style.colour},
                "hoverinfo": "skip",
                "showlegend": False,
            }
            fill = {"fill": "tonexty", "fillcolor": _translucent(style.colour)}
            figure.add_trace(go.Scatter(y=low, **common, **edge), row=subplot, col=1)
            figure.add_trace(go.Scatter(y=high, **common, **edge, **fill), row=subplot, col=1)
            line = {"color": style.colour, "width": style.width, "dash": style.dash}
            figure.add_trace(
                go.Scatter(
                    y=middle,
                    mode="lines",
                    line=line,
                    name=_text(row.name),
                    showlegend=subplot == 1,
                    legendrank=_legend_rank(task, row),
                    hovertemplate="%{y:.4g}",
                    **common,
                ),
                row=subplot,
                col=1,
            )
    for score, text, colour, dash, side in (
        (task.target, f"target {task.target:.3f}", INK, "dash", "left"),  # where no curve is yet
        (task.chance, "chance level", MUTED, "dot", "right"),
    ):
        line = {"color": colour, "width": 1, "dash": dash}
        note = {"text": text, "font": {"size": 12, "color": colour}}
        place = f"top {side}"
        figure.add_hline(y=score, line=line, annotation=note, annotation_position=place, row=1, col=1)
    prominent = [row.name for row in task.candidates if styles[row.name].prominent]
    scores = list(panels.score_range(task, prominent))
    figure.update_yaxes(title_text=METRIC_NAMES[task.metric], range=scores, row=1, col=1)
    drawn = [rate for row in task.candidates for line in (row.curve.rate_low, row.curve.rate_high) for rate in line]
    figure.update_yaxes(**rate_axis(drawn), row=2, col=1)
    figure.update_xaxes(title_text="epochs", row=2, col=1)
    figure.update_xaxes(range=list(panels.epoch_range(task, prominent)))
    legend = {"groupclick": "togglegroup", "x": 1.02, "y": 1, "font": {"size": 13}}
    return finished(figure, 640, legend=legend, hovermode="x unified")


def speedups(task: TaskResults, styles: Mapping[str, Style]) -> go.Figure:
    """Return every candidate's speed-up over the best baseline with its 95% interval, on a logarithmic axis."""
    rows = panels.speedup_rows(task)
    low, high = panels.speedup_range(task)
    figure = go.Figure()
    figure.add_vline(x=1, line={"color": INK, "width": 1})
    for row in rows:
        style = styles[row.name]
        reference = row.name == task.best_baseline
        if row.comparable and not reference:
            figure.add_trace(
                go.Scatter(
                    x=[row.low, row.high],
                    y=[_text(row.name)] * 2,
                    mode="lines+markers",
                    line={"color": style.colour, "width": 2.5},
                    marker={
                        "symbol": [
                            "triangle-left" if row.open_low else "line-ns",
                            "triangle-right" if row.open_high else "line-ns",
                        ],
                        "size": 9,
                        "color": style.colour,
                        "line": {"width": 2, "color": style.colour},
                    },
                    hoverinfo="skip",
                )
            )
        figure.add_trace(
            go.Scatter(
                x=[row.speedup],
                y=[_text(row.name)],
                mode="markers",
                # Without a place on the axis of speed-ups a candidate still has its line of text.
                opacity=1 if row.comparable else 0,
                marker={
                    "color": "white" if reference else style.colour,
                    "size": 12,
                    "symbol": "diamond" if reference else "square" if row.name == task.policy else "circle",
                    "line": {"width": 2, "color": style.colour},
                },
                hovertemplate=f"{ratio(row.speedup)} times as fast<extra></extra>",
            )
        )
        note = "reference" if reference else ratio(row.speedup) if row.comparable else NOT_COMPARABLE
        figure.add_annotation(
            x=1.01,
            xref="paper",
            xanchor="left",
            y=_text(row.name),
            text=f"{note}, reached {row.reached:.0%}",
            showarrow=False,
            font={"size": 12, "color": MUTED},
        )
    ticks = panels.ratio_ticks(low, high)
    figure.update_xaxes(
        title_text=f"speed-up over {_text(task.best_baseline)}: slower to the left of 1, faster to the right",
        type="log",
        tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks],
        range=[log10(low), log10(high)],
    )
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=[_text(row.name) for row in rows])
    return finished(figure, 110 + 34 * len(rows), margin={"l": 150, "r": 170, "t": 20, "b": 60}, showlegend=False)


def surface(panel: Surface, complexity: float) -> go.Figure:
    """Return the winner's rate over performance and difficulty, with the line that a task can visit."""
    if not panel.difficulty:
        return _rate_over_performance(panel)
    rates = panel.rate
    shown = [panels.positive(row) for row in rates]
    logs = [[None if value is None else log10(value) for value in row] for row in shown]
    flat = [value for row in shown for value in row if value is not None]
    low, high = min(flat, default=1.0), max(flat, default=1.0)
    ticks = panels.rate_ticks(low, high) or [low, high]
    figure = go.Figure(
        go.Heatmap(
            x=panel.performance,
            y=panel.difficulty,
            z=logs,
            customdata=rates,
            colorscale="Cividis",
            zsmooth="best",
            colorbar={
                "title": {"text": "learning rate", "side": "right"},
                "tickvals": [log10(tick) for tick in ticks],
                "ticktext": [f"{tick:.2g}" for tick in ticks],
                "thickness": 14,
            },
            hovertemplate="p = %{x:.2f}, d = %{y:.2f}: rate %{customdata:.3g}<extra></extra>",
        )
    )
    if panel.path is not None:
        line = {"width": 3, "color": "white"}
        common = {"x": panel.performance, "y": panel.path, "mode": "lines", "hoverinfo": "skip"}
        figure.add_trace(go.Scatter(**common, line={"width": 6, "color": INK}, showlegend=False))
        name = f"d = f(c, p) at this task's c = {complexity:.2f}"
        figure.add_trace(go.Scatter(**common, line=line, name=name))
    figure.update_xaxes(title_text="performance p (0 is chance level, 1 is perfect)", range=[0, 1], showgrid=False)
    figure.update_yaxes(title_text="difficulty d", range=[0, 1], showgrid=False)
    legend = {"orientation": "h", "y": 1.02, "x": 0, "yanchor": "bottom", "bgcolor": "#9fb3c8"}
    return finished(figure, 420, legend=legend, showlegend=panel.path is not None)


def ratios_by_row(rows: Sequence[str], series: Mapping[str, Sequence[float]], axis: str) -> go.Figure:
    """Return ratios as marks on a logarithmic axis, a line for every row, 1 marked.

    Args:
        rows: names, from the top.
        series: name to a ratio for every row.
        axis: what the ratios say.
    """
    figure = go.Figure()
    symbols = ("square", "circle", "diamond", "triangle-up", "x")
    for number, (name, values) in enumerate(series.items()):
        figure.add_trace(
            go.Scatter(
                x=list(values),
                y=[_text(row) for row in rows],
                mode="markers",
                name=_text(name),
                marker={
                    "size": 11,
                    "symbol": symbols[number % len(symbols)],
                    "color": (WINNER_COLOUR, *BASELINE_COLOURS)[number % (1 + len(BASELINE_COLOURS))],
                },
                hovertemplate="%{x:.3g}<extra></extra>",
            )
        )
    flat = [value for values in series.values() for value in values]
    low, high = min(0.8, *flat) / 1.1, max(1.25, *flat) * 1.1
    ticks = panels.ratio_ticks(low, high)
    figure.add_vline(x=1, line={"color": INK, "width": 1, "dash": "dash"})
    figure.update_xaxes(
        title_text=axis, type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks], range=[log10(low), log10(high)]
    )
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=[_text(row) for row in rows])
    legend = {"orientation": "h", "y": 1.02, "x": 0, "yanchor": "bottom"}
    return finished(figure, 150 + 28 * len(rows), margin={"l": 330, "r": 30, "t": 60, "b": 60}, legend=legend)


def _rate_over_performance(panel: Surface) -> go.Figure:
    """Return the rate of a rule that does not look at the difficulty."""
    line = {"width": 3, "color": WINNER_COLOUR}
    figure = go.Figure(go.Scatter(x=panel.performance, y=panels.positive(panel.rate[0]), mode="lines", line=line))
    figure.update_xaxes(title_text="performance p (0 is chance level, 1 is perfect)", range=[0, 1])
    figure.update_yaxes(**rate_axis(panel.rate[0]))
    return finished(figure, 360)


def importances(task: TaskResults) -> go.Figure:
    """Return the importances of the meta-policy's parameters as bars."""
    bars = panels.importance_bars(task)
    figure = go.Figure(
        go.Bar(
            x=[share for _, share, _ in bars],
            y=[_text(name) for name, _, _ in bars],
            orientation="h",
            marker={"color": WINNER_COLOUR},
            text=[label for _, _, label in bars],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(title_text="share of importance", rangemode="tozero")
    return finished(figure, 110 + 26 * len(bars), margin={"l": 190, "r": 140, "t": 20, "b": 50})


def search_history(task: TaskResults, styles: Mapping[str, Style]) -> go.Figure:
    """Return the best objective so far over the trials of every method."""
    searches = {method: search for method, search in task.searches.items() if search.objectives}
    figure = go.Figure()
    for method, search in searches.items():
        style = styles.get(method, Style(MUTED, "solid", 1.5, True))
        figure.add_trace(
            go.Scatter(
                x=list(range(1, len(search.objectives) + 1)),
                y=search.objectives,
                mode="lines",
                line={"color": style.colour, "width": style.width, "dash": style.dash, "shape": "hv"},
                name=_text(method),
                hovertemplate="%{y:.3g} epochs",
            )
        )
    figure.update_xaxes(title_text="trials", rangemode="tozero")
    figure.update_yaxes(title_text="best objective so far (epochs)")
    return finished(figure, 360, hovermode="x unified")


def performance_profiles(profile: Profile, styles: Mapping[str, Style]) -> go.Figure:
    """Return for every headline method the share of tasks that it solves within a factor of the fastest."""
    end = panels.profile_end(profile)
    figure = go.Figure()
    # The searched policy is the first of the methods; it is drawn last, on top of the others.
    for place, (method, shares) in reversed(list(enumerate(profile.shares.items()))):
        style = styles.get(method, Style(WINNER_COLOUR, "solid", 3.0, True))
        figure.add_trace(
            go.Scatter(
                x=profile.factors,
                y=shares,
                mode="lines",
                line={"color": style.colour, "width": style.width, "dash": style.dash, "shape": "hv"},
                name=_text(method),
                legendrank=place + 1,
                hovertemplate="%{y:.0%}",
            )
        )
    ticks = panels.ratio_ticks(1.0, end)
    figure.update_xaxes(
        title_text="times the fastest method's median time to target",
        type="log",
        tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks],
        range=[0, log10(end)],
    )
    figure.update_yaxes(title_text="share of tasks solved", range=[-0.03, 1.03], tickformat=".0%")
    return finished(figure, 380, hovermode="x unified", showlegend=True)


def task_drawings(task: TaskResults, styles: Mapping[str, Style]) -> dict[str, Callable[[], go.Figure]]:
    """Return what draws each figure that this task has, by name, in the order of the page."""
    drawings: dict[str, Callable[[], go.Figure]] = {
        "learning-curves": partial(learning_curves, task, styles),
        "speed-ups": partial(speedups, task, styles),
    }
    if task.surface:
        drawings["surface"] = partial(surface, task.surface, task.complexity)
    if any(search.objectives for search in task.searches.values()):
        drawings["search-history"] = partial(search_history, task, styles)
    if task.importances:
        drawings["importances"] = partial(importances, task)
    return drawings


def rate_axis(rates: Sequence[float | None]) -> dict[str, object]:
    """Return a logarithmic axis of learning rates with round ticks."""
    shown = [rate for rate in panels.positive(rates) if rate is not None]
    ticks = panels.rate_ticks(min(shown), max(shown)) if shown else []
    text = [f"{tick:g}" for tick in ticks]
    # A rate that never changes has no tick of its own; plotly then chooses some.
    values = {"tickvals": ticks, "ticktext": text} if ticks else {}
    return {"title_text": "learning rate", "type": "log", **values}


def finished(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    """Return a figure with the look of all: ``layout`` goes before it."""
    common = {
        "template": "plotly_white",
        "height": height,
        "font": {"family": FONT, "size": FONT_SIZE, "color": INK},
        "margin": {"l": 80, "r": 30, "t": 20, "b": 60},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
    }
    figure.update_layout(**common | layout)
    return figure.update_xaxes(title_font_size=FONT_SIZE).update_yaxes(title_font_size=FONT_SIZE)


def _text(name: str) -> str:
    """Return a name as plotly shows it literally: its labels understand a part of HTML."""
    return escape(name, quote=False)


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def _legend_rank(task: TaskResults, row: CandidateResults) -> int:
    if row.name == task.policy:
        return 1
    if row.name == task.best_baseline:
        return 2
    return {"baseline": 3, "default": 4, "article": 5, "control": 6}.get(row.kind, 7)
