from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from altered import altered
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.records import StudyRecord
from metagd_optuna.report import figures, panels
from metagd_optuna.report.figures import performance_profiles, task_drawings
from metagd_optuna.report.results import Results, build_results
from metagd_optuna.report.styles import Style, candidate_styles
from metagd_optuna.report.task_content import candidate_table
from metagd_optuna.report.task_document import CandidateResults, Curve, MedianTime, Speedup, TaskResults

Factory = Callable[..., Any]


@pytest.fixture(scope="module")
def results(study: StudyRecord) -> Results:
    return build_results(study)


def task_with(*rows: tuple[str, float, list[float | None]], times: float | None = 1.0) -> TaskResults:
    return TaskResults.model_construct(
        policy=rows[-1][0],
        best_baseline=rows[0][0],
        candidates=[
            CandidateResults.model_construct(
                name=name,
                reached=float(times is not None),
                per_seed=(times,) * 10,
                versus_best_baseline=Speedup(speedup=speedup, ci95=ci95, p_value=0.5),
            )
            for name, speedup, ci95 in rows
        ],
    )


def test_speedups_are_sorted_and_unbounded_ends_are_marked() -> None:
    task = task_with(("slow", 0.7, [0.6, 0.8]), ("fast", 1.5, [0.0, None]), ("same", 1.0, [1.0, 1.0]))
    rows = panels.speedup_rows(task)
    assert [row.name for row in rows] == ["fast", "same", "slow"]
    assert (rows[0].open_low, rows[0].open_high) == (True, True)
    assert (rows[2].open_low, rows[2].open_high) == (False, False)


def test_who_missed_everywhere_as_the_best_baseline_did_has_no_place_on_the_axis() -> None:
    rows = (("reference", 1.0, [1.0, 1.0]), ("other", 1.0, [1.0, 1.0]))
    styles = {name: Style("#000000", "solid", width=2, prominent=True) for name, _, _ in rows}
    for times in (1.0, None):
        task = task_with(*rows, times=times)
        figure = figures.speedups(task, styles).to_dict()
        assert [row.comparable for row in panels.speedup_rows(task)] == [times is not None] * 2
        markers = [trace["opacity"] for trace in figure["data"] if trace["mode"] == "markers"]
        assert markers == [int(times is not None)] * 2
        texts = [note["text"] for note in figure["layout"]["annotations"]]
        assert ("not comparable, reached 0%" in texts) == (times is None)


def test_a_small_difference_looks_small() -> None:
    low, high = panels.speedup_range(task_with(("a", 1.02, [1.01, 1.03])))
    assert low < 0.5
    assert high > 2


def test_one_wild_interval_does_not_squeeze_the_rest() -> None:
    low, high = panels.speedup_range(task_with(("a", 1.2, [1e-6, 1e6]), ("b", 1.0, [1.0, 1.0])))
    assert low > 0.1
    assert high < 10


@given(
    st.lists(
        st.tuples(st.floats(0.02, 50), st.floats(1, 100), st.floats(1, 100), st.booleans()), min_size=1, max_size=12
    )
)
@settings(deadline=None, max_examples=60)
def test_every_speedup_lies_within_the_figure(drawn: list[tuple[float, float, float, bool]]) -> None:
    task = task_with(
        *((str(k), s, [s / down, None if unbounded else s * up]) for k, (s, down, up, unbounded) in enumerate(drawn))
    )
    low, high = panels.speedup_range(task)
    for row in panels.speedup_rows(task):
        assert low <= row.low <= row.speedup <= row.high <= high
    assert panels.ratio_ticks(low, high)


@given(st.floats(1e-7, 1.0), st.floats(1.0, 1e6))
@settings(deadline=None, max_examples=60)
def test_ticks_rise_and_lie_within(low: float, factor: float) -> None:
    for ticks in (panels.ratio_ticks(low, low * factor), panels.rate_ticks(low, low * factor)):
        assert ticks == sorted(set(ticks))
        assert all(low <= tick <= low * factor for tick in ticks)


def test_one_look_per_candidate_across_tasks(results: Results) -> None:
    styles = candidate_styles(results)
    names = [row.name for row in results.tasks["breast_cancer"].candidates]
    looks = {(styles[name].colour, styles[name].dash) for name in names}
    assert len(looks) == len(names)
    for name, task in results.tasks.items():
        lines = {
            trace.name: trace.line.color
            for trace in task_drawings(task, styles)["learning-curves"]().data
            if trace.name
        }
        assert lines == {candidate: styles[candidate].colour for candidate in names}, name


