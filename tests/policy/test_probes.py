"""Rates that a probe tells, on losses whose answers are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagd_optuna.contracts import TRIALS, Context, MetaGDError, Observation, Probe, Probing
from metagd_optuna.policy import MetaPolicy, constant_complexity
from metagd_optuna.policy.controller import PolicyController
from metagd_optuna.policy.controls import mean_state
from metagd_optuna.policy.probes import (
    PROBED_RATES,
    armijo_rate,
    best_rate,
    critical_rate,
    newton_rate,
    next_probe,
    polyak_rate,
    probe_steps,
    probed_rate,
    trial_rates,
    with_probes,
)
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.rate_form_check import check_rate_form
from metagd_optuna.policy.words import in_words

RATES = trial_rates(0.1)


def probe_of(loss, rates=RATES, slope=1.0):
    """Return a probe of a loss along the step, L(rate)."""
    losses = tuple(map(loss, rates))
    return Probe(loss(0.0), tuple(rates), losses, 1.0, 1.0, slope, 0.5, 0.0)


def parabola(rate, bend=10.0):
    """A loss with slope 1 at 0 whose lowest point is at 1 / bend."""
    return 1.0 - rate + bend * rate**2 / 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("newton", 0.1),
        ("polyak", 1.0),
        ("best", 0.1),
        ("armijo", 0.1),  # gains 0.3 of the line's promise up to 2 x 0.7 / bend = 0.14
        ("critical", 0.1 * 4 ** (0.05 / (0.05 + 0.4))),  # 0.2; straight in the logarithm between 0.1 and 0.4
        ("ngn", 1 / (1 / 0.1 + 1 / 2)),  # the middle rate that is tried, and twice Polyak's
        ("dog", 0.6 / 2),
        ("normalised", 1 / 4),
        ("unit", 1 / 2),
    ],
)
def test_on_a_parabola(name, expected):
    probe = replace(probe_of(parabola), gradient=4.0, direction=2.0, distance=0.6)
    assert probed_rate(name, probe) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "changed", "expected"),
    [
        ("ngn", {"slope": -1.0}, 0.1),  # no gain is promised: the expected rate
        ("ngn", {"slope": 1e9}, RATES[0] / 4),  # held near to what was tried
        ("ngn", {"loss": 0.0}, RATES[0] / 4),
        ("ngn", {"rates": (0.0,) * TRIALS}, None),  # of the form article, whose rate may be 0
        ("critical", {"rates": (0.0,) * TRIALS, "losses": (1.0,) * TRIALS}, None),
        ("critical", {"rates": (0.0,) * TRIALS, "losses": (0.9999999,) + (1.0,) * (TRIALS - 1)}, None),
        ("dog", {"distance": 0.0}, RATES[0] / 4),
        ("dog", {"direction": 0.0}, None),
        ("dog", {"distance": math.nan}, None),
        ("normalised", {"gradient": 0.0}, None),
        ("normalised", {"gradient": 1e-310}, None),
        ("normalised", {"gradient": math.inf}, None),
        ("normalised", {"gradient": 1e-9}, 1e9),  # on no scale of the rates that were tried
        ("unit", {"direction": 0.0}, None),
        ("unit", {"direction": 1e-9}, 1e9),
    ],
)
def test_what_lengths_tell_at_the_ends(name, changed, expected):
    found = probed_rate(name, replace(probe_of(parabola), **changed))
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("bend", [10.0, 100.0, 1000.0])
def test_newton_is_exact_on_every_parabola(bend):
    found = newton_rate(probe_of(lambda rate: parabola(rate, bend)))
    assert found == pytest.approx(1 / bend)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((0.9, 0.8, 0.7, 0.6, 0.5), 4.0),  # every step gains: four times the largest
        ((2.0,) * 5, 0.001 / 4),  # none does, and the parabola says even less
        ((0.9, math.inf, math.inf, math.inf, math.inf), 0.001),  # up to where it still gained
        ((0.9, 1.0, 0.5, 0.5, 0.5), 0.0055),  # the first that does not gain counts
    ],
)
def test_the_critical_rate_at_the_ends(losses, expected):
    rates = (0.001, 0.0055, 0.03, 0.2, 1.0)
    assert critical_rate(Probe(1.0, rates, losses, 1.0, 1.0, 0.01, 1.0, 0.0)) == pytest.approx(expected)


def test_where_nothing_gains():
    probe = Probe(1.0, (0.1, 0.4, 1.6, 6.4, 25.6), (math.inf,) * 5, 1.0, 1.0, -1.0, -1.0, 0.0)
    assert best_rate(probe) == armijo_rate(probe) == 0.1 / 4
    assert math.isnan(polyak_rate(probe))
    assert probed_rate("polyak", probe) is None
    for name in PROBED_RATES.keys() - {"polyak", "normalised", "unit"}:
        assert 0.1 / 4 <= probed_rate(name, probe) <= 25.6 * 4


@given(
    st.sampled_from(sorted(PROBED_RATES.keys() - {"unit"})),
    st.floats(1e-3, 1e3),
    st.lists(st.floats(0.1, 3.0), min_size=TRIALS, max_size=TRIALS),
    st.floats(0.01, 100.0),
)
def test_they_scale_with_the_network(name, scale, losses, slope):
    """Weights of another size, with the same losses: rates, and what is tried, go with it."""
    probe = Probe(1.0, trial_rates(0.1), tuple(losses), 1.0, 1.0, slope, 0.0, 0.3)
    tried = tuple(rate * scale for rate in probe.rates)
    other = replace(probe, rates=tried, slope=slope / scale, gradient=1 / scale, distance=0.3 * scale)
    assert probed_rate(name, other) == pytest.approx(scale * probed_rate(name, probe), rel=1e-6)


def policy_of(**coefficients):
    given = {"lr0": 0.01, "probed": "newton", "b": 1.0, "probes": 3, "least": 0.01, "most": 100.0} | coefficients
    return MetaPolicy(optimizer="adam", rate="probed", rate_coefficients=given)


def asked(policy, probes, updates=range(0, 70, 2)):
    """Return the rate at every update, with these probes one after another."""
    controller = PolicyController(policy)
    assert isinstance(controller, Probing)
    state = controller.start(Context(0.5, (0.5, 0.5), "adam", 70, 10.0))
    waiting, found, steps = list(probes), {}, []
    for step in updates:
        tried = controller.trial_rates(state, step)
        probe = None
        if tried:
            steps.append(step)
            probe = probe_of(waiting.pop(0), tried)
        rates, state = controller.rates(state, Observation(step, 0.5, probe=probe), 2)
        assert len(set(rates)) == 1
        found[step] = float(rates[0])
    return found, steps


def usual(times):
    """Return a loss whose parabola ends at so many times the usual rate."""
    return lambda rate: parabola(rate, 1 / (PROBED_RATES["newton"].usual * times))


@pytest.mark.parametrize(("count", "expected"), [(1, [2]), (3, [2, 4, 8]), (6, [2, 4, 8, 16, 32, 64])])
def test_there_are_so_many_probes_at_powers_of_two(count, expected):
    _, steps = asked(policy_of(probes=count), [usual(0.25)] * count)
    assert steps == expected


def test_a_probe_that_came_late_counts_as_any_other():
    """Updates every 10 steps, as with ``steps_per_execution``: the first three after a power of two each."""
    _, steps = asked(policy_of(), [usual(0.25)] * 3, updates=range(0, 70, 10))
    assert steps == [10, 20, 40]


def test_the_rate_is_held_after_the_last_probe():
    found, _ = asked(policy_of(), [usual(0.5), usual(0.5), usual(0.5)])
    assert found[0] == 0.01
    assert [rate for step, rate in found.items() if step >= 2] == pytest.approx([0.005] * 34)


def test_a_probe_moves_the_rate_by_a_factor_of_four_at_most():
    found, _ = asked(policy_of(), [usual(100)] * 3)
    assert (found[0], found[2], found[4]) == pytest.approx((0.01, 0.03, 0.03))  # bounded by the optimizer's 0.03
    found, _ = asked(policy_of(), [usual(1 / 300)] * 3)
    wanted = [0.01, 0.0025, 0.000625, 0.000625, 0.00015625, 0.00015625]
    assert [found[step] for step in (0, 2, 4, 6, 8, 10)] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("coefficients", "times", "expected"),
    [
        ({"b": 0.0}, 0.25, 0.01),
        ({"least": 0.5}, 0.25, 0.005),
        ({"least": 1.0}, 0.25, 0.01),
        ({"b": 0.5}, 0.25, 0.005),
        ({"most": 2.0}, 4.0, 0.02),
        ({"b": 0.5}, 4.0, 0.02),
    ],
)
def test_exponent_and_limits(coefficients, times, expected):
    found, _ = asked(policy_of(**coefficients), [usual(times)] * 3)
    assert found[64] == pytest.approx(expected)


def test_the_rate_goes_with_the_geometric_mean_of_all_probes_so_far():
    found, _ = asked(policy_of(), [usual(1.0), usual(0.5), usual(0.25)])
    expected = 0.01 / np.array([1, 2**0.5, 2])
    assert [found[step] for step in (2, 4, 8)] == pytest.approx(list(expected), rel=1e-6)


@pytest.mark.parametrize(("count", "steps"), [(1, "2 steps"), (2, "2 and 4 steps"), (4, "2, 4, 8 and 16 steps")])
def test_in_words(count, steps):
    assert in_words(policy_of(b=0.5, probes=count), 0.5).startswith(
        f"The rate begins at 0.01. After {steps} the coming step is probed on 32 training images"
    )


@pytest.mark.parametrize("coefficients", [{"b": 0.0}, {"least": 1.0, "most": 1.0}])
def test_in_words_where_probes_change_nothing(coefficients):
    assert "stays at 0.01, whatever probes" in in_words(policy_of(**coefficients), 0.5)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(0, 8), st.integers(1, 500))
def test_a_longer_training_has_the_same_rate_updates_at_first(lengths, count, more):
    """Those behind probes are where they were, and none is after the end."""
    updates = tuple(int(step) for step in np.cumsum(lengths))
    found, longer = with_probes(updates, count), with_probes((*updates, updates[-1] + more), count)
    assert longer[: len(found)] == found
    assert set(found) - set(updates) == {step for step in probe_steps(count) if step < updates[-1]} - set(updates)
    assert [next_probe(step) for step in (0, *probe_steps(count))][:count] == list(probe_steps(count))


@pytest.mark.parametrize(("times", "expected"), [(1.0, 0.5), (3.0, 0.25), (1 / 3, 0.75)])
def test_complexity_is_measured_by_the_first_three_probes(times, expected):
    """c = 1 / (1 + X / X0), and d = c: a rule of f and g sees what a probe tells."""
    policy = _all_complexity("critical-rate")
    assert policy.probes == 3
    assert not policy.needs_complexity
    # Falls up to half a trial rate and rises beyond twice of it, at the same height: critical where they meet.
    critical = PROBED_RATES["critical"].usual * times
    found, steps = asked(policy, [lambda rate: 1.0 + 0.1 * math.tanh(math.log(rate / critical)) if rate else 1.0] * 3)
    assert steps == [2, 4, 8]
    assert found[0] == pytest.approx(0.01 * math.exp(-2 * 0.5))
    assert found[8] == pytest.approx(0.01 * math.exp(-2 * expected), rel=1e-2)
    assert found[64] == found[8]


@pytest.mark.parametrize("name", PROBED_RATES)
def test_every_rate_that_a_probe_tells_is_a_complexity_and_moves_a_rate(name):
    """c = 1 / (1 + X / X0) for f, lr0 (X / X0)^b for g, of one probe at step 2 and whatever it tells."""
    probe = replace(probe_of(parabola, trial_rates(0.02)), gradient=4.0, direction=2.0, distance=0.06)
    told = probed_rate(name, probe) / PROBED_RATES[name].usual
    of_f = _all_complexity(f"{name}-rate")
    of_g = policy_of(probed=name, b=0.25)
    for policy, expected in ((of_f, 0.01 * math.exp(-2 / (1 + told))), (of_g, 0.01 * told**0.25)):
        controller = policy.controller()
        state = controller.start(Context(0.5, (0.5, 0.5), "adam", 70, 10.0))
        _, state = controller.rates(state, Observation(0), 2)
        rates, _ = controller.rates(state, Observation(2, 0.5, probe=probe), 2)
        assert float(rates[0]) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["normalised", "unit"])
@pytest.mark.parametrize("length", [1e-307, 1e307])
def test_a_length_of_any_size_keeps_rates_within_the_bounds(name, length):
    probe = replace(probe_of(parabola), gradient=length, direction=length)
    for policy in (*(policy_of(probed=name, b=b, most=100.0) for b in (0.0, 1.5)), _all_complexity(f"{name}-rate")):
        controller = policy.controller()
        state = controller.start(Context(0.5, (0.5, 0.5), "adam", 70, 10.0))
        _, state = controller.rates(state, Observation(0), 2)
        rates, _ = controller.rates(state, Observation(2, 0.5, probe=probe), 2)
        assert 1e-5 <= float(rates[0]) <= 0.1


def _all_complexity(complexity):
    """Return a rule whose rate is 0.01 exp(-2 c)."""
    return MetaPolicy(
        "adam", "exponential", {"lr0": 0.01, "kd": 2.0, "kp": 0.0}, "mix", {"w": 1.0}, complexity=complexity
    )


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [((1.0,) * 3, 0.0), ((-1.0,) * 3, 1.0), ((0.5, 0.0, -0.2), 0.45), ((math.nan, 0.5, 0.5), 1 / 3), ((1.1,) * 3, 0.0)],
)
def test_the_disagreement_of_gradients_is_a_complexity(cosines, expected):
    policy = _all_complexity("disagreement")
    controller = policy.controller()
    state = controller.start(Context(0.5, (0.5, 0.5), "adam", 70, 10.0))
    _, state = controller.rates(state, Observation(0), 2)
    for step, cosine in zip((2, 4, 8), cosines, strict=True):
        assert controller.trial_rates(state, step)
        probe = replace(probe_of(parabola), agreement=cosine)
        _, state = controller.rates(state, Observation(step, 0.5, probe=probe), 2)
    assert state.complexity == pytest.approx(expected)
    assert not controller.trial_rates(state, 16)


def test_a_complexity_that_no_f_looks_at_is_not_probed():
    policy = MetaPolicy("adam", "cosine-in-performance", COSINE, complexity="critical-rate")
    assert policy.probes == policy.controller().probes == 0


COSINE = {"lo": 1e-4, "hi": 1e-2, "p_goal": 0.8, "gamma": 1.0}


def test_the_control_of_one_complexity_probes_as_the_policy_does():
    controller = constant_complexity(policy_of(), 0.3).rule.controller()
    assert isinstance(controller, Probing)
    assert controller.probes
    state = controller.start(Context(0.5, (0.5, 0.5), "adam", 70, 10.0))
    _, state = controller.rates(state, Observation(0), 4)
    assert controller.trial_rates(state, 4) == pytest.approx(trial_rates(0.04))


@pytest.mark.parametrize("told", [0.1, 0.9])
def test_the_control_of_one_complexity_is_told_it_where_probes_would_measure_it(told):
    policy = _all_complexity("critical-rate")
    controller = constant_complexity(policy, told).rule.controller()
    assert controller.probes == 0
    state = controller.start(Context(0.5, (0.5, 0.5), "adam", 70, 10.0))
    assert float(controller.rates(state, Observation(0), 1)[0][0]) == pytest.approx(0.01 * math.exp(-2 * told))
    assert policy.first_rate(told) == pytest.approx(0.01 * math.exp(-1))  # not known at the first step
    assert mean_state(policy, Context(0.5, (0.5, 0.5), "adam", 70, 10.0), []) is None


@pytest.mark.parametrize("given", [True, 21, -1, 2.0, "two"])
def test_a_form_of_ones_own_says_how_many_probes_it_looks_at(given):
    form = replace(RATE_FORMS["probed"], probes=lambda k: given)
    with pytest.raises(MetaGDError, match=r"probes gives .*; it must give a whole number from 0 to 20"):
        check_rate_form(form, "mine")
