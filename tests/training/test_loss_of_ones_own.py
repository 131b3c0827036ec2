"""What the callback makes of losses that are logged, named or shaped otherwise than usual."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.training.callback import MetaPolicyCallback

X = np.random.default_rng(0).normal(size=(48, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)
POLICY = MetaPolicy("adam", "power", {"lr0": 1e-2, "a": 0.0, "b": 1.0}, "mix", {"w": 0.3})


class LogsLossOfTheBatch(keras.Model):
    def _step(self, data):
        with tf.GradientTape() as tape:
            loss = self.compute_loss(*data, self(data[0], training=True))
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, self.trainable_variables), self.trainable_variables, strict=True)
        )
        return loss

    def train_step(self, data):
        return {"loss": self._step(data)}


class LogsAMeanOfItsOwn(LogsLossOfTheBatch):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.mine = keras.metrics.Mean(name="mine")

    def train_step(self, data):
        self.mine.update_state(self._step(data))
        return {"loss": self.mine.result()}


class LogsASumOfMeans(LogsAMeanOfItsOwn):
    def train_step(self, data):
        loss = self._step(data)
        self.mine.update_state(0.25 * loss)
        return {"loss": self.mine.result() + 3 * self.mine.result()}


class EvaluatesWithin(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            self.model.evaluate(100 * X, Y, verbose=0)


def observed(kind, *callbacks, steps_per_execution=1, validation=None):
    keras.utils.set_random_seed(1)
    inputs = keras.layers.Input((6,))
    model = kind(inputs, keras.layers.Dense(2, "softmax")(inputs))
    model.compile(
        keras.optimizers.Adam(1.0), "sparse_categorical_crossentropy", steps_per_execution=steps_per_execution
    )
    callback = MetaPolicyCallback(POLICY, complexity=0.5, class_frequencies=(0.5, 0.5), rate_updates=6)
    model.fit(
        X, Y, epochs=2, batch_size=8, shuffle=False, verbose=0, validation_data=validation,
        callbacks=[*callbacks, callback],
    )  # fmt: skip
    return callback.rates, [seen.train_loss for seen in callback.observations]


@pytest.mark.parametrize("kind", [LogsLossOfTheBatch, LogsAMeanOfItsOwn])
@pytest.mark.parametrize("validation", [None, (X, Y)])
def test_a_train_step_may_log_the_loss_of_its_batch_or_a_mean_of_its_own(kind, validation):
    """Both are common, and differences of a mean that is none would be noise times the number of steps."""
    rates, losses = observed(keras.Model, validation=validation)
    assert len(losses) == 6
    assert observed(kind, validation=validation)[1] == pytest.approx(losses, rel=1e-4)
    assert observed(kind, validation=validation)[0] == pytest.approx(rates, rel=1e-3)


def test_a_loss_put_together_of_means_is_not_guessed_at():
    """It may be the mean since the epoch began, or have something of the batch in it."""
    with pytest.raises(
        MetaGDError, match=r"none of the means which the model keeps \(mine\) holds.*Mean\(name='loss'\)"
    ):
        observed(LogsASumOfMeans)


def test_the_loss_of_a_batch_is_not_known_of_several_steps_at_once():
    with pytest.raises(MetaGDError, match="only that of the last of 3 batches is seen"):
        observed(LogsLossOfTheBatch, steps_per_execution=3)


def test_an_evaluation_after_a_step_is_no_sign_of_a_loss_of_the_batch():
    assert observed(keras.Model, EvaluatesWithin())[1] == pytest.approx(observed(keras.Model)[1], rel=1e-4)


def fit(loss, outputs, shares, labels=Y, policy=POLICY):
    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(outputs, "sigmoid" if outputs == 1 else "softmax")(inputs))
    model.compile(keras.optimizers.Adam(1e-3), loss)
    callback = MetaPolicyCallback(policy, complexity=0.5, class_frequencies=shares)
    model.fit(X, labels, verbose=0, callbacks=[callback])
    return callback


@pytest.mark.parametrize(
    ("loss", "outputs", "shares", "labels"),
    [
        ("bce", 1, (0.5, 0.5), Y[:, None]),
        ("BinaryCrossentropy", 1, (0.5, 0.5), Y[:, None]),
        ("binary_crossentropy", 2, (0.5, 0.5), np.eye(2)[Y]),
        ("sparse_categorical_crossentropy", 3, (0.5, 0.5, 0.0), Y),
        ("categorical_crossentropy", 4, (0.25,) * 4, np.eye(4)[Y]),
    ],
)
def test_losses_and_shares_that_fit(loss, outputs, shares, labels):
    assert len(fit(loss, outputs, shares, labels).rates) == 2


@pytest.mark.parametrize(
    ("loss", "outputs", "shares", "message"),
    [
        ("bce", 4, (0.25,) * 4, r"binary_crossentropy over 4 outputs .* categorical_crossentropy for one-hot"),
        (keras.losses.BinaryCrossentropy(), 3, (1 / 3,) * 3, "BinaryCrossentropy over 3 outputs"),
        ("categorical_crossentropy", 4, (0.5, 0.5), "4 outputs, but class_frequencies are those of 2 classes"),
        ("bce", 1, (0.25,) * 4, "1 outputs, but class_frequencies are those of 4 classes"),
    ],
)
def test_losses_and_shares_that_do_not_fit(loss, outputs, shares, message):
    with pytest.raises(MetaGDError, match=message):
        fit(loss, outputs, shares, np.eye(outputs)[Y] if outputs > 1 else Y[:, None])


class LossUnderAnotherName(keras.Model):
    """Logs no loss and keeps none: all that Keras' own tracker holds is begun anew."""

    def train_step(self, data):
        loss = super().train_step(data)["loss"]
        self._loss_tracker.reset_state()
        return {"objective": loss}


