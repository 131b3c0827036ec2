"""How two quantities go with one another, whatever their scales."""

from __future__ import annotations

import numpy as np

from metagd_optuna.contracts import FloatArray


def rank_correlation(one: FloatArray, other: FloatArray) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where either does not vary or is not known.

    Args:
        one, other: of the same shape (n,).

    >>> rank_correlation(np.array([1.0, 2.0, 30.0]), np.array([0.1, 0.2, 0.3]))
    1.0
    """
    from scipy.stats import rankdata

    if np.isnan(one).any() or np.isnan(other).any():
        return float("nan")
    first, second = rankdata(one), rankdata(other)
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return round(float(np.corrcoef(first, second)[0, 1]), 12)
