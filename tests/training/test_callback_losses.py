"""Which losses of a model a policy can read performance off, and which are refused."""

import math

import keras
import numpy as np
import pytest
from small_training import X, Y, callback_of, compiled, fit, policy_of

from metagd_optuna.contracts import MetaGDError

FOLLOWS = policy_of(b=1.0)


def classifier(loss, activation="softmax", **options):
    """A model whose output has the name that Keras wants in a mapping of losses."""
    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation, name="out")(inputs))
    model.compile(keras.optimizers.Adam(1e-3), loss, **options)
    return model


@pytest.mark.parametrize(
    "loss", ["mse", keras.losses.MeanSquaredError(), keras.losses.mean_squared_error, {"out": "categorical_hinge"}]
)
def test_a_loss_that_is_no_cross_entropy_is_refused(loss):
    with pytest.raises(MetaGDError, match=r"has to be one cross-entropy.*1 outputs and the loss"):
        fit(classifier(loss, activation=None), callback_of(FOLLOWS), y=np.eye(2)[Y])


@pytest.mark.parametrize(
    ("reduction", "weights"),
    [("sum", None), ("none", None), (None, None), ("sum_over_batch_size", [0.1]), ("mean", {"out": 2.0})],
)
def test_a_cross_entropy_on_another_scale_is_refused(reduction, weights):
    model = classifier({"out": keras.losses.SparseCategoricalCrossentropy(reduction=reduction)}, loss_weights=weights)
    with pytest.raises(MetaGDError, match=rf"compiled with reduction={reduction!r} and loss_weights=.*leave both out"):
        fit(model, callback_of(FOLLOWS))


def own_loss(truth, chances):
    return keras.losses.sparse_categorical_crossentropy(truth, chances)


@pytest.mark.parametrize(
    "loss",
    [
        "SparseCategoricalCrossentropy",
        keras.losses.sparse_categorical_crossentropy,
        keras.losses.SparseCategoricalCrossentropy(name="mine"),
        {"out": keras.losses.SparseCategoricalCrossentropy()},
        ["sparse_categorical_crossentropy"],
        own_loss,
    ],
)
def test_a_cross_entropy_may_be_given_in_any_way(loss):
    callback = callback_of(FOLLOWS)
    fit(classifier(loss), callback)
    assert len(callback.rates) == 4


def test_a_loss_that_the_model_adds_itself_needs_a_reference():
    class Adds(keras.layers.Layer):
        def call(self, chances):
            self.add_loss(keras.ops.mean(-keras.ops.log(chances[:, 0])))
            return chances

    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, Adds()(keras.layers.Dense(2, "softmax")(inputs)))
    model.compile(keras.optimizers.Adam(1e-3))
    with pytest.raises(MetaGDError, match=r"compiled without a loss.*pass chance_loss="):
        fit(model, callback_of(FOLLOWS))
    callback = callback_of(FOLLOWS, chance_loss=math.log(2))
    fit(model, callback)
    assert len(callback.rates) == 4


def test_two_outputs_are_refused():
    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(MetaGDError, match="2 outputs"):
        fit(model, callback_of(FOLLOWS), y=[Y, Y])


def test_unknown_length_is_refused():
    import tensorflow as tf

    def endless():
        while True:
            yield X[:4], Y[:4]

    of_examples = (tf.TensorSpec((4, 6)), tf.TensorSpec((4,), tf.int32))
    data = tf.data.Dataset.from_generator(endless, output_signature=of_examples)
    with pytest.raises(MetaGDError, match="steps_per_epoch"):
        compiled().fit(data, shuffle=False, verbose=0, callbacks=[callback_of()])
