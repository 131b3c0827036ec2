"""Open-loop schedules: the rate as a pure function of the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from metagd_optuna.contracts import FloatArray

Schedule = Callable[[FloatArray, float, float, float], FloatArray]


def constant(steps: FloatArray, peak: float, horizon: float, warmup: float) -> FloatArray:
    """Return ``peak`` after a linear warm-up: peak min(1, (t + 1) / (warmup * horizon)).

    The first step is counted as 1, as in keras.optimizers.ScheduleFreeAdamW, so no step has rate 0.

    Args:
        steps: steps taken before each update, shape (n,).
        peak: the rate after the warm-up.
        horizon: length of the schedule in steps; the rate stays at ``peak`` after it.
        warmup: share of the horizon that the warm-up takes, in [0, 1).

    >>> constant(np.arange(4.0), 0.1, 4, 0.5).tolist()
    [0.05, 0.1, 0.1, 0.1]
    """
    return peak * np.minimum(1.0, (steps + 1) / max(warmup * horizon, 1.0))


def cosine(steps: FloatArray, peak: float, horizon: float, warmup: float) -> FloatArray:
    """Return a linear warm-up from 0, then half a cosine down to 0, then 0 (arXiv 1608.03983).

    Equals ``keras.optimizers.schedules.CosineDecay(0.0, decay_steps, warmup_target=peak, warmup_steps=w)`` with
    w = round(warmup * horizon) and decay_steps = horizon - w. Arguments as for ``constant``.

    >>> cosine(np.arange(5.0), 0.1, 4, 0.5).round(3).tolist()
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    rise = round(warmup * horizon)
    up = peak * steps / max(rise, 1)
    done = np.clip((steps - rise) / max(horizon - rise, 1.0), 0.0, 1.0)
    down = peak * 0.5 * (1 + np.cos(np.pi * done))
    return np.where(steps < rise, up, down)


def one_cycle(steps: FloatArray, peak: float, horizon: float, warmup: float) -> FloatArray:
    """Return half a cosine from peak / 25 up to ``peak``, then half a cosine down to peak / 250,000 (arXiv 1708.07120).

    Equals ``torch.optim.lr_scheduler.OneCycleLR(max_lr=peak, total_steps=horizon, pct_start=warmup)`` with its
    defaults, and stays at the last value after the horizon, where the original raises. Arguments as for ``constant``.

    >>> one_cycle(np.arange(3.0), 0.1, 3, 0.5).round(4).tolist()
    [0.004, 0.075, 0.0]
    """
    first, last = peak / 25, peak / 25 / 1e4
    top, end = warmup * horizon - 1, horizon - 1  # the original's phases end at these steps, which need not be whole
    up = _cosine_between(first, peak, np.clip(steps / top, 0.0, 1.0)) if top > 0 else np.full_like(steps, first)
    down = _cosine_between(peak, last, np.clip((steps - top) / max(end - top, 1e-9), 0.0, 1.0))
    return np.where(steps <= top, up, down)


def _cosine_between(start: float, end: float, done: FloatArray) -> FloatArray:
    return end + (start - end) / 2 * (1 + np.cos(np.pi * done))


# A constant rate from the first step on; the other name is what a form of g calls it after a warm-up.
CONSTANT, WARMED = "constant", "constant-with-warmup"
SCHEDULES: Mapping[str, Schedule] = {CONSTANT: constant, "cosine": cosine, "one-cycle": one_cycle}

# Formulas of a schedule; {base} is its name, the budget B the steps of the run.
SCHEDULE_TEXT = "{base}(t; peak {lr0}, horizon {horizon} x budget, warm-up {warmup} of it)"
SCHEDULE_LATEX = "\\text{{{base}}}(t;\\; {lr0},\\; {horizon}\\,B,\\; {warmup})"


def rates_of(
    schedule: str, step: int, count: int, peak: float, horizon: float, warmup: float, budget: int
) -> FloatArray:
    """Return the rates of the next ``count`` steps, shape (count,).

    Args:
        schedule: a name in ``SCHEDULES``.
        step: steps taken so far.
        peak: the highest rate.
        horizon: length of the schedule, as a multiple of ``budget`` (rounded to whole steps).
        warmup: share of the horizon that the warm-up takes.
        budget: steps of the run.
    """
    steps = np.arange(step, step + count, dtype=np.float64)
    return SCHEDULES[schedule](steps, peak, float(max(round(horizon * budget), 1)), warmup)
