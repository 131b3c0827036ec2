"""PlateauController against keras.callbacks.ReduceLROnPlateau, told the same losses."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import Context, Observation, Validation
from metagd_optuna.policy.plateau import PlateauController

CONTEXT = Context(0.5, (0.5, 0.5), "adam", 100, 10.0)


def keras_rates(losses, lr0, **arguments):
    """Return the rate after each epoch, from Keras' own callback."""
    optimizer = keras.optimizers.SGD(lr0)
    callback = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", mode="min", **arguments)
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.on_train_begin()
    rates = []
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        rates.append(float(optimizer.learning_rate))
    return rates


def our_rates(losses, lr0, ticks_between=1, **arguments):
    """Return the rate after each validation, which every rate update shows until there is a new one."""
    controller = PlateauController(lr0, **arguments)
    state = controller.start(CONTEXT)
    rates = []
    for i, loss in enumerate(losses):
        validation = Validation(i * ticks_between, loss, 0.5, 0.5, 0.5)
        for tick in range(ticks_between):
            array, state = controller.rates(state, Observation(i * ticks_between + tick, 0.1, 0.5, validation), 3)
        rates.append(float(array[0]))
    return rates


@settings(deadline=None, max_examples=40)
@given(
    losses=st.lists(st.sampled_from([0.1, 0.2, 0.25, 0.30005, 0.3, 0.4, float("nan"), float("inf")]), max_size=25),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    min_delta=st.sampled_from([0.0, 1e-4, 0.06]),
    min_lr=st.sampled_from([0.0, 2e-3]),
)
def test_the_same_rates_as_keras(losses, factor, patience, cooldown, min_delta, min_lr):
    arguments = {
        "factor": factor,
        "patience": patience,
        "cooldown": cooldown,
        "min_delta": min_delta,
        "min_lr": min_lr,
    }
    np.testing.assert_allclose(our_rates(losses, 0.01, **arguments), keras_rates(losses, 0.01, **arguments), rtol=1e-5)


def test_by_hand():
    losses = [0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.4, 0.5]
    expected = [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025]
    np.testing.assert_allclose(our_rates(losses, 0.1, factor=0.5, patience=2, cooldown=1), expected)


@pytest.mark.parametrize("ticks", [1, 3])
def test_a_validation_counts_once_however_often_it_is_seen(ticks):
    losses = [0.5, 0.6, 0.7, 0.8, 0.9]
    assert our_rates(losses, 0.1, ticks, factor=0.5, patience=2) == [0.1, 0.1, 0.05, 0.05, 0.025]
