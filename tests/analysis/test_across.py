from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from metagd_optuna.analysis.across import (
    geometric_mean_speedup,
    payback,
    performance_profile,
    probability_of_improvement,
)
from metagd_optuna.contracts import MetaGDError

INF = math.inf


def test_every_task_weighs_the_same_however_many_seeds_it_has():
    ratios = [np.log([2.0] * 10), np.log([8.0] * 3)]
    assert geometric_mean_speedup(ratios, rng=np.random.default_rng(0)).speedup == pytest.approx(4.0)


def test_bootstrap_draws_tasks_and_seeds():
    rng = np.random.default_rng(1)
    between, within = 0.3, 0.5
    ratios = [rng.normal(rng.normal(0.2, between), within, size=10) for _ in range(40)]
    result = geometric_mean_speedup(ratios, rng=np.random.default_rng(2))
    # The variance of a two-level bootstrap: that of the task means, plus that of the seeds within a task.
    means = [values.mean() for values in ratios]
    error = math.sqrt((np.var(means) + np.mean([values.var() / 10 for values in ratios])) / 40)
    low, high = np.log(result.ci95)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.08)
    assert low < math.log(result.speedup) < high


def test_one_task_still_has_the_spread_of_its_seeds():
    result = geometric_mean_speedup([[0.1, 0.5, 0.9]], rng=np.random.default_rng(0))
    assert result.ci95 == pytest.approx((math.exp(0.1), math.exp(0.9)), rel=0.15)


def test_bootstrap_obeys_its_generator():
    ratios = [np.random.default_rng(0).normal(size=5) for _ in range(3)]
    first, again, other = (geometric_mean_speedup(ratios, rng=np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first == again
    assert first.ci95 != other.ci95


@settings(deadline=None, max_examples=40)
@given(
    policy=st.lists(st.one_of(st.integers(1, 9), st.just(INF)), min_size=1, max_size=8),
    baseline=st.lists(st.one_of(st.integers(1, 9), st.just(INF)), min_size=1, max_size=8),
)
def test_probability_of_improvement_is_mann_whitneys_u_and_sides_sum_to_one(policy, baseline):
    chance = probability_of_improvement([baseline], [policy])
    ranks = stats.rankdata([*baseline, *policy])
    u = ranks[: len(baseline)].sum() - len(baseline) * (len(baseline) + 1) / 2
    assert chance == pytest.approx(u / (len(policy) * len(baseline)))
    assert chance + probability_of_improvement([policy], [baseline]) == pytest.approx(1.0)


def test_probability_of_improvement_is_the_mean_over_tasks():
    assert probability_of_improvement([[4.0], [1.0], [INF]], [[3.0], [2.0], [INF]]) == pytest.approx(0.5)


def test_performance_profile_by_hand():
    profile = performance_profile(
        {"policy": [1.0, 4.0, 3.0, INF], "adam": [2.0, 2.0, INF, INF], "sgd": [10.0, 2.0, 9.0, INF]}, [1, 2, 3, 100]
    )
    assert profile["policy"].tolist() == [0.5, 0.75, 0.75, 0.75]
    assert profile["adam"].tolist() == [0.25, 0.5, 0.5, 0.5]
    assert profile["sgd"].tolist() == [0.25, 0.25, 0.5, 0.75]


@settings(deadline=None, max_examples=40)
@given(table=st.lists(st.tuples(*[st.one_of(st.floats(0.1, 10), st.just(INF))] * 3), min_size=1, max_size=6))
def test_performance_profiles_rise_to_the_share_solved(table):
    methods = dict(zip("abc", zip(*table, strict=True), strict=True))
    profile = performance_profile(methods, np.geomspace(1, 1000, 20))
    for name, shares in profile.items():
        assert np.all(np.diff(shares) >= 0)
        assert shares[-1] == np.isfinite(methods[name]).mean()
    assert sum(shares[0] for shares in profile.values()) >= np.isfinite(table).any(axis=1).mean() - 1e-12


@pytest.mark.parametrize(
    ("spent", "baseline", "policy", "expected"),
    [
        (300.0, [5.0, 6.0, 7.0], [2.0, 4.0, 3.0], 100.0),
        (300.0, [INF], [5.0], 20.0),
        (300.0, [4.0], [4.0], INF),
        (300.0, [4.0], [5.0], INF),
        (0.0, [4.0], [3.0], 0.0),
    ],
)
def test_payback(spent, baseline, policy, expected):
    assert payback(spent, baseline, policy, budget=10) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geometric_mean_speedup([], rng=np.random.default_rng(0)), "at least one task"),
        (lambda: geometric_mean_speedup([[0.1], []], rng=np.random.default_rng(0)), "at least one task"),
        (lambda: geometric_mean_speedup([[INF]], rng=np.random.default_rng(0)), "finite log ratio"),
        (lambda: geometric_mean_speedup([[0.1]], rng=np.random.default_rng(0), resamples=10), "resamples=10"),
        (lambda: probability_of_improvement([], []), "at least one"),
        (lambda: probability_of_improvement([[1.0]], []), "same tasks"),
        (lambda: probability_of_improvement([[1.0]], [[]]), "at least one time"),
        (lambda: probability_of_improvement([[1.0]], [[math.nan]]), "none of them nan"),
        (lambda: performance_profile({}, [1]), "same tasks"),
        (lambda: performance_profile({"a": [1.0], "b": [1.0, 2.0]}, [1]), "'b': 2"),
        (lambda: performance_profile({"a": []}, [1]), "at least one task"),
        (lambda: performance_profile({"a": [0.0]}, [1]), "above 0"),
        (lambda: performance_profile({"a": [1.0]}, [0.5]), "at least 1"),
        (lambda: payback(-1.0, [1.0], [1.0], 10), "spent_epochs=-1"),
        (lambda: payback(1.0, [1.0], [1.0, 2.0], 10), "no pairs"),
    ],
)
def test_what_does_not_fit_is_an_error(call, message):
    with pytest.raises(MetaGDError, match=message):
        call()


def test_a_time_that_is_a_factor_on_paper_is_within_it():
    """Times are kept with ten digits, and twice a rounded time is not twice the time."""
    step = 12 / 17.0625
    fast = [round(step * k, 10 - len(str(int(step * k)))) for k in range(1, 20)]
    slow = [round(2 * step * k, 10 - len(str(int(2 * step * k)))) for k in range(1, 20)]
    assert any(b > 2 * a for a, b in zip(fast, slow, strict=True))
    assert performance_profile({"fast": fast, "slow": slow}, [2.0])["slow"].tolist() == [1.0]
