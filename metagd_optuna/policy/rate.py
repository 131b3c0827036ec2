"""Forms of g: the learning rate from difficulty and performance, lr = g(d, p, ...)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from metagd_optuna.contracts import FloatArray
from metagd_optuna.policy.coefficients import Categorical, Coefficient, Coefficients, Kind, RateCoefficient
from metagd_optuna.policy.difficulty import sigmoid, sign
from metagd_optuna.policy.schedules import SCHEDULE_LATEX, SCHEDULE_TEXT, SCHEDULES, rates_of
from metagd_optuna.policy.spline import monotone_cubic

# The rate may change by at most this factor from one tick to the next.
MOST_CHANGE = 4.0


class Moment(NamedTuple):
    """What a form of g sees at a tick.

    Args:
        difficulty, performance: d and p, in [0, 1].
        fresh: whether p rests on something that was measured since the last tick.
        step: optimizer steps taken; steps: length of the coming tick; budget: steps of the run.
        last: the rate of the last step, None at the first tick.
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


class Waiting(NamedTuple):
    """Memory of ``multiplicative``: the smallest 1 - p, ticks without a new one, ticks of rest left."""

    best: float = 1.0
    bad: int = 0
    rest: int = 0


def power(d: float, p: float, *, lr0: float, a: float, b: float) -> float:
    """Return lr0 (1 - d)^a (p + 0.01)^b, with 1 - d no smaller than 0.01 so that a < 0 stays finite.

    >>> power(0.5, 0.99, lr0=0.01, a=1.0, b=2.0)
    0.005
    """
    return float(lr0 * max(1 - d, 0.01) ** a * (p + 0.01) ** b)


def exponential(d: float, p: float, *, lr0: float, kd: float, kp: float) -> float:
    """Return lr0 exp(-kd d - kp p).

    >>> exponential(0.5, 0.5, lr0=0.01, kd=1.0, kp=-1.0)
    0.01
    """
    return lr0 * math.exp(-kd * d - kp * p)


def scaled(d: float, p: float, *, lr0: float, k: float) -> float:
    """Return lr0 exp(k (d - 1/2)): a constant rate that difficulty raises or lowers, from the first step on.

    >>> scaled(0.5, 0.0, lr0=0.01, k=2.0)
    0.01
    """
    return lr0 * math.exp(k * (d - 0.5))


def logistic(d: float, p: float, *, lo: float, hi: float, s: float, p0: float) -> float:
    """Return lo (hi / lo)^sigmoid(s (p0 - p)): a step down in performance for s > 0, a step up for s < 0.

    >>> round(logistic(0.0, 0.5, lo=1e-4, hi=1e-2, s=9.0, p0=0.5), 9)
    0.001
    """
    return float(lo * (hi / lo) ** sigmoid(s * (p0 - p)))


def cosine_in_performance(d: float, p: float, *, lo: float, hi: float, p_goal: float, gamma: float) -> float:
    """Return lo (hi / lo)^((1 + cos(pi u)) / 2) with u = min(p / p_goal, 1)^gamma: from hi at p = 0 down to lo.

    >>> round(cosine_in_performance(0.0, 0.4, lo=1e-4, hi=1e-2, p_goal=0.8, gamma=1.0), 9)
    0.001
    """
    u = min(p / p_goal, 1.0) ** gamma
    return float(lo * (hi / lo) ** ((1 + math.cos(math.pi * u)) / 2))


def monotone_spline(
    d: float, p: float, *, d0: float, d25: float, d50: float, d75: float, d100: float, direction: str
) -> float:
    """Return the monotone cubic in d through five rates on a log scale, at d = 0, 1/4, 1/2, 3/4 and 1.

    >>> knots = {"d0": 1e-4, "d25": 1e-4, "d50": 1e-3, "d75": 1e-2, "d100": 1e-2}
    >>> round(monotone_spline(0.5, 0.0, direction="up", **knots), 9)
    0.001
    """
    return math.exp(monotone_cubic([math.log(rate) for rate in (d0, d25, d50, d75, d100)], d))


def article(d: float, p: float) -> float:
    """Return 0.01 (1 - d) p, the article's rule: zero at performance 0.

    >>> round(article(0.4, 0.8), 9)
    0.0048
    """
    return 0.01 * (1 - d) * p


def multiplicative(now: Moment, coefficients: Coefficients, memory: Waiting | None) -> tuple[float, Waiting]:
    """Return the last rate times exp(up), exp(-down) or 1, and what to remember.

    Up when 1 - p falls below (1 - theta) of its smallest value so far; down after more than ``patience``
    ticks without that, followed by ``cooldown`` ticks in which the rate stays. From the training loss,
    1 - p is the loss over the entropy of the labels, so theta is a relative fall of the loss.
    """
    memory = memory or Waiting()
    last = float(coefficients["lr0"]) if now.last is None else now.last
    if not now.fresh:
        return last, memory
    gap = 1 - now.performance
    better = gap < memory.best * (1 - float(coefficients["theta"]))
    best = gap if better else memory.best
    if memory.rest > 0:
        return last, Waiting(best, 0, memory.rest - 1)
    if better:
        return last * math.exp(float(coefficients["up"])), Waiting(best, 0, 0)
    if memory.bad + 1 > int(coefficients["patience"]):
        return last * math.exp(-float(coefficients["down"])), Waiting(best, 0, int(coefficients["cooldown"]))
    return last, Waiting(best, memory.bad + 1, 0)


