"""Times to target to a verdict: faster, tie or slower, and in words why not faster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metagd_optuna.analysis.paired import (
    ALPHA,
    SAME,
    PairedSpeedup,
    detectable_speedup,
    holm,
    known_log_ratios,
    log_ratios,
    paired_speedup,
)
from metagd_optuna.contracts import MetaGDError


@dataclass(frozen=True, slots=True)
class Comparison:
    """Times of one task's searched policy and its baselines, all over the same confirmation seeds in one order.

    Args:
        budget: epochs that every run was given.
        policy_times: epochs to the target on validation, one per seed; ``inf`` is a miss.
        baseline_times: the same for the best baseline, which was chosen before the confirmation.
        other_baselines: the same for every other confirmed candidate of kind ``baseline``, by name.
        policy_test_times: epochs to the test target on the test curves, one per seed.
        baseline_test_times: the same for the best baseline.
        earlier_p_values: of tests on the same task that were looked at before this one.
    """

    budget: float
    policy_times: Sequence[float]
    baseline_times: Sequence[float]
    other_baselines: Mapping[str, Sequence[float]]
    policy_test_times: Sequence[float]
    baseline_test_times: Sequence[float]
    earlier_p_values: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a policy converges faster than the best baseline on one task.

    Args:
        speedup: exp of the mean log ratio of times to target, baseline over policy; always finite.
        ci95: its interval; (0, inf) for fewer than 6 seeds.
        p_value: of the two-sided sign-flip test on this task alone.
        p_holm: the same, adjusted over all tasks of the report.
        test_speedup, test_ci95: the speed-up on the test curves and its interval.
        detectable: smallest speed-up that these seeds could have shown; ``inf`` where none could.
        label: ``faster``, ``tie`` or ``slower``.
        reasons: in words, every condition of ``faster`` that failed; empty if it is faster.
    """

    speedup: float
    ci95: tuple[float, float]
    p_value: float
    p_holm: float
    test_speedup: float
    test_ci95: tuple[float, float]
    detectable: float
    label: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MedianTime:
    """Median time to target over seeds.

    Args:
        median: in epochs; ``inf`` if half of the runs or more missed.
        ci95: distribution-free interval of the median, at least 95%; (0, inf) for fewer than 6 runs.
        reached: share of the runs that reached the target.
    """

    median: float
    ci95: tuple[float, float]
    reached: float


def verdicts(inputs: Sequence[Comparison], *, seed: int = 0) -> list[Verdict]:
    """Judge all tasks of one report together; Holm's adjustment spans them, and tests that were looked at before.

    ``faster`` needs all of: Holm's p at most 0.05; a speed-up above 1 against every baseline; the target reached
    at least as often as by the best baseline; a 95% interval of the test speed-up that does not lie below 1.
    ``slower`` is the mirror image against the best baseline: Holm's p at most 0.05; a speed-up below 1; the target
    reached at most as often; a test interval that does not lie above 1. All else is a ``tie``.

    ``detectable`` holds the p-value to 0.05 divided by the number of tests, the first step of Holm's adjustment,
    which a single effect has to pass. It knows the seeds on which at least one of the two reached the target.

    Args:
        inputs: one comparison per task; every task that the report shows, chosen before seeing the result.
        seed: of the sign flips that are sampled above 20 seeds. Every test draws them from a generator of its own, so
            that a task's p-value does not depend on the tasks before it.

    Returns:
        One verdict per task, in the same order.

    Raises:
        MetaGDError: if times are not paired or not positive.

    >>> slow, fast = [4.0, 5.0, 6.0, 4.0, 5.0, 6.0], [2.0, 2.5, 2.0, 2.5, 2.0, 2.5]
    >>> [verdict] = verdicts([Comparison(10, fast, slow, {"adam-cosine": slow}, fast, slow)])
    >>> verdict.label, verdict.reasons
    ('faster', ())
    """
    on_validation = [
        paired_speedup(x.baseline_times, x.policy_times, x.budget, rng=np.random.default_rng(seed)) for x in inputs
    ]
    on_test = [
        paired_speedup(x.baseline_test_times, x.policy_test_times, x.budget, rng=np.random.default_rng(seed))
        for x in inputs
    ]
    earlier = [p_value for comparison in inputs for p_value in comparison.earlier_p_values]
    adjusted = holm([*(result.p_value for result in on_validation), *earlier])[: len(inputs)]
    return [
        _verdict(comparison, result, test, p_holm, tests=len(inputs) + len(earlier))
        for comparison, result, test, p_holm in zip(inputs, on_validation, on_test, adjusted, strict=True)
    ]


