from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS

UNIT = st.floats(0, 1)


def coefficients_of(form):
    return st.fixed_dictionaries({name: st.floats(k.low, k.high) for name, k in form.coefficients.items()})


def test_the_table_has_every_form():
    assert set(DIFFICULTY_FORMS) == {
        "product-article",
        "product",
        "gap",
        "mix",
        "logistic",
        "rasch",
        "exponential",
        "rational",
    }


# Worked by hand from the formulas; c = 0.25, p = 0.5.
@pytest.mark.parametrize(
    ("name", "coefficients", "expected"),
    [
        ("product-article", {}, 0.125),
        ("product", {"a": 2.0, "b": 3.0}, 1 / 128),
        ("product", {"a": 0.0, "b": 0.0}, 1.0),
        ("gap", {}, 0.5),
        ("mix", {"w": 0.2}, 0.45),
        ("mix", {"w": 1.0}, 0.25),
        ("logistic", {"a0": 1.0, "a1": 4.0, "a2": -2.0}, 1 / (1 + math.exp(-1))),
        ("rasch", {"k": 2.0}, 0.1),  # odds of c are 1/3, squared 1/9; odds of p are 1
        ("exponential", {"k": 2.0}, 0.25 / math.e),
        ("rational", {"k": 0.5}, 0.5),
    ],
)
def test_golden_values(name, coefficients, expected):
    assert DIFFICULTY_FORMS[name](0.25, 0.5, coefficients) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", DIFFICULTY_FORMS)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), c=UNIT, p=UNIT)
def test_difficulty_is_in_the_unit_interval(name, data, c, p):
    form = DIFFICULTY_FORMS[name]
    d = form(c, p, data.draw(coefficients_of(form)))
    assert isinstance(d, float)
    assert 0 <= d <= 1


@pytest.mark.parametrize("name", DIFFICULTY_FORMS)
@settings(deadline=None, max_examples=100)
@given(data=st.data(), fixed=UNIT, two=st.lists(UNIT, min_size=2, max_size=2))
def test_difficulty_follows_its_promised_trend(name, data, fixed, two):
    form = DIFFICULTY_FORMS[name]
    coefficients = data.draw(coefficients_of(form))
    in_c, in_p = form.trend(coefficients)
    small, large = sorted(two)
    rise_in_c = form(large, fixed, coefficients) - form(small, fixed, coefficients)
    rise_in_p = form(fixed, large, coefficients) - form(fixed, small, coefficients)
    assert rise_in_c * in_c >= -1e-12
    assert rise_in_p * in_p >= -1e-12
    assert in_c != 0 or abs(rise_in_c) < 1e-12
    assert in_p != 0 or abs(rise_in_p) < 1e-12


# What each form promises at the middle of its box; a trend that said 0 throughout would pass the test above.
@pytest.mark.parametrize(
    ("name", "coefficients", "trend"),
    [
        ("product-article", {}, (1, 1)),
        ("product", {"a": 1.0, "b": 1.0}, (1, -1)),
        ("product", {"a": 0.0, "b": 0.0}, (0, 0)),
        ("gap", {}, (0, -1)),
        ("mix", {"w": 0.5}, (1, -1)),
        ("mix", {"w": 1.0}, (1, 0)),
        ("mix", {"w": 0.0}, (0, -1)),
        ("logistic", {"a0": 0.0, "a1": -1.0, "a2": 1.0}, (-1, 1)),
        ("rasch", {"k": 1.0}, (1, -1)),
        ("exponential", {"k": 1.0}, (1, -1)),
        ("exponential", {"k": 0.0}, (1, 0)),
        ("rational", {"k": 1.0}, (1, -1)),
    ],
)
def test_the_promised_trend(name, coefficients, trend):
    form = DIFFICULTY_FORMS[name]
    assert form.trend(coefficients) == trend
    moved_c = form(0.8, 0.4, coefficients) - form(0.2, 0.4, coefficients)
    moved_p = form(0.4, 0.8, coefficients) - form(0.4, 0.2, coefficients)
    assert (moved_c > 0) - (moved_c < 0) == trend[0]
    assert (moved_p > 0) - (moved_p < 0) == trend[1]


@pytest.mark.parametrize("name", DIFFICULTY_FORMS)
def test_entries_are_clipped(name):
    form = DIFFICULTY_FORMS[name]
    coefficients = {key: k.high for key, k in form.coefficients.items()}
    assert form(0.0, 1.0, coefficients) == form(0.01, 0.99, coefficients)
    assert form(1.0, 0.0, coefficients) == form(0.99, 0.01, coefficients)
