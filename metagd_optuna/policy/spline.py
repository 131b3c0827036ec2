"""A monotone cubic through five equally spaced points (Fritsch and Butland 1984, doi 10.1137/0905021)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def monotone_cubic(values: Sequence[float], x: float) -> float:
    """Return the interpolant at ``x`` in [0, 1]; it rises or falls wherever the values do.

    Equals scipy.interpolate.PchipInterpolator on equally spaced points, without its cost for a single number.

    Args:
        values: values at equally spaced points from 0 to 1, three or more.
        x: where to evaluate; clipped to [0, 1].

    >>> monotone_cubic([0.0, 1.0, 2.0, 3.0, 4.0], 0.3)
    1.2
    """
    rises = [after - before for before, after in pairwise(values)]
    position = min(max(x, 0.0), 1.0) * len(rises)
    i = min(int(position), len(rises) - 1)
    u = position - i
    left, right = _slope(rises, i), _slope(rises, i + 1)
    # Cubic Hermite basis on an interval of length 1.
    return values[i] + u * left + u * u * (3 * rises[i] - 2 * left - right) + u * u * u * (left + right - 2 * rises[i])


def _slope(rises: Sequence[float], i: int) -> float:
    """Return the derivative at point ``i``, in values per interval."""
    if i == 0:
        return _end_slope(rises[0], rises[1])
    if i == len(rises):
        return _end_slope(rises[-1], rises[-2])
    before, after = rises[i - 1], rises[i]
    if before * after <= 0:
        return 0.0
    return 2 * before * after / (before + after)


def _end_slope(near: float, far: float) -> float:
    """Return the three-point derivative at an end, held back so that the curve does not turn."""
    slope = (3 * near - far) / 2
    if slope * near <= 0:
        return 0.0
    if near * far < 0 and abs(slope) > abs(3 * near):
        return 3 * near
    return slope
