from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.policy.schedules import SCHEDULES, constant, cosine, one_cycle, rates_of

# torch.optim.lr_scheduler.OneCycleLR of torch 2.13.0 (CPU): SGD, total_steps, pct_start and max_lr as named,
# anneal_strategy "cos" and all else at its default; the rate in force at each step.
TORCH_ONE_CYCLE = [
    (10, 0.3, 0.1, [0.004, 0.052, 0.1, 0.0950484632, 0.0811745654, 0.0611262022, 0.0388741978, 0.0188258346,
                    0.0049519368, 4e-07]),
    (12, 0.5, 6e-3, [0.00024, 0.000790031056, 0.00223003106, 0.00400996894, 0.00544996894, 0.006, 0.00559807782,
                     0.004500006, 0.003000012, 0.001500018, 0.000401946181, 2.4e-08]),
    (10, 0.0, 0.1, [0.0975528356, 0.0904508879, 0.0793893451, 0.0654509879, 0.0500002, 0.0345494121, 0.0206110549,
                    0.00954951208, 0.0024475644, 4e-07]),
    (7, 0.45, 1.0, [0.04, 0.46750182, 0.988516421, 0.884475725, 0.530582708, 0.157432513, 4e-06]),
]  # fmt: skip


@pytest.mark.parametrize(("total", "warmup", "peak", "expected"), TORCH_ONE_CYCLE)
def test_one_cycle_is_torchs(total, warmup, peak, expected):
    np.testing.assert_allclose(one_cycle(np.arange(float(total)), peak, total, warmup), expected, rtol=1e-8)


def test_one_cycle_stays_at_its_last_rate():
    np.testing.assert_array_equal(one_cycle(np.array([9.0, 10.0, 99.0]), 0.1, 10, 0.3), [0.1 / 25 / 1e4] * 3)


# keras.optimizers.schedules.CosineDecay(0.0, 8, alpha=0.0, warmup_target=2e-3, warmup_steps=4) of Keras 3.15.1.
KERAS_COSINE = [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.00192388, 0.001707107, 0.001382684, 0.0009999999, 0.0006173165,
                0.0002928932, 7.612038e-05, 0.0, 0.0, 0.0]  # fmt: skip


def test_cosine_is_the_recorded_one_of_keras():
    np.testing.assert_allclose(cosine(np.arange(15.0), 2e-3, 12, 1 / 3), KERAS_COSINE, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("horizon", [1, 7, 40])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.35, 0.6])
def test_cosine_is_keras_own(horizon, warmup):
    rise = round(warmup * horizon)
    original = keras.optimizers.schedules.CosineDecay(
        0.0, max(horizon - rise, 1), alpha=0.0, warmup_target=0.01, warmup_steps=rise
    )
    steps = range(horizon + 3)
    expected = [float(original(step)) for step in steps]
    np.testing.assert_allclose(cosine(np.array(steps, dtype=float), 0.01, horizon, warmup), expected, atol=2e-9)


def test_warm_up_of_the_constant_is_that_of_keras_schedule_free():
    variable = keras.Variable([1.0])
    optimizer = keras.optimizers.ScheduleFreeAdamW(0.1, warmup_steps=4, weight_decay=0.0)
    plain = keras.optimizers.ScheduleFreeAdamW(0.1, warmup_steps=0, weight_decay=0.0)
    twin = keras.Variable([1.0])
    for rate in constant(np.arange(6.0), 0.1, 8, 0.5):
        optimizer.apply([keras.ops.array([1.0])], [variable])
        plain.learning_rate = rate
        plain.apply([keras.ops.array([1.0])], [twin])
        np.testing.assert_allclose(np.asarray(twin.value), np.asarray(variable.value), rtol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
@settings(deadline=None, max_examples=60)
@given(
    horizon=st.floats(0.2, 1.5),
    warmup=st.floats(0, 0.6),
    budget=st.integers(1, 500),
    step=st.integers(0, 600),
    count=st.integers(1, 20),
)
def test_schedules_are_finite_within_their_peak_and_the_same_in_pieces(name, horizon, warmup, budget, step, count):
    rates = rates_of(name, step, count, 0.1, horizon, warmup, budget)
    assert rates.shape == (count,)
    assert np.all((rates >= 0) & (rates <= 0.1 * (1 + 1e-12)))
    apart = [rates_of(name, step + i, 1, 0.1, horizon, warmup, budget)[0] for i in range(count)]
    np.testing.assert_array_equal(rates, apart)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_rises_to_its_peak_and_never_rises_again(name):
    rates = rates_of(name, 0, 200, 0.1, 0.75, 0.4, 200)
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(0.1, rel=1e-3)
    assert top == pytest.approx(0.4 * 0.75 * 200, abs=1.5)
    assert np.all(np.diff(rates[: top + 1]) > 0)
    assert np.all(np.diff(rates[top:]) <= 0)
