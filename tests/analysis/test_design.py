import numpy as np
import pytest

from metagd_optuna.analysis import sobol_points


@pytest.mark.parametrize("count", [1, 2, 64])
def test_points_are_spread_evenly(count):
    points = sobol_points(24, count, 3)
    assert points.shape == (count, 24)
    # In every coordinate each of as many equal parts holds one point.
    assert all(len(set(np.floor(column * count))) == count for column in points.T)


def test_points_obey_their_seed():
    points = sobol_points(3, 64, 3)
    np.testing.assert_array_equal(sobol_points(3, 5, 3), points[:5])
    assert not np.array_equal(sobol_points(3, 64, 4), points)


def test_points_that_are_remembered_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        sobol_points(3, 4, 0)[0, 0] = 1.0