def hybrid(now: Moment, coefficients: Coefficients, memory: None) -> tuple[FloatArray, None]:
    """Return base(t; lr0, horizon, warm-up) exp(k (d - 1/2)), one rate per step of the coming tick."""
    base = rates_of(
        str(coefficients["base"]),
        now.step,
        now.steps,
        float(coefficients["lr0"]),
        float(coefficients["horizon"]),
        float(coefficients["warmup"]),
        now.budget,
    )
    return base * math.exp(float(coefficients["k"]) * (now.difficulty - 0.5)), None


def modulated(now: Moment, coefficients: Coefficients, memory: None) -> tuple[FloatArray, None]:
    """Return lr0 min(1, (t + 1) / (warmup B)) exp(k (d - 1/2)), one rate per step of the coming tick.

    ``scaled`` after a short warm-up, or ``hybrid`` on its constant base without coefficients that mean nothing there.
    """
    base = rates_of(
        "constant", now.step, now.steps, float(coefficients["lr0"]), 1.0, float(coefficients["warmup"]), now.budget
    )
    return base * math.exp(float(coefficients["k"]) * (now.difficulty - 0.5)), None


Advance = Callable[[Moment, Coefficients, Any], tuple[float | FloatArray, Any]]


def _feedback(function: Callable[..., float]) -> Advance:
    """Return a rule in d and p alone as one that takes a moment and a memory."""

    def advance(now: Moment, coefficients: Coefficients, memory: Any) -> tuple[float, Any]:
        return function(now.difficulty, now.performance, **coefficients), memory

    return advance


@dataclass(frozen=True, slots=True)
class RateForm:
    """A family of rules for the rate.

    Args:
        advance: (moment, coefficients, memory, None at first) -> rate or rates, new memory.
        coefficients: name to range; learning rates take the optimizer's bounds.
        uses_difficulty: whether d is an argument, so that a form of f is needed.
        trend: coefficients -> directions of the rate in d and in p: 1 never falls, -1 never rises, 0 does not depend.
        text, latex: the formula with a field for each coefficient.
        remembers: whether the rate depends on more than the present moment.
        timed: whether it depends on where in the run that is.
        bounded: whether bounds and the limit from tick to tick apply.
        first_performance: what p counts as until something has been seen; 0 takes the network to guess.
        ordered: names of coefficients that must not fall in this order ("" if any order will do);
            a coefficient ``direction`` of ``down`` reverses it.
    """

    advance: Advance
    coefficients: Mapping[str, Kind]
    uses_difficulty: bool
    trend: Callable[[Coefficients], tuple[int, int]]
    text: str
    latex: str
    remembers: bool = False
    timed: bool = False
    bounded: bool = True
    first_performance: float = 0.0
    ordered: tuple[str, ...] = ()

    def __call__(self, now: Moment, coefficients: Coefficients, memory: Any) -> tuple[FloatArray, Any]:
        """Return one rate per step of the coming tick, shape (steps,), and the new memory.

        Rates are clipped to [low, high] and to within a factor 4 of the last one, unless the form is exempt.
        """
        rates, memory = self.advance(now, coefficients, memory)
        low, high = (now.low, now.high) if self.bounded else (0.0, math.inf)
        if self.bounded and now.last is not None:
            low, high = max(low, now.last / MOST_CHANGE), min(high, now.last * MOST_CHANGE)
        if isinstance(rates, float):
            return np.full(now.steps, min(max(rates, low), high)), memory
        return np.clip(rates, low, high), memory

    def arranged(self, coefficients: Coefficients) -> dict[str, float | int | str]:
        """Return the coefficients with those that must be in order sorted, so that every point of the box is valid."""
        result = dict(coefficients)
        values = sorted(float(result[name]) for name in self.ordered)
        if result.get("direction") == "down":
            values.reverse()
        return result | dict(zip(self.ordered, values, strict=True))


_RATE = RateCoefficient()
_KNOTS = ("d0", "d25", "d50", "d75", "d100")


def _spread(coefficients: Coefficients) -> int:
    return sign(float(coefficients["hi"]) - float(coefficients["lo"]))


