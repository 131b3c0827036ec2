from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from metagd_optuna.analysis import best_first, halving_rounds


@given(st.integers(1, 100), st.integers(1, 100))
def test_half_of_the_candidates_go_on_to_twice_as_many_seeds(candidates, seeds):
    rounds = halving_rounds(candidates, seeds)
    assert rounds[0] == (candidates, seeds)
    assert rounds[-1].candidates == min(candidates, 2)
    for before, after in pairwise(rounds):
        assert before.candidates <= 2 * after.candidates <= before.candidates + 1
        assert after.seeds == 2 * before.seeds


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(st.floats(0, 100), min_size=n, max_size=n), min_size=1)))
def test_best_first_sorts_by_mean_and_keeps_the_order_of_equals(columns):
    objectives = {str(place): column for place, column in enumerate(columns)}
    order = best_first(objectives)
    keys = [(sum(objectives[name]) / len(objectives[name]), int(name)) for name in order]
    assert keys == sorted(keys)
    assert best_first({name: [] for name in objectives}) == list(objectives)
