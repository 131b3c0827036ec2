from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.analysis.curves import band
from metagd_optuna.contracts import MetaGDError

EPOCHS = [1.0, 2.0, 3.0, 4.0]


def test_band_is_median_and_quartiles_over_runs():
    runs = [np.full(4, value) for value in (0.5, 0.6, 0.7, 0.8, 0.9)]
    median, low, high = band(EPOCHS, runs, EPOCHS)
    np.testing.assert_allclose([median, low, high], np.repeat([[0.7], [0.6], [0.8]], 4, axis=1))


def test_a_run_that_stopped_early_holds_its_last_value():
    np.testing.assert_allclose(band(EPOCHS, [[0.5, 0.7]], EPOCHS).median, [0.5, 0.7, 0.7, 0.7])


def test_a_diverged_run_is_at_chance_from_its_first_missing_evaluation():
    result = band(EPOCHS, [[0.6, 0.7], []], EPOCHS, diverged=[True, True], chance=0.5)
    np.testing.assert_allclose(result.median, [0.55, 0.6, 0.5, 0.5])


def test_values_between_evaluations_are_interpolated_and_before_the_first_unknown():
    median = band(EPOCHS, [[0.5, 0.7, 0.7, 0.9]], [0.5, 1.5, 3.25, 9.0]).median
    np.testing.assert_allclose(median, [math.nan, 0.6, 0.75, 0.9])


@settings(deadline=None, max_examples=40)
@given(
    runs=st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=7),
    seed=st.integers(0, 1000),
)
def test_quartiles_enclose_the_median_whatever_the_order_of_runs(runs, seed):
    grid = np.linspace(1, 4, 13)
    result = band(EPOCHS, runs, grid)
    assert np.all((result.low <= result.median) & (result.median <= result.high))
    shuffled = [runs[i] for i in np.random.default_rng(seed).permutation(len(runs))]
    np.testing.assert_array_equal(band(EPOCHS, shuffled, grid), result)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: band([], [[0.5]], EPOCHS), "rising"),
        (lambda: band([2, 1], [[0.5]], EPOCHS), "rising"),
        (lambda: band(EPOCHS, [], EPOCHS), "at least one"),
        (lambda: band(EPOCHS, [[0.5]], EPOCHS, diverged=[False, True]), "2 entries of diverged"),
        (lambda: band(EPOCHS, [[0.5]], EPOCHS, diverged=[True]), "pass chance"),
        (lambda: band(EPOCHS, [[0.5] * 5], EPOCHS), "at most 4"),
        (lambda: band(EPOCHS, [[0.5, math.nan]], EPOCHS), "finite"),
        (lambda: band(EPOCHS, [[0.5], []], EPOCHS), "run 1 has no scores"),
    ],
)
def test_what_does_not_fit_is_an_error(call, message):
    with pytest.raises(MetaGDError, match=message):
        call()
