"""When a trial can no longer matter, or is not likely to.

A trial is stopped once it could not enter the shortlist even if everything went perfectly from now on: targets of
the list of targets not yet reached counted as reached now, seeds still to come as good as the best run seen so far.
A study may ask for more (``median_pruning``): then a trial is also stopped where it is behind the median of the earlier
trials at the same evaluation of the same seed, from half of a run on and once enough are through to fill the shortlist.
Both rules look only at trials of earlier batches and at the trial itself, so they give the same answers after a resume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metagd_optuna.contracts import FloatArray

# A rate that warms up or falls late is slow at first; before this share of a run it is not compared with the others.
MEDIAN_FROM = 0.5

# In the universal scope a setting has to do well on every task, so one that is this many times as slow as the best on
# one of them is stopped there, and cannot be chosen.
HANDICAP = 1.5


def handicap(objectives: Sequence[float]) -> float:
    """Return the objective beyond which a setting of the universal scope is stopped on one task, or inf.

    >>> handicap([2.0, 1.0]), handicap([])
    (1.5, inf)
    """
    return HANDICAP * min(objectives, default=math.inf)


def threshold(objectives: Sequence[float], places: int) -> float:
    """Return the objective that a trial has to beat: the worst one on a shortlist of ``places``, or inf.

    >>> threshold([1.5, 0.7, 1.1, 0.9], places=3), threshold([1.5], places=3)
    (1.1, inf)
    """
    return sorted(objectives)[places - 1] if len(objectives) >= places else math.inf


def optimistic_objective(finished: Sequence[float], current: Sequence[float], best_run: float, seeds: int) -> float:
    """Return the best mean objective that a trial may still reach, in epochs.

    Args:
        finished: objectives of the seeds that are through.
        current: the bound of the seed in training, from ``mean_time_bound``; empty between two seeds.
        best_run: the best objective of any single run of the method so far, expected of every seed to come;
            0 if there is none.
        seeds: seeds per trial.

    >>> optimistic_objective([1.0], [0.5], best_run=0.25, seeds=4)
    0.5
    """
    to_come = [best_run] * (seeds - len(finished) - len(current))
    # A seed in training is taken at its bound or at the best run seen, whichever is worse: nothing expected of
    # a fresh seed should turn impossible by starting it.
    started = [max(bound, best_run) for bound in current]
    return float(np.mean([*finished, *started, *to_come]))


def behind_median(value: float, earlier: FloatArray, *, share: float, least: int) -> bool:
    """Whether a trial is behind: worse than the median of the earlier ones that came as far.

    Args:
        value: its optimistic objective so far, in epochs; seeds to come count as 0.
        earlier: those of the earlier trials at the same evaluation of the same seed, shape (R,), in epochs; NaN for a
            trial that had been stopped.
        share: how much of the run on this seed is through, in (0, 1].
        least: how many trials have to have come as far.

    >>> behind_median(2.0, np.array([1.0, 1.5, 3.0]), share=0.5, least=3)
    True
    >>> behind_median(2.0, np.array([1.0, np.nan, 3.0]), share=0.5, least=3)
    False
    """
    came = earlier[~np.isnan(earlier)]
    return share >= MEDIAN_FROM and came.size >= least and value > float(np.median(came))
