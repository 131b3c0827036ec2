from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.policy.rate import RATE_FORMS, Waiting, article, power
from metagd_optuna.policy.rate_form import RateInputs
from metagd_optuna.policy.schedules import SCHEDULES, rates_of

LOW, HIGH = 1e-5, 3e-2


def moment(d=0.5, p=0.5, *, step=0, steps=1, budget=100, last=None, fresh=True):
    return RateInputs(d, p, fresh, step, steps, budget, last, LOW, HIGH)


def test_the_table_has_every_form():
    assert set(RATE_FORMS) == {
        "power",
        "exponential",
        "logistic",
        "cosine-in-performance",
        "multiplicative",
        "monotone-spline",
        "schedule",
        "probed",
        "article",
    }


CONSTANT = {"base": "constant", "lr0": 0.01}
WARMED = {"base": "constant-with-warmup", "lr0": 0.01}


# Worked by hand from the formulas.
@pytest.mark.parametrize(
    ("name", "coefficients", "d", "p", "expected"),
    [
        ("power", {"lr0": 0.01, "a": 2.0, "b": 1.0}, 0.5, 0.39, 0.01 * 0.25 * 0.4),
        ("power", {"lr0": 0.001, "a": 0.0, "b": 0.0}, 0.7, 0.1, 0.001),
        ("exponential", {"lr0": 0.001, "kd": 2.0, "kp": -4.0}, 0.5, 0.5, 0.001 * math.e),
        ("logistic", {"lo": 1e-4, "hi": 1e-2, "s": 10.0, "p0": 0.5}, 0.0, 0.5, 1e-3),
        ("logistic", {"lo": 1e-4, "hi": 1e-2, "s": 30.0, "p0": 0.05}, 0.0, 1.0, 1e-4),
        ("cosine-in-performance", {"lo": 1e-4, "hi": 1e-2, "p_goal": 0.5, "gamma": 1.0}, 0.0, 0.0, 1e-2),
        ("cosine-in-performance", {"lo": 1e-4, "hi": 1e-2, "p_goal": 0.5, "gamma": 2.0}, 0.0, 0.5, 1e-4),
        ("cosine-in-performance", {"lo": 1e-4, "hi": 1e-2, "p_goal": 0.4, "gamma": 1.0}, 0.0, 0.2, 1e-3),
        ("schedule", CONSTANT | {"k": -2.0}, 1.0, 0.9, 0.01 / math.e),
        ("schedule", CONSTANT | {"k": 3.0}, 0.5, 0.1, 0.01),
        # Step 0 of a budget of 100: a tenth of the warm-up over 10 steps.
        ("schedule", WARMED | {"warmup": 0.1, "k": 0.0}, 0.7, 0.0, 0.001),
        ("schedule", WARMED | {"warmup": 0.0, "k": 2.0}, 1.0, 0.0, 0.01 * math.e),
        ("article", {}, 0.4, 0.8, 0.0048),
        ("article", {}, 0.4, 0.0, 0.0),
    ],
)
def test_golden_values(name, coefficients, d, p, expected):
    [rate], _ = RATE_FORMS[name](moment(d, p), coefficients, None)
    assert rate == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_power_stays_finite_where_its_base_is_zero():
    assert power(1.0, 0.5, lr0=1e-3, a=-1.0, b=0.0) == pytest.approx(0.1)


def test_bounds_and_the_limit_from_tick_to_tick():
    steep = {"lr0": 3e-2, "a": 3.0, "b": 3.0}
    form = RATE_FORMS["power"]
    assert form(moment(0.9, 0.0), steep, None)[0] == LOW
    assert form(moment(0.9, 0.0, last=1e-2), steep, None)[0] == 2.5e-3
    assert form(moment(0.0, 0.99, last=1e-3), steep, None)[0] == 4e-3
    assert form(moment(0.0, 0.99, last=2e-2), steep, None)[0] == pytest.approx(3e-2)
    assert RATE_FORMS["article"](moment(0.0, 0.0, last=1.0), {}, None)[0] == 0.0
    assert article(0.5, 1.0) == 0.005


