import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagd_optuna.analysis import best_elsewhere, geometric_means, regrets
from metagd_optuna.contracts import MetaGDError

# Three settings of a policy and two of a baseline on three tasks, in epochs.
COLUMNS = {
    "easy": {"policy": [1.0, 2.0, 4.0], "slow": [4.0, 8.0], "quick": [2.0, 3.0]},
    "middle": {"policy": [4.0, 2.0, 1.0], "slow": [4.0, 8.0], "quick": [2.0, 3.0]},
    "hard": {"policy": [9.0, 3.0, 9.0], "slow": [90.0, 80.0], "quick": [20.0, 60.0]},
}


@pytest.mark.parametrize(
    ("left_out", "policy", "score"),
    [
        ("easy", 1, np.sqrt(2 * 3)),  # 4 x 9, 2 x 3, 1 x 9
        ("middle", 1, np.sqrt(2 * 3)),  # 1 x 9, 2 x 3, 4 x 9
        ("hard", 0, 2.0),  # 1 x 4, 2 x 2, 4 x 1: the first of equals
        (None, 1, 12 ** (1 / 3)),  # 36, 12, 36
    ],
)
def test_a_task_that_is_left_out_has_no_say(left_out, policy, score):
    chosen = best_elsewhere(COLUMNS, left_out, ["slow", "quick"])
    assert chosen.settings == {"policy": policy, "slow": 0, "quick": 0}
    assert chosen.scores["policy"] == pytest.approx(score)
    assert chosen.best_baseline == "quick"


@given(st.lists(st.floats(0.01, 100), min_size=4, max_size=4), st.floats(0.01, 100))
def test_what_happened_on_the_left_out_task_changes_nothing(objectives, factor):
    changed = {**COLUMNS, "hard": {name: np.array(v) * factor for name, v in COLUMNS["hard"].items()}}
    changed["hard"]["policy"] = objectives[:3]
    assert best_elsewhere(changed, "hard", ["quick"]) == best_elsewhere(COLUMNS, "hard", ["quick"])


@given(st.floats(0.01, 100))
def test_a_longer_task_weighs_no_more(factor):
    one = geometric_means([[1.0, 3.0], [2.0, 1.0]])
    other = geometric_means([[1.0, 3.0], [2.0 * factor, factor]])
    np.testing.assert_allclose(other, one * np.sqrt(factor))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], r"shapes \[\]"),
        ([[]], "at least one"),
        ([[1.0], [1.0, 2.0]], "the same settings"),
        ([[1.0, 0.0]], "above 0"),
        ([[1.0, np.nan]], "above 0"),
    ],
)
def test_refusals(columns, message):
    with pytest.raises(MetaGDError, match=message):
        geometric_means(columns)


def test_somebody_has_to_be_left():
    with pytest.raises(MetaGDError, match="two or more"):
        best_elsewhere({"a": {"p": [1.0]}}, "a", ["p"])


def test_what_was_stopped_on_any_other_task_cannot_be_chosen():
    stopped = {**COLUMNS, "middle": COLUMNS["middle"] | {"policy": [4.0, np.inf, 1.0]}}
    # Setting 1 would win without hard, and without easy; without middle it still does.
    assert best_elsewhere(COLUMNS, "easy", ["quick"]).settings["policy"] == 1
    assert best_elsewhere(stopped, "easy", ["quick"]).settings["policy"] == 2
    assert best_elsewhere(stopped, "middle", ["quick"]).settings["policy"] == 1
    assert best_elsewhere(stopped, None, ["quick"]).settings["policy"] in (0, 2)


def test_if_nothing_is_left_to_choose_it_is_said():
    stopped = {**COLUMNS, "middle": COLUMNS["middle"] | {"quick": [np.inf, np.inf]}}
    with pytest.raises(MetaGDError, match=r"every setting of quick was stopped on some task.*turn pruning off"):
        best_elsewhere(stopped, "easy", ["quick"])


def test_regrets_by_hand():
    # Without easy 16, 8, 16; without middle 8, 16, 12; without hard 2, 2, 12: the first of equals.
    objectives = {"easy": [1.0, 2.0, 3.0], "middle": [2.0, 1.0, 4.0], "hard": [8.0, 8.0, 4.0]}
    assert regrets(objectives) == {"easy": 2.0, "middle": 2.0, "hard": 2.0}


def test_what_was_stopped_is_not_chosen_and_counts_with_the_best_it_could_have_had():
    """By what it could have had, b's second setting would be chosen for c, and take 3 times as long there."""
    columns = {"a": [2.0, 1.0], "b": [1.0, math.inf], "c": [1.0, 3.0]}
    at_least = columns | {"b": [1.0, 1.6]}
    found = regrets(columns, at_least)
    for task in columns:
        chosen = best_elsewhere({name: {"m": column} for name, column in columns.items()}, task, ["m"]).settings["m"]
        assert found[task] == at_least[task][chosen] / min(at_least[task])
    assert found == {"a": 2.0, "b": 1.0, "c": 1.0}


@given(st.lists(st.lists(st.floats(0.01, 100), min_size=3, max_size=3), min_size=3, max_size=5))
def test_nothing_beats_the_best(columns):
    assert min(regrets({str(i): column for i, column in enumerate(columns)}).values()) >= 1


@pytest.mark.parametrize(
    ("objectives", "at_least"),
    [
        ({"a": [1.0], "b": [1.0]}, None),
        ({"a": [1.0], "b": [1.0], "c": [1.0]}, {"a": [1.0], "b": [1.0], "d": [1.0]}),
    ],
)
def test_regrets_of_too_little_are_refused(objectives, at_least):
    with pytest.raises(MetaGDError, match="three tasks or more"):
        regrets(objectives, at_least)
