from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from metagd_optuna.analysis.verdict import Comparison, median_time, verdicts
from metagd_optuna.contracts import MetaGDError

INF = math.inf
SLOW = (4.0, 5.0, 6.0, 4.5, 5.5, 6.5, 4.0, 5.0, 6.0, 7.0)
FAST = tuple(t / 2 for t in SLOW)
FASTEST = tuple(t / 3 for t in SLOW)
CLEAR_WIN = Comparison(10, FAST, SLOW, {"adam-cosine": SLOW}, FAST, SLOW)
CLEAR_LOSS = Comparison(10, SLOW, FAST, {"adam-cosine": SLOW}, SLOW, FAST)


def test_a_clear_win_is_faster_and_needs_no_reasons():
    [verdict] = verdicts([CLEAR_WIN])
    assert (verdict.label, verdict.reasons) == ("faster", ())
    assert verdict.speedup == pytest.approx(2.0)
    assert verdict.test_speedup == pytest.approx(2.0)
    assert verdict.p_value == verdict.p_holm == 2 / 2**10


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"baseline_times": FAST}, "p = 1 after Holm's adjustment, above 0.05"),
        ({"other_baselines": {"sgd-one-cycle": FASTEST}}, "the speed-up against sgd-one-cycle is 0.667, not above 1"),
        ({"other_baselines": {"sgd-one-cycle": FAST}}, "the speed-up against sgd-one-cycle is 1, not above 1"),
        ({"policy_times": (*FASTEST[:9], INF)}, "reached the target in 9 of 10 runs, the best baseline in 10"),
        ({"policy_test_times": SLOW, "baseline_test_times": FAST}, "on the test curves the speed-up is 0.5"),
    ],
)
def test_each_condition_alone_turns_faster_into_tie(change, reason):
    [verdict] = verdicts([replace(CLEAR_WIN, **change)])
    assert verdict.label == "tie"
    assert any(reason in given for given in verdict.reasons), verdict.reasons


def test_a_test_interval_that_holds_one_does_not_stand_in_the_way():
    worse_on_six = {"policy_test_times": (*SLOW[:6], *FAST[6:]), "baseline_test_times": (*FAST[:6], *SLOW[6:])}
    [verdict] = verdicts([replace(CLEAR_WIN, **worse_on_six)])
    assert verdict.test_speedup == pytest.approx(2 ** (-2 / 10))
    assert verdict.test_ci95[0] <= 1 <= verdict.test_ci95[1]
    assert verdict.label == "faster"


def test_a_clear_loss_is_slower_whatever_the_other_baselines_do():
    [verdict] = verdicts([CLEAR_LOSS])
    assert verdict.label == "slower"
    assert "the speed-up against the best baseline is 0.5, not above 1" in verdict.reasons


@pytest.mark.parametrize(
    "change",
    [
        {"policy_test_times": FAST, "baseline_test_times": SLOW},
        {"baseline_times": (*FASTEST[:9], INF)},
        {"baseline_times": SLOW},
    ],
    ids=["test says faster", "baseline reached less often", "no difference"],
)
def test_each_condition_alone_turns_slower_into_tie(change):
    [verdict] = verdicts([replace(CLEAR_LOSS, **change)])
    assert verdict.label == "tie"


def test_holm_spans_all_tasks_of_a_report():
    ours = (2.0, 2.5, 3.5, 2.0, 2.5, 3.5)
    six = replace(CLEAR_WIN, policy_times=ours, baseline_times=SLOW[:6], other_baselines={})
    [alone] = verdicts([six])
    assert (alone.label, alone.p_holm) == ("faster", 2 / 2**6)
    none = replace(CLEAR_WIN, policy_times=SLOW)
    first, second = verdicts([six, none])
    assert first.p_value == alone.p_value
    assert (first.label, first.p_holm) == ("tie", 2 * 2 / 2**6)
    assert second.label == "tie"
    # t(0.975) and t(0.8) with 5 degrees of freedom, from a printed table.
    spread = np.std(np.log([2.0, 2.0, 6 / 3.5, 2.25, 2.2, 6.5 / 3.5]), ddof=1)
    assert alone.detectable == pytest.approx(math.exp(spread / math.sqrt(6) * (2.5706 + 0.9195)), rel=1e-5)
    assert 1 < alone.detectable < alone.speedup
    assert first.detectable == INF


