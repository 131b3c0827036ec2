"""What a meta-policy does, in plain words and numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from metagd_optuna.contracts import MetaGDError, MetaGDWarning
from metagd_optuna.given import as_given, shortened
from metagd_optuna.policy.candidate import StoredRule
from metagd_optuna.policy.document import Rule
from metagd_optuna.policy.evaluation import told_complexity
from metagd_optuna.policy.formula import number_text
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.probes import PROBED_RATES, probe_steps
from metagd_optuna.policy.rate_form import FormedRule
from metagd_optuna.policy.schedules import CONSTANT, WARMED

# A rate that changes by less over all performances is called constant.
LEAST_CHANGE = 1.01
# How far from a straight line on a log scale, as a share of the whole change, still counts as straight.
STRAIGHT = 0.05
# Steps of a run, for rules that look at the step.
_RUN = 1000
_FALLING: Mapping[str, str] = {
    "train-loss": "the training loss",
    "train-accuracy": "the training error",
    "improvement": "1 - p",
}


def in_words(policy: StoredRule, complexity: float) -> str:
    """Return what a policy does to the learning rate on a task, in one to three sentences.

    Of one that is no meta-policy that is its formula.

    Args:
        policy: the rule.
        complexity: c of the task, in [0, 1].

    >>> from metagd_optuna.policy.meta_policy import MetaPolicy
    >>> halving = MetaPolicy("adam", "exponential", {"lr0": 0.01, "kd": 0.0, "kp": 2.7726}, "mix", {"w": 0.5})
    >>> in_words(halving, 0.5)
    'The rate is 0.01 at chance level and 0.000625 when it is perfect: cut by half with every 0.25 that \
performance gains.'
    """
    if isinstance(policy, Rule):
        return f"The rule is {policy.formula}."
    batches = f" Every step is taken on a batch of {policy.batch_size}." if policy.batch_size else ""
    formed = cast(FormedRule, policy)
    complexity = told_complexity(formed, complexity)
    form = formed.rate_form
    generic = _memory_in_words if form.remembers else _times_in_words if form.timed else _curve_in_words
    try:
        said = _own_words(formed, complexity) or generic(formed, complexity)
    except MetaGDError as error:  # from a form of the user's own, at a p that no training met
        warnings.warn(f"{error}; the formula is given instead of words", MetaGDWarning, stacklevel=2)
        said = f"The rule is {policy.formula}."
    return said + batches


def _own_words(policy: FormedRule, complexity: float) -> str:
    """Return what the form itself says; with a warning nothing, so that no report is lost, if it fails.

    It said something when it was registered, at other coefficients.
    """
    words = policy.rate_form.words
    if words is None:
        return ""
    try:
        said = words(policy, complexity)
    except Exception as error:  # of whatever kind: it is somebody else's code
        problem = f"it raised {type(error).__name__}: {shortened(str(error))}"
    else:
        if isinstance(said, str) and said.strip():
            return said
        problem = f"it gives {as_given(said)}, which is no text"
    warnings.warn(
        f"rate form {policy.rate!r}, words: {problem}; its rates are described instead, so mend that function",
        MetaGDWarning,
        stacklevel=3,
    )
    return ""


def _curve_in_words(policy: FormedRule, complexity: float) -> str:
    """Return how the rate goes with performance, for a rule that looks at nothing else."""
    performances = np.linspace(0, 1, 101)
    return _curve(performances, [_rate(policy, complexity, float(p)) for p in performances])


def _times_in_words(policy: FormedRule, complexity: float) -> str:
    """Return what the rate is at three times of a run, for any rule that looks at the step."""
    times = {"at the start": 0, "halfway": _RUN // 2, "at the end": _RUN - 1}
    chance, perfect = (
        ", ".join(f"{number_text(_rate(policy, complexity, p, step))} {when}" for when, step in times.items())
        for p in (0.0, 1.0)
    )
    if chance == perfect:
        return f"The rate is {chance}. Performance does not change it."
    return f"The rate is {chance} at chance level, and {perfect} when it is perfect."


def _memory_in_words(policy: FormedRule, complexity: float) -> str:
    """Return where the rate begins, for any rule that remembers: where it goes depends on the training."""
    begins = number_text(policy.first_rate(complexity))
    follows = "how well the network does at every update" if policy.depends_on_performance else "the rates before"
    return f"The rate begins at {begins}. Where it goes from there depends on {follows}."


def _rate(policy: FormedRule, complexity: float, performance: float, step: int = 0) -> float:
    difficulty = policy.difficulty_at(complexity, performance)
    return policy.rate_at(0.0 if difficulty is None else difficulty, performance, step, _RUN)


def _curve(performances: np.ndarray, rates: Sequence[float]) -> str:
    """Return how a rate goes with performance."""
    first, last = rates[0], rates[-1]
    low, high = min(rates), max(rates)
    if high <= LEAST_CHANGE * low:
        return f"The rate stays at {number_text(first)}, whatever the network does."
    ends = f"{number_text(first)} at chance level"
    top, bottom = int(np.argmax(rates)), int(np.argmin(rates))
    for turn, what in ((top, "rises"), (bottom, "falls")):
        inner = rates[turn]
        apart = max(inner, first, last) / max(min(inner, first, last), 1e-300)
        outside = inner > LEAST_CHANGE * max(first, last) or LEAST_CHANGE * inner < min(first, last)
        if outside and apart > LEAST_CHANGE:
            back = "falls" if what == "rises" else "rises"
            return (
                f"The rate is {ends}, {what} to {number_text(inner)} at performance {performances[turn]:.2f}, and "
                f"{back} to {number_text(last)} when it is perfect."
            )
    sentence = f"The rate is {ends} and {number_text(last)} when it is perfect"
    if low <= 0:
        return f"{sentence}."
    logs = np.log2(rates)
    line = np.interp(performances, [0, 1], [logs[0], logs[-1]])
    change = abs(float(logs[-1] - logs[0]))
    if np.abs(logs - line).max() <= STRAIGHT * change and change >= 1:
        how = "cut by half" if last < first else "doubled"
        return f"{sentence}: {how} with every {1 / change:.2f} that performance gains."
    middle = performances[int(np.argmin(np.abs(logs - (logs[0] + logs[-1]) / 2)))]
    return f"{sentence}; half of the way, on a log scale, lies at performance {middle:.2f}."


def probed_in_words(policy: FormedRule, complexity: float) -> str:
    """Return what a rule does that looks at probes of the coming step."""
    k = policy.rate_coefficients
    lr0, b, least, most = (float(k[name]) for name in ("lr0", "b", "least", "most"))
    found = PROBED_RATES[str(k["probed"])]
    if b == 0 or least == most == 1:
        return f"The rate stays at {number_text(lr0)}, whatever probes of the coming step tell."
    lowest, highest = OPTIMIZERS[policy.optimizer].bounds
    begins, low, high = map(number_text, (lr0, max(lr0 * least, lowest), min(lr0 * most, highest)))
    *before, last = map(str, probe_steps(int(k["probes"])))
    steps = f"{', '.join(before)} and {last}" if before else last
    return (
        f"The rate begins at {begins}. After {steps} steps the coming step is probed on 32 training images, and the "
        f"rate goes with the power {number_text(b)} of {found.text}, by all probes so far: it is {begins} where that "
        f"is {number_text(found.usual)}, and stays within {low} and {high}. At a probe it changes by a factor of 4 at "
        "most, and after the last one it is held."
    )


def steps_in_words(policy: FormedRule, complexity: float) -> str:
    """Return what a rule does that raises and cuts the last rate."""
    k = {name: float(value) for name, value in policy.rate_coefficients.items()}
    begins = f"The rate begins at {number_text(k['lr0'])}."
    falling = _FALLING.get(policy.signal, "the distance of the validation score from perfect")
    raised = (
        f" Each time {falling} falls {k['theta']:.2%} below its best so far, the rate is raised by "
        f"{math.exp(k['up']) - 1:.1%}"
        if k["up"] > 0
        else f" It is never raised. A fall of {falling} by {k['theta']:.2%} below its best so far counts as progress"
    )
    share = 1 - math.exp(-k["down"])
    cut = "by half" if abs(share - 0.5) < 0.005 else f"by {share:.0%}"
    rest = f", and then left alone for {_updates(k['cooldown'])}" if k["cooldown"] else ""
    patience = (
        f"after more than {_updates(k['patience'])} without progress"
        if k["patience"]
        else "at every rate update without"
    )
    down = f"; {patience} it is cut {cut}{rest}." if k["down"] > 0 else "; it is never cut."
    return begins + raised + down


def _updates(count: float) -> str:
    return f"{count:.0f} rate update" if count == 1 else f"{count:.0f} rate updates"


def schedule_in_words(policy: FormedRule, complexity: float) -> str:
    """Return what a schedule does that difficulty modulates."""
    k = policy.rate_coefficients
    if k["base"] == CONSTANT:
        return _curve_in_words(policy, complexity)
    base, strength = str(k["base"]), float(k["k"])
    factors = []
    for performance in (0.0, 1.0):
        difficulty = policy.difficulty_at(complexity, performance)
        factors.append(math.exp(strength * ((0.5 if difficulty is None else difficulty) - 0.5)))
    chance, perfect = factors
    peak, horizon, warmup = float(k["lr0"]), float(k.get("horizon", 1.0)), float(k["warmup"])
    bounded = _bounded(policy.optimizer, peak * min(factors), peak * max(factors))
    if max(factors) <= LEAST_CHANGE * min(factors):
        return f"{_schedule(base, peak * chance, horizon, warmup)} Performance does not change it.{bounded}"
    return (
        f"{_schedule(base, peak, horizon, warmup)} That is multiplied by {number_text(chance)} at chance "
        f"level and by {number_text(perfect)} when it is perfect.{bounded}"
    )


def _bounded(optimizer: str, lowest: float, highest: float) -> str:
    """Return which of the optimizer's bounds a rate would leave, and does not."""
    low, high = OPTIMIZERS[optimizer].bounds
    below = f" It is never below {number_text(low)}, whatever this gives." if lowest < low else ""
    return below + (f" It is never above {number_text(high)}, whatever this gives." if highest > high else "")


def _schedule(base: str, peak: float, horizon: float, warmup: float) -> str:
    top = number_text(peak)
    rise = f"over the first {warmup * horizon:.0%} of the run"
    until = f"at {horizon:.0%} of the run" if horizon <= 1 else f"only at {horizon:.0%} of the run, which ends before"
    if base == WARMED:
        return f"The rate rises to {top} {rise} and stays there." if warmup > 0 else f"The rate is {top}."
    if base == "cosine":
        begins = f"rises to {top} {rise}" if warmup > 0 else f"begins at {top}"
        return f"The rate {begins} and falls along a cosine; it would be 0 {until}."
    begins = f"rises from {number_text(peak / 25)} to {top} {rise}" if warmup > 0 else f"begins at {top}"
    return f"The rate {begins} and falls along a cosine, almost to 0 {until}."
