"""One learning curve to numbers: confirmed scores, targets, times to target, the mean time to the targets.

Times are in epochs: examples seen divided by the examples of the training part. A target that was never
reached has the time ``inf``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import TARGET_SHARE, FloatArray, MetaGDError

LADDER_START = 0.5
FIRST_RESOLVED_EVALUATION = 8


def confirmed_best(scores: npt.ArrayLike) -> FloatArray:
    r"""Best score so far that two evaluations in a row agree on.

    .. math:: b_1 = -\infty, \qquad b_k = \max(b_{k-1}, \min(s_{k-1}, s_k))

    A single spike of a small validation set is thus no hit. A score that is ``nan`` confirms nothing.

    Args:
        scores: validation scores in the order of evaluation, shape (..., E).

    Returns:
        Confirmed best so far, shape (..., E), never falling along the last axis.

    >>> confirmed_best([0.5, 0.9, 0.6, 0.7]).tolist()
    [-inf, 0.5, 0.6, 0.6]
    """
    values = np.asarray(scores, dtype=np.float64)
    best = np.full(values.shape, -np.inf)
    pairs = np.minimum(values[..., :-1], values[..., 1:])
    best[..., 1:] = np.where(np.isnan(pairs), -np.inf, pairs)
    return np.asarray(np.maximum.accumulate(best, axis=-1))


NOISE_ERRORS = 2.0


def final_best(scores: npt.ArrayLike) -> float:
    """Confirmed best score of a whole run; ``-inf`` if it had fewer than two evaluations.

    Args:
        scores: validation scores in the order of evaluation, shape (E,).

    >>> final_best([0.5, 0.9, 0.6, 0.7])
    0.6
    """
    best = confirmed_best(scores)
    return float(best[-1]) if best.size else -math.inf


def search_target(chance: float, final_bests: Mapping[float, Sequence[float]], *, error: float = 0.0) -> float:
    """Target of the searches: the best median, over calibrated rates, of the final confirmed best.

    Args:
        chance: the metric's value at chance level.
        final_bests: for every constant rate of the calibration, ``final_best`` of each of its seeds.
        error: standard error of the metric at chance level, on these validation cases.

    Raises:
        MetaGDError: if no rate has a median above chance by two standard errors: then nothing is shown to learn, and a
            search would look for what learns noise fastest.

    >>> search_target(0.5, {1e-3: [0.8, 0.9, 0.7], 1e-1: [0.5, 0.5, 0.5]})
    0.8
    """
    if not final_bests or any(len(values) == 0 for values in final_bests.values()):
        raise MetaGDError("the calibration is empty; pass at least one rate with at least one finished run")
    medians = {rate: float(np.median(values)) for rate, values in final_bests.items()}
    best = max(medians.values())
    if not best > chance:
        raise MetaGDError(
            f"no calibrated rate did better than chance ({chance:g}): medians of the confirmed best score by rate "
            f"are {medians}; check the labels, or give the runs more examples"
        )
    # Of a handful of cases two errors may be more than any score can be above chance.
    least = min(chance + NOISE_ERRORS * error, (1 + chance) / 2)
    if best < least:
        raise MetaGDError(
            f"nothing is shown to learn: the best calibrated rate reached {best:.3f}, and a network at chance level "
            f"({chance:g}) may well reach {least:.3f} on these validation cases; "
            "check the labels, give the runs more examples, or more cases to validation"
        )
    return best


def confirmation_target(
    chance: float, best_scores_of_baseline: Sequence[float], *, share: float = TARGET_SHARE
) -> float:
    """Target of the verdict: chance + share (T100 - chance), T100 the median over the seeds.

    Args:
        chance: the metric's value at chance level.
        best_scores_of_baseline: ``final_best`` of each run of the best baseline, one per seed.
        share: of the gap between chance level and T100, above 0 and at most 1.

    Raises:
        MetaGDError: if there is no run, the median is not above chance, or the share is out of range.

    >>> confirmation_target(0.5, [0.9, 0.7, 1.0])
    0.88
    """
    if not 0 < share <= 1:
        raise MetaGDError(
            f"share={share}: a target is a share of the gap above 0 and at most 1, such as {TARGET_SHARE}"
        )
    if len(best_scores_of_baseline) == 0:
        raise MetaGDError("the best baseline has no run; the target needs at least one")
    median = float(np.median(best_scores_of_baseline))
    if not median > chance:
        raise MetaGDError(
            f"the best baseline's median confirmed best score is {median:g}, not above chance ({chance:g}), "
            "so there is nothing to converge to; give the runs more examples"
        )
    return chance + share * (median - chance)


def targets_up_to(chance: float, search_target: float, count: int = 26) -> FloatArray:
    r"""Evenly spaced targets from half the way up to the target of the searches.

    .. math:: T_a = m_0 + a (T_\mathrm{search} - m_0), \qquad a = 0.5, \ldots, 1

    Args:
        chance: the metric's value at chance level, :math:`m_0`.
        search_target: the top target, above ``chance``.
        count: number of targets, at least 2.

    Returns:
        Rising targets, shape (targets,); the last is ``search_target`` exactly.

    Raises:
        MetaGDError: if ``search_target`` is not above chance, or there are fewer than two targets.

    >>> targets_up_to(0.5, 0.9, count=3).tolist()
    [0.7, 0.8, 0.9]
    """
    if not search_target > chance or not math.isfinite(search_target):
        raise MetaGDError(
            f"search_target={search_target:g} is not above chance ({chance:g}); a list of targets needs room to climb"
        )
    if count < 2:
        raise MetaGDError(f"targets={count}; a list of targets needs at least 2")
    return np.linspace(chance + LADDER_START * (search_target - chance), search_target, count)


def hit_times(epochs: npt.ArrayLike, scores: npt.ArrayLike, targets: npt.ArrayLike) -> FloatArray:
    """Epochs at which the confirmed best first reaches each target; ``inf`` where it never does.

    Args:
        epochs: epochs trained at each evaluation, rising, shape (E,).
        scores: scores at those evaluations, shape (E,); of a run that stopped or diverged, what there is.
        targets: scores to reach, shape (T,).

    Returns:
        Times in epochs, shape (T,).

    Raises:
        MetaGDError: if epochs and scores differ in length, or epochs do not rise.

    >>> hit_times([1, 2, 3, 4], [0.5, 0.9, 0.6, 0.7], [0.5, 0.6, 0.7]).tolist()
    [2.0, 3.0, inf]
    """
    times = _rising(epochs)
    best = confirmed_best(scores)
    if best.shape != times.shape:
        raise MetaGDError(f"{times.size} epochs but scores of shape {best.shape}; pass one score per evaluation")
    # The confirmed best never falls, so a binary search finds the first evaluation at or above a target.
    first = np.searchsorted(best, np.asarray(targets, dtype=np.float64), side="left")
    return np.append(times, np.inf)[first]


def time_to_target(epochs: npt.ArrayLike, scores: npt.ArrayLike, target: float) -> float:
    """Epochs at which the confirmed best first reaches one target; ``inf`` if it never does.

    Args:
        epochs, scores: as in ``hit_times``.
        target: the score to reach.

    Raises:
        MetaGDError: as ``hit_times``.

    >>> time_to_target([1, 2, 3, 4], [0.5, 0.9, 0.6, 0.7], 0.55)
    3.0
    """
    return float(hit_times(epochs, scores, [target])[0])


def mean_time_to_targets(epochs: npt.ArrayLike, scores: npt.ArrayLike, targets: npt.ArrayLike, budget: float) -> float:
    r"""Mean time over a list of targets, in epochs; a target never reached counts twice the budget.

    .. math:: J = \frac{1}{T} \sum_{i=1}^{T} \min(t_i, 2B)

    It is the area above the normalised learning curve, which also tells apart runs that miss the top target.

    Args:
        epochs, scores, targets: as in ``hit_times``; at least one target.
        budget: epochs that the run was given, :math:`B`.

    Raises:
        MetaGDError: as ``hit_times``, or if the budget is not positive or lies before the last evaluation.

    >>> mean_time_to_targets([1, 2, 3, 4], [0.5, 0.9, 0.6, 0.7], [0.5, 0.6, 0.7], budget=4)
    4.333333333333333
    """
    times = _rising(epochs)
    # One part in a million: budget and evaluations may come from steps by different roundings.
    if not (math.isfinite(budget) and budget > 0) or (times.size and times[-1] > budget * (1 + 1e-6)):
        raise MetaGDError(
            f"budget={budget:g} epochs, but evaluations go to {times[-1] if times.size else 0:g}; pass the epochs that "
            "the run was given"
        )
    hits = hit_times(times, scores, _some(targets))
    return float(np.where(np.isinf(hits), 2.0 * budget, hits).mean())


def mean_time_bound(epochs: npt.ArrayLike, scores: npt.ArrayLike, targets: npt.ArrayLike, now: float) -> float:
    """Optimistic mean time to the targets of a run that still trains: targets not yet reached count as reached now.

    It has the unit of ``mean_time_to_targets``, only rises while a run goes on, and never exceeds its final value,
    so a run may be pruned by it without regret about luck to come.

    Args:
        epochs, scores, targets: as in ``hit_times``, up to now; at least one target.
        now: epochs trained so far, not before the last evaluation.

    Raises:
        MetaGDError: as ``hit_times``, or if ``now`` lies before the last evaluation.

    >>> mean_time_bound([1, 2, 3], [0.5, 0.9, 0.6], [0.5, 0.6, 0.7], now=3)
    2.6666666666666665
    """
    times = _rising(epochs)
    if not (math.isfinite(now) and now >= 0) or (times.size and now < times[-1] * (1 - 1e-6)):
        raise MetaGDError(
            f"now={now:g} epochs, but evaluations go to {times[-1] if times.size else 0:g}; pass the epochs trained so "
            "far"
        )
    return float(np.minimum(hit_times(times, scores, _some(targets)), now).mean())


def mean_time_bounds(
    epochs: npt.ArrayLike, scores: npt.ArrayLike, targets: npt.ArrayLike, at: npt.ArrayLike
) -> FloatArray:
    """Optimistic mean times to the targets that a run had on its way, in epochs.

    Args:
        epochs, scores, targets: as in ``hit_times``; at least one target.
        at: epochs, rising, shape (N,). After its last evaluation, a run is taken to have reached nothing more.

    Returns:
        What ``mean_time_bound`` said then, shape (N,), never falling.

    Raises:
        MetaGDError: as ``hit_times``, or if ``at`` does not rise.

    >>> mean_time_bounds([1, 2, 3], [0.5, 0.9, 0.6], [0.5, 0.6, 0.7], at=[1, 3, 5]).tolist()
    [1.0, 2.6666666666666665, 3.3333333333333335]
    """
    hits = hit_times(epochs, scores, _some(targets))
    return np.asarray(np.minimum(hits, _rising(at)[:, np.newaxis]).mean(axis=1))


def resolution_limited(median_hit_index: float) -> bool:
    """Whether evaluations are too sparse to tell times apart: the median baseline hits before the 8th.

    Args:
        median_hit_index: number of the evaluation, counted from 1, at which the best baseline's median run hits
            the target (median time to target / evaluation period); ``inf`` if it misses.

    >>> resolution_limited(7), resolution_limited(8)
    (True, False)
    """
    return bool(median_hit_index < FIRST_RESOLVED_EVALUATION)


def _rising(epochs: npt.ArrayLike) -> FloatArray:
    times = np.asarray(epochs, dtype=np.float64)
    if times.ndim != 1 or not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise MetaGDError(f"epochs={times.tolist()} must be a rising list of finite numbers, one per evaluation")
    return times


def _some(targets: npt.ArrayLike) -> FloatArray:
    values = np.asarray(targets, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or np.isnan(values).any():
        raise MetaGDError(f"targets={values.tolist()} must be a list of at least one number")
    return values
