"""The rates that a controller sets in a real ``fit``, step by step."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from small_training import SHARES, X, Y, baseline_callback, callback_of, compiled, fit, policy_of, rates_of

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import article_candidate
from metagd_optuna.training.controller_callback import ControllerCallback

COSINE = {"lr0": 0.01, "horizon": 1.0, "warmup": 0.0}


@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_cosine_with_warmup_is_keras_own_in_a_real_fit(warmup):
    ours, model = rates_of(baseline_callback("adam-cosine", COSINE | {"warmup": warmup}))
    warm = round(16 * warmup)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warm else 0.01, 16 - warm, warmup_target=0.01 if warm else None, warmup_steps=warm
    )
    theirs = compiled(keras.optimizers.Adam(schedule))
    fit(theirs, epochs=4)
    np.testing.assert_allclose(ours, [float(schedule(step)) for step in range(16)], rtol=1e-5, atol=1e-9)
    for mine, their in zip(model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, their, atol=1e-5)


@pytest.mark.parametrize(("patience", "cooldown"), [(1, 0), (2, 1)])
def test_plateau_is_keras_own_in_a_real_fit(patience, cooldown):
    options = {"epochs": 8, "validation_data": (X[:12], 1 - Y[:12])}  # wrong labels, so that its loss rises
    given = {"lr0": 0.02, "factor": 0.5, "patience": patience, "cooldown": cooldown}
    ours, _ = rates_of(baseline_callback("adam-plateau", given, rate_updates=1000), **options)
    plateau = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=patience, cooldown=cooldown, min_lr=1e-5)
    theirs, _ = rates_of(plateau, keras.optimizers.Adam(0.02), **options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert len(set(theirs)) > 2


def test_article_changes_its_rate_once_per_epoch():
    candidate = article_candidate("article-as-printed")
    callback = ControllerCallback(candidate.controller, optimizer="adam", complexity=0.5, class_frequencies=SHARES)
    rates, _ = rates_of(callback, validation_data=(X, Y))
    assert rates[:4] == pytest.approx([1e-3] * 4)
    assert all(len(set(rates[begin : begin + 4])) == 1 for begin in (4, 8, 12))
    assert 0.2 < rates[4] < 0.51


def test_policy_sees_the_training_loss():
    callback = callback_of(policy_of(b=-0.5), rate_updates=32)
    rates, _ = rates_of(callback, epochs=16)
    assert callback.rates == pytest.approx(rates)
    assert [o.step for o in callback.observations] == list(range(2, 65, 2))
    assert all(len(set(rates[i : i + 2])) == 1 for i in range(0, 64, 2))
    assert rates[0] == pytest.approx(0.03)  # nothing seen yet: as if chance level, at the optimizer's bound
    assert rates[-1] < 0.02


def test_means_since_the_last_tick_are_those_of_the_batches():
    class BatchLoss(keras.callbacks.Callback):
        losses = ()

        def on_train_batch_end(self, batch, logs=None):
            before = 0.0 if batch == 0 else self.mean * batch
            self.mean = logs["loss"]
            self.losses = (*self.losses, self.mean * (batch + 1) - before)

    watcher, callback = BatchLoss(), callback_of(rate_updates=4)
    fit(compiled(), callback, watcher, epochs=4)
    expected = np.reshape(watcher.losses, (4, 4)).mean(axis=1)
    np.testing.assert_allclose([o.train_loss for o in callback.observations], expected, rtol=1e-5)


def test_state_is_forgotten_between_trainings():
    callback = callback_of(policy_of(b=1.0), rate_updates=8)
    assert rates_of(callback)[0] == rates_of(callback)[0]


@pytest.mark.parametrize(("provenance", "updates"), [({"rate_updates": 4}, 4), ({}, 120)])
def test_ticks_travel_with_the_policy(provenance, updates):
    assert callback_of(replace(policy_of(), provenance=provenance)).rate_updates == updates


@pytest.mark.parametrize("updates", ["many", None, 2.5, True])
def test_bad_ticks_in_a_policy_file_are_named(updates):
    with pytest.raises(MetaGDError, match="rate_updates"):
        callback_of(replace(policy_of(), provenance={"rate_updates": updates}))


def test_steps_at_once_may_reach_past_the_end_of_an_epoch():
    """Keras then counts 6 steps where there are 4."""
    model, callback = compiled(steps_per_execution=3), baseline_callback("adam-cosine", COSINE)
    fit(model, callback, epochs=5)
    assert len(callback.rates) == int(model.optimizer.iterations) == 20
    assert 0 < callback.rates[-1] < 0.02 * callback.rates[0]
    assert all(len(set(callback.rates[i : i + 3])) == 1 for i in range(0, 20, 4))


def test_mixed_precision_wrapper_is_seen_through():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1.0))
    callback = callback_of()
    fit(compiled(optimizer), callback)
    assert float(optimizer.inner_optimizer.learning_rate) == pytest.approx(callback.rates[-1])
