from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from metagd_optuna.analysis import paired
from metagd_optuna.analysis.paired import (
    detectable_speedup,
    holm,
    log_ratios,
    paired_speedup,
    sign_flip_test,
)
from metagd_optuna.contracts import MetaGDError

INF = math.inf
# Fisher (1935), The Design of Experiments, section 21: Darwin's 15 pairs of maize, in eighths of an inch.
# "863 of the 32,768" sums are at least as large as the observed 314.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# Few distinct values, so that ties and sums of zero are common; decimals, so that the rest is far from a tie.
DIFFERENCES = st.lists(
    st.one_of(st.sampled_from([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3]), st.floats(-2, 2).map(lambda d: round(d, 3))),
    min_size=1,
    max_size=11,
)


def enumerated_p(differences, theta=0.0):
    """Share of all sign vectors whose sum is at least as far from 0, written down as the definition says."""
    shifted = np.asarray(differences, dtype=float) - theta
    sums = np.array([np.dot(signs, shifted) for signs in itertools.product([1, -1], repeat=len(shifted))])
    return np.mean(np.abs(sums) >= abs(shifted.sum()) - 1e-9)


def test_p_of_darwins_maize_is_fishers():
    assert sign_flip_test(DARWIN).p_value == 2 * 863 / 32768


@pytest.mark.parametrize("size", [3, 6, 9])
def test_p_is_that_of_scipys_permutation_test(size):
    differences = np.random.default_rng(size).normal(0.3, 1.0, size=size)
    reference = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="two-sided", n_resamples=np.inf
    )
    assert sign_flip_test(differences).p_value == pytest.approx(reference.pvalue)


@settings(deadline=None, max_examples=80)
@given(differences=DIFFERENCES)
def test_p_is_the_share_of_sign_vectors(differences):
    assert sign_flip_test(differences).p_value == pytest.approx(enumerated_p(differences))


@settings(deadline=None, max_examples=60)
@given(differences=st.lists(st.integers(-40, 40), min_size=6, max_size=10))
def test_interval_holds_exactly_what_the_test_does_not_reject(differences):
    low, high = sign_flip_test(differences).ci95
    width = max(1.0, high - low)
    for end, outward in ((low, -1), (high, 1)):
        assert enumerated_p(differences, end) > 0.05
        assert enumerated_p(differences, end + outward * 1e-6 * width) <= 0.05


@settings(deadline=None, max_examples=80)
@given(differences=DIFFERENCES)
def test_zero_lies_in_the_interval_exactly_if_p_is_above_a_twentieth(differences):
    result = sign_flip_test(differences)
    assert (result.ci95[0] <= 0.0 <= result.ci95[1]) == (result.p_value > 0.05)


@settings(deadline=None, max_examples=60)
@given(differences=DIFFERENCES, seed=st.integers(0, 1000))
def test_order_of_pairs_is_irrelevant_and_swapping_sides_mirrors(differences, seed):
    result = sign_flip_test(differences)
    assert sign_flip_test(np.random.default_rng(seed).permutation(differences)) == result
    mirrored = sign_flip_test(np.negative(differences))
    assert mirrored.p_value == result.p_value
    assert mirrored.ci95 == pytest.approx((-result.ci95[1], -result.ci95[0]), abs=1e-12)


@pytest.mark.parametrize("size", range(1, 13))
def test_smallest_p_is_two_in_two_to_the_n_and_five_pairs_bound_nothing(size):
    result = sign_flip_test([0.5] * size)
    assert result.p_value == 2 / 2**size
    assert result.ci95 == ((-INF, INF) if size < 6 else pytest.approx((0.5, 0.5)))


def test_ties_everywhere_give_p_one_and_speedup_one():
    result = paired_speedup([3.0, INF, 4.0, 5.0, 6.0, 7.0], [3.0, INF, 4.0, 5.0, 6.0, 7.0], budget=10)
    assert (result.speedup, result.ci95, result.p_value, result.pairs) == (1.0, (1.0, 1.0), 1.0, 6)


def test_sums_that_are_zero_on_paper_count_as_ties():
    # 0.1 + 0.2 - 0.3 is 5.6e-17 in floating point; flipping it must count.
    differences = [0.1, 0.2, -0.3, 0.7]
    assert sign_flip_test(differences).p_value == pytest.approx(enumerated_p(differences))


def test_speedup_by_hand_with_a_miss_counting_twice_the_budget():
    result = paired_speedup([4.0, INF], [2.0, 5.0], budget=10)
    assert result.speedup == pytest.approx(math.sqrt(2 * 4))
    assert result.ci95 == (0.0, INF)
    assert result.p_value == 0.5


@settings(deadline=None, max_examples=60)
@given(times=st.lists(st.tuples(*[st.one_of(st.floats(0.1, 10), st.just(INF))] * 2), min_size=1, max_size=10))
def test_speedup_is_finite_within_its_interval_and_inverts_when_sides_swap(times):
    baseline, policy = zip(*times, strict=True)
    there, back = paired_speedup(baseline, policy, 10), paired_speedup(policy, baseline, 10)
    assert math.isfinite(there.speedup)
    assert there.ci95[0] <= there.speedup * (1 + 1e-9)
    assert there.speedup <= there.ci95[1] * (1 + 1e-9)
    assert there.speedup * back.speedup == pytest.approx(1.0)
    assert there.p_value == back.p_value


