"""Forms of g: the learning rate from difficulty and performance, lr = g(d, p, ...)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np

from metagd_optuna.contracts import FloatArray
from metagd_optuna.policy.coefficients import Categorical, Coefficient, Coefficients, RateCoefficient
from metagd_optuna.policy.difficulty import sigmoid, sign
from metagd_optuna.policy.probes import PROBED_RATES, probed_logarithm
from metagd_optuna.policy.rate_form import InitialPoint, RateForm, RateInputs, without_memory
from metagd_optuna.policy.rate_form_check import check_rate_form
from metagd_optuna.policy.schedules import CONSTANT, SCHEDULE_LATEX, SCHEDULE_TEXT, SCHEDULES, WARMED, rates_of
from metagd_optuna.policy.words import probed_in_words, schedule_in_words, steps_in_words
from metagd_optuna.registry import Registry


class Waiting(NamedTuple):
    """Memory of ``multiplicative``: the smallest 1 - p, rate updates without a new one, rate updates of rest left."""

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
    return math.exp(float(_log_rates((d0, d25, d50, d75, d100))(d)))


@lru_cache(maxsize=64)  # building one takes 430 microseconds, asking it 8
def _log_rates(rates: tuple[float, ...]) -> Callable[[float], Any]:
    from scipy.interpolate import PchipInterpolator  # loads in 0.7 seconds, for this form alone

    return cast(Callable[[float], Any], PchipInterpolator(np.linspace(0, 1, len(rates)), np.log(rates)))


def article(d: float, p: float) -> float:
    """Return 0.01 (1 - d) p, the article's rule: zero at performance 0.

    >>> round(article(0.4, 0.8), 9)
    0.0048
    """
    return 0.01 * (1 - d) * p


def multiplicative(now: RateInputs, coefficients: Coefficients, memory: Waiting | None) -> tuple[float, Waiting]:
    """Return the last rate times exp(up), exp(-down) or 1, and what to remember.

    Up when 1 - p falls below (1 - theta) of its smallest value so far; down after more than ``patience``
    rate updates without that, followed by ``cooldown`` rate updates in which the rate stays. From the training loss,
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


def schedule(now: RateInputs, k: Coefficients, memory: None) -> tuple[FloatArray, None]:
    """Return base(t; lr0, horizon, warm-up) exp(k (d - 1/2)), one rate per step until the next update.

    On the base ``constant`` that is lr0 exp(k (d - 1/2)) from the first step on; on ``constant-with-warmup`` the
    horizon is the budget.
    """
    name = str(k["base"])
    base = rates_of(
        CONSTANT if name in _CONSTANT else name,
        now.step,
        now.steps,
        float(k["lr0"]),
        float(k.get("horizon", 1.0)),
        float(k.get("warmup", 0.0)),
        now.budget,
    )
    return base * math.exp(float(k["k"]) * (now.difficulty - 0.5)), None


# Of a factor that is a number: what is on no scale of a rate may be of any size.
LARGEST_LOGARITHM = 700.0


class Probed(NamedTuple):
    """Memory of ``probed``: sum of the logarithms of X / X0 over the probes so far, and how many there were."""

    total: float = 0.0
    probes: int = 0


def probed(now: RateInputs, k: Coefficients, memory: Probed | None) -> tuple[float, Probed]:
    """Return lr0 (X / X0)^b, X the geometric mean of what the first probes tell; lr0 before the first of them.

    X0 is what probes told on average of the networks of the suite's exploring half, so that lr0 is a usual rate. The
    factor stays between ``least`` and ``most``. Between probes, and after the last one, the rate is held, so it does
    not depend on how long the training is to be; at a probe it changes by a factor of 4 at most.
    """
    memory, lr0 = memory or Probed(), float(k["lr0"])
    found = None if now.probe is None else probed_logarithm(str(k["probed"]), now.probe)
    if found is None:
        return lr0 if now.last is None else now.last, memory
    memory = Probed(memory.total + found, memory.probes + 1)
    factor = math.exp(min(float(k["b"]) * memory.total / memory.probes, LARGEST_LOGARITHM))
    return lr0 * min(max(factor, float(k["least"])), float(k["most"])), memory