def test_headline_candidates_are_shown_first(results: Results) -> None:
    task = results.tasks["breast_cancer"]
    traces = task_drawings(task, candidate_styles(results))["learning-curves"]().data
    shown = {trace.name for trace in traces if trace.visible is True and trace.name}
    assert shown == {"meta-policy", "adam-constant", "adam-cosine", "sgd-one-cycle"}
    assert traces[-1].name == "meta-policy"


def test_curves_show_the_results(results: Results) -> None:
    task = results.tasks["breast_cancer"]
    figure = task_drawings(task, candidate_styles(results))["learning-curves"]()
    winner = task.candidate("meta-policy")
    score, rate = [trace for trace in figure.data if trace.name == "meta-policy"]
    assert score.x == task.evaluation_epochs
    assert score.y == winner.curve.median
    assert rate.y == winner.curve.rate
    assert figure.layout.yaxis2.type == "log"
    assert figure.layout.xaxis.matches == "x2"


def test_a_poor_candidate_does_not_squeeze_the_scores(results: Results) -> None:
    task = results.tasks["breast_cancer"]
    styles = candidate_styles(results)
    before = task_drawings(task, styles)["learning-curves"]().layout.yaxis.range
    evaluations = len(task.evaluation_epochs)
    task = altered(task, "candidates.article-as-printed.curve.median", (0.1,) * evaluations)
    for name in ("article-as-printed", "sgd-one-cycle"):
        task = altered(task, f"candidates.{name}.curve.low", (0.05,) * evaluations)
    low, high = task_drawings(task, styles)["learning-curves"]().layout.yaxis.range
    assert (low, high) == before
    assert low < task.target < high
    for row in task.candidates:
        if styles[row.name].prominent:
            assert all(score < high for score in row.curve.median)
            assert low < row.curve.median[-1]
    # Where a visible candidate ends is not hidden.
    task = altered(task, "candidates.adam-constant.curve.median", lambda scores: (*scores[:-1], 0.2))
    assert task_drawings(task, styles)["learning-curves"]().layout.yaxis.range[0] < 0.2


@pytest.mark.parametrize(("share", "begin"), [(0.9, 0.5), (0.95, 0.5), (0.98, 0.8), (0.995, 0.95)])
def test_scores_begin_where_ten_times_as_much_is_missing_as_at_the_target(share: float, begin: float) -> None:
    curve = Curve.model_construct(median=(0.5, 0.6, 1.0), high=(0.5, 0.7, 1.0))
    row = CandidateResults.model_construct(name="a", curve=curve)
    task = TaskResults.model_construct(
        policy="a", best_baseline="a", chance=0.5, target=0.5 + share / 2, target_share=share, candidates=[row]
    )
    low, high = panels.score_range(task, ["a"])
    lowest = 0.5 + begin / 2
    assert (low, high) == pytest.approx((lowest - 0.04 * (1 - lowest), 1 + 0.04 * (1 - lowest)))


@pytest.mark.parametrize(
    ("medians", "shown", "end"),
    [
        ({"a": 1.0, "b": 2.0, "c": 6.0}, "ab", 2.5),
        ({"a": 1.0, "b": 2.0, "c": None}, "ab", 2.5),
        ({"a": 1.0, "b": None, "c": 2.0}, "ab", 8.0),  # a miss is shown to the end
        ({"a": 1.0, "b": 7.0, "c": 2.0}, "ab", 8.0),  # there is no more
        ({"a": 1.0}, "", 8.0),
    ],
)
def test_epochs_end_soon_after_the_last_visible_median_is_at_the_target(
    medians: dict[str, float | None], shown: str, end: float
) -> None:
    task = TaskResults.model_construct(
        evaluation_epochs=(2.0, 4.0, 8.0),
        candidates=[
            CandidateResults.model_construct(
                name=name, epochs_to_target=MedianTime.model_construct(median=time, ci95=(None, None))
            )
            for name, time in medians.items()
        ],
    )
    assert panels.epoch_range(task, shown) == (0.0, end)


