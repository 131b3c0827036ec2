"""Flows: what waits for trainings without standing in the way of others."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagd_optuna.tuning.flow import all_done, side_by_side, to_the_end


def waits(future, name, said):
    said.append(f"{name} begins")
    yield from all_done([future])
    said.append(f"{name} ends")
    return name


def test_a_flow_that_waits_for_nothing_runs_through_at_once():
    done: Future = Future()
    done.set_result(None)
    said = []
    assert to_the_end(waits(done, "a", said)) == "a"
    assert said == ["a begins", "a ends"]


@given(st.permutations(range(5)))
def test_flows_go_on_in_the_order_in_which_what_they_wait_for_is_done(order):
    futures = [Future() for _ in order]
    said = []
    whole = side_by_side(waits(future, str(name), said) for name, future in enumerate(futures))
    next(whole)
    assert said == [f"{name} begins" for name in range(5)]
    for name in order:
        futures[name].set_result(None)
        next(whole, None)
    assert said[5:] == [f"{name} ends" for name in order]


def test_an_error_of_one_closes_all_others():
    said = []

    def fails():
        yield from all_done([first])
        raise ValueError("it fails")

    def others():
        try:
            yield from all_done([Future()])
        finally:
            said.append("closed")

    first: Future = Future()
    whole = side_by_side([others(), fails(), others()])
    next(whole)
    first.set_result(None)
    with pytest.raises(ValueError, match="it fails"):
        next(whole)
    assert said == ["closed", "closed"]


def test_nested_flows_of_many_futures_end_and_are_looked_after():
    looks = []
    with ThreadPoolExecutor(4) as pool:

        def leaf(number):
            future = pool.submit(pow, number, 2)
            yield from all_done([future])
            found.append(future.result())

        def branch(number):
            yield from side_by_side(leaf(10 * number + place) for place in range(5))

        found: list[int] = []
        to_the_end(side_by_side(branch(number) for number in range(4)), lambda: looks.append(1))
    assert sorted(found) == sorted((10 * a + b) ** 2 for a in range(4) for b in range(5))


def test_look_is_called_while_nothing_is_done():
    future: Future = Future()
    looks = []

    def look():
        looks.append(len(looks))
        if len(looks) == 2:
            future.set_result(None)

    to_the_end(all_done([future]), look)
    assert looks[:2] == [0, 1]
