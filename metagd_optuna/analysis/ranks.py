"""How two quantities go with one another, whatever their scales."""

from __future__ import annotations

import numpy as np

from metagd_optuna.contracts import FloatArray


def rank_correlation(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where either does not vary or is not known.

    Args:
        one, other: of the same shape (..., n).

    Returns:
        shape (...).

    >>> rank_correlation(np.array([[1.0, 2.0, 30.0], [3.0, 2.0, 1.0]]), np.array([[0.1, 0.2, 0.3]] * 2)).tolist()
    [1.0, -1.0]
    """
    from scipy.stats import rankdata

    first, second = (rankdata(values, axis=-1, nan_policy="propagate") for values in (one, other))
    first, second = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (first, second))
    lengths = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    together = (first * second).sum(axis=-1)
    found = np.divide(together, lengths, out=np.full_like(lengths, np.nan), where=lengths > 0)
    return np.asarray(np.round(found, 12))