RATE_FORMS: Mapping[str, RateForm] = {
    "power": RateForm(
        _feedback(power),
        {"lr0": _RATE, "a": Coefficient(-1, 3), "b": Coefficient(-1, 3)},
        True,
        lambda k: (-sign(k["a"]), sign(k["b"])),
        "{lr0} (1 - d)^{a} (p + 0.01)^{b}",
        "{lr0}\\,(1 - d)^{{{a}}}\\,(p + 0.01)^{{{b}}}",
    ),
    "exponential": RateForm(
        _feedback(exponential),
        {"lr0": _RATE, "kd": Coefficient(-4, 6), "kp": Coefficient(-4, 6)},
        True,
        lambda k: (-sign(k["kd"]), -sign(k["kp"])),
        "{lr0} exp(-({kd} d {kp_signed} p))",
        "{lr0}\\,e^{{-({kd}\\,d {kp_signed}\\,p)}}",
    ),
    "logistic": RateForm(
        _feedback(logistic),
        {"lo": _RATE, "hi": _RATE, "s": Coefficient(-30, 30), "p0": Coefficient(0.05, 0.95)},
        False,
        lambda k: (0, -sign(k["s"]) * _spread(k)),
        "{lo} ({hi} / {lo})^sigmoid({s} ({p0} - p))",
        "{lo} \\left(\\frac{{{hi}}}{{{lo}}}\\right)^{{\\sigma({s}\\,({p0} - p))}}",
        ordered=("lo", "hi"),
    ),
    "cosine-in-performance": RateForm(
        _feedback(cosine_in_performance),
        {"lo": _RATE, "hi": _RATE, "p_goal": Coefficient(0.3, 1), "gamma": Coefficient(0.3, 3)},
        False,
        lambda k: (0, -_spread(k)),
        "{lo} ({hi} / {lo})^((1 + cos(pi u)) / 2), u = min(p / {p_goal}, 1)^{gamma}",
        "{lo} \\left(\\frac{{{hi}}}{{{lo}}}\\right)^{{(1 + \\cos \\pi u)/2}},\\;"
        " u = \\min(p / {p_goal}, 1)^{{{gamma}}}",
        ordered=("lo", "hi"),
    ),
    "multiplicative": RateForm(
        multiplicative,
        {
            "lr0": _RATE,
            "up": Coefficient(0, 0.3),
            "down": Coefficient(0, 1.5),
            "theta": Coefficient(1e-4, 1e-1, log=True),
            "patience": Coefficient(0, 8, integer=True),
            "cooldown": Coefficient(0, 8, integer=True),
        },
        False,
        lambda k: (0, max(sign(k["up"]), sign(k["down"]))),
        "lr exp({up}) when 1 - p falls {theta} below its best, lr exp(-{down}) after more than {patience} ticks"
        " without, then {cooldown} ticks of rest; from {lr0}",
        "lr_0 = {lr0},\\; lr \\leftarrow lr\\,e^{{{up}}} \\text{{ if }} 1 - p < (1 - {theta}) \\min(1 - p),\\;"
        " lr\\,e^{{-{down}}} \\text{{ after more than {patience} ticks without, then {cooldown} ticks of rest}}",
        remembers=True,
    ),
    "monotone-spline": RateForm(
        _feedback(monotone_spline),
        dict.fromkeys(_KNOTS, _RATE) | {"direction": Categorical(("up", "down"))},
        True,
        lambda k: (sign(float(k["d100"]) - float(k["d0"])), 0),
        "monotone cubic in d through {d0}, {d25}, {d50}, {d75}, {d100} (log scale)",
        "\\operatorname{{pchip}}(d;\\; {d0}, {d25}, {d50}, {d75}, {d100})",
        ordered=_KNOTS,
    ),
    "hybrid": RateForm(
        hybrid,
        {
            "base": Categorical(tuple(SCHEDULES)),
            "lr0": _RATE,
            "horizon": Coefficient(0.2, 1.5),
            "warmup": Coefficient(0, 0.6),
            "k": Coefficient(-3, 3),
        },
        True,
        lambda k: (sign(k["k"]), 0),
        SCHEDULE_TEXT + " exp({k} (d - 1/2))",
        SCHEDULE_LATEX + "\\,e^{{{k}\\,(d - 1/2)}}",
        timed=True,
    ),
    "scaled": RateForm(
        _feedback(scaled),
        {"lr0": _RATE, "k": Coefficient(-3, 3)},
        True,
        lambda k: (sign(k["k"]), 0),
        "{lr0} exp({k} (d - 1/2))",
        "{lr0}\\,e^{{{k}\\,(d - 1/2)}}",
    ),
    "modulated": RateForm(
        modulated,
        {"lr0": _RATE, "warmup": Coefficient(0, 0.1), "k": Coefficient(-3, 3)},
        True,
        lambda k: (sign(k["k"]), 0),
        "{lr0} min(1, (t + 1) / ({warmup} x budget)) exp({k} (d - 1/2))",
        "{lr0}\\,\\min\\left(1, \\frac{{t + 1}}{{{warmup}\\,B}}\\right) e^{{{k}\\,(d - 1/2)}}",
        timed=True,
    ),
    "article": RateForm(
        _feedback(article),
        {},
        True,
        lambda k: (-1, 1),
        "0.01 (1 - d) p",
        "0.01\\,(1 - d)\\,p",
        bounded=False,
        first_performance=0.8,  # the article's; its rate is 0 at p = 0, so a start there would never end
    ),
}
