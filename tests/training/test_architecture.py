"""What makes two networks the same."""

import keras
import numpy as np
import pytest
from keras import layers

from metagd_optuna.training.architecture import network_fingerprint

SHAPE, CLASSES = (12, 10, 1), 3


def sequential(*stack):
    return keras.Sequential([layers.Input(SHAPE), *stack, layers.Flatten(), layers.Dense(CLASSES)])


def _convolutional(input_shape, classes, *, seed, filters=4, name=None):
    initializer = keras.initializers.GlorotUniform(seed=seed)
    return keras.Sequential(
        [
            keras.layers.Input(input_shape),
            keras.layers.Conv2D(filters, 3, kernel_initializer=initializer),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, kernel_initializer=initializer),
        ],
        name=name,
    )


def test_fingerprint_ignores_names_and_seeds_and_sees_shapes_and_classes():
    shape = (10, 10, 1)
    plain = network_fingerprint(_convolutional(shape, 3, seed=0))
    assert plain == network_fingerprint(_convolutional(shape, 3, seed=1, name="other"))
    assert plain != network_fingerprint(_convolutional(shape, 3, seed=0, filters=5))
    assert plain != network_fingerprint(_convolutional(shape, 2, seed=0))
    inner = _convolutional(shape, 3, seed=0)
    assert network_fingerprint(keras.Sequential([keras.layers.Input(shape), inner])) != plain
    nested = [
        keras.Sequential([keras.layers.Input(shape), _convolutional(shape, 3, seed=0, filters=f)]) for f in (4, 5)
    ]
    assert network_fingerprint(nested[0]) != network_fingerprint(nested[1])
    pooled = [
        keras.Sequential([keras.layers.Input(shape), pooling(2), keras.layers.Flatten(), keras.layers.Dense(2)])
        for pooling in (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
    ]
    assert network_fingerprint(pooled[0]) != network_fingerprint(pooled[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda: sequential(layers.Conv2D(4, 3, activation="relu")),
        lambda: sequential(layers.Conv2D(4, 3, kernel_regularizer="l2")),
        lambda: sequential(layers.Conv2D(5, 3)),
        lambda: sequential(layers.Conv2D(4, 3), layers.Dropout(0.5)),
    ],
    ids=["activation", "penalty", "width", "layer"],
)
def test_fingerprint_sees_settings(change):
    plain = network_fingerprint(sequential(layers.Conv2D(4, 3)))
    assert plain == network_fingerprint(sequential(layers.Conv2D(4, 3, name="first")))
    assert plain != network_fingerprint(change())


def test_fingerprint_sees_how_layers_are_joined():
    def joined(first):
        entrance = layers.Input(SHAPE)
        a = layers.Conv2D(4, 3, padding="same")(entrance)
        b = layers.Conv2D(4, 3, padding="same")(a)
        x = layers.Add()([a if first else b, b])
        return keras.Model(entrance, layers.Dense(CLASSES)(layers.Flatten()(x)))

    assert network_fingerprint(joined(True)) == network_fingerprint(joined(True))
    assert network_fingerprint(joined(True)) != network_fingerprint(joined(False))


def test_fingerprint_of_a_class_without_settings_is_its_shapes():
    class Subclassed(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.dense = layers.Dense(units)

        def call(self, x):
            return self.dense(layers.Flatten()(x))

    prints = []
    for units in (2, 2, 3):
        model = Subclassed(units)
        model(np.zeros((1, *SHAPE), np.float32))
        prints.append(network_fingerprint(model))
    assert prints[0] == prints[1] != prints[2]


def test_an_activation_that_is_called_like_a_layer_is_no_layer():
    """Keras calls the first ELU of a process "elu", which is an activation's name as well, and the next one "elu_1"."""
    keras.backend.clear_session()

    def build():
        stack = [layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="elu"), layers.ELU(), layers.Flatten()]
        return keras.Sequential([*stack, layers.Dense(2)])

    assert len({network_fingerprint(build()) for _ in range(3)}) == 1
