from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import validate_choice
from metagd_optuna.policy.coefficients import Categorical, Coefficient, RateCoefficient, check_coefficients


@pytest.mark.parametrize(
    "value", [True, False, None, "1", [1.0], math.nan, math.inf, -math.inf, -0.001, 3.001, 1 + 0j], ids=repr
)
def test_what_is_no_number_in_range_is_refused_by_name(value):
    with pytest.raises(MetaGDError, match=r"^file: g.power.a is .*a number from 0 to 3"):
        Coefficient(0, 3).check("g.power.a", value, "file")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("digits", [400, 5000])
def test_an_integer_that_no_float_can_hold_is_refused_by_name(sign, digits):
    message = rf"^g.power.a is a whole number of about {digits} digits; it must be a (whole )?number from 0 to 3"
    for integer in (False, True):
        with pytest.raises(MetaGDError, match=message):
            Coefficient(0, 3, integer=integer).check("g.power.a", sign * 10**digits)


@pytest.mark.parametrize("value", [1.5, True, "2", 9, -1, math.nan])
def test_whole_numbers_only(value):
    with pytest.raises(MetaGDError, match="a whole number from 0 to 8"):
        Coefficient(0, 8, integer=True).check("patience", value)


def test_kinds_are_normalised():
    assert type(Coefficient(0, 8, integer=True).check("patience", 2.0)) is int
    assert type(Coefficient(0, 3).check("a", 1)) is float


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 3))
def test_every_number_in_range_is_itself(value):
    assert Coefficient(0, 3).check("a", value) == value


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_numpys_numbers_are_numbers(kind):
    found = Coefficient(0, 3).check("a", kind(2))
    assert (found, type(found)) == (2.0, float)
    found = Coefficient(0, 8, integer=True).check("patience", kind(2))
    assert (found, type(found)) == (2, int)


def test_numpys_numbers_are_compared_as_what_they_are():
    """And not in their own precision, to which the bounds would be rounded: 1e-5 down, 1e6 to infinity."""
    assert Coefficient(0, 1e6).check("a", np.float16(100)) == 100.0
    with pytest.raises(MetaGDError, match=r"a is 9\.99.*e-06; it must be a number from 1e-05 to 0\.03"):
        Coefficient(1e-5, 3e-2).check("a", np.float32(1e-5))


def test_rates_take_the_bounds_of_the_optimizer():
    assert RateCoefficient().of("sgd-nesterov") == Coefficient(1e-4, 1.0, log=True)
    with pytest.raises(MetaGDError, match="Did you mean 'adam'"):
        RateCoefficient().of("adamw")


def test_an_unknown_name_gets_the_nearest_as_a_suggestion():
    with pytest.raises(MetaGDError, match=r"base is 'cosin'; allowed: constant, cosine\. Did you mean 'cosine'\?"):
        Categorical(("constant", "cosine")).check("base", "cosin")
    with pytest.raises(MetaGDError, match=r"base is 3; allowed: constant$"):
        validate_choice(3, ("constant",), "base")


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"a": 1.0}, "rate.coefficients lacks lr0"),
        ({"a": 1.0, "lr0": 1e-3, "lr": 1e-3}, "a key of rate.coefficients is 'lr'.*Did you mean 'lr0'"),
        ({"a": 1.0, "lr0": 0.5}, "rate.coefficients.lr0 is 0.5"),
    ],
)
def test_coefficients_must_be_complete_known_and_in_range(given_, message):
    kinds = {"lr0": RateCoefficient(), "a": Coefficient(0, 3)}
    with pytest.raises(MetaGDError, match=message):
        check_coefficients(given_, kinds, "adam", "rate.coefficients")
    assert list(check_coefficients({"a": 1, "lr0": 1e-3}, kinds, "adam", "x")) == ["lr0", "a"]
