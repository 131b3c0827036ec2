"""The networks of the suite, each a few lines of Keras, from (height, width, channels) to logits.

They differ in what decides which learning rate they bear: normalisation, depth, width, and what mixes pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from metagd_optuna.training.cnn import article_cnn

Seeds = Iterator[int]


def _seeds(seed: int) -> Seeds:
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(2**31))


def _conv(x: Any, seeds: Seeds, filters: int, size: int = 3, **options: Any) -> Any:
    start = keras.initializers.HeNormal(seed=next(seeds))
    return layers.Conv2D(filters, size, padding="same", kernel_initializer=start, **options)(x)


def _depthwise(x: Any, seeds: Seeds, size: int, **options: Any) -> Any:
    start = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.DepthwiseConv2D(size, padding="same", depthwise_initializer=start, **options)(x)


def _dense(x: Any, seeds: Seeds, units: int, **options: Any) -> Any:
    start = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.Dense(units, kernel_initializer=start, **options)(x)


def deep_plain(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> keras.Model:
    """Eight convolutions and nothing that normalises (Simonyan and Zisserman 2015, arXiv 1409.1556, made small)."""
    seeds = _seeds(seed)
    x = inputs = layers.Input(input_shape)
    for filters in (16, 32, 64, 64):
        x = _conv(x, seeds, filters, activation="relu")
        x = _conv(x, seeds, filters, activation="relu")
        x = layers.MaxPooling2D(2, padding="same")(x)
    return keras.Model(inputs, _dense(layers.Flatten()(x), seeds, classes), name="deep_plain")


def _residual(
    input_shape: tuple[int, int, int], classes: int, seed: int, name: str, normalise: Callable[[], layers.Layer]
) -> keras.Model:
    """He et al. 2016, arXiv 1512.03385, with one block per width of 16, 32 and 64."""
    seeds = _seeds(seed)
    inputs = layers.Input(input_shape)
    x = layers.ReLU()(normalise()(_conv(inputs, seeds, 16, use_bias=False)))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        short = x if strides == 1 else normalise()(_conv(x, seeds, filters, 1, strides=strides, use_bias=False))
        x = layers.ReLU()(normalise()(_conv(x, seeds, filters, strides=strides, use_bias=False)))
        x = normalise()(_conv(x, seeds, filters, use_bias=False))
        x = layers.ReLU()(layers.Add()([x, short]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, _dense(x, seeds, classes), name=name)


def resnet_batch(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> keras.Model:
    """A residual network with batch normalisation."""
    return _residual(input_shape, classes, seed, "resnet_batch", layers.BatchNormalization)


def resnet_group(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> keras.Model:
    """A residual network with group normalisation (Wu and He 2018, arXiv 1803.08494)."""
    return _residual(input_shape, classes, seed, "resnet_group", lambda: layers.GroupNormalization(8))


def depthwise_batch(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> keras.Model:
    """Depthwise-separable convolutions with batch normalisation (Howard et al. 2017, arXiv 1704.04861)."""
    seeds = _seeds(seed)
    inputs = layers.Input(input_shape)
    x = layers.ReLU()(layers.BatchNormalization()(_conv(inputs, seeds, 32, strides=2, use_bias=False)))
    for filters, strides in ((64, 1), (64, 1), (128, 2), (128, 1)):
        x = layers.ReLU()(layers.BatchNormalization()(_depthwise(x, seeds, 3, strides=strides, use_bias=False)))
        x = layers.ReLU()(layers.BatchNormalization()(_conv(x, seeds, filters, 1, use_bias=False)))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, _dense(x, seeds, classes), name="depthwise_batch")


def mixer_layer(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> keras.Model:
    """A convolutional mixer (Trockman and Kolter 2022, arXiv 2201.09792) with layer normalisation."""
    seeds = _seeds(seed)
    inputs = layers.Input(input_shape)
    x = layers.LayerNormalization()(_conv(inputs, seeds, 48, 2, strides=2, activation="gelu"))
    for _ in range(4):
        y = layers.LayerNormalization()(_depthwise(x, seeds, 5, activation="gelu"))
        x = layers.Add()([x, y])
        x = layers.LayerNormalization()(_conv(x, seeds, 48, 1, activation="gelu"))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, _dense(x, seeds, classes), name="mixer_layer")


@keras.saving.register_keras_serializable("metagd_optuna")
class AddPositions(layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Add a trained vector to every token of a sequence, by its place."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the vectors, zero at first, so that all places look alike."""
        self.positions = self.add_weight(shape=input_shape[1:], initializer="zeros", name="positions")

    def call(self, inputs: Any) -> Any:
        """Return tokens (n, tokens, channels) with their places added."""
        return inputs + self.positions


def _attention(x: Any, seeds: Seeds, heads: int, channels: int) -> Any:
    layer = layers.MultiHeadAttention(heads, channels // heads, kernel_initializer=keras.initializers.Zeros())
    answer = layer(x, x)
    # The layer would draw its four kernels from one seed, all of them alike.
    for weight in layer.trainable_weights:
        if len(weight.shape) == 3:
            flat = keras.initializers.GlorotUniform(seed=next(seeds))((channels, channels))
            weight.assign(keras.ops.reshape(flat, weight.shape))
    return answer


def vision_transformer(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> keras.Model:
    """Attention over patches of 4 x 4 pixels (Dosovitskiy et al. 2021, arXiv 2010.11929), three blocks of width 48."""
    seeds, channels = _seeds(seed), 48
    inputs = layers.Input(input_shape)
    x = _conv(inputs, seeds, channels, 4, strides=4)
    x = AddPositions()(layers.Reshape((-1, channels))(x))
    for _ in range(3):
        x = layers.Add()([x, _attention(layers.LayerNormalization()(x), seeds, 3, channels)])
        y = _dense(layers.LayerNormalization()(x), seeds, 2 * channels, activation="gelu")
        x = layers.Add()([x, _dense(y, seeds, channels)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, _dense(x, seeds, classes), name="vision_transformer")


def _perceptron(
    input_shape: tuple[int, int, int], classes: int, seed: int, name: str, hidden: tuple[int, ...]
) -> keras.Model:
    seeds = _seeds(seed)
    inputs = layers.Input(input_shape)
    x = layers.Flatten()(inputs)
    for units in hidden:
        x = _dense(x, seeds, units, activation="relu")
    return keras.Model(inputs, _dense(x, seeds, classes), name=name)


def mlp_narrow(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> keras.Model:
    """Two hidden layers of 128."""
    return _perceptron(input_shape, classes, seed, "mlp_narrow", (128, 128))


def mlp_wide(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> keras.Model:
    """Four hidden layers of 512."""
    return _perceptron(input_shape, classes, seed, "mlp_wide", (512, 512, 512, 512))


NETWORKS: Mapping[str, Callable[..., keras.Model]] = {
    "article-cnn": article_cnn,
    "deep-plain": deep_plain,
    "resnet-batch": resnet_batch,
    "resnet-group": resnet_group,
    "depthwise-batch": depthwise_batch,
    "mixer-layer": mixer_layer,
    "vision-transformer": vision_transformer,
    "mlp-narrow": mlp_narrow,
    "mlp-wide": mlp_wide,
}
