"""Figures of small studies: with runs, without runs, with what cannot be drawn."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from small_study import store_of

from metagd_optuna import MetaGDError, MetaPolicy
from metagd_optuna.contracts import Curve, RunRecord
from metagd_optuna.tuning.stored_trials import RUNS

POWER = {"optimizer": "adam", "f": "mix", "f.mix.w": 0.5, "g": "power", "g.power.a": 1.0, "g.power.b": 0.0}
LOGISTIC = {"optimizer": "adam", "g": "logistic", "g.logistic.s": 5.0, "g.logistic.p0": 0.5}
RULES: dict[str, dict[str, Any]] = {
    "over d and p": POWER | {"g.power.lr0.adam": 1e-3},
    "over p": LOGISTIC | {"g.logistic.lo.adam": 1e-4, "g.logistic.hi.adam": 1e-2},
    "remembers": {
        "optimizer": "adam",
        "g": "multiplicative",
        **{
            f"g.multiplicative.{name}": value
            for name, value in {
                "lr0.adam": 1e-3,
                "up": 0.1,
                "down": 0.5,
                "theta": 0.01,
                "patience": 3,
                "cooldown": 1,
            }.items()
        },
    },
}


def a_run(rates: tuple[float, ...]) -> dict[str, Any]:
    curve = Curve(steps=(2,), loss=(0.5,), accuracy=(0.8,), balanced_accuracy=(0.8,), auc=(0.9,))
    record = RunRecord("meta-policy", 0, 4, len(rates), curve, None, (0,), (0.5,), (0.8,), rates)
    return record.to_dict()


def a_study(*rules: str, direction: str = "minimize", runs: int = 0) -> optuna.Study:
    """Return a study with a complete trial for every rule; each later one has a larger value."""
    study = optuna.create_study(study_name="small", direction=direction)
    for number, rule in enumerate(rules):
        params = RULES[rule] | {"dropout": 0.1}
        study.add_trial(
            optuna.create_trial(
                params=params,
                distributions={
                    name: CategoricalDistribution([value])
                    if isinstance(value, str)
                    else FloatDistribution(value, value)
                    for name, value in params.items()
                },
                value=float(number),
                user_attrs={RUNS: [a_run((1e-3, 2e-3 * (seed + 1))) for seed in range(runs)]} if runs else {},
            )
        )
    return study


@pytest.fixture(scope="module")
def plots(load):
    return load("visualization/plot_learning_rate_policies")


@pytest.mark.parametrize("complexity", [None, 0.3])
@pytest.mark.parametrize(
    ("rules", "kinds"),
    [
        (["over d and p"], ["heatmap"]),
        (["over p"], ["scatter"]),
        (["over p", "over d and p", "over p"], ["scatter", "heatmap", "scatter"]),
    ],
)
def test_the_rate_is_drawn_over_d_and_p_or_over_p(plots, rules, kinds, complexity) -> None:
    figure = plots.plot_rate_surfaces(a_study(*rules), complexity=complexity)
    visited = [trace for trace in figure.data if trace.type == "scatter" and trace.hoverinfo == "skip"]
    assert [trace.type for trace in figure.data if trace not in visited] == kinds
    assert len(visited) == (2 * kinds.count("heatmap") if complexity is not None else 0)
    assert [note.text for note in figure.layout.annotations] == [f"trial {n}: {n}" for n in range(len(rules))]
    assert figure.layout.coloraxis.showscale == ("heatmap" in kinds)


def test_the_rates_are_those_of_the_rule(plots) -> None:
    [line] = plots.plot_rate_surfaces(a_study("over p")).data
    rule = MetaPolicy.from_params(RULES["over p"])
    assert list(line.y) == pytest.approx([rule.rate_at(0.0, p) for p in line.x])


def test_a_rule_that_remembers_is_named_and_not_drawn(plots) -> None:
    figure = plots.plot_rate_surfaces(a_study("remembers", "over p"))
    assert len(figure.data) == 1
    assert "the rate depends on the past" in [note.text for note in figure.layout.annotations]


@pytest.mark.parametrize(("direction", "first"), [("minimize", "0"), ("maximize", "2")])
def test_the_table_begins_with_the_best(plots, direction: str, first: str) -> None:
    study = a_study("over p", "over d and p", "over p", direction=direction)
    cells = plots.plot_policy_table(study, n_best=2).data[0].cells.values
    assert cells[0][0] == first
    assert len(cells[0]) == 2
    assert cells[3][0] == "none"
    assert cells[4][0] == "logistic"
    assert "sigmoid(5 (0.5 - p))" in cells[5][0]


def test_a_line_for_every_run(plots) -> None:
    figure = plots.plot_rate_traces(a_study("over p", "over d and p", runs=2), n_best=1)
    assert [list(trace.y) for trace in figure.data] == [[1e-3, 2e-3], [1e-3, 4e-3]]
    assert [trace.showlegend for trace in figure.data] == [True, False]


def no_meta_policy() -> optuna.Study:
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(value=1.0))
    return study


def two_objectives() -> optuna.Study:
    return optuna.create_study(directions=["minimize", "minimize"])


def none_complete() -> optuna.Study:
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(state=TrialState.PRUNED, value=1.0))
    return study


@pytest.mark.parametrize(
    ("plot", "study", "n_best", "said"),
    [
        ("plot_rate_traces", lambda: a_study("over p"), 1, "no complete trial of study 'small' keeps its runs"),
        ("plot_rate_surfaces", no_meta_policy, 1, "this is no meta-policy"),
        ("plot_policy_table", no_meta_policy, 1, "this is no meta-policy"),
        ("plot_policy_table", none_complete, 1, "no complete trial"),
        ("plot_rate_surfaces", two_objectives, 1, "2 objectives"),
        ("plot_rate_surfaces", lambda: a_study("over p"), 0, "n_best is 0"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(plots, plot: str, study, n_best: int, said: str) -> None:
    with pytest.raises(MetaGDError, match=said):
        getattr(plots, plot)(study(), n_best=n_best)


def test_searches_of_the_package_have_all_figures(plots, finished_study) -> None:
    study = store_of(finished_study.out).task("breast_cancer").load("meta-policy")
    for plot in (plots.plot_rate_surfaces, plots.plot_policy_table, plots.plot_rate_traces):
        assert plot(study, n_best=3).data