def median_time(times: Sequence[float]) -> MedianTime:
    r"""Median of times to target with a distribution-free 95% interval from order statistics.

    The interval goes from the k-th smallest to the k-th largest time, k the largest number with
    :math:`2 P(\mathrm{Bin}(n, 1/2) < k) \le 0.05`. It assumes nothing about the times, misses included.

    Args:
        times: epochs to target, at least one, above 0; ``inf`` is a miss.

    Raises:
        MetaGDError: if there are no times, or one is not above 0.

    Source: Conover (1999), Practical Nonparametric Statistics, section 3.2.

    >>> median_time([3.0, 1.0, 2.0, 4.0, 5.0, float("inf")])
    MedianTime(median=3.5, ci95=(1.0, inf), reached=0.8333333333333334)
    """
    ordered = np.sort(np.asarray(times, dtype=np.float64), axis=None)
    count = ordered.size
    if count == 0 or not np.all(ordered > 0):
        raise MetaGDError(f"times={list(times)}; pass at least one time, all above 0, or inf for a miss")
    rank, tail = 0, 0
    while 2 * (tail + math.comb(count, rank)) / 2**count <= ALPHA:
        tail += math.comb(count, rank)
        rank += 1
    interval = (float(ordered[rank - 1]), float(ordered[count - rank])) if rank else (0.0, math.inf)
    return MedianTime(median=float(np.median(ordered)), ci95=interval, reached=_reached(times) / count)


def _verdict(
    comparison: Comparison, result: PairedSpeedup, test: PairedSpeedup, p_holm: float, *, tests: int
) -> Verdict:
    policy_reached, baseline_reached = _reached(comparison.policy_times), _reached(comparison.baseline_times)
    reasons = _reasons_against_faster(comparison, result, test, p_holm)
    slower = p_holm <= ALPHA and result.speedup < 1 and policy_reached <= baseline_reached and not test.ci95[0] > 1
    known = known_log_ratios(comparison.baseline_times, comparison.policy_times, comparison.budget)
    return Verdict(
        speedup=result.speedup,
        ci95=result.ci95,
        p_value=result.p_value,
        p_holm=p_holm,
        test_speedup=test.speedup,
        test_ci95=test.ci95,
        detectable=detectable_speedup(known, alpha=ALPHA / tests) if known.size else math.inf,
        label="slower" if slower else "tie" if reasons else "faster",
        reasons=reasons,
    )


def _reasons_against_faster(
    comparison: Comparison, result: PairedSpeedup, test: PairedSpeedup, p_holm: float
) -> tuple[str, ...]:
    reasons = []
    if p_holm > ALPHA:
        reasons.append(f"p = {_apart(p_holm, ALPHA)} after Holm's adjustment, above {ALPHA:g}")
    speedups = {"the best baseline": result.speedup}
    for name, times in comparison.other_baselines.items():
        ratios = log_ratios(times, comparison.policy_times, comparison.budget)
        speedups[name] = math.exp(np.sort(ratios).mean())
    reasons += [
        f"the speed-up against {name} is {value:.3g}, not above 1"
        for name, value in speedups.items()
        if value <= 1 + SAME
    ]
    policy_reached, baseline_reached = _reached(comparison.policy_times), _reached(comparison.baseline_times)
    if policy_reached < baseline_reached:
        reasons.append(
            f"the policy reached the target in {policy_reached} of {result.pairs} runs, the best baseline in "
            f"{baseline_reached}"
        )
    low, high = test.ci95
    if high < 1:
        ends = f"{low:.3g} to {_apart(high, 1)}"
        reasons.append(f"on the test curves the speed-up is {test.speedup:.3g} (95% interval {ends})")
    return tuple(reasons)


def _apart(value: float, limit: float) -> str:
    """Return a number with three digits, or as many as tell it from a limit that it is not."""
    texts = (f"{value:.{digits}g}" for digits in range(3, 18))
    return next(text for text in texts if float(text) != limit)


def _reached(times: Sequence[float]) -> int:
    return int(np.count_nonzero(np.isfinite(np.asarray(times, dtype=np.float64))))