class KeepsALossThatItDoesNotLog(keras.Model):
    def train_step(self, data):
        return {"objective": super().train_step(data)["loss"]}


def test_a_loss_that_is_kept_need_not_be_logged():
    assert observed(KeepsALossThatItDoesNotLog)[1] == observed(keras.Model)[1]


@pytest.mark.parametrize("reads", [True, False])
def test_a_train_step_without_a_loss_concerns_those_who_look_at_it(reads):
    def history_of(*callbacks):
        keras.utils.set_random_seed(1)
        inputs = keras.layers.Input((6,))
        model = LossUnderAnotherName(inputs, keras.layers.Dense(2, "softmax")(inputs))
        model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
        options = {"epochs": 2, "batch_size": 12, "shuffle": False, "verbose": 0}
        return model.fit(X, Y, callbacks=list(callbacks), **options).history

    callback = MetaPolicyCallback(
        replace(POLICY, rate_coefficients={"lr0": 1e-2, "a": 0.0, "b": 1.0 if reads else 0.0}),
        complexity=0.5,
        class_frequencies=(0.5, 0.5),
    )
    if reads:
        with pytest.raises(MetaGDError, match=r"not among what the training measures, \['objective'\]"):
            history_of(callback)
    else:
        # The rate is Adam's, and nobody begins anew what others measure.
        assert history_of(callback)["objective"] == pytest.approx(history_of()["objective"], rel=1e-6)
        assert len(callback.rates) == 8


def test_a_policy_that_looks_at_improvement_needs_a_loss_too():
    inputs = keras.layers.Input((6,))
    model = LossUnderAnotherName(inputs, keras.layers.Dense(2)(inputs))
    model.compile(keras.optimizers.Adam(1e-3), "mse")  # how it falls says something, whatever its height
    policy = replace(POLICY, signal="improvement", improvement_scale=0.01)
    callback = MetaPolicyCallback(policy, complexity=0.5, class_frequencies=(0.5, 0.5))
    with pytest.raises(MetaGDError, match=r"not among what the training measures, \['objective'\]"):
        model.fit(X, np.eye(2)[Y], verbose=0, callbacks=[callback])


def test_averaging_goes_on_under_a_strategy_of_distribution():
    from metagd_optuna.training.schedule_free import ScheduleFreeAdamW

    def rates(strategy):
        with strategy.scope():
            keras.utils.set_random_seed(1)
            model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(2, "softmax")])
            model.compile(ScheduleFreeAdamW(1e-3, r=1), "sparse_categorical_crossentropy")
        policy = MetaPolicy("schedule-free-adamw-r1", "power", {"lr0": 1e-2, "a": 0.0, "b": 1.0}, "mix", {"w": 0.3})
        callback = MetaPolicyCallback(policy, complexity=0.5, class_frequencies=(0.5, 0.5))
        model.fit(X, Y, epochs=2, shuffle=False, verbose=0, callbacks=[callback])
        return callback.rates, model.evaluate(X, Y, verbose=0)

    alone, mirrored = rates(tf.distribute.get_strategy()), rates(tf.distribute.MirroredStrategy(["CPU:0"]))
    assert mirrored[0] == pytest.approx(alone[0], rel=1e-5)
    assert mirrored[1] == pytest.approx(alone[1], rel=1e-5)
