import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagd_optuna.analysis import NEAREST, UNIVERSAL, best_elsewhere, distances, regrets
from metagd_optuna.contracts import MetaGDError

KNOWN = {"easy": [0.0, 2.0], "middle": [0.5, 2.0], "hard": [1.0, 2.0]}
number = st.floats(-100, 100)


def test_distances_by_hand():
    # The first property has a standard deviation of sqrt(1/6); the second is the same everywhere and has no say.
    found = distances(KNOWN, [0.75, 99.0])
    assert list(found) == ["hard", "middle", "easy"]
    assert found["middle"] == pytest.approx(0.25 / np.sqrt(1 / 6))
    assert found["easy"] == pytest.approx(0.75 / np.sqrt(1 / 6))


@given(st.lists(st.tuples(number, number), min_size=2, max_size=6), st.tuples(number, number), st.floats(0.1, 10))
def test_units_do_not_matter(rows, new, unit):
    known = {str(i): row for i, row in enumerate(rows)}
    scaled = {name: (row[0], row[1] * unit) for name, row in known.items()}
    here, there = distances(known, new), distances(scaled, (new[0], new[1] * unit))
    spread = np.std([row[1] for row in rows])
    if spread == 0 or spread > 1e-6:  # else rounding decides whether a property is the same everywhere
        assert all(there[name] == pytest.approx(value, rel=1e-6, abs=1e-9) for name, value in here.items())


def test_what_hardly_differs_has_no_say():
    """Divided by so small a standard deviation, the distance would overflow."""
    assert distances({"a": [0.0, 1.0], "b": [5e-310, 3.0]}, [100.0, 2.0]) == {"a": 1.0, "b": 1.0}


def test_equal_tasks_are_equally_far():
    assert distances({"b": [1.0], "a": [1.0]}, [5.0]) == {"b": 0.0, "a": 0.0}


def test_regrets_by_hand():
    objectives = {"easy": [1.0, 2.0, 3.0], "middle": [2.0, 1.0, 4.0], "hard": [8.0, 8.0, 4.0]}
    found = regrets(objectives, KNOWN)
    # Equally near neighbours: the first by name.
    assert found.neighbours == {"easy": "middle", "middle": "easy", "hard": "middle"}
    assert found.nearest == {"easy": 2.0, "middle": 2.0, "hard": 2.0}
    # Without easy 16, 8, 16; without middle 8, 16, 12; without hard 2, 2, 12.
    assert found.universal == {"easy": 2.0, "middle": 2.0, "hard": 2.0}
    assert found.better == UNIVERSAL


def test_the_nearest_wins_where_alike_tasks_want_alike_rules():
    objectives = {"a": [1.0, 9.0], "b": [1.0, 9.0], "c": [9.0, 1.0], "d": [9.0, 1.0]}
    properties = {"a": [0.0], "b": [0.1], "c": [1.0], "d": [1.1]}
    found = regrets(objectives, properties)
    assert set(found.nearest.values()) == {1.0}
    assert found.better == NEAREST


def test_what_was_stopped_is_not_chosen_and_counts_with_the_best_it_could_have_had():
    """By what it could have had, b's second setting would be chosen for c, and take 3 times as long there."""
    columns = {"a": [2.0, 1.0], "b": [1.0, math.inf], "c": [1.0, 3.0]}
    at_least = columns | {"b": [1.0, 1.6]}
    properties = {"a": [0.0], "b": [0.1], "c": [9.0]}
    found = regrets(columns, properties, at_least)
    for task in columns:
        chosen = best_elsewhere({name: {"m": column} for name, column in columns.items()}, task, ["m"]).settings["m"]
        assert found.universal[task] == at_least[task][chosen] / min(at_least[task])
    assert found.universal == {"a": 2.0, "b": 1.0, "c": 1.0}
    assert found.nearest == {"a": 2.0, "b": 1.6, "c": 1.0}
    assert found.better == UNIVERSAL
    with pytest.raises(MetaGDError, match="same three tasks"):
        regrets(columns, properties, {"a": [1.0, 1.0]})


@given(st.lists(st.lists(st.floats(0.01, 100), min_size=3, max_size=3), min_size=3, max_size=5))
def test_nothing_beats_the_best(columns):
    objectives = {str(i): column for i, column in enumerate(columns)}
    found = regrets(objectives, {name: [float(name)] for name in objectives})
    assert min(*found.nearest.values(), *found.universal.values()) >= 1


@pytest.mark.parametrize(
    ("objectives", "properties"),
    [
        ({"a": [1.0], "b": [1.0]}, {"a": [1.0], "b": [2.0]}),
        ({"a": [1.0], "b": [1.0], "c": [1.0]}, {"a": [1.0], "b": [2.0], "d": [2.0]}),
    ],
)
def test_too_little_is_refused(objectives, properties):
    with pytest.raises(MetaGDError, match="three tasks or more"):
        regrets(objectives, properties)


@pytest.mark.parametrize(("known", "new"), [({}, [1.0]), ({"a": [1.0]}, [1.0, 2.0])])
def test_properties_have_to_match(known, new):
    with pytest.raises(MetaGDError, match="the same properties"):
        distances(known, new)


def test_a_property_that_is_the_same_everywhere_has_no_say_whatever_rounding_does():
    known = {"a": [0.1, 1.0], "b": [0.1, 2.0], "c": [0.1, 3.0]}  # the standard deviation of the first is 1.4e-17
    assert list(distances(known, [0.2, 2.9])) == ["c", "b", "a"]
