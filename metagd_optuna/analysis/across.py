"""Many tasks together: the mean speed-up, the chance of improvement, profiles, and when a search has paid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metagd_optuna.analysis.paired import SAME, times_with_misses
from metagd_optuna.contracts import FloatArray, MetaGDError


@dataclass(frozen=True, slots=True)
class GeometricMean:
    """Geometric mean of the tasks' speed-ups.

    Args:
        speedup: the mean; every task weighs the same.
        ci95: percentile interval of the bootstrap over tasks and seeds.
        tasks: number of tasks.
    """

    speedup: float
    ci95: tuple[float, float]
    tasks: int


def geometric_mean_speedup(
    log_ratios_by_task: Sequence[npt.ArrayLike], *, rng: np.random.Generator, resamples: int = 4000
) -> GeometricMean:
    r"""Geometric mean of the speed-ups over tasks, with a two-level bootstrap.

    .. math:: \exp\Bigl(\frac{1}{T} \sum_{t=1}^{T} \frac{1}{n_t} \sum_{i=1}^{n_t} \log r_{ti}\Bigr)

    Each resample draws T tasks with replacement, and for each of them its seeds with replacement; the interval
    holds the middle 95% of the resampled means. With few tasks it is too narrow, and with one it speaks of seeds
    only: it describes the tasks of the report and is no test.

    Args:
        log_ratios_by_task: for every task its log ratios over paired seeds, finite, shape (n_t,).
        rng: draws the resamples.
        resamples: number of bootstrap resamples, at least 100.

    Raises:
        MetaGDError: if there is no task, a task without finite ratios, or too few resamples.

    >>> round(geometric_mean_speedup([[np.log(2)], [np.log(8)]], rng=np.random.default_rng(0)).speedup, 9)
    4.0
    """
    ratios = [np.asarray(values, dtype=np.float64) for values in log_ratios_by_task]
    if not ratios or any(v.ndim != 1 or v.size == 0 or not np.all(np.isfinite(v)) for v in ratios):
        raise MetaGDError("pass at least one task, and for each a list of at least one finite log ratio")
    if resamples < 100:
        raise MetaGDError(f"resamples={resamples}; an interval needs at least 100")
    drawn = rng.integers(0, len(ratios), size=(resamples, len(ratios)))
    means = np.empty(drawn.shape)
    for task, values in enumerate(ratios):
        places = drawn == task
        seeds = rng.integers(0, values.size, size=(int(places.sum()), values.size))
        means[places] = values[seeds].mean(axis=1)
    low, high = np.exp(np.quantile(means.mean(axis=1), [0.025, 0.975]))
    point = math.exp(float(np.mean([values.mean() for values in ratios])))
    return GeometricMean(speedup=point, ci95=(float(low), float(high)), tasks=len(ratios))


def probability_of_improvement(
    baseline_times: Sequence[Sequence[float]], policy_times: Sequence[Sequence[float]]
) -> float:
    r"""Chance that a training with the policy is faster than one with the baseline, on a task drawn at random.

    .. math:: \frac{1}{T} \sum_t \bigl(P(t^\mathrm{policy} < t^\mathrm{baseline}) + \tfrac12 P(\text{equal})\bigr)

    over all pairs of runs within a task; two misses are equal.

    Args:
        baseline_times: for every task, epochs to target of the baseline's runs; ``inf`` is a miss.
        policy_times: the same for the policy, in the same order of tasks.

    Raises:
        MetaGDError: if there are no tasks, different numbers of them, or a task without times.

    Source: Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".

    >>> probability_of_improvement([[4.0, 6.0]], [[3.0, 6.0]])
    0.625
    """
    if len(baseline_times) != len(policy_times) or not baseline_times:
        raise MetaGDError(
            f"{len(baseline_times)} tasks of the baseline and {len(policy_times)} of the policy; pass the same tasks "
            "for both, at least one"
        )
    chances = []
    for baseline, policy in zip(baseline_times, policy_times, strict=True):
        theirs, ours = np.asarray(baseline, dtype=np.float64), np.asarray(policy, dtype=np.float64)[:, np.newaxis]
        if theirs.size == 0 or ours.size == 0 or np.isnan(theirs).any() or np.isnan(ours).any():
            raise MetaGDError("every task needs at least one time of each candidate, none of them nan")
        chances.append(float(np.mean((ours < theirs) + 0.5 * (ours == theirs))))
    return float(np.mean(chances))


def performance_profile(median_times: Mapping[str, Sequence[float]], factors: npt.ArrayLike) -> dict[str, FloatArray]:
    r"""Share of tasks that each method solves within a factor of the fastest method of that task.

    .. math:: \rho_m(\tau) = \frac{1}{T} \#\{t : t_{m,t} \le \tau \min_{m'} t_{m',t} < \infty\}

    Show at most five methods: adding one changes what the others are compared with.

    Args:
        median_times: for every method its median epochs to target on every task, in one order of tasks;
            ``inf`` where it missed. A task that nobody solves counts as unsolved for all.
        factors: factors :math:`\tau \ge 1`, shape (F,).

    Returns:
        For every method the shares, shape (F,).

    Raises:
        MetaGDError: if methods have different numbers of tasks, there are none, times are not positive, or a
            factor is below 1.

    Source: Dolan and More (2002), Mathematical Programming 91, 201-213.

    >>> profile = performance_profile({"a": [1.0, 4.0], "b": [2.0, 2.0]}, [1.0, 2.0])
    >>> profile["a"].tolist()
    [0.5, 1.0]
    """
    if not median_times or len({len(times) for times in median_times.values()}) != 1:
        sizes = {name: len(times) for name, times in median_times.items()}
        raise MetaGDError(f"numbers of tasks by method are {sizes}; pass the same tasks for every method")
    table = np.array(list(median_times.values()), dtype=np.float64)
    taus = np.asarray(factors, dtype=np.float64)
    if table.size == 0 or not np.all(table > 0):
        raise MetaGDError("pass at least one task, and times above 0 (inf for a miss)")
    if taus.ndim != 1 or not np.all(taus >= 1):
        raise MetaGDError(f"factors={taus.tolist()}; pass a list of numbers of at least 1")
    limits = taus[:, np.newaxis] * table.min(axis=0) * (1 + SAME)
    return {
        name: np.mean((times <= limits) & np.isfinite(times), axis=1)
        for name, times in zip(median_times, table, strict=True)
    }


def payback(
    spent_epochs: float, baseline_times: Sequence[float], policy_times: Sequence[float], budget: float
) -> float:
    """Number of trainings after which the policy has saved what its search cost.

    spent / median over paired seeds of (baseline time - policy time); a miss counts twice the budget.

    Args:
        spent_epochs: epochs that the search cost, pruned trials included.
        baseline_times, policy_times: epochs to target, one per paired seed; ``inf`` is a miss.
        budget: epochs that every run was given.

    Returns:
        Trainings, not rounded; ``inf`` if the median training saves nothing.

    Raises:
        MetaGDError: if the cost is negative, or times are not paired or not positive.

    >>> payback(300.0, [5.0, 6.0, 7.0], [2.0, 4.0, 3.0], budget=10)
    100.0
    """
    if not (math.isfinite(spent_epochs) and spent_epochs >= 0):
        raise MetaGDError(f"spent_epochs={spent_epochs:g}; pass a finite number of at least 0")
    if len(baseline_times) != len(policy_times):
        raise MetaGDError(
            f"{len(baseline_times)} baseline times and {len(policy_times)} policy times are no pairs; "
            "pass one of each per seed, in the same order"
        )
    saved = float(np.median(times_with_misses(baseline_times, budget) - times_with_misses(policy_times, budget)))
    return spent_epochs / saved if saved > 0 else math.inf
