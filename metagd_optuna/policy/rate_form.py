"""What a form of g is: everything that the package needs to know of one, in one row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple, Protocol

import numpy as np

from metagd_optuna.contracts import FloatArray, MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.policy.coefficients import (
    Categorical,
    Coefficient,
    Coefficients,
    Kind,
    RateCoefficient,
    check_coefficients,
    check_mapping,
    middle,
    range_of,
    validate_choice,
)
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS, DifficultyForm
from metagd_optuna.policy.formula import fill
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.registry import check_row, check_template, check_trend, check_values, tried

_SHARE = Coefficient(0, 1)
_STEP, _BUDGET = Coefficient(0, 2**53, integer=True), Coefficient(1, 2**53, integer=True)
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
    def depends_on_performance(self) -> bool: ...
    def difficulty_at(self, complexity: float, performance: float) -> float | None: ...
    def rate_at(self, difficulty: float, performance: float, step: int | None, budget: int | None) -> float: ...
    def first_rate(self, complexity: float) -> float: ...


_ADAM = OPTIMIZERS["adam"].bounds
# When a form is tried: the first update and the last of a run of 100 steps, with and without anything new to look at.
_MOMENTS = [(fresh, *where, *_ADAM) for fresh in (True, False) for where in ((0, 4, 100, None), (99, 1, 100, _ADAM[0]))]


@dataclass(frozen=True, slots=True)
class RateForm:
    """A family of rules for the rate.

    Args:
        advance: (inputs, coefficients, memory) -> (rate or rates, new memory); the memory is None at first.
        coefficients: name to range; learning rates take the optimizer's bounds.
        uses_difficulty: whether d is an argument, so that a form of f is needed.
        trend: coefficients -> directions of the rate in d and in p: 1 never falls, -1 never rises, 0 does not depend.
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

    def check(self, what: str) -> None:
        """Check that the parts of the row fit one another, and that it gives rates in the middle of its ranges.

        Raises:
            MetaGDError: naming the part that does not fit.
        """
        check_row(self.coefficients, what, (Coefficient, RateCoefficient, Categorical))
        check_values(self.neutral, self.coefficients, f"{what}, neutral")
        for name, (choice, _) in self.needed_if.items():
            validate_choice(name, self.coefficients, f"a key of {what}, needed_if")
            before = list(self.coefficients)[: list(self.coefficients).index(name)]
            choices = [one for one in before if isinstance(self.coefficients[one], Categorical)]
            validate_choice(choice, choices, f"{what}, needed_if.{name}")
        for optimizer, coefficients in self.initial:
            validate_choice(optimizer, OPTIMIZERS, f"{what}, initial, optimizer")
            check_values(coefficients, self.coefficients, f"{what}, initial", optimizer)
        for name in self.ordered:
            validate_choice(name, self.coefficients, f"{what}, ordered")
        if self.words is not None and not callable(self.words):
            raise MetaGDError(
                f"{what}: words is {as_given(self.words)}; give a function of a policy and a complexity that returns "
                "text, or leave it out"
            )
        for variant in self.variants():
            self._check_variant(variant, what)

    def _check_variant(self, variant: Mapping[str, str], what: str) -> None:
        kinds = self.needed(variant)
        values = {name: middle(range_of(kind, "adam")) for name, kind in kinds.items()} | dict(variant)
        values = self.arranged(values)
        for part, template in (("text", self.text), ("latex", self.latex)):
            filled = tried(f"{what}, {part}", template, values) if callable(template) else template
            check_template(filled, kinds, f"{what}, {part}")
        trend = tried(f"{what}, trend", self.trend, values)
        check_trend(trend, what)
        if trend[0] and not self.uses_difficulty:
            raise MetaGDError(f"{what}: trend says that the rate goes with d, and uses_difficulty is false; mend one")
        tried(f"{what}, timed", self.is_timed, values)
        for d, p, moment in product((0.0, 0.5, 1.0), (0.0, 0.5, 1.0), _MOMENTS):
            self._check_moment(RateInputs(d, p, *moment), values, what)
        if self.words is not None:
            said = tried(f"{what}, words", self.words, _Sample(self, values, bool(trend[1])), 0.5)
            if not isinstance(said, str) or not said.strip():
                raise MetaGDError(f"{what}: words gives {as_given(said)}; it must be a sentence or more")

    def _check_moment(self, now: RateInputs, values: Coefficients, what: str) -> None:
        """Check the rates of two updates, the second of which sees what the first remembered."""
        memory = None
        for _ in range(2):
            at = f"{what}, advance at d = {now.difficulty:g}, p = {now.performance:g}, step {now.step}"
            rates, memory = tried(at, self, now, values, memory)
            if rates.shape != (now.steps,) or not np.all(np.isfinite(rates)):
                raise MetaGDError(
                    f"{at}: it gives {as_given(rates)} for {now.steps} steps; it must give a number, or a finite rate "
                    "for each step, and what it remembers"
                )
            if not isinstance(memory, self.memory or type(None)) or not _is_plain(memory):
                raise MetaGDError(
                    f"{at}: it remembers {as_given(memory)}, and memory is {as_given(self.memory)}; give the class of "
                    "what it remembers, and let it hold numbers, text and tuples, so that it can be kept with a model"
                )


