"""A training of a user's own, small enough for tests: data, a network, policies. On any backend of Keras."""

import keras
import numpy as np
import pytest

from metagd_optuna import MetaPolicy, MetaPolicyCallback
from metagd_optuna.policy import BASELINES
from metagd_optuna.training.controller_callback import ControllerCallback

# For what does not depend on the backend, or a case of a table beside another like it.
one_backend = pytest.mark.one_backend

SHARES = (0.5, 0.5)
X = np.random.default_rng(0).normal(size=(48, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)
# With batches of 12 an epoch has 4 steps; with batches of 20 the last has 8 images.
BATCH = 12

# Every state of this rule depends on all that it has seen.
REMEMBERS = MetaPolicy(
    "adam", "multiplicative", {"lr0": 1e-2, "up": 0.1, "down": 0.4, "theta": 0.02, "patience": 0, "cooldown": 1}
)


def policy_of(optimizer="adam", signal="train-loss", improvement_scale=None, **coefficients):
    """A rule that follows performance with b, which is 0 unless it is given: then the rate is lr0."""
    g = {"lr0": 1e-2, "a": 0.0, "b": 0.0} | coefficients
    return MetaPolicy(optimizer, "power", g, "mix", {"w": 0.5}, signal=signal, improvement_scale=improvement_scale)


def callback_of(policy=None, **options):
    given = {"complexity": 0.5, "class_frequencies": SHARES} | options
    return MetaPolicyCallback(policy or policy_of(), **given)


def baseline_callback(name, coefficients, **options):
    baseline = BASELINES[name].candidate(coefficients)
    given = {"optimizer": baseline.optimizer, "complexity": 0.5, "class_frequencies": SHARES}
    return ControllerCallback(baseline.controller, **given, **options)


def network(outputs=2, activation="softmax", hidden=0, seed=1, kind=keras.Model):
    keras.utils.set_random_seed(seed)
    inputs = keras.layers.Input((6,))
    features = keras.layers.Dense(hidden, "relu")(inputs) if hidden else inputs
    return kind(inputs, keras.layers.Dense(outputs, activation)(features))


def compiled(optimizer=None, loss="sparse_categorical_crossentropy", metrics=("accuracy",), **options):
    given = {"outputs": 2, "activation": "softmax", "hidden": 0, "seed": 1, "kind": keras.Model}
    model = network(**{key: options.pop(key, value) for key, value in given.items()})
    model.compile(optimizer or keras.optimizers.Adam(1e-3), loss, metrics=list(metrics), **options)
    return model


def fit(model, *callbacks, x=X, y=Y, **options):
    given = {"epochs": 1, "batch_size": BATCH, "shuffle": False, "verbose": 0} | options
    return model.fit(x, y, callbacks=list(callbacks), **given)


def distance(weights, others):
    return max(float(np.abs(a - b).max()) for a, b in zip(weights, others, strict=True))


class RateRecorder(keras.callbacks.Callback):
    """The rate that the optimizer really used at every step."""

    def on_train_begin(self, logs=None):
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def rates_of(callback, optimizer=None, **options):
    """Return the rates of a training of four epochs with four steps each, and its model."""
    model, recorder = compiled(optimizer or keras.optimizers.Adam(1.0)), RateRecorder()
    fit(model, callback, recorder, **({"epochs": 4} | options))
    return recorder.rates, model
