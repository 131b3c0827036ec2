"""Two candidates on the same seeds: the speed-up, its exact test, its interval, and what n could detect.

Test and interval stand on one fact (Hartigan 1969, "Using subsample values as typical values", JASA 64,
1303-1317). For differences d and a shift theta, flipping the signs of d_i - theta for i in a set F gives at least
the observed sum exactly if mean(d_F) <= theta. So the 2^n - 1 means of the non-empty subsets hold the whole sign-flip
distribution for every theta at once: counting those at or below 0 gives the p-value, and their order statistics
are the ends of the interval that inverts the same test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import FloatArray, MetaGDError

ALPHA = 0.05
MOST_PAIRS_ENUMERATED = 20
MONTE_CARLO_SUBSETS = 2**17 - 1
# Results are kept with ten digits, so what is equal on paper may differ in the tenth.
SAME = 1e-8


@dataclass(frozen=True, slots=True)
class SignFlipTest:
    """Result of the two-sided sign-flip test on a mean.

    Args:
        mean: mean of the differences.
        ci95: the values theta that the test at level 0.05 does not reject, a closed interval.
        p_value: two-sided p of the null hypothesis that the differences are symmetric about 0.
    """

    mean: float
    ci95: tuple[float, float]
    p_value: float


@dataclass(frozen=True, slots=True)
class PairedSpeedup:
    """How many times faster the policy reached the target, over paired seeds.

    Args:
        speedup: exp of the mean log ratio of the times; always finite.
        ci95: its 95% interval; (0, inf) for fewer than 6 pairs, which no such interval can bound.
        p_value: of the two-sided sign-flip test.
        pairs: number of paired seeds.
    """

    speedup: float
    ci95: tuple[float, float]
    p_value: float
    pairs: int


def log_ratios(baseline_times: Sequence[float], policy_times: Sequence[float], budget: float) -> FloatArray:
    """Log of baseline time over policy time for every paired seed; a miss counts twice the budget.

    Args:
        baseline_times: epochs to target, one per seed; ``inf`` is a miss.
        policy_times: the same, for the same seeds in the same order.
        budget: epochs that every run was given.

    Returns:
        Finite log ratios, shape (n,); above 0 where the policy was faster, 0 where both missed.

    Raises:
        MetaGDError: if the lists differ in length or are empty, or hold a time outside (0, 2 budget].

    >>> np.exp(log_ratios([4.0, float("inf")], [2.0, 5.0], budget=10)).round(9).tolist()
    [2.0, 4.0]
    """
    if len(baseline_times) != len(policy_times):
        raise MetaGDError(
            f"{len(baseline_times)} baseline times and {len(policy_times)} policy times are no pairs; "
            "pass one of each per seed, in the same order"
        )
    return np.log(times_with_misses(baseline_times, budget)) - np.log(times_with_misses(policy_times, budget))


def known_log_ratios(baseline_times: Sequence[float], policy_times: Sequence[float], budget: float) -> FloatArray:
    """Log ratios of the seeds on which at least one of the two reached the target: two misses are no equal times.

    Args:
        baseline_times, policy_times, budget: as in ``log_ratios``.

    Returns:
        Finite log ratios, shape (m,), m at most the number of seeds, and 0 if both missed on all of them.

    Raises:
        MetaGDError: as ``log_ratios``.

    >>> np.exp(known_log_ratios([4.0, float("inf")], [2.0, float("inf")], budget=10)).round(9).tolist()
    [2.0]
    """
    ratios = log_ratios(baseline_times, policy_times, budget)
    missed = np.isinf(np.asarray(baseline_times, np.float64)) & np.isinf(np.asarray(policy_times, np.float64))
    return ratios[~missed]


def same_on_all_pairs(ratios: FloatArray) -> bool:
    """Return whether log ratios do not vary, to the ten digits that results have.

    >>> same_on_all_pairs(np.array([0.3, 0.3])), same_on_all_pairs(np.array([0.3, 0.2]))
    (True, False)
    """
    return bool(np.ptp(ratios) <= SAME * np.abs(ratios).max())


def times_with_misses(times: Sequence[float], budget: float) -> FloatArray:
    """Replace misses by twice the budget.

    Args:
        times: epochs to target, at least one; ``inf`` is a miss.
        budget: epochs that every run was given.

    Raises:
        MetaGDError: if there are no times, or one outside (0, 2 budget], or the budget is not positive.

    >>> times_with_misses([3.0, float("inf")], budget=10).tolist()
    [3.0, 20.0]
    """
    values = np.asarray(times, dtype=np.float64)
    if not (math.isfinite(budget) and budget > 0):
        raise MetaGDError(f"budget={budget:g}; pass the positive number of epochs that every run was given")
    if values.ndim != 1 or values.size == 0:
        raise MetaGDError(f"times of shape {values.shape}; pass a list with at least one time")
    values = np.where(values == np.inf, 2.0 * budget, values)
    if not np.all((values > 0) & (values <= 2.0 * budget)):
        raise MetaGDError(
            f"times={list(times)}; every time must be above 0 and at most twice the budget of {budget:g} epochs, "
            "or inf for a target that was never reached"
        )
    return values


def sign_flip_test(differences: npt.ArrayLike, *, rng: np.random.Generator | None = None) -> SignFlipTest:
    r"""Test whether differences are symmetric about 0, by flipping their signs, with the interval that inverts it.

    .. math::

        p = \min\Bigl(1, \frac{2}{2^n}
            \bigl(1 + \min(\#\{F : \bar d_F \le 0\}, \#\{F : \bar d_F \ge 0\})\bigr)\Bigr)

    over non-empty subsets F, which is the share of the 2^n sign vectors whose sum is at least as far from 0 as the
    observed one. With :math:`m = \lfloor 0.025 \cdot 2^n \rfloor` the interval goes from the m-th smallest to the
    m-th largest subset mean; 0 lies in it exactly if p > 0.05. For n < 6, m is 0 and the interval (-inf, inf).
    Up to 20 differences all subsets are counted; above, 131,071 random ones (the standard error of a p near 0.05
    is then 0.0006), test and interval from the same draw.

    Args:
        differences: finite paired differences, shape (n,), n >= 1.
        rng: draws the subsets; needed above 20 differences, and only then used.

    Raises:
        MetaGDError: if differences are empty or not finite, or ``rng`` is needed and missing.

    Source: Fisher (1935), The Design of Experiments, section 21; Hartigan (1969) for the interval.

    >>> result = sign_flip_test([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    >>> result.p_value, result.ci95
    (0.03125, (0.1, 0.6))
    """
    values = np.sort(np.asarray(differences, dtype=np.float64), axis=None)
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise MetaGDError(f"differences={values.tolist()}; pass at least one, all of them finite")
    means = _subset_means(values, rng)
    # Sums that are 0 on paper come out as rounding errors; they are ties, and ties count against the effect.
    means[np.abs(means) <= SAME * np.abs(values).max()] = 0.0
    total = means.size + 1
    extreme = 1 + min(np.count_nonzero(means <= 0.0), np.count_nonzero(means >= 0.0))
    p_value = float(min(1.0, 2.0 * extreme / total))
    tail = math.floor(total * ALPHA / 2)
    if tail == 0:
        interval = (-math.inf, math.inf)
    else:
        ends = np.partition(means, (tail - 1, means.size - tail))
        interval = (float(ends[tail - 1]), float(ends[means.size - tail]))
    return SignFlipTest(mean=float(values.mean()), ci95=interval, p_value=p_value)


def paired_speedup(
    baseline_times: Sequence[float],
    policy_times: Sequence[float],
    budget: float,
    *,
    rng: np.random.Generator | None = None,
) -> PairedSpeedup:
    r"""Speed-up of a policy over a baseline on the same seeds, with its exact interval and p-value.

    .. math:: \exp\Bigl(\frac{1}{n} \sum_i \log \frac{t_i^\mathrm{baseline}}{t_i^\mathrm{policy}}\Bigr)

    Args:
        baseline_times, policy_times, budget: as in ``log_ratios``.
        rng: as in ``sign_flip_test``.

    Raises:
        MetaGDError: as ``log_ratios`` and ``sign_flip_test``.

    >>> result = paired_speedup([4, 4, 4, 4, 4, 4], [2, 2, 2, 2, 2, 2], budget=10)
    >>> round(result.speedup, 9), result.p_value
    (2.0, 0.03125)
    """
    test = sign_flip_test(log_ratios(baseline_times, policy_times, budget), rng=rng)
    low, high = test.ci95
    return PairedSpeedup(
        speedup=math.exp(test.mean),
        ci95=(math.exp(low), math.exp(high)),
        p_value=test.p_value,
        pairs=len(baseline_times),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Holm's step-down adjustment of p-values, in the order given.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\bigl(1, (m - j + 1)\, p_{(j)}\bigr)

    Rejecting where the result is at most 0.05 keeps the chance of any false rejection at 0.05.

    Args:
        p_values: one per task, each in [0, 1].

    Raises:
        MetaGDError: if a value lies outside [0, 1].

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70.

    >>> [round(p, 9) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise MetaGDError(f"p_values={list(p_values)}; every p-value must lie in [0, 1]")
    order = np.argsort(values, kind="stable")
    steps = np.minimum(1.0, values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(steps)
    return [float(p) for p in adjusted]


def detectable_speedup(differences: npt.ArrayLike, *, alpha: float = ALPHA, power: float = 0.8) -> float:
    r"""Smallest true speed-up that this many pairs, spread as observed, would have shown in 80% of repetitions.

    .. math:: \exp\Bigl(\frac{s}{\sqrt n} (t_{1 - \alpha/2} + t_\mathrm{power})\Bigr)

    s the standard deviation of the log ratios, t quantiles of Student's distribution with n - 1 degrees of
    freedom: the usual minimum detectable effect of a paired test, which the sign-flip test approaches. It is ``inf``
    where :math:`2 / 2^n > \alpha`, because so few pairs cannot reach :math:`\alpha` whatever they show, and where the
    ratios do not vary, because nothing tells then how much they would.

    Args:
        differences: log ratios, finite, shape (n,), n >= 1; without those of two misses, which are no equal times.
        alpha: two-sided level that the p-value has to reach, in (0, 1).
        power: wanted share of repetitions that reach it, in (0.5, 1).

    Raises:
        MetaGDError: if differences are empty or not finite, or a share is out of range.

    >>> round(detectable_speedup([0.1, -0.1] * 5), 3)
    1.111
    >>> detectable_speedup([0.1, -0.1]), detectable_speedup([0.1] * 10)
    (inf, inf)
    """
    from scipy.special import stdtrit

    values = np.sort(np.asarray(differences, dtype=np.float64), axis=None)
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise MetaGDError(f"differences={values.tolist()}; pass at least one, all of them finite")
    if not (0 < alpha < 1 and 0.5 < power < 1):
        raise MetaGDError(f"alpha={alpha:g} must lie in (0, 1), and power={power:g} in (0.5, 1)")
    if 2.0 ** (1 - values.size) > alpha or same_on_all_pairs(values):
        return math.inf
    freedom = values.size - 1
    quantiles = float(stdtrit(freedom, 1 - alpha / 2) + stdtrit(freedom, power))
    return math.exp(float(values.std(ddof=1)) / math.sqrt(values.size) * quantiles)


def _subset_means(values: FloatArray, rng: np.random.Generator | None) -> FloatArray:
    """Return the means of all non-empty subsets, or of a random sample of them."""
    if values.size <= MOST_PAIRS_ENUMERATED:
        # Every value doubles the subsets: all those so far, without it and with it.
        sums, sizes = np.zeros(2**values.size), np.zeros(2**values.size)
        for place, value in enumerate(values):
            old, new = slice(0, 2**place), slice(2**place, 2 ** (place + 1))
            np.add(sums[old], value, out=sums[new])
            np.add(sizes[old], 1, out=sizes[new])
        return np.asarray(sums[1:] / sizes[1:])
    if rng is None:
        raise MetaGDError(
            f"{values.size} pairs are more than the {MOST_PAIRS_ENUMERATED} whose sign flips are all counted; "
            "pass rng=np.random.default_rng(seed) for a random sample of them"
        )
    chosen = rng.integers(0, 2, size=(MONTE_CARLO_SUBSETS, values.size), dtype=np.int8)
    chosen = chosen[chosen.any(axis=1)]
    return np.asarray((chosen @ values) / chosen.sum(axis=1))
