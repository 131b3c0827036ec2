"""A figure of a policy by itself: its rate over d and p, and over a training that is made up."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from metagd_optuna.contracts import Context, Controller, MetaGDError, Observation, Validation
from metagd_optuna.given import as_given
from metagd_optuna.policy import MetaPolicy, Policy
from metagd_optuna.policy.evaluation import told_complexity
from metagd_optuna.report.figures import finished, rate_axis
from metagd_optuna.report.styles import WINNER_COLOUR
from metagd_optuna.report.surface import surface_of
from metagd_optuna.report.task_document import Surface

UPDATES, STEPS = 120, 10
CLASSES = 2
FASTER = 4.0  # p is 1 - exp(-4) = 0.98 at the end


def policy_figure(policy: Policy, complexity: float = 0.5) -> go.Figure:
    """Return the rate of a policy over a training that is made up, and that of a meta-policy over d and p.

    The training has 1,200 steps and 120 rate updates, on two equally frequent classes; whatever a policy reads, its
    performance rises as p = 1 - exp(-4 t), t from 0 to 1.

    Args:
        policy: of any kind.
        complexity: c of the task, in [0, 1].
    """
    if isinstance(complexity, bool) or not isinstance(complexity, int | float) or not 0 <= complexity <= 1:
        raise MetaGDError(f"complexity={as_given(complexity)}; give a number from 0 to 1")
    if isinstance(policy, MetaPolicy):
        complexity = told_complexity(policy, complexity)
    panel = surface_of(policy, complexity) if isinstance(policy, MetaPolicy) else None
    titles = ("over performance and difficulty", "over a training with p = 1 - exp(-4 t)")
    columns = 1 if panel is None else 2
    figure = make_subplots(1, columns, subplot_titles=titles[-columns:], horizontal_spacing=0.2)
    if panel is not None:
        _draw_surface(figure, panel, complexity)
    steps, rates = made_up_training(policy, complexity)
    line = {"width": 3, "color": WINNER_COLOUR}
    figure.add_trace(go.Scatter(x=steps, y=rates, mode="lines", line=line, showlegend=False), 1, columns)
    figure.update_xaxes(title_text="step", col=columns)
    figure.update_yaxes(**rate_axis(rates), col=columns)
    return finished(figure, 420, margin={"l": 80, "r": 30, "t": 60, "b": 60}, title=None)


def made_up_training(policy: Policy, complexity: float) -> tuple[list[int], list[float]]:
    """Return the steps of a training whose performance rises evenly, and the rate of each."""
    shares = (1 / CLASSES,) * CLASSES
    chance = math.log(CLASSES)
    budget = UPDATES * STEPS
    context = Context(complexity, shares, policy.optimizer, budget, float(STEPS), network=_network(policy, complexity))
    controller: Controller = policy.controller()
    state, observation, rates = controller.start(context), Observation(0), []
    for update in range(UPDATES):
        new, state = controller.rates(state, observation, STEPS)
        rates += [float(rate) for rate in new]
        step = (update + 1) * STEPS
        p = 1 - math.exp(-FASTER * step / budget)
        loss, score = chance * (1 - p), (1 + p) / CLASSES
        observation = Observation(step, loss, score, Validation(step, loss, score, score, score), rates[-1])
    return list(range(1, budget + 1)), rates


def _network(policy: Policy, complexity: float) -> dict[str, float]:
    """Return the property of the network that a policy measures, or that of which it is a control."""
    measured = getattr(policy, "policy", policy)
    return {measured.complexity: complexity} if isinstance(measured, MetaPolicy) else {}


def _draw_surface(figure: go.Figure, panel: Surface, complexity: float) -> None:
    p_axis = {"title_text": "performance p", "range": [0, 1], "col": 1}
    figure.update_xaxes(**p_axis)
    if not panel.difficulty:
        rates = [rate or 0.0 for rate in panel.rate[0]]
        line = {"width": 3, "color": WINNER_COLOUR}
        figure.add_trace(go.Scatter(x=panel.performance, y=rates, mode="lines", line=line, showlegend=False), 1, 1)
        figure.update_yaxes(**rate_axis(rates), col=1)
        return
    logs = np.log10(np.array(panel.rate, dtype=float))
    low, high = float(logs.min()), float(logs.max())
    ticks = np.unique(np.linspace(low, high, 5)).tolist()
    bar = {"x": 0.41, "thickness": 12, "tickvals": ticks, "ticktext": [f"{10**tick:.2g}" for tick in ticks]}
    figure.add_trace(
        go.Heatmap(
            x=panel.performance,
            y=panel.difficulty,
            z=logs.tolist(),
            customdata=panel.rate,
            colorscale="Cividis",
            zsmooth="best",
            colorbar=bar | {"title": {"text": "rate"}},
            hovertemplate="p = %{x:.2f}, d = %{y:.2f}: rate %{customdata:.3g}<extra></extra>",
        ),
        1,
        1,
    )
    line = {"width": 3, "color": "white"}
    name = f"d = f(c, p) at c = {complexity:.2f}"
    path = go.Scatter(x=panel.performance, y=panel.path, mode="lines", line=line, name=name, showlegend=False)
    figure.add_trace(path, 1, 1)
    figure.update_yaxes(title_text="difficulty d; the line is d = f(c, p)", range=[0, 1], col=1)
