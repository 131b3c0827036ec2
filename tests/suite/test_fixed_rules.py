"""Rules without feedback on tables of which the answer is known."""

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.suite.fixed_rules import FixedRule, GivenConstant, RateTable, fixed_rules

RATES = np.array([0.001, 0.002, 0.004, 0.008, 0.016])
KINDS = np.array([0, 0, 0, 1, 1, 1])


def table(best, batches=(32,) * 6, judging=None, groups=KINDS):
    """Log J is the distance from each workload's best rate, in logs."""
    logs = np.abs(np.log(RATES)[None] - np.log(np.asarray(best))[:, None])
    names = tuple(f"w{i}" for i in range(len(best)))
    return RateTable(
        names, RATES, logs, logs if judging is None else judging, np.array(batches, float), {"kind": np.array(groups)}
    )


def test_where_all_agree_one_constant_costs_nothing():
    found = table([0.004] * 6)
    assert np.allclose(FixedRule().judged(found) - found.tuned, 0)


def test_a_property_that_decides_the_rate_is_worth_a_constant_of_its_own():
    found = table([0.001] * 3 + [0.016] * 3)
    assert np.allclose(FixedRule("kind").judged(found) - found.tuned, 0)
    assert (FixedRule().judged(found) - found.tuned).mean() > 1.0
    assert FixedRule("kind").chosen(found, range(6)) == ({0: 0.001, 1: 0.016}, 0.0)


def test_an_exponent_of_the_batch_is_found():
    batches = (8, 32, 128, 8, 32, 128)
    found = table([0.002, 0.004, 0.008] * 2, batches)  # as the square root of B / 4
    constants, exponent = FixedRule(scaled=True).chosen(found, range(6))
    assert (constants, exponent) == ({0: 0.004}, 0.5)
    assert np.allclose(FixedRule(scaled=True).judged(found) - found.tuned, 0, atol=1e-9)
    assert (FixedRule().judged(found) - found.tuned).mean() > 0.3


def test_a_workload_has_no_say_in_the_rate_that_it_is_judged_at():
    best = [0.002, 0.004, 0.008, 0.008, 0.008, 0.016]
    before, after = table(best), table([0.016, *best[1:]])
    for rule in fixed_rules(["kind"]):
        own = [FixedRule.chosen(rule, each, range(1, 6)) for each in (before, after)]
        assert own[0] == own[1]
        # Judged at the same rate, on the table that has changed.
        rate = own[0][0][0]
        assert rule.judged(after)[0] == pytest.approx(after.at(after.judging, 0, rate))


def test_choice_and_judgement_are_of_different_seeds():
    judging = np.zeros((6, 5))
    judging[:, 2] = 1.0  # what was best for the seeds that choose takes longest for those that judge
    found = table([0.004] * 6, judging=judging)
    assert np.allclose(FixedRule().judged(found), 1.0)
    assert np.allclose(found.tuned, 1.0)


def test_a_kind_of_which_there_is_one_takes_the_constant_of_the_others():
    found = table([0.002] * 5 + [0.016], groups=[0, 0, 0, 0, 0, 1])
    assert FixedRule("kind").judged(found)[5] == pytest.approx(np.log(8))


def test_between_rates_and_beyond_them():
    found = table([0.004] * 6)
    assert found.at(found.choosing, 0, np.sqrt(0.002 * 0.004)) == pytest.approx(np.log(2) / 2)
    assert found.at(found.choosing, 0, 1.0) == pytest.approx(np.log(4))


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(MetaGDError, match=r"6 workloads and 5 rates, which must rise, has the shapes \(6, 4\)"):
        RateTable(("a",) * 6, RATES, np.zeros((6, 4)), np.zeros((6, 5)), np.ones(6), {})


def test_a_constant_that_was_there_is_judged_as_it_is():
    rates = np.array([0.001, 0.01])
    judging = np.array([[1.0, 3.0], [2.0, 0.0]])
    table = RateTable(("a", "b"), rates, np.zeros((2, 2)), judging, np.array([32.0, 32.0]), {})
    np.testing.assert_allclose(GivenConstant(0.01).judged(table), [3.0, 0.0])
    np.testing.assert_allclose(GivenConstant(10**-2.5).judged(table), [2.0, 1.0])  # between rates, in logarithms