_CONSTANT = (CONSTANT, WARMED)
_BASES = (*_CONSTANT, *(name for name in SCHEDULES if name != CONSTANT))
# With a base that is not here, it is that of the schedule and its horizon.
_BASE_TEXT = {CONSTANT: "{lr0}", WARMED: "{lr0} min(1, (t + 1) / ({warmup} x budget))"}
_BASE_LATEX = {CONSTANT: "{lr0}", WARMED: "{lr0}\\,\\min\\left(1, \\frac{{t + 1}}{{{warmup}\\,B}}\\right)"}


_RATE = RateCoefficient()
# Adam at its authors' rate (Kingma and Ba 2015, section 2), as a rule without feedback.
_ADAM = (InitialPoint("adam", {"lr0": 1e-3}),)
_SCHEDULE_FREE = ("schedule-free-adamw", "schedule-free-adamw-r1")
_KNOTS = ("d0", "d25", "d50", "d75", "d100")


def _spread(coefficients: Coefficients) -> int:
    return sign(float(coefficients["hi"]) - float(coefficients["lo"]))


_OWN = {
    "power": RateForm(
        without_memory(power),
        {"lr0": _RATE, "a": Coefficient(-1, 3), "b": Coefficient(-1, 3)},
        True,
        lambda k: (-sign(k["a"]), sign(k["b"])),
        "{lr0} (1 - d)^{a} (p + 0.01)^{b}",
        "{lr0}\\,(1 - d)^{{{a}}}\\,(p + 0.01)^{{{b}}}",
        neutral={"a": 0.0, "b": 0.0},
        initial=_ADAM,
    ),
    "exponential": RateForm(
        without_memory(exponential),
        {"lr0": _RATE, "kd": Coefficient(-4, 6), "kp": Coefficient(-4, 6)},
        True,
        lambda k: (-sign(k["kd"]), -sign(k["kp"])),
        "{lr0} exp(-({kd} d {kp_signed} p))",
        "{lr0}\\,e^{{-({kd}\\,d {kp_signed}\\,p)}}",
        neutral={"kd": 0.0, "kp": 0.0},
        initial=_ADAM,
    ),
    "logistic": RateForm(
        without_memory(logistic),
        {"lo": _RATE, "hi": _RATE, "s": Coefficient(-30, 30), "p0": Coefficient(0.05, 0.95)},
        False,
        lambda k: (0, -sign(k["s"]) * _spread(k)),
        "{lo} ({hi} / {lo})^sigmoid({s} ({p0} - p))",
        "{lo} \\left(\\frac{{{hi}}}{{{lo}}}\\right)^{{\\sigma({s}\\,({p0} - p))}}",
        ordered=("lo", "hi"),
    ),
    "cosine-in-performance": RateForm(
        without_memory(cosine_in_performance),
        {"lo": _RATE, "hi": _RATE, "p_goal": Coefficient(0.3, 1), "gamma": Coefficient(0.3, 3)},
        False,
        lambda k: (0, -_spread(k)),
        "{lo} ({hi} / {lo})^((1 + cos(pi u)) / 2), u = min(p / {p_goal}, 1)^{gamma}",
        "{lo} \\left(\\frac{{{hi}}}{{{lo}}}\\right)^{{(1 + \\cos \\pi u)/2}},\\; u = \\min(p / {p_goal}, "
        "1)^{{{gamma}}}",
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
        "lr exp({up}) when 1 - p falls {theta} below its best, lr exp(-{down}) after more than {patience} rate updates"
        " without, then {cooldown} rate updates of rest; from {lr0}",
        "lr_0 = {lr0},\\; lr \\leftarrow lr\\,e^{{{up}}} \\text{{ if }} 1 - p < (1 - {theta}) \\min(1 - p),\\; "
        "lr\\,e^{{-{down}}} \\text{{ after more than {patience} rate updates without, then {cooldown} rate updates of "
        "rest}}",
        memory=Waiting,
        # Bold driver: 5% up, half down (Battiti 1989 gives 1.1 and 0.5, Vogl et al. 1988 1.05 and 0.7).
        initial=(
            InitialPoint(
                "adam",
                {"lr0": 1e-3, "up": math.log(1.05), "down": math.log(2), "theta": 1e-4, "patience": 0, "cooldown": 0},
            ),
        ),
        words=steps_in_words,
    ),
    "monotone-spline": RateForm(
        without_memory(monotone_spline),
        dict.fromkeys(_KNOTS, _RATE) | {"direction": Categorical(("up", "down"))},
        True,
        lambda k: (sign(float(k["d100"]) - float(k["d0"])), 0),
        "monotone cubic in d through {d0}, {d25}, {d50}, {d75}, {d100} (log scale)",
        "\\operatorname{{pchip}}(d;\\; {d0}, {d25}, {d50}, {d75}, {d100})",
        ordered=_KNOTS,
    ),
    "schedule": RateForm(
        schedule,
        {
            "base": Categorical(_BASES),
            "lr0": _RATE,
            "horizon": Coefficient(0.2, 1.5),
            "warmup": Coefficient(0, 0.6),
            "k": Coefficient(-3, 3),
        },
        True,
        lambda k: (sign(k["k"]), 0),
        lambda k: _BASE_TEXT.get(str(k["base"]), SCHEDULE_TEXT) + " exp({k} (d - 1/2))",
        lambda k: _BASE_LATEX.get(str(k["base"]), SCHEDULE_LATEX) + "\\,e^{{{k}\\,(d - 1/2)}}",
        timed=lambda k: k["base"] != CONSTANT,
        neutral={"k": 0.0},
        initial=(
            # One-cycle with a long warm-up: the strongest open-loop rule in our own runs on small medical images.
            InitialPoint("adam", {"base": "one-cycle", "lr0": 6e-3, "horizon": 1.0, "warmup": 0.5}),
            # ScheduleFreeAdamW at its authors' rate (Defazio et al. 2024), at once and after their warm-up.
            *(InitialPoint(name, {"base": CONSTANT, "lr0": 2.5e-3}) for name in _SCHEDULE_FREE),
            *(InitialPoint(name, {"base": WARMED, "lr0": 2.5e-3, "warmup": 0.05}) for name in _SCHEDULE_FREE),
            # One-cycle for SGD with the share of warm-up that torch.optim.lr_scheduler.OneCycleLR defaults to.
            InitialPoint("sgd-nesterov", {"base": "one-cycle", "lr0": 0.1, "horizon": 1.0, "warmup": 0.3}),
            # Cosine over the whole run (Loshchilov and Hutter 2017), after a short warm-up (Goyal et al. 2017).
            InitialPoint("adam", {"base": "cosine", "lr0": 1e-3, "horizon": 1.0, "warmup": 0.1}),
        ),
        needed_if={
            "horizon": ("base", ("cosine", "one-cycle")),
            "warmup": ("base", (WARMED, "cosine", "one-cycle")),
        },
        words=schedule_in_words,
    ),
    "probed": RateForm(
        probed,
        {
            "lr0": _RATE,
            "probed": Categorical(tuple(PROBED_RATES)),
            "b": Coefficient(0, 1.5),
            "probes": Coefficient(1, 8, integer=True),
            "least": Coefficient(0.01, 1, log=True),
            "most": Coefficient(1, 100, log=True),
        },
        False,
        lambda k: (0, 0),
        "{lr0} min(max((X / X0)^{b}, {least}), {most}), X the {probed} rate, mean of the first {probes} probes",
        "{lr0}\\,\\min(\\max((X / X_0)^{{{b}}}, {least}), {most}),\\; X \\text{{ the {probed} rate, mean of the first "
        "{probes} probes}}",
        memory=Probed,
        neutral={"b": 0.0},
        initial=tuple(
            InitialPoint(name, {"lr0": 2.5e-3, "probed": "critical", "b": 1.0, "probes": 3, "least": 1.0, "most": 10.0})
            for name in _SCHEDULE_FREE
        ),
        words=probed_in_words,
        probes=lambda k: int(k["probes"]),
    ),
    "article": RateForm(
        without_memory(article),
        {},
        True,
        lambda k: (-1, 1),
        "0.01 (1 - d) p",
        "0.01\\,(1 - d)\\,p",
        bounded=False,
        first_performance=0.8,  # the article's; its rate is 0 at p = 0, so a start there would never end
    ),
}
RATE_FORMS = Registry(RateForm, "rate form", "register_rate_form", _OWN, check=check_rate_form)


def register_rate_form(name: str, form: RateForm) -> None:
    """Add a form of g of your own, so that studies can search it and policies can name it.

    Args:
        name: what study files and policies call it: small letters and digits, words joined by hyphens.
        form: all there is to say of it.

    Raises:
        MetaGDError: if the name is taken or malformed, or the parts of the form do not fit one another.
    """
    RATE_FORMS.add(name, form)
