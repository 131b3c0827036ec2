"""What a form of g is: everything that the package needs to know of one, in one row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple, Protocol

import numpy as np

from metagd_optuna.contracts import FloatArray, Probe
from metagd_optuna.policy.coefficients import (
    Categorical,
    Coefficients,
    Kind,
    check_coefficients,
    check_mapping,
    range_of,
)
from metagd_optuna.policy.difficulty import DifficultyForm
from metagd_optuna.policy.formula import fill

# The rate may change by at most this factor from one rate update to the next.
MOST_CHANGE = 4.0


class RateInputs(NamedTuple):
    """What a form of g sees at a rate update.

    Args:
        difficulty, performance: d and p, in [0, 1].
        fresh: whether p rests on something that was measured since the last rate update.
        step: optimizer steps taken; steps: steps until the next update; budget: steps of the run.
        last: the rate of the last step, None at the first rate update.
        low, high: bounds of the rate.
        probe: of the coming step, at the rate updates where a form that ``probes`` has one, the first ones.
    """

    difficulty: float
    performance: float
    fresh: bool
    step: int
    steps: int
    budget: int
    last: float | None
    low: float
    high: float
    probe: Probe | None = None


class InitialPoint(NamedTuple):
    """Settings that a search tries first: somebody's recommendation, or what won before.

    Args:
        optimizer: whose rate it sets.
        coefficients: name to value; those that are not given are neutral, or in the middle of their range.
    """

    optimizer: str
    coefficients: Mapping[str, float | int | str]


Advance = Callable[[RateInputs, Coefficients, Any], tuple[float | FloatArray, Any]]


def without_memory(function: Callable[..., float]) -> Advance:
    """Return a function of d, p and coefficients by name as the ``advance`` of a form.

    >>> advance = without_memory(lambda d, p, *, lr0: lr0 * (1 - d))
    >>> advance(RateInputs(0.5, 0.0, True, 0, 1, 100, None, 1e-5, 1.0), {"lr0": 0.01}, None)
    (0.005, None)
    """

    def advance(now: RateInputs, coefficients: Coefficients, memory: Any) -> tuple[float, Any]:
        return function(now.difficulty, now.performance, **coefficients), memory

    return advance


class FormedRule(Protocol):
    """What controllers and words need of a meta-policy; each member is the one of ``MetaPolicy``."""

    # ruff: noqa: D102
    @property
    def optimizer(self) -> str: ...
    @property
    def rate(self) -> str: ...
    @property
    def difficulty(self) -> str | None: ...
    @property
    def complexity(self) -> str: ...
    @property
    def signal(self) -> str: ...
    @property
    def half_life(self) -> float: ...
    @property
    def improvement_scale(self) -> float | None: ...
    @property
    def rate_form(self) -> RateForm: ...
    @property
    def rate_coefficients(self) -> Coefficients: ...
    @property
    def difficulty_form(self) -> DifficultyForm | None: ...
    @property
    def difficulty_coefficients(self) -> Coefficients: ...
    @property
    def complexity_probes(self) -> int: ...
    @property
    def depends_on_performance(self) -> bool: ...
    def difficulty_at(self, complexity: float, performance: float) -> float | None: ...
    def rate_at(self, difficulty: float, performance: float, step: int | None, budget: int | None) -> float: ...
    def first_rate(self, complexity: float) -> float: ...


@dataclass(frozen=True, slots=True)
class RateForm:
    """A family of rules for the rate.

    Args:
        advance: (inputs, coefficients, memory) -> (rate or rates, new memory); the memory is None at first.
        coefficients: name to range; learning rates take the optimizer's bounds.
        uses_difficulty: whether d is an argument, so that a form of f is needed.
        trend: coefficients -> directions of the rate in d and in p: 1 rises, -1 falls, 0 does not depend; 1 or -1 where
            it does both.
        text, latex: the formula with a field for each coefficient, or what returns it for some coefficients.
        memory: class of what ``advance`` remembers, a NamedTuple, ``tuple`` or ``float`` that holds numbers, text and
            tuples; None if the rate depends on the present moment alone.
        timed: whether the rate depends on the step, or a function of the coefficients that says so.
        bounded: whether bounds and the limit from one rate update to the next apply.
        first_performance: p before the first measurement; 0 is chance level.
        ordered: names of coefficients that must not fall in this order ("" if any order will do);
            a coefficient ``direction`` of ``down`` reverses it.
        neutral: values of coefficients at which the rate does not depend on performance.
        initial: settings that a search tries first, the most promising one at the beginning.
        needed_if: coefficients that mean something with some choices only: name to the name of a categorical
            coefficient before it, and the choices that need it; with others it is neither asked for nor allowed.
        probes: coefficients -> how many probes of the coming step it looks at, 20 at most; by default none.
        words: (policy, complexity) -> what it does to the rate in a sentence or more, which begins with "The rate";
            without it, or where it fails, the report describes the rates that it gives. Of the policy it may use the
            members of ``FormedRule``.
    """

    advance: Advance
    coefficients: Mapping[str, Kind]
    uses_difficulty: bool
    trend: Callable[[Coefficients], tuple[int, int]]
    text: str | Callable[[Coefficients], str]
    latex: str | Callable[[Coefficients], str]
    memory: type[Any] | None = None
    timed: bool | Callable[[Coefficients], bool] = False
    bounded: bool = True
    first_performance: float = 0.0
    ordered: tuple[str, ...] = ()
    neutral: Mapping[str, float | int | str] = field(default_factory=dict)
    initial: tuple[InitialPoint, ...] = ()
    needed_if: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    words: Callable[[FormedRule, float], str] | None = None
    probes: Callable[[Coefficients], int] = lambda k: 0

    def __call__(self, now: RateInputs, coefficients: Coefficients, memory: Any) -> tuple[FloatArray, Any]:
        """Return one rate per step until the next update, shape (steps,), and the new memory.

        Rates are clipped to [low, high] and to within a factor 4 of the last one, unless the form is exempt.
        """
        rates, memory = self.advance(now, coefficients, memory)
        low, high = (now.low, now.high) if self.bounded else (0.0, math.inf)
        if self.bounded and now.last is not None:
            low, high = max(low, now.last / MOST_CHANGE), min(high, now.last * MOST_CHANGE)
        if np.ndim(rates) == 0:
            return np.full(now.steps, min(max(float(rates), low), high)), memory
        return np.clip(rates, low, high), memory

    @property
    def remembers(self) -> bool:
        """Whether the rate depends on more than the present moment."""
        return self.memory is not None

    def arranged(self, coefficients: Coefficients) -> dict[str, float | int | str]:
        """Return the coefficients with those that must be in order sorted, so that every point of the box is valid."""
        result = dict(coefficients)
        values = sorted(float(result[name]) for name in self.ordered)
        if result.get("direction") == "down":
            values.reverse()
        return result | dict(zip(self.ordered, values, strict=True))

    def needed(self, choices: Mapping[str, Any]) -> dict[str, Kind]:
        """Return the coefficients that are needed with these choices, name to range."""
        found = {}
        for name, kind in self.coefficients.items():
            choice, values = self.needed_if.get(name, ("", ()))
            if not choice or choices.get(choice) in values:
                found[name] = kind
        return found

    def variants(self) -> list[dict[str, str]]:
        """Return every combination of the choices that other coefficients depend on."""
        names = list(dict.fromkeys(choice for choice, _ in self.needed_if.values()))
        kinds = [self.coefficients[name] for name in names]
        options = [kind.choices for kind in kinds if isinstance(kind, Categorical)]
        return [dict(zip(names, combination, strict=True)) for combination in product(*options)]

    def checked(self, given: Any, optimizer: str, where: str, source: str = "") -> dict[str, float | int | str]:
        """Return the coefficients in their order, each checked; none may be missing, unknown or without a meaning."""
        check_mapping(given, where, "a mapping of names to values", source)
        for choice, _ in self.needed_if.values():
            if choice in given:
                range_of(self.coefficients[choice], optimizer).check(f"{where}.{choice}", given[choice], source)
        return check_coefficients(given, self.needed(given), optimizer, where, source)

    def formula(self, coefficients: Coefficients, *, latex: bool = False) -> str:
        """Return the formula with its coefficients filled in."""
        template = self.latex if latex else self.text
        return fill(template if isinstance(template, str) else template(coefficients), coefficients, latex=latex)

    def is_timed(self, coefficients: Coefficients) -> bool:
        """Whether the rate depends on where in the run it is, at these coefficients."""
        return self.timed if isinstance(self.timed, bool) else self.timed(coefficients)
