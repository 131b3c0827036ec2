from __future__ import annotations

import numpy as np
import pytest

from metagd_optuna.contracts import Context, Observation, Validation
from metagd_optuna.policy.article import article_candidate
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.rate_form import RateInputs


def accuracy(step, value):
    return Validation(step, 0.5, value, 0.1, 0.2)


def play(name, ticks, steps_per_epoch, complexity=0.9):
    controller = article_candidate(name).controller
    state = controller.start(Context(complexity, (0.5, 0.5), "adam", 100, steps_per_epoch))
    rates = []
    for step, steps, validation in ticks:
        array, state = controller.rates(state, Observation(step, 0.5, 0.5, validation), steps)
        rates += array.tolist()
    return rates


# By hand, with accuracies 0.6 and then 1.0 after epochs of 4 steps: g is 0.01 (1 - A / 2) A.
TICKS = [
    (0, 2, None),
    (2, 2, accuracy(2, 0.3)),  # in the middle of an epoch: not looked at
    (4, 4, accuracy(4, 0.6)),
    (8, 4, accuracy(8, 1.0)),
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("article", [0.0048] * 4 + [0.0042] * 4 + [0.005] * 4),
        ("article-as-printed", [1e-3] * 4 + [0.3] * 4 + [0.5] * 4),
    ],
)
def test_by_hand(name, expected):
    np.testing.assert_allclose(play(name, TICKS, 4.0), expected, rtol=1e-12)


def test_the_rate_changes_where_an_epoch_begins_inside_a_tick():
    # Epochs of 3.5 steps begin at steps 4, 7 and 11.
    ticks = [(0, 3, None), (3, 3, accuracy(3, 0.6)), (6, 3, accuracy(6, 1.0)), (9, 3, accuracy(6, 1.0))]
    rates = play("article-as-printed", ticks, 3.5)
    np.testing.assert_allclose(rates, [1e-3] * 4 + [0.3] * 3 + [0.5] * 5)


def test_epochs_that_are_no_whole_number_of_steps_stay_exact():
    """Ten epochs of 10 / 3 steps: every third begins exactly at a whole step."""
    ticks = [(step, 1, accuracy(step, 0.01 * step)) for step in range(30)]
    rates = play("article-as-printed", ticks, 10 / 3)
    begins = [0, 4, 7, 10, 14, 17, 20, 24, 27]
    expected = [1e-3 if step < 4 else 0.005 * max(b for b in begins if b <= step) for step in range(30)]
    np.testing.assert_allclose(rates, expected)


@pytest.mark.parametrize(("name", "rate"), [("article", 0.0048), ("article-as-printed", 0.4)])
def test_an_epoch_without_a_validation_keeps_the_assumed_performance(name, rate):
    assert play(name, [(4, 2, None)], 4.0) == pytest.approx([rate] * 2)


def test_it_is_marked_as_steered_by_validation():
    assert article_candidate("article").steers_on_validation
    assert article_candidate("article").kind == "article"
    assert article_candidate("article-as-printed").optimizer == "adam"


def test_the_forms_of_the_tables_are_the_articles_formulas():
    assert DIFFICULTY_FORMS["product-article"](0.5, 0.8, {}) == pytest.approx(0.4)
    now = RateInputs(0.4, 0.8, True, 0, 1, 1, 1e-5, 1e-5, 3e-2)
    [rate], _ = RATE_FORMS["article"](now, {}, None)
    assert rate == pytest.approx(0.0048)  # from 1e-5: no limit from one rate update to the next
