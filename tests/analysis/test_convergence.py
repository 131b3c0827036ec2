from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.analysis.convergence import (
    confirmation_target,
    confirmed_best,
    final_best,
    hit_times,
    mean_time_bound,
    mean_time_bounds,
    mean_time_to_targets,
    resolution_limited,
    search_target,
    targets_up_to,
    time_to_target,
)
from metagd_optuna.contracts import MetaGDError

INF = math.inf
SCORES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.5, 0.7, 0.9])), min_size=1, max_size=40)


def slow_hit(epochs, scores, target):
    """The rule in words: the second of two evaluations in a row that both reach the target."""
    for k in range(1, len(scores)):
        if scores[k - 1] >= target and scores[k] >= target:
            return epochs[k]
    return INF


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], []),
        ([0.9], [-INF]),
        ([0.5, 0.9, 0.6, 0.7, 0.3], [-INF, 0.5, 0.6, 0.6, 0.6]),
        ([0.9, math.nan, 0.8, 0.8], [-INF, -INF, -INF, 0.8]),
        ([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], [[-INF, 0.1, 0.2], [-INF, 0.2, 0.2]]),
    ],
)
def test_confirmed_best(scores, expected):
    np.testing.assert_array_equal(confirmed_best(scores), expected)


def test_final_best_of_a_run_too_short_to_confirm_is_minus_infinity():
    assert final_best([]) == final_best([0.9]) == -INF
    assert final_best([0.5, 0.9, 0.6, 0.7, 0.1]) == 0.6


@settings(deadline=None, max_examples=100)
@given(scores=SCORES, targets=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_hit_times_follow_the_rule_in_words(scores, targets):
    epochs = np.arange(1, len(scores) + 1) * 0.25
    expected = [slow_hit(epochs, scores, target) for target in targets]
    np.testing.assert_array_equal(hit_times(epochs, scores, targets), expected)
    assert time_to_target(epochs, scores, targets[0]) == expected[0]


def test_a_single_spike_is_no_hit():
    assert time_to_target([1, 2, 3], [0.5, 0.99, 0.5], 0.9) == INF
    assert time_to_target([1, 2, 3], [0.5, 0.99, 0.9], 0.9) == 3.0


def test_a_run_without_evaluations_hits_nothing():
    assert hit_times([], [], [0.5, 0.6]).tolist() == [INF, INF]
    assert mean_time_to_targets([], [], [0.5, 0.6], budget=7) == 14.0


def test_targets_starts_half_way_and_ends_at_the_search_target():
    targets = targets_up_to(0.5, 0.937)
    assert targets.shape == (26,)
    assert targets[0] == pytest.approx(0.5 + 0.437 / 2)
    assert targets[-1] == 0.937
    np.testing.assert_allclose(np.diff(targets), 0.437 / 2 / 25)


def test_mean_time_to_targets_by_hand():
    # Rungs 0.6, 0.7, 0.8 are confirmed at epochs 2, 4 and never; a miss costs 2 x 5.
    assert mean_time_to_targets([1, 2, 3, 4, 5], [0.6, 0.65, 0.8, 0.7, 0.9], [0.6, 0.7, 0.8], 5) == pytest.approx(
        16 / 3
    )


@settings(deadline=None, max_examples=100)
@given(scores=SCORES, data=st.data())
def test_bound_rises_and_never_exceeds_the_objective(scores, data):
    epochs = np.arange(1, len(scores) + 1) * 0.5
    targets = targets_up_to(0.5, data.draw(st.floats(0.51, 1)), count=data.draw(st.integers(2, 30)))
    budget = epochs[-1] * data.draw(st.sampled_from([1.0, 1.5]))
    bounds = [mean_time_bound(epochs[:k], scores[:k], targets, now=0.5 * k) for k in range(len(scores) + 1)]
    assert bounds[0] == 0.0
    assert np.all(np.diff(bounds) >= -1e-12)
    assert np.allclose(mean_time_bounds(epochs, scores, targets, at=epochs), bounds[1:])
    assert bounds[-1] <= mean_time_to_targets(epochs, scores, targets, budget) + 1e-12


@settings(deadline=None, max_examples=60)
@given(scores=SCORES, gain=st.floats(0, 0.3))
def test_a_better_curve_never_has_a_worse_objective(scores, gain):
    epochs, targets = np.arange(1, len(scores) + 1), targets_up_to(0.5, 0.9)
    better = mean_time_to_targets(epochs, np.add(scores, gain), targets, len(scores))
    assert better <= mean_time_to_targets(epochs, scores, targets, len(scores)) + 1e-12


def test_search_target_is_the_best_median_and_a_diverged_rate_does_no_harm():
    final_bests = {1e-4: [0.6, 0.62, 0.61, 0.63], 1e-3: [0.8, 0.9, 0.7, 0.86], 1e-1: [-INF, -INF, 0.99, -INF]}
    assert search_target(0.5, final_bests) == pytest.approx(0.83)


def test_confirmation_target_is_a_share_of_the_way():
    bests = [0.9, 0.7, 1.0, 0.8, -INF]
    assert confirmation_target(0.5, bests) == pytest.approx(0.5 + 0.95 * 0.3)
    assert confirmation_target(0.5, bests, share=0.6) == pytest.approx(0.5 + 0.6 * 0.3)
    assert confirmation_target(0.5, bests, share=1) == 0.8


@pytest.mark.parametrize(("evaluation", "limited"), [(2, True), (7.9, True), (8, False), (INF, False)])
def test_resolution(evaluation, limited):
    assert resolution_limited(evaluation) is limited


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hit_times([1, 2], [0.5], [0.5]), "one score per evaluation"),
        (lambda: hit_times([1, 1], [0.5, 0.5], [0.5]), "rising"),
        (lambda: hit_times([1, math.nan], [0.5, 0.5], [0.5]), "rising"),
        (lambda: targets_up_to(0.5, 0.5), "not above chance"),
        (lambda: targets_up_to(0.5, INF), "not above chance"),
        (lambda: targets_up_to(0.5, 0.9, count=1), "at least 2"),
        (lambda: mean_time_to_targets([1, 2], [0.5, 0.5], [0.5], budget=1), "evaluations go to 2"),
        (lambda: mean_time_to_targets([1, 2], [0.5, 0.5], [0.5], budget=math.nan), "budget=nan"),
        (lambda: mean_time_to_targets([1, 2], [0.5, 0.5], [], budget=2), "at least one number"),
        (lambda: mean_time_bound([1, 2], [0.5, 0.5], [0.5], now=1), "now=1"),
        (lambda: mean_time_bound([1, 2], [0.5, 0.5], [math.nan], now=2), "at least one number"),
        (lambda: mean_time_bounds([1, 2], [0.5, 0.5], [0.5], at=[2, 1]), "rising"),
        (lambda: search_target(0.5, {}), "calibration is empty"),
        (lambda: search_target(0.5, {1e-3: []}), "calibration is empty"),
        (lambda: search_target(0.5, {1e-3: [0.5], 1.0: [-INF]}), "no calibrated rate did better than chance"),
        (lambda: confirmation_target(0.5, []), "no run"),
        (lambda: confirmation_target(0.5, [0.4, 0.5]), "not above chance"),
        (lambda: confirmation_target(0.5, [0.9], share=0), "share=0"),
        (lambda: confirmation_target(0.5, [0.9], share=95), "share=95"),
    ],
)
def test_what_does_not_fit_is_an_error(call, message):
    with pytest.raises(MetaGDError, match=message):
        call()
