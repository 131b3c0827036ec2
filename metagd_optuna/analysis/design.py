"""Points that fill a space evenly, for designs that are fixed before anything is measured."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.stats import qmc

from metagd_optuna.contracts import FloatArray


@lru_cache(maxsize=16)
def sobol_points(dimensions: int, count: int, seed: int) -> FloatArray:
    """Return the first points of a scrambled Sobol sequence in [0, 1).

    For a count that is a power of two, every coordinate has one point in each of that many equal parts.

    Args:
        dimensions: coordinates of a point.
        count: number of points, at least 1.
        seed: of the scrambling.

    Returns:
        Points, shape (count, dimensions), not to be written to.

    Source: Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points"; scipy.stats.qmc.Sobol.
    """
    sequence = qmc.Sobol(dimensions, rng=np.random.default_rng(seed))
    points: FloatArray = sequence.random_base2((count - 1).bit_length())[:count]
    points.flags.writeable = False
    return points
