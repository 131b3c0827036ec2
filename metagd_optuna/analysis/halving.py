"""Sequential halving: how a shortlist spends its runs on those settings that may still be the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Round(NamedTuple):
    """One round of a shortlist.

    Args:
        candidates: settings of a method that take part.
        seeds: new seeds that each of them runs on.
    """

    candidates: int
    seeds: int


def halving_rounds(candidates: int, seeds: int) -> tuple[Round, ...]:
    """Return the rounds by which one of several settings is chosen.

    After every round the better half goes on, judged by all of its seeds so far, to twice as many new seeds. So every
    round costs about the same, and most runs go to those that are hard to tell apart. The round of the last two
    (or of the only one) decides.

    Args:
        candidates: settings that take part, at least 1.
        seeds: new seeds of the first round, at least 1.

    Source: Karnin, Koren and Somekh 2013, "Almost optimal exploration in multi-armed bandits", algorithm 1.

    >>> [tuple(each) for each in halving_rounds(8, seeds=2)]
    [(8, 2), (4, 4), (2, 8)]
    >>> [tuple(each) for each in halving_rounds(3, seeds=5)], [tuple(each) for each in halving_rounds(1, seeds=5)]
    ([(3, 5), (2, 10)], [(1, 5)])
    """
    rounds = [Round(candidates, seeds)]
    while rounds[-1].candidates > 2:
        rounds.append(Round((rounds[-1].candidates + 1) // 2, 2 * rounds[-1].seeds))
    return tuple(rounds)


def best_first(objectives: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the names by rising mean; equal ones, and those without a value yet, stay in the given order.

    Args:
        objectives: name to the objectives of its runs, as many for every name.

    >>> best_first({"a": [2.0, 4.0], "b": [1.0, 1.0], "c": [3.0, 3.0]})
    ['b', 'a', 'c']
    """
    return sorted(objectives, key=lambda name: sum(objectives[name]) / max(len(objectives[name]), 1))
