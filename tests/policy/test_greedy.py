"""GreedyController against rates that the published code gave."""

from __future__ import annotations

import numpy as np
import pytest

from metagd_optuna.contracts import Context, Observation, Validation
from metagd_optuna.policy.greedy import GreedyController

CONTEXT = Context(0.5, (0.5, 0.5), "adam", 100, 10.0)

NOISY = [0.915, 0.866, 0.814, 0.777, 0.702, 0.677, 0.526, 0.537, 0.557, 0.486, 0.484, 0.359, 0.373, 0.32, 0.331, 0.312,
         0.223, 0.228, 0.217, 0.277, 0.243, 0.155, 0.218, 0.126]  # fmt: skip
STEADY = [0.7, 0.6, 0.5, 0.4, *[0.45] * 8, 0.3, 0.2, 0.1, 0.05, *[0.06] * 4]
STUCK = [0.5, 0.4, *[0.6] * 8, *[0.3] * 6]

# The rate after each step(loss) of transformers.optimization.GreedyLR (transformers 5.23.0, torch 2.13.0), on SGD
# with lr = 1e-3; its smooth=True, window_size=n is window=n here, its reset_start is reset, min_lr and max_lr are
# low and high.
PUBLISHED = [
    (NOISY, {"factor": 0.8, "patience": 1, "low": 1e-5, "high": 0.03},
     [0.001, 0.00125, 0.00125, 0.0015625, 0.0015625, 0.001953125, 0.001953125, 0.001953125, 0.0015625, 0.0015625,
      0.001953125, 0.001953125, 0.001953125, 0.001953125, 0.001953125, 0.001953125, 0.00244140625, 0.00244140625,
      0.00244140625, 0.00244140625, 0.001953125, 0.001953125, 0.001953125, 0.001953125]),
    (NOISY, {"factor": 0.7, "patience": 0, "window": 3, "low": 6e-4, "high": 0.03, "reset": 2},
     [0.00142857143, 0.00204081633, 0.0029154519, 0.00416493128, 0.00594990183, 0.00849985975, 0.0121426568,
      0.0173466526, 0.0247809322, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.021, 0.0147, 0.01029,
      0.0147, 0.021]),
    (STEADY, {"factor": 0.8, "patience": 1, "low": 1e-5, "high": 0.03},
     [0.001, 0.00125, 0.00125, 0.0015625, 0.0015625, 0.00125, 0.00125, 0.001, 0.001, 0.0008, 0.0008, 0.00064, 0.00064,
      0.0008, 0.0008, 0.001, 0.001, 0.0008, 0.0008, 0.00064]),
    (STEADY, {"factor": 0.5, "patience": 2, "cooldown": 2, "warmup": 1, "low": 5e-4, "high": 3e-3},
     [0.001, 0.001, 0.002, 0.002, 0.002, 0.002, 0.002, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.002, 0.002,
      0.002, 0.002, 0.002, 0.001]),
    (STUCK, {"factor": 0.5, "patience": 0, "cooldown": 1, "low": 4e-4, "high": 0.03, "reset": 2},
     [0.002, 0.004, 0.002, 0.002, 0.001, 0.001, 0.0005, 0.0005, 0.0004, 0.0004, 0.0008, 0.0004, 0.0004, 0.001, 0.001,
      0.002]),
    (STUCK, {"factor": 0.5, "patience": 0, "window": 2, "low": 4e-4, "high": 0.03, "reset": 3},
     [0.002, 0.004, 0.002, 0.001, 0.0005, 0.0004, 0.0004, 0.001, 0.002, 0.001, 0.002, 0.004, 0.002, 0.001, 0.0005,
      0.0004]),
]  # fmt: skip


@pytest.mark.parametrize("ticks", [1, 3])
@pytest.mark.parametrize(("losses", "arguments", "expected"), PUBLISHED)
def test_the_same_rates_as_the_published_code(losses, arguments, expected, ticks):
    controller = GreedyController(1e-3, **arguments)
    state = controller.start(CONTEXT)
    rates = []
    for i, loss in enumerate(losses):
        validation = Validation(i * ticks, loss, 0.5, 0.5, 0.5)
        for tick in range(ticks):
            array, state = controller.rates(state, Observation(i * ticks + tick, 0.1, 0.5, validation), 2)
        rates.append(array[0])
    np.testing.assert_allclose(rates, expected, rtol=1e-8)


def test_before_the_first_validation_the_rate_is_the_first():
    controller = GreedyController(2e-3, 1e-5, 3e-2, patience=0)
    rates, state = controller.rates(controller.start(CONTEXT), Observation(0), 3)
    np.testing.assert_array_equal(rates, [2e-3] * 3)
    assert state == controller.start(CONTEXT)