def test_the_spline_goes_through_its_knots_and_as_fritsch_and_butland_say_between_them():
    """By hand, in units of log 10: rises 0, 1, 1, 1, so the slopes at 1/4 and 1/2 are 0 and 1 per quarter."""
    knots = dict(zip(("d0", "d25", "d50", "d75", "d100"), (1e-5, 1e-5, 1e-4, 1e-3, 1e-2), strict=True))
    form = RATE_FORMS["monotone-spline"]
    rates = [form(moment(d, 0.5), knots | {"direction": "up"}, None)[0][0] for d in (0, 0.25, 0.375, 0.5, 0.75, 1)]
    np.testing.assert_allclose(np.log10(rates), [-5, -5, -5 + (0.5 - 1 / 8), -4, -3, -2], rtol=1e-12)


@pytest.mark.parametrize("base", SCHEDULES)
def test_a_schedule_without_feedback_is_its_schedule(base):
    coefficients = {"base": base, "lr0": 1e-2, "horizon": 0.5, "warmup": 0.4, "k": 0.0}
    rates, _ = RATE_FORMS["schedule"](moment(d=0.9, steps=100), coefficients, None)
    schedule = SCHEDULES[base](np.arange(100.0), 1e-2, 50.0, 0.4)
    np.testing.assert_array_equal(rates, np.clip(schedule, LOW, HIGH))


def test_a_schedule_is_its_base_times_the_exponential_of_difficulty():
    coefficients = {"base": "cosine", "lr0": 1e-3, "horizon": 1.0, "warmup": 0.0, "k": 2.0}
    rates, _ = RATE_FORMS["schedule"](moment(d=1.0, step=20, steps=10), coefficients, None)
    schedule = SCHEDULES["cosine"](np.arange(20.0, 30.0), 1e-3, 100.0, 0.0)
    np.testing.assert_allclose(rates, schedule * math.e, rtol=1e-12)


def multiply(performances, **coefficients):
    """Return the rates of ``multiplicative`` in units of its first one, along a list of performances."""
    values = {"lr0": 1e-3, "up": 0.0, "down": 0.0, "theta": 1e-2, "patience": 0, "cooldown": 0} | coefficients
    last, memory, rates = None, None, []
    for i, p in enumerate([0.0, *performances]):
        [last], memory = RATE_FORMS["multiplicative"](moment(p=p, last=last, fresh=i > 0), values, memory)
        rates.append(float(round(last / 1e-3, 6)))
    return rates


UP, DOWN = math.log(1.25), math.log(2)