@pytest.mark.parametrize("misses", [0, 4, 5, 10])
def test_seeds_on_which_both_miss_do_not_make_a_spread_small(misses):
    """What is left are ratios of 2 and 1/2 by turns; with four of them nothing can be shown."""
    known = 10 - misses
    ours = (*([1.0, 2.0] * 5)[:known], *[INF] * misses)
    theirs = (*([2.0, 1.0] * 5)[:known], *[INF] * misses)
    [verdict] = verdicts([Comparison(10, ours, theirs, {}, FAST, SLOW)])
    [alone] = verdicts([Comparison(10, ours[:known] or FAST[:1], theirs[:known] or FAST[:1], {}, FAST, SLOW)])
    assert verdict.detectable == alone.detectable
    assert (verdict.detectable == INF) == (known < 6)


def test_five_seeds_can_never_be_faster():
    few = Comparison(10, FAST[:5], SLOW[:5], {}, FAST[:5], SLOW[:5])
    [verdict] = verdicts([few])
    assert (verdict.label, verdict.ci95, verdict.detectable) == ("tie", (0.0, INF), INF)


def test_no_tasks_no_verdicts():
    assert verdicts([]) == []


def test_above_twenty_seeds_a_p_value_does_not_hang_on_the_place_of_its_task():
    noise = np.exp(np.random.default_rng(0).normal(0, 0.5, size=30))
    many = Comparison(30, tuple(noise), tuple(noise[::-1] * 1.2), {}, tuple(noise), tuple(noise[::-1]))
    other = replace(many, policy_times=many.baseline_times, baseline_times=many.policy_times)
    [alone] = verdicts([many])
    first, last = verdicts([many, other])[0], verdicts([other, many])[1]
    assert alone.p_value == first.p_value == last.p_value
    assert (alone.ci95, alone.test_ci95) == (first.ci95, first.test_ci95) == (last.ci95, last.test_ci95)
    assert verdicts([many], seed=3)[0].p_value != alone.p_value


TIMES = st.lists(st.one_of(st.integers(1, 40).map(lambda k: k / 4), st.just(INF)), min_size=7, max_size=7)


@settings(deadline=None, max_examples=60)
@given(policy=TIMES, baseline=TIMES, other=TIMES)
def test_labels_mean_what_they_say(policy, baseline, other):
    [verdict] = verdicts([Comparison(10, policy, baseline, {"other": other}, policy, baseline)])
    assert (verdict.label == "faster") == (not verdict.reasons)
    if verdict.label != "tie":
        assert verdict.p_holm <= 0.05
        assert (verdict.speedup > 1) == (verdict.label == "faster")
        assert not verdict.ci95[0] <= 1 <= verdict.ci95[1]
    assert math.isfinite(verdict.speedup)


@settings(deadline=None, max_examples=40)
@given(policy=TIMES, baseline=TIMES)
def test_with_one_baseline_slower_is_faster_seen_from_the_other_side(policy, baseline):
    [there] = verdicts([Comparison(10, policy, baseline, {}, policy, baseline)])
    [back] = verdicts([Comparison(10, baseline, policy, {}, baseline, policy)])
    assert back.label == {"faster": "slower", "slower": "faster", "tie": "tie"}[there.label]


@pytest.mark.parametrize(("size", "rank"), [(6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (15, 4), (20, 6), (30, 10)])
def test_interval_of_a_median_has_the_ranks_of_printed_tables(size, rank):
    # Conover (1999), table A3 for p = 1/2: the largest rank whose two tails hold at most 5%.
    times = np.random.default_rng(0).permutation(np.arange(1.0, size + 1))
    assert median_time(times).ci95 == (rank, size + 1 - rank)
    assert 2 * stats.binom.cdf(rank - 1, size, 0.5) <= 0.05 < 2 * stats.binom.cdf(rank, size, 0.5)


@pytest.mark.parametrize("size", [999, 1024, 2000])  # two to the power of more than 1,023 is no float
def test_interval_of_many_times(size):
    rank = stats.binom.ppf(0.025, size, 0.5)
    assert median_time(np.arange(1.0, size + 1)).ci95 == (rank, size + 1 - rank)


@pytest.mark.parametrize(
    ("times", "median", "ci95", "reached"),
    [
        ([3.0], 3.0, (0.0, INF), 1.0),
        ([1.0, 2.0, 3.0, INF, INF], 3.0, (0.0, INF), 0.6),
        ([1.0, 2.0, INF, INF], INF, (0.0, INF), 0.5),
        ([INF] * 6, INF, (INF, INF), 0.0),
    ],
)
def test_median_time_with_misses(times, median, ci95, reached):
    result = median_time(times)
    assert (result.median, result.ci95, result.reached) == (median, ci95, reached)


@pytest.mark.parametrize("times", [[], [0.0], [math.nan, 1.0], [-INF]])
def test_median_time_refuses(times):
    with pytest.raises(MetaGDError, match="at least one time"):
        median_time(times)
