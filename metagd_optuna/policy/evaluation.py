"""The forms of a rule at given numbers; a form of the user's own that fails is named."""

from __future__ import annotations

from typing import Any

from metagd_optuna.contracts import FloatArray, MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.policy.coefficients import Coefficient
from metagd_optuna.policy.complexities import UNPROBED, complexity_probes
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.rate_form import FormedRule, RateInputs

_SHARE = Coefficient(0, 1)
_STEP, _BUDGET = Coefficient(0, 2**53, integer=True), Coefficient(1, 2**53, integer=True)


def difficulty_at(rule: FormedRule, complexity: float, performance: float) -> float | None:
    """Return d = f(c, p), or None if the rule has no f; see ``MetaPolicy.difficulty_at``."""
    c, p = _SHARE.check("complexity", complexity), _SHARE.check("performance", performance)
    return difficulty_of(rule, c, p)


def difficulty_of(rule: FormedRule, complexity: float, performance: float) -> float | None:
    """Return d = f(c, p) of c and p that have been checked, or None if the rule has no f.

    Raises:
        MetaGDError: if the form's own function fails, naming the form and where it stood.
    """
    form = rule.difficulty_form
    if form is None:
        return None
    try:
        return form(complexity, performance, rule.difficulty_coefficients)
    except Exception as error:  # of whatever kind: it is somebody else's code
        raise MetaGDError(
            f"difficulty form {rule.difficulty!r}, function: it raised {type(error).__name__}: "
            f"{shortened(str(error))}, at c = {complexity:g}, p = {performance:g}, with "
            f"{as_given(dict(rule.difficulty_coefficients))}; mend that function or the ranges of its coefficients"
        ) from error


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
    """Return the rate of the first step on a task of the given complexity; see ``MetaPolicy.first_rate``.

    A complexity that probes measure is not known at the first step.
    """
    complexity = told_complexity(rule, complexity)
    p = rule.rate_form.first_performance
    return _first_of(rule, difficulty_at(rule, complexity, p) or 0.0, p, 0, 1000, fresh=False)


def told_complexity(rule: FormedRule, complexity: float) -> float:
    """Return what a rule takes for c of a task: one that probes measure is not known before them."""
    return UNPROBED if complexity_probes(rule.complexity) else complexity


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
            f"rate form {rule.rate!r}, advance: {raised}{shortened(str(error))}, at d = {now.difficulty:g}, p = "
            f"{now.performance:g}, step {now.step} of {now.budget}, with {as_given(dict(rule.rate_coefficients))}; "
            "mend that function or the ranges of its coefficients"
        ) from error
    return rates, memory
