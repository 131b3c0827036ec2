"""Proposals close to the best trials so far: the parameters of a good trial, each moved a little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

# Objectives are in epochs. A few seeds cannot tell trials apart that differ by less.
ALIKE = 1.1
# Steps on a scale of 0 to 1, from close by to a good part of the range; each is drawn anew.
SHORTEST, LONGEST = 0.02, 0.2
KEEP_CHOICE = 0.9


def good_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the finished trials that cannot be told from the best one, best first."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ordered = sorted(finished, key=lambda trial: (_value(trial), trial.number))
    return [trial for trial in ordered if _value(trial) <= ALIKE * _value(ordered[0])]


def moved(value: Any, allowed: BaseDistribution, rng: np.random.Generator) -> Any:
    """Return a value near ``value``, spread on the scale on which a search spreads its proposals.

    A choice stays with a probability of 0.9, else any other is as likely. A number takes a normal step, reflected at
    the bounds.

    >>> moved("a", CategoricalDistribution(("a",)), np.random.default_rng(0))
    'a'
    """
    if isinstance(allowed, CategoricalDistribution):
        others = [choice for choice in allowed.choices if choice != value]
        return value if not others or rng.random() < KEEP_CHOICE else others[rng.integers(len(others))]
    if not isinstance(allowed, FloatDistribution | IntDistribution) or allowed.low == allowed.high:
        return value
    low, high, now = (_scaled(number, allowed) for number in (allowed.low, allowed.high, value))
    step = math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST))) * rng.normal()
    # Reflection: a path that leaves at one end comes back from it.
    place = abs(((now - low) / (high - low) + step + 1) % 2 - 1)
    number = low + place * (high - low)
    number = math.exp(number) if allowed.log else number
    if isinstance(allowed, IntDistribution):
        return min(max(round(number), allowed.low), allowed.high)
    return min(max(number, allowed.low), allowed.high)


def _scaled(number: float, allowed: FloatDistribution | IntDistribution) -> float:
    return math.log(number) if allowed.log else float(number)


def _value(trial: FrozenTrial) -> float:
    return math.inf if trial.value is None else trial.value


def parent_of(candidates: Sequence[FrozenTrial], rng: np.random.Generator) -> FrozenTrial | None:
    """Return one of the good trials, each as likely; None if there is none."""
    return candidates[int(rng.integers(len(candidates)))] if candidates else None
