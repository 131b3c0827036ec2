"""Whether the parts of a form of g fit one another, and whether it gives rates wherever it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, validate_choice
from metagd_optuna.policy.coefficients import (
    Categorical,
    Coefficient,
    Coefficients,
    RateCoefficient,
    check_mapping,
    middle,
    range_of,
)
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS, DifficultyForm
from metagd_optuna.policy.evaluation import difficulty_at, first_rate, rate_at
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.rate_form import InitialPoint, RateForm, RateInputs
from metagd_optuna.policy.row_checks import check_row, check_template, check_trend, check_tuple, check_values, tried

# After as many, at powers of two, a training has a million steps.
MOST_PROBES = 20
_ADAM = OPTIMIZERS["adam"].bounds
# When a form is tried: the first update and the last of a run of 100 steps, with and without anything new to look at.
_MOMENTS = [(fresh, *where, *_ADAM) for fresh in (True, False) for where in ((0, 4, 100, None), (99, 1, 100, _ADAM[0]))]


def check_rate_form(form: RateForm, what: str) -> None:
    """Check that the parts of the row fit one another, and that it gives rates in the middle of its ranges.

    Raises:
        MetaGDError: naming the part that does not fit.
    """
    check_row(form.coefficients, what, (Coefficient, RateCoefficient, Categorical))
    check_values(form.neutral, form.coefficients, f"{what}, neutral")
    for name, needs in check_mapping(form.needed_if, f"{what}, needed_if", "a mapping of names to needs").items():
        validate_choice(name, form.coefficients, f"a key of {what}, needed_if")
        if not (isinstance(needs, tuple) and len(needs) == 2 and isinstance(needs[1], tuple) and needs[1]):
            raise MetaGDError(
                f"{what}: needed_if.{name} is {as_given(needs)}; give the name of a categorical coefficient and a "
                "tuple of the choices that need it, such as ('base', ('cosine',))"
            )
        before = list(form.coefficients)[: list(form.coefficients).index(name)]
        choices = {one: kind.choices for one in before if isinstance(kind := form.coefficients[one], Categorical)}
        choice = validate_choice(needs[0], choices, f"{what}, needed_if.{name}")
        for value in needs[1]:
            validate_choice(value, choices[choice], f"{what}, needed_if.{name}, a choice of {choice}")
    for point in check_tuple(form.initial, f"{what}, initial", "InitialPoint('adam', {'lr0': 1e-3})"):
        if not isinstance(point, InitialPoint):
            raise MetaGDError(f"{what}: initial holds {as_given(point)}; give InitialPoint(optimizer, coefficients)")
        OPTIMIZERS.validate(point.optimizer, f"{what}, initial, optimizer")
        check_values(point.coefficients, form.coefficients, f"{what}, initial", point.optimizer)
    numbers = [name for name, kind in form.coefficients.items() if not isinstance(kind, Categorical)]
    for name in check_tuple(form.ordered, f"{what}, ordered", "'lo', 'hi'"):
        validate_choice(name, numbers, f"{what}, ordered")
    if form.memory is not None and not isinstance(form.memory, type):
        raise MetaGDError(f"{what}: memory is {as_given(form.memory)}; give the class of what advance remembers")
    if form.words is not None and not callable(form.words):
        raise MetaGDError(
            f"{what}: words is {as_given(form.words)}; give a function of a policy and a complexity that returns "
            "text, or leave it out"
        )
    for variant in form.variants():
        _check_variant(form, variant, what)


def _check_variant(form: RateForm, variant: Mapping[str, str], what: str) -> None:
    kinds = form.needed(variant)
    values = {name: middle(range_of(kind, "adam")) for name, kind in kinds.items()} | dict(variant)
    values = form.arranged(values)
    for part, template in (("text", form.text), ("latex", form.latex)):
        filled = tried(f"{what}, {part}", template, values) if callable(template) else template
        check_template(filled, kinds, f"{what}, {part}")
    trend = tried(f"{what}, trend", form.trend, values)
    check_trend(trend, what)
    if trend[0] and not form.uses_difficulty:
        raise MetaGDError(f"{what}: trend says that the rate goes with d, and uses_difficulty is false; mend one")
    tried(f"{what}, timed", form.is_timed, values)
    probes = tried(f"{what}, probes", form.probes, values)
    if type(probes) is not int or not 0 <= probes <= MOST_PROBES:
        raise MetaGDError(
            f"{what}: probes gives {as_given(probes)}; it must give a whole number from 0 to {MOST_PROBES}, how many "
            "probes of the coming step the form looks at"
        )
    for d, p, moment in product((0.0, 0.5, 1.0), (0.0, 0.5, 1.0), _MOMENTS):
        _check_moment(form, RateInputs(d, p, *moment), values, what)
    if form.words is not None:
        said = tried(f"{what}, words", form.words, _Sample(form, values, any(trend)), 0.5)
        if not isinstance(said, str) or not said.strip():
            raise MetaGDError(f"{what}: words gives {as_given(said)}; it must be a sentence or more")


def _check_moment(form: RateForm, now: RateInputs, values: Coefficients, what: str) -> None:
    """Check the rates of two updates, the second of which sees what the first remembered."""
    memory = None
    for _ in range(2):
        at = f"{what}, advance at d = {now.difficulty:g}, p = {now.performance:g}, step {now.step}"
        rates, memory = tried(at, form, now, values, memory)
        if rates.shape != (now.steps,) or not np.all(np.isfinite(rates)):
            raise MetaGDError(
                f"{at}: it gives {as_given(rates)} for {now.steps} steps; it must give a number, or a finite rate "
                "for each step, and what it remembers"
            )
        if not isinstance(memory, form.memory or type(None)) or not _is_plain(memory):
            raise MetaGDError(
                f"{at}: it remembers {as_given(memory)}, and memory is {as_given(form.memory)}; give the class of "
                "what it remembers, and let it hold numbers, text and tuples, so that it can be kept with a model"
            )


def _is_plain(memory: Any) -> bool:
    if isinstance(memory, tuple):
        return all(map(_is_plain, memory))
    return memory is None or isinstance(memory, bool | int | float | str)


@dataclass(frozen=True, slots=True)
class _Sample:
    """A rule of a form, on which its words are tried before any policy is made of it; its d is 1 - p."""

    rate_form: RateForm
    rate_coefficients: Coefficients
    depends_on_performance: bool
    rate: str = "this"
    optimizer: str = "adam"
    complexity: str = "task"
    signal: str = "train-loss"
    half_life: float = 0.0
    improvement_scale: float | None = None
    difficulty_coefficients: Coefficients = field(default_factory=dict)

    @property
    def difficulty(self) -> str | None:
        return "gap" if self.rate_form.uses_difficulty else None

    @property
    def complexity_probes(self) -> int:
        return 0

    @property
    def difficulty_form(self) -> DifficultyForm | None:
        return None if self.difficulty is None else DIFFICULTY_FORMS[self.difficulty]

    def difficulty_at(self, complexity: float, performance: float) -> float | None:
        return difficulty_at(self, complexity, performance)

    def rate_at(
        self, difficulty: float, performance: float, step: int | None = None, budget: int | None = None
    ) -> float:
        return rate_at(self, difficulty, performance, step, budget)

    def first_rate(self, complexity: float) -> float:
        return first_rate(self, complexity)
