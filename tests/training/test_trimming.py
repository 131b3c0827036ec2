"""Rows and columns that reach no logit are left out, and nothing else changes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from keras import layers

from metagd_optuna.training.cnn import article_cnn
from metagd_optuna.training.fused.network import FusedNetwork
from metagd_optuna.training.network import Start

CLASSES = 3


def logits_of(network, model, images, training=False):
    start = Start.of(model)
    weights, state = (tf.constant(values[None]) for values in (start.weights, start.state))
    noise = tuple(tf.constant(values) for values in start.noise)
    return network.logits(weights, state, noise, tf.constant(images), training=training)[0][0].numpy()


def seen(network):
    return network._height, network._width


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 28, 1), (26, 26)),
        ((28, 28, 3), (26, 26)),
        ((30, 27, 1), (30, 26)),  # 30, 28, 14, 12, 6: nothing is dropped
        ((26, 26, 1), (26, 26)),
        ((12, 12, 1), (12, 12)),  # so small that it is padded
    ],
)
def test_the_articles_network(shape, expected):
    model = article_cnn(shape, CLASSES, seed=0)
    network = FusedNetwork(model)
    assert seen(network) == expected
    images = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    assert np.allclose(logits_of(network, model, images), model(images), atol=1e-5)


convolution = st.builds(
    lambda kind, size, strides, padding: lambda: kind(3, size, strides=strides, padding=padding),
    st.sampled_from([layers.Conv2D, layers.SeparableConv2D]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2]),
    st.sampled_from(["valid", "valid", "same"]),
)
dilated = st.builds(lambda gap: lambda: layers.Conv2D(3, 2, dilation_rate=gap), st.sampled_from([1, 2]))
pooling = st.builds(
    lambda kind, size, strides, padding: lambda: kind(size, strides=strides, padding=padding),
    st.sampled_from([layers.MaxPooling2D, layers.AveragePooling2D]),
    st.sampled_from([2, 3]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from(["valid", "valid", "same"]),
)
other = st.sampled_from(
    [
        lambda: layers.Activation("tanh"),
        lambda: layers.LeakyReLU(),
        lambda: layers.LayerNormalization(),
        lambda: layers.Dropout(0.2),
    ]
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(convolution, convolution, dilated, pooling, pooling, other), min_size=1, max_size=4),
    st.integers(14, 20),
    st.integers(14, 20),
)
def test_what_is_left_out_is_what_no_logit_sees(stack, height, width):
    made = [make() for make in stack]
    try:
        model = keras.Sequential([layers.Input((height, width, 2)), *made, layers.Flatten(), layers.Dense(CLASSES)])
    except ValueError:  # nothing is left of the image
        reject()
    network = FusedNetwork(model)
    rows, columns = seen(network)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, height, width, 2)).astype(np.float32)
    whole = np.asarray(model(images))
    assert np.allclose(logits_of(network, model, images), whole, rtol=1e-4, atol=1e-5)
    # What is left out could be anything.
    images[:, rows:] = rng.normal(size=images[:, rows:].shape)
    images[:, :, columns:] = rng.normal(size=images[:, :, columns:].shape)
    assert np.array_equal(np.asarray(model(images)), whole)


@pytest.mark.parametrize(
    "between",
    [
        lambda: layers.BatchNormalization(),
        lambda: layers.Dropout(0.5),
        lambda: layers.Conv2D(3, 3, padding="same"),
        lambda: layers.RandomFlip(),
        lambda: layers.GroupNormalization(1),
    ],
    ids=["batch statistics", "noise", "padding", "augmentation", "statistics of an image"],
)
def test_layers_that_look_at_everything_keep_everything(between):
    def network(*first):
        last = [layers.MaxPooling2D(), layers.Flatten(), layers.Dense(CLASSES)]
        return FusedNetwork(keras.Sequential([layers.Input((11, 11, 2)), *first, *last]))

    assert seen(network(between())) == (11, 11)
    assert seen(network()) == (10, 10)


def test_two_branches_need_what_either_needs():
    entrance = layers.Input((11, 12, 2))
    a = layers.Flatten()(layers.MaxPooling2D(2)(entrance))
    b = layers.Flatten()(layers.MaxPooling2D(3)(entrance))
    model = keras.Model(entrance, layers.Dense(CLASSES)(layers.Concatenate()([a, b])))
    assert seen(FusedNetwork(model)) == (10, 12)
    images = np.random.default_rng(0).normal(size=(3, 11, 12, 2)).astype(np.float32)
    assert np.allclose(logits_of(FusedNetwork(model), model, images), model(images), atol=1e-5)