def test_the_table_has_the_order_of_the_figure_of_speedups(results: Results) -> None:
    styles = candidate_styles(results)
    for task in results.tasks.values():
        names = [row[0][1].text for row in candidate_table(task, styles).rows]
        assert names == [row.name for row in panels.speedup_rows(task)]
        speedups = [task.candidate(name).versus_best_baseline.speedup for name in names]
        assert speedups == sorted(speedups, reverse=True)


def test_profiles_show_the_results(results: Results) -> None:
    across = results.across
    figure = performance_profiles(across.profile, candidate_styles(results))
    assert figure.data[-1].name == "meta-policy"
    assert {trace.name: trace.y for trace in figure.data} == across.profile.shares
    assert figure.layout.xaxis.range[0] == 0
    assert 10 ** figure.layout.xaxis.range[1] == pytest.approx(panels.profile_end(across.profile))


def test_surface_is_the_rule(results: Results) -> None:
    surface = results.tasks["breast_cancer"].surface
    assert len(surface.rate) == len(surface.difficulty) == 33
    for row, d in zip(surface.rate, surface.difficulty, strict=True):
        for rate, p in zip(row, surface.performance, strict=True):
            expected = 0.004 * max(1 - d, 0.01) ** 0.5 * (p + 0.01) ** -0.3
            assert rate == pytest.approx(min(max(expected, 1e-5), 3e-2))
    # d = 0.4 c + 0.6 (1 - p) at c = 0.11, with p clipped to [0.01, 0.99]
    assert surface.path[16] == pytest.approx(0.4 * 0.11 + 0.6 * 0.5)


@pytest.mark.parametrize(
    ("rate", "rows"),
    [
        ({"form": "logistic", "coefficients": {"lo": 1e-4, "hi": 1e-2, "s": 9.0, "p0": 0.5}}, 1),
        (
            {
                "form": "schedule",
                "coefficients": {"base": "cosine", "lr0": 3e-3, "horizon": 1.0, "warmup": 0.1, "k": 1.0},
            },
            33,
        ),
        (
            {
                "form": "multiplicative",
                "coefficients": {"lr0": 1e-3, "up": 0.1, "down": 0.5, "theta": 0.01, "patience": 1, "cooldown": 1},
            },
            None,
        ),
    ],
)
def test_surface_of_other_rules(
    rate: dict[str, Any], rows: int | None, task_factory: Factory, study_factory: Factory
) -> None:
    import dataclasses

    task = task_factory(seeds=2)
    winner = dataclasses.replace(task.candidates[0], settings={**task.candidates[0].settings, "rate": rate})
    study = study_factory(dataclasses.replace(task, candidates=(winner, *task.candidates[1:])))
    found = build_results(study)
    one = found.tasks["breast_cancer"]
    figures = task_drawings(one, candidate_styles(found))
    if rows is None:
        assert one.surface is None
        assert "surface" not in figures
    else:
        assert len(one.surface.rate) == rows
        assert (one.surface.path is None) == (rows == 1)
        assert all(math.isfinite(value) and value > 0 for row in one.surface.rate for value in row)
        assert figures["surface"]().data


def test_a_surface_has_no_path_where_the_network_decides_the_complexity(
    task_factory: Factory, study_factory: Factory
) -> None:
    import dataclasses

    task = task_factory(seeds=2)
    winner = dataclasses.replace(
        task.candidates[0], settings={**task.candidates[0].settings, "complexity": "critical-rate"}
    )
    found = build_results(study_factory(dataclasses.replace(task, candidates=(winner, *task.candidates[1:]))))
    surface = found.tasks["breast_cancer"].surface
    assert surface.path is None
    assert len(surface.rate) == 33


def test_history_never_rises_and_importances_are_ordered(results: Results) -> None:
    task = results.tasks["breast_cancer"]
    figures = task_drawings(task, candidate_styles(results))
    for trace in figures["search-history"]().data:
        known = [value for value in trace.y if value is not None]
        assert known == sorted(known, reverse=True)
    bars = figures["importances"]().data[0]
    assert list(bars.x) == sorted(bars.x)
    assert bars.y[-1] == "g.power.lr0.adam"
    assert list(bars.text[-2:]) == ["0.22 (0.05 to 0.41)", "0.61 (0.40 to 0.78)"]
    assert bars.text[0] == "0.05"
