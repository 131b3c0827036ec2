"""The numbers of every figure, computed from the results before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from metagd_optuna.report.document import Profile
from metagd_optuna.report.sentences import reached_by_any
from metagd_optuna.report.task_document import CandidateResults, TaskResults

# Of the learning curves at first: how far they go on after the last hit, and how much of the climb they show.
AFTER_THE_LAST = 1.25
TIMES_WHAT_IS_MISSING, LEAST_MISSING = 10, 0.5


@dataclass(frozen=True, slots=True)
class SpeedupRow:
    """One row of the figure of speed-ups.

    Args:
        name: of the candidate.
        speedup: against the best baseline; above 1 is faster.
        low, high: ends of its 95% interval, cut to the figure's range.
        open_low, open_high: whether that end was cut.
        reached: share of the seeds that reached the target.
        comparable: whether it or the best baseline reached the target on any seed.
    """

    name: str
    speedup: float
    low: float
    high: float
    open_low: bool
    open_high: bool
    reached: float
    comparable: bool


def speedup_range(task: TaskResults) -> tuple[float, float]:
    """Return the range of the figure of speed-ups: all points, and the bounded intervals up to a factor 4 beyond.

    It is never narrower than 1/2 to 2, so that a small difference looks small.
    """
    rows = [row.versus_best_baseline for row in task.candidates]
    points = [row.speedup for row in rows]
    lowest, highest = min(0.5, *points) / 1.1, max(2.0, *points) * 1.1
    ends = [end for row in rows for end in row.ci95 if end]
    return (
        max(lowest / 4, min([lowest, *(end / 1.1 for end in ends)])),
        min(highest * 4, max([highest, *(end * 1.1 for end in ends)])),
    )


def speedup_rows(task: TaskResults) -> list[SpeedupRow]:
    """Return the speed-ups of all candidates against the best baseline, fastest first."""
    lowest, highest = speedup_range(task)
    rows = []
    for row in fastest_first(task):
        versus = row.versus_best_baseline
        low, high = versus.ci95
        open_low, open_high = not low or low < lowest, high is None or high > highest
        rows.append(
            SpeedupRow(
                name=row.name,
                speedup=versus.speedup,
                low=max(low or lowest, lowest),
                high=min(highest if high is None else high, highest),
                open_low=open_low,
                open_high=open_high,
                reached=row.reached,
                comparable=reached_by_any(row, task.reference),
            )
        )
    return rows


def fastest_first(task: TaskResults) -> list[CandidateResults]:
    """Return all candidates by their speed-up over the best baseline, in which a miss counts as twice the budget."""
    return sorted(task.candidates, key=lambda row: (-row.versus_best_baseline.speedup, row.name))


def ratio_ticks(low: float, high: float) -> list[float]:
    """Return round ratios within a logarithmic range.

    >>> ratio_ticks(0.4, 3)
    [0.5, 0.7, 1.0, 1.5, 2.0, 3.0]
    >>> ratio_ticks(0.01, 30)
    [0.01, 0.1, 1.0, 10.0]
    """
    steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high / low < 20 else (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    return _round_numbers(low, high, steps)


def rate_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten, or 1, 2, 5 within less than two decades, for an axis of rates.

    >>> rate_ticks(2e-4, 8e-2)
    [0.001, 0.01]
    >>> rate_ticks(1e-3, 9e-3)
    [0.001, 0.002, 0.005]
    """
    return _round_numbers(low, high, (1, 2, 5) if high / low < 100 else (1,))


def _round_numbers(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """Return the numbers within a range that are one of ``steps`` times a power of ten."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def positive(values: Sequence[float | None]) -> list[float | None]:
    """Return ``values`` without what a logarithmic axis cannot show.

    >>> positive([0.1, 0.0, None])
    [0.1, None, None]
    """
    return [value if value is not None and value > 0 else None for value in values]


def epoch_range(task: TaskResults, shown: Collection[str]) -> tuple[float, float]:
    """Return the epochs that the learning curves show at first: until the last median of those shown is at the target.

    Where one of them misses it, these are all epochs.

    Args:
        task: the task's part of the results.
        shown: names of the candidates that are visible at first.
    """
    end = max(task.evaluation_epochs, default=1.0)
    hits = [row.epochs_to_target.median for row in task.candidates if row.name in shown]
    last = max((end if hit is None else hit for hit in hits), default=end)
    return 0.0, min(AFTER_THE_LAST * last, end)


def score_range(task: TaskResults, shown: Collection[str]) -> tuple[float, float]:
    """Return the range of scores that the learning curves show at first: the end of the climb, where they differ.

    It begins where ten times as much is missing of the way from chance level as at the target, at most half of it, or
    where the lowest median of those shown ends, if that is lower. It ends above the medians, and above the bands of
    the policy and the best baseline.

    Args:
        task: the task's part of the results.
        shown: names of the candidates that are visible at first.
    """
    missing = min(TIMES_WHAT_IS_MISSING * (1 - task.target_share), LEAST_MISSING)
    whole = (task.target - task.chance) / task.target_share
    tops, ends = [task.target], [task.chance + (1 - missing) * whole]
    for row in task.candidates:
        medians = [value for value in row.curve.median if value is not None]
        if row.name in shown and medians:
            tops += medians
            ends.append(medians[-1])
        if row.name in (task.policy, task.best_baseline):
            tops += [value for value in row.curve.high if value is not None]
    low, high = min(ends), max(tops)
    margin = 0.04 * (high - low) or 0.01
    return low - margin, high + margin


def importance_bars(task: TaskResults) -> list[tuple[str, float, str]]:
    """Return parameters, importances and their labels, most important last, as a bar chart stacks them upwards."""
    intervals = task.importance_ci95

    def label(name: str, share: float) -> str:
        if name not in intervals:
            return f"{share:.2f}"
        low, high = intervals[name]
        return f"{share:.2f} ({low:.2f} to {high:.2f})"

    ordered = sorted(task.importances.items(), key=lambda item: (item[1], item[0]))
    return [(name, share, label(name, share)) for name, share in ordered]


def profile_end(profile: Profile) -> float:
    """Return the factor up to which a performance profile is drawn: a little beyond its last step, at least 2.

    >>> profile_end(Profile(factors=(1.0, 2.0, 4.0, 8.0), shares={"a": (0.5, 0.5, 1.0, 1.0)}))
    5.0
    """
    factors, shares = profile.factors, profile.shares.values()
    ends = [
        factor
        for place, factor in enumerate(factors)
        if place and any(values[place] != values[place - 1] for values in shares)
    ]
    return float(min(factors[-1], max([2.0, *(1.25 * end for end in ends)])))