@dataclass(frozen=True, slots=True)
class _Sample:
    """A rule of a form, on which its words are tried before any policy is made of it."""

    rate_form: RateForm
    rate_coefficients: Coefficients
    depends_on_performance: bool
    rate: str = "this"
    optimizer: str = "adam"
    signal: str = "train-loss"
    half_life: float = 0.0
    improvement_scale: float | None = None
    difficulty_coefficients: Coefficients = field(default_factory=dict)

    @property
    def difficulty_form(self) -> DifficultyForm | None:
        return DIFFICULTY_FORMS["gap"] if self.rate_form.uses_difficulty else None

    def difficulty_at(self, complexity: float, performance: float) -> float | None:
        return difficulty_at(self, complexity, performance)

    def rate_at(
        self, difficulty: float, performance: float, step: int | None = None, budget: int | None = None
    ) -> float:
        return rate_at(self, difficulty, performance, step, budget)

    def first_rate(self, complexity: float) -> float:
        return first_rate(self, complexity)


def difficulty_at(rule: FormedRule, complexity: float, performance: float) -> float | None:
    """Return d = f(c, p), or None if the rule has no f; see ``MetaPolicy.difficulty_at``."""
    c, p = _SHARE.check("complexity", complexity), _SHARE.check("performance", performance)
    form = rule.difficulty_form
    return None if form is None else form(c, p, rule.difficulty_coefficients)


def rate_at(rule: FormedRule, difficulty: float, performance: float, step: int | None, budget: int | None) -> float:
    """Return g(d, p) within the bounds; see ``MetaPolicy.rate_at``."""
    d, p = _SHARE.check("difficulty", difficulty), _SHARE.check("performance", performance)
    at = 0 if step is None else int(_STEP.check("step", step))
    of = 1 if budget is None else int(_BUDGET.check("budget", budget))
    form = rule.rate_form
    if form.remembers:
        raise MetaGDError(f"the rate of {rule.rate} depends on the past, so it has no value at one d and p")
    if form.is_timed(rule.rate_coefficients) and (step is None or budget is None):
        raise MetaGDError(
            f"the rate of {rule.rate} depends on where in the run it is; pass step and budget, such as step=500, "
            "budget=1000"
        )
    return _first_of(rule, d, p, at, of)


def first_rate(rule: FormedRule, complexity: float) -> float:
    """Return the rate of the first step on a task of the given complexity; see ``MetaPolicy.first_rate``."""
    p = rule.rate_form.first_performance
    return _first_of(rule, difficulty_at(rule, complexity, p) or 0.0, p, 0, 1000, fresh=False)


def _first_of(
    rule: FormedRule, difficulty: float, performance: float, step: int, of: int, *, fresh: bool = True
) -> float:
    low, high = OPTIMIZERS[rule.optimizer].bounds
    now = RateInputs(difficulty, performance, fresh, step, 1, of, None, low, high)
    return float(advanced(rule, now, None)[0][0])


def advanced(rule: FormedRule, now: RateInputs, memory: Any) -> tuple[FloatArray, Any]:
    """Return one rate per step until the next update, and the new memory, by the rule's form.

    Raises:
        MetaGDError: if the form's own function fails, naming the form and where it stood.
    """
    try:
        rates, memory = rule.rate_form(now, rule.rate_coefficients, memory)
        if rates.shape != (now.steps,):
            raise MetaGDError(f"it gave rates of the shape {rates.shape} for {now.steps} steps")
    except Exception as error:  # of whatever kind: it is somebody else's code
        raised = "" if isinstance(error, MetaGDError) else f"it raised {type(error).__name__}: "
        raise MetaGDError(
            f"rate form {rule.rate!r}, advance: {raised}{shortened(str(error))}, at "
            f"d = {now.difficulty:g}, p = {now.performance:g}, step {now.step} of {now.budget}, with "
            f"{as_given(dict(rule.rate_coefficients))}; mend that function or the ranges of its coefficients"
        ) from error
    return rates, memory


def _is_plain(memory: Any) -> bool:
    if isinstance(memory, tuple):
        return all(map(_is_plain, memory))
    return memory is None or isinstance(memory, bool | int | float | str)
