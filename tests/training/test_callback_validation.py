"""Signals that are measured on validation data, in a real ``fit``."""

import keras
import pytest
from small_training import X, Y, callback_of, compiled, fit, policy_of, rates_of

from metagd_optuna.contracts import MetaGDError, Validation


def val_accuracy_callback(**options):
    return callback_of(policy_of(signal="val-accuracy", b=0.5), **options)


@pytest.mark.parametrize(
    ("signal", "text"), [("train-accuracy", "accuracy"), ("val-auc", "val_auc"), ("val-accuracy", "val_accuracy")]
)
def test_a_signal_that_fit_does_not_measure_is_an_error(signal, text):
    with pytest.raises(MetaGDError, match=text):
        fit(compiled(metrics=()), callback_of(policy_of(signal=signal, b=1.0)), epochs=2)


def test_a_validation_every_other_epoch_is_waited_for():
    every_other = {"validation_data": (X, Y), "validation_freq": 2}
    rates, _ = rates_of(val_accuracy_callback(validation_freq=2), epochs=4, **every_other)
    assert len(set(rates[:8])) == 1
    assert rates[8] != rates[7]
    with pytest.raises(MetaGDError, match="validation_freq, if fit"):
        rates_of(val_accuracy_callback(), epochs=2, **every_other)
    with pytest.raises(MetaGDError, match="validation_freq"):
        rates_of(val_accuracy_callback(validation_freq=2), epochs=3)


def test_validation_metrics_from_elsewhere_are_enough():
    """With no validation in fit, and with one that does not measure what the policy looks at."""

    class Elsewhere(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            values = {"loss": 0.5, "accuracy": 0.7, "balanced_accuracy": 0.7, "auc": 0.8}
            steering.observe_validation(Validation(step=4 * (epoch + 1), **values))

    seen = []
    for validation in (None, (X, Y)):
        steering = val_accuracy_callback()
        fit(compiled(metrics=()), Elsewhere(), steering, epochs=2, validation_data=validation)
        seen.append(steering.rates)
    assert seen[0] == seen[1]
    assert seen[0][4] != seen[0][3]
    assert seen[0][5] == pytest.approx(1e-2 * (0.4 + 0.01) ** 0.5)  # p = (0.7 - 0.5) / (1 - 0.5)