def test_twenty_pairs_are_counted_and_more_are_sampled_by_the_given_generator():
    differences = np.random.default_rng(0).normal(0.4, 1.0, size=21)
    assert sign_flip_test(differences[:20]) == sign_flip_test(differences[:20], rng=np.random.default_rng(1))
    with pytest.raises(MetaGDError, match="21 pairs are more than the 20"):
        sign_flip_test(differences)
    first, again, other = (sign_flip_test(differences, rng=np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_sampled_sign_flips_agree_with_counted_ones(monkeypatch):
    counted = sign_flip_test(DARWIN)
    monkeypatch.setattr(paired, "MOST_PAIRS_ENUMERATED", 10)
    sampled = sign_flip_test(DARWIN, rng=np.random.default_rng(0))
    error = math.sqrt(counted.p_value / paired.MONTE_CARLO_SUBSETS * 2)
    assert sampled.p_value != counted.p_value
    assert abs(sampled.p_value - counted.p_value) < 5 * error
    assert sampled.ci95 == pytest.approx(counted.ci95, abs=0.5)


def test_false_positives_between_identical_candidates_stay_at_five_percent():
    rng = np.random.default_rng(2024)
    rejected = 0
    studies = 2000
    for _ in range(studies):
        # Times on a grid of evaluations, with a difficulty that pairs share and misses beyond the budget.
        times = np.exp(rng.normal(1.2, 0.5, size=(10, 1)) + rng.normal(0, 0.4, size=(10, 2)))
        times = np.ceil(times * 4) / 4
        times[times > 8] = INF
        rejected += paired_speedup(times[:, 0], times[:, 1], 8).p_value <= 0.05
    # Exact binomial: at a true rate of 5%, more than 130 of 2,000 has a chance of 0.2%; the test is not idle either.
    assert 60 <= rejected <= 130


def test_detectable_speedup_is_found_in_about_four_of_five_repetitions():
    rng = np.random.default_rng(5)
    spread, size = 0.3, 12
    noise = rng.normal(0, spread, size=(1500, size))
    effect = np.mean([math.log(detectable_speedup(row)) for row in noise[:300]])
    found = np.mean([sign_flip_test(row + effect).p_value <= 0.05 for row in noise[300:]])
    assert 0.74 <= found <= 0.86


@pytest.mark.parametrize(
    ("differences", "alpha", "expected"),
    [
        ([0.3] * 5, 0.05, INF),
        # Ratios that do not vary tell nothing about how much others would, and 1 is no speed-up.
        ([0.3] * 10, 0.05, INF),
        ([0.0] * 10, 0.05, INF),
        ([0.1, -0.1] * 3, 0.05, math.exp(0.1 * math.sqrt(6 / 5) / math.sqrt(6) * (2.5706 + 0.9195))),
        ([0.1, -0.1] * 3, 0.05 / 2, INF),
        ([0.1, -0.1] * 5, 0.05, math.exp(0.1 * math.sqrt(10 / 9) / math.sqrt(10) * (2.2622 + 0.8834))),
    ],
)
def test_detectable_speedup_golden(differences, alpha, expected):
    # From a printed table, t(0.975) and t(0.8) with 5 degrees of freedom: 2.5706 and 0.9195; with 9: 2.2622 and 0.8834.
    assert detectable_speedup(differences, alpha=alpha) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        # By hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, then 1 x 0.04 raised to the 0.06 before it.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.04], [0.04]),
        ([0.6, 0.9], [1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([], []),
    ],
)
def test_holm_by_hand(p_values, expected):
    assert holm(p_values) == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=12), seed=st.integers(0, 1000))
def test_holm_lies_between_the_raw_p_and_bonferroni_and_ignores_order(p_values, seed):
    adjusted = np.array(holm(p_values))
    assert np.all(adjusted >= p_values)
    assert np.all(adjusted <= np.minimum(1, len(p_values) * np.array(p_values)) + 1e-15)
    order = np.random.default_rng(seed).permutation(len(p_values))
    assert holm(np.array(p_values)[order]) == pytest.approx(adjusted[order])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_ratios([1.0], [1.0, 2.0], 10), "no pairs"),
        (lambda: log_ratios([], [], 10), "at least one time"),
        (lambda: log_ratios([0.0], [1.0], 10), "above 0"),
        (lambda: log_ratios([1.0], [math.nan], 10), "above 0"),
        (lambda: log_ratios([21.0], [1.0], 10), "twice the budget"),
        (lambda: log_ratios([-INF], [1.0], 10), "above 0"),
        (lambda: log_ratios([1.0], [1.0], 0), "budget=0"),
        (lambda: sign_flip_test([]), "at least one"),
        (lambda: sign_flip_test([0.1, INF]), "finite"),
        (lambda: detectable_speedup([]), "at least one"),
        (lambda: detectable_speedup([0.1, 0.2], alpha=0), "alpha=0"),
        (lambda: detectable_speedup([0.1, 0.2], power=0.5), "power=0.5"),
        (lambda: holm([0.5, 1.2]), "must lie in"),
        (lambda: holm([math.nan]), "must lie in"),
    ],
)
def test_what_does_not_fit_is_an_error(call, message):
    with pytest.raises(MetaGDError, match=message):
        call()
