"""Learning curves of several seeds to the band that a figure shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import FloatArray, MetaGDError


class Band(NamedTuple):
    """Median and quartiles over runs at every point of a grid, each of shape (G,)."""

    median: FloatArray
    low: FloatArray
    high: FloatArray


def band(
    epochs: npt.ArrayLike,
    runs_scores: Sequence[npt.ArrayLike],
    grid: npt.ArrayLike,
    *,
    diverged: Sequence[bool] | None = None,
    chance: float | None = None,
) -> Band:
    """Median and quartiles of several runs' curves, interpolated linearly between evaluations.

    A run that stopped early holds its last value. A run that diverged is at chance from its first missing
    evaluation on, because a network of infinities classifies no better; without this, the band would be that of the
    survivors. Before the first evaluation nothing is known, and the band is ``nan``.

    Args:
        epochs: epochs at the evaluations of a full run, rising, shape (E,), E >= 1.
        runs_scores: for every run its scores at the first of those evaluations, finite, at most E of them.
        grid: epochs at which to give the band, shape (G,).
        diverged: for every run whether it diverged; None if none did.
        chance: the metric's value at chance level; needed if a run diverged.

    Raises:
        MetaGDError: if there is no run, a run does not fit the epochs or is empty without having diverged, or a
            run diverged and ``chance`` is missing.

    >>> band([1, 2, 3], [[0.5, 0.6, 0.7], [0.5, 0.8]], [1, 2, 3]).median.round(9).tolist()
    [0.5, 0.7, 0.75]
    """
    times = np.asarray(epochs, dtype=np.float64)
    points = np.asarray(grid, dtype=np.float64)
    flags = [False] * len(runs_scores) if diverged is None else list(diverged)
    if times.ndim != 1 or times.size == 0 or not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise MetaGDError(f"epochs={times.tolist()} must be a rising list of finite numbers, one per evaluation")
    if not len(runs_scores) or len(flags) != len(runs_scores):
        raise MetaGDError(
            f"{len(runs_scores)} runs and {len(flags)} entries of diverged; pass one per run, at least one"
        )
    if any(flags) and chance is None:
        raise MetaGDError("a run diverged, and its curve goes on at chance; pass chance")
    filled = np.empty((len(runs_scores), times.size))
    for row, (scores, broke) in enumerate(zip(runs_scores, flags, strict=True)):
        values = np.asarray(scores, dtype=np.float64)
        if values.ndim != 1 or values.size > times.size or not np.all(np.isfinite(values)):
            raise MetaGDError(f"run {row}: pass a list of at most {times.size} finite scores, got {values.tolist()}")
        if not broke and values.size == 0:
            raise MetaGDError(f"run {row} has no scores and did not diverge; leave it out, or mark it as diverged")
        filled[row, : values.size] = values
        filled[row, values.size :] = chance if broke else values[-1]
    curves = np.array([np.interp(points, times, row, left=np.nan) for row in filled])
    low, median, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
    return Band(median=median, low=low, high=high)
