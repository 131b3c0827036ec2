from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import Context, MetaGDError, Observation, Validation
from metagd_optuna.policy.signal import SIGNALS, keep, measure, reference, smooth

CONTEXT = Context(0.5, (0.7, 0.2, 0.1), "adam", 100, 10.0)
SEEN = Observation(10, 0.4, 0.85, Validation(8, loss=0.5, accuracy=0.79, balanced_accuracy=0.5, auc=0.9), 1e-3)
ENTROPY = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1))


# p by hand: chance is the largest share 0.7 for accuracy, 1/3 for balanced accuracy, 1/2 for AUC.
@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("train-loss", 1 - 0.4 / ENTROPY),
        ("train-accuracy", 0.5),
        ("improvement", 0.2),
        ("val-auc", 0.8),
        ("val-balanced-accuracy", 0.25),
        ("val-accuracy", 0.3),
    ],
)
def test_golden_values(signal, expected):
    assert measure(signal, SEEN, reference(signal, CONTEXT), before=0.5) == pytest.approx(expected)


@pytest.mark.parametrize("signal", SIGNALS)
def test_nothing_seen_is_none(signal):
    assert measure(signal, Observation(0), reference(signal, CONTEXT), None) is None


def test_the_first_loss_is_no_improvement_yet():
    assert measure("improvement", SEEN, 0.0, None) is None


@pytest.mark.parametrize(("loss", "p"), [(ENTROPY, 0.0), (9.0, 0.0), (math.inf, 0.0), (math.nan, 0.0), (0.0, 1.0)])
def test_guessing_is_0_and_certainty_is_1(loss, p):
    assert measure("train-loss", Observation(1, loss, 0.1), reference("train-loss", CONTEXT), None) == pytest.approx(p)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_lost_is_the_worst_fall(loss):
    assert measure("improvement", Observation(1, loss, 0.1), 0.0, 0.5) == -1.0


@settings(deadline=None, max_examples=60)
@given(
    st.floats(allow_nan=True),
    st.floats(allow_nan=True),
    st.floats(0.01, 0.99),
    st.sampled_from(["train-loss", "train-accuracy", "val-auc", "val-accuracy", "val-balanced-accuracy"]),
)
def test_performance_is_in_the_unit_interval(loss, metric, share, signal):
    context = Context(0.5, (share, 1 - share), "adam", 10, 1.0)
    seen = Observation(1, loss, metric, Validation(1, loss, metric, metric, metric))
    assert 0 <= measure(signal, seen, reference(signal, context), None) <= 1


@pytest.mark.parametrize("shares", [(1.0,), (1.0, 0.0), (0.5, 0.6), (), (1.5, -0.5), (math.nan, 0.5)])
def test_impossible_class_frequencies_are_refused(shares):
    with pytest.raises(MetaGDError, match="class_frequencies are"):
        reference("train-loss", Context(0.5, shares, "adam", 10, 1.0))


def test_which_signals_use_validation():
    assert {name for name, signal in SIGNALS.items() if signal.uses_validation} == {
        "val-auc",
        "val-balanced-accuracy",
        "val-accuracy",
    }


@pytest.mark.parametrize("half_life", [0.5, 1, 3, 8])
def test_half_of_a_jump_is_made_up_after_the_half_life(half_life):
    assert 1 - keep(half_life) ** half_life == pytest.approx(0.5)


def test_smoothing_starts_at_the_first_value_and_none_follows_at_once():
    assert smooth(None, 0.3, 0.9) == 0.3
    assert smooth(0.3, 0.7, keep(0)) == 0.7
    assert smooth(0.0, 1.0, keep(1)) == 0.5