@pytest.mark.parametrize(
    ("performances", "coefficients", "expected"),
    [
        # Bold driver: up on every improvement, down at once on every failure.
        ([0.2, 0.4, 0.3, 0.6], {"up": UP, "down": DOWN}, [1, 1.25, 1.5625, 0.78125, 0.976562]),
        # Less than theta below the best 1 - p is no improvement.
        ([0.2, 0.207, 0.21], {"up": UP}, [1, 1.25, 1.25, 1.5625]),
        # Plateau: down only after more than `patience` rate updates, then `cooldown` rate updates of rest.
        ([0.5] * 9, {"down": DOWN, "patience": 1, "cooldown": 2}, [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
        # Nothing to do.
        ([0.2, 0.1, 0.3], {}, [1, 1, 1, 1]),
    ],
)
def test_multiplicative_by_hand(performances, coefficients, expected):
    assert multiply(performances, **coefficients) == pytest.approx(expected, abs=1e-6)


def test_multiplicative_waits_for_something_new():
    values = {"lr0": 1e-3, "up": 0.3, "down": 1.0, "theta": 1e-2, "patience": 0, "cooldown": 0}
    seen = Waiting(best=0.5, bad=0, rest=0)
    rates, memory = RATE_FORMS["multiplicative"](moment(p=0.1, last=2e-3, fresh=False, steps=3), values, seen)
    np.testing.assert_array_equal(rates, [2e-3] * 3)
    assert memory == seen


UNIT = st.floats(0, 1)


@pytest.mark.parametrize("name", [name for name, form in RATE_FORMS.items() if not form.remembers])
@settings(deadline=None, max_examples=100)
@given(data=st.data(), fixed=UNIT, two=st.lists(UNIT, min_size=2, max_size=2))
def test_the_rate_follows_its_promised_trend(name, data, fixed, two):
    form = RATE_FORMS[name]
    coefficients = form.arranged(
        {
            key: data.draw(
                st.sampled_from(k.choices)
                if hasattr(k, "choices")
                else st.floats(LOW, HIGH)
                if not hasattr(k, "low")
                else st.floats(k.low, k.high)
            )
            for key, k in form.coefficients.items()
        }
    )
    in_d, in_p = form.trend(coefficients)
    small, large = sorted(two)

    def rate(d, p):
        return form(moment(d, p), coefficients, None)[0][0]

    rise_in_d = rate(large, fixed) - rate(small, fixed)
    rise_in_p = rate(fixed, large) - rate(fixed, small)
    assert rise_in_d * in_d >= -1e-12
    assert rise_in_p * in_p >= -1e-12
    assert in_d != 0 or abs(rise_in_d) < 1e-12
    assert in_p != 0 or abs(rise_in_p) < 1e-12


RISING = {"d0": 1e-4, "d25": 2e-4, "d50": 1e-3, "d75": 2e-3, "d100": 3e-3, "direction": "up"}


# A trend that said 0 throughout, or a rate that never moved, would pass the test above.
@pytest.mark.parametrize(
    ("name", "coefficients", "trend"),
    [
        ("power", {"lr0": 1e-3, "a": 1.0, "b": 1.0}, (-1, 1)),
        ("power", {"lr0": 1e-3, "a": -1.0, "b": -1.0}, (1, -1)),
        ("exponential", {"lr0": 1e-3, "kd": 1.0, "kp": -1.0}, (-1, 1)),
        ("logistic", {"lo": 1e-4, "hi": 1e-2, "s": 5.0, "p0": 0.5}, (0, -1)),
        ("logistic", {"lo": 1e-4, "hi": 1e-2, "s": -5.0, "p0": 0.5}, (0, 1)),
        ("logistic", {"lo": 1e-3, "hi": 1e-3, "s": 5.0, "p0": 0.5}, (0, 0)),
        ("cosine-in-performance", {"lo": 1e-4, "hi": 1e-2, "p_goal": 0.9, "gamma": 1.0}, (0, -1)),
        ("monotone-spline", RISING, (1, 0)),
        ("schedule", CONSTANT | {"k": -2.0}, (-1, 0)),
        ("schedule", CONSTANT | {"k": 0.0}, (0, 0)),
        ("schedule", WARMED | {"warmup": 0.0, "k": 2.0}, (1, 0)),
        ("schedule", {"base": "cosine", "lr0": 1e-3, "horizon": 1.0, "warmup": 0.0, "k": -1.0}, (-1, 0)),
        ("article", {}, (-1, 1)),
    ],
)
def test_the_promised_trend(name, coefficients, trend):
    form = RATE_FORMS[name]
    assert form.trend(coefficients) == trend

    def rate(d, p):
        return form(moment(d, p), coefficients, None)[0][0]

    assert np.sign(rate(0.8, 0.5) - rate(0.2, 0.5)) == trend[0]
    assert np.sign(rate(0.5, 0.8) - rate(0.5, 0.2)) == trend[1]


@given(st.floats(-3, 3), st.floats(0, 0.6), st.floats(0, 1), st.integers(0, 99))
def test_a_constant_base_warms_up_as_the_schedule_does(k, warmup, d, step):
    now = moment(d, 0.5, step=step, steps=5)
    [here, _] = RATE_FORMS["schedule"](now, WARMED | {"warmup": warmup, "k": k}, None)
    raw = rates_of("constant", step, 5, 0.01, 1.0, warmup, now.budget) * math.exp(k * (d - 0.5))
    np.testing.assert_array_equal(here, np.clip(raw, LOW, HIGH))
    [at_once, _] = RATE_FORMS["schedule"](now, CONSTANT | {"k": k}, None)
    np.testing.assert_array_equal(at_once, RATE_FORMS["schedule"](now, WARMED | {"warmup": 0.0, "k": k}, None)[0])
