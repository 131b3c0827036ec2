"""Where a model with ScheduleFreeAdamW stands while ``fit`` trains it, validates it and ends."""

import keras
import numpy as np
import pytest
from small_training import X, Y, baseline_callback, compiled, distance, fit

from metagd_optuna.training.schedule_free import ScheduleFreeAdamW


class Averages(keras.callbacks.Callback):
    """What ScheduleFreeAdamW's average scores after every epoch, worked out beside the training."""

    def on_train_begin(self, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        pairs = zip(self.model.trainable_variables, self.model.optimizer._z, strict=True)
        self.average = [(y.numpy() - 0.1 * z.numpy()) / 0.9 for y, z in pairs]

    def on_epoch_end(self, epoch, logs=None):
        kernel, bias = self.average
        logits = X @ kernel + bias
        shifted = logits - logits.max(axis=1, keepdims=True)
        self.losses.append(float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(Y)), Y])))


def ours(name="schedule-free"):
    return baseline_callback(name, {"lr0": 0.02, "warmup": 0.0})


def test_fit_validates_the_average_and_ends_there():
    averages, model = Averages(), compiled(ScheduleFreeAdamW(1.0))
    history = fit(model, ours(), averages, epochs=3, validation_data=(X, Y)).history
    np.testing.assert_allclose(history["val_loss"], averages.losses, rtol=1e-5)
    for variable, average in zip(model.trainable_variables, averages.average, strict=True):
        np.testing.assert_allclose(variable.numpy(), average, rtol=1e-5, atol=1e-7)
    assert len(set(averages.losses)) == 3


def test_validating_changes_nothing():
    weights = []
    for validation in (None, (X, Y)):
        model = compiled(ScheduleFreeAdamW(1.0))
        fit(model, ours(), epochs=3, validation_data=validation)
        weights.append(model.get_weights())
    assert distance(*weights) == 0


def test_the_best_weights_of_early_stopping_are_an_average():
    model, averages = compiled(ScheduleFreeAdamW(1.0)), Averages()
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", mode="max", patience=2, restore_best_weights=True)
    history = fit(model, stopping, ours(), averages, epochs=6, validation_data=(X, Y)).history
    # The loss falls, so in mode "max" the first epoch is the best one, and training stops after two more.
    assert len(history["val_loss"]) == 3
    assert model.evaluate(X, Y, verbose=0)[0] == pytest.approx(averages.losses[0], rel=1e-5)


def test_a_saved_model_is_trained_on_as_the_one_that_was_kept(tmp_path):
    """It stands at its average, from which the next training has to go back to where the last one ended."""
    model = compiled(ScheduleFreeAdamW(0.003, r=1))
    fit(model, ours("schedule-free-r1"), epochs=3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        fit(one, ours("schedule-free-r1"))
    for kept, loaded in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(loaded, kept, rtol=1e-5, atol=1e-7)
