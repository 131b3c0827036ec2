"""How Keras' normalisations are done for a whole population; each member has statistics of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from metagd_optuna.training.fused.activations import (
    Activations,
    Fused,
    Pass,
    Shapes,
    last_axis,
    refuse,
    unshared,
)
from metagd_optuna.training.network import Tensor, has_floats


def batch_normalization(layer: layers.BatchNormalization, shapes: Shapes, shared: bool) -> Fused:
    """Statistics per channel of each member; the moving ones are each member's own."""
    if getattr(layer, "renorm", False):
        raise refuse(layer, "renorm has no fused form")
    last_axis(layer, shapes)

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        [x] = inputs
        image = len(x.shape) == 3
        values = unshared(run, x)

        def along(variable: keras.Variable | None) -> Tensor | None:
            if variable is None:
                return None
            numbers = run.of(variable)
            return tf.reshape(numbers, (-1,)) if image else numbers[:, None]

        mean, variance = along(layer.moving_mean), along(layer.moving_variance)
        beta, gamma = along(layer.beta), along(layer.gamma)
        if not (run.training and layer.trainable):
            return tf.nn.batch_normalization(values, mean, variance, beta, gamma, layer.epsilon)
        if image:
            result, mean, variance = _normalized_images(values, mean, beta, gamma, layer.epsilon)
        else:
            mean, variance = tf.nn.moments(values, (1,), keepdims=True)
            result = tf.nn.batch_normalization(values, mean, variance, beta, gamma, layer.epsilon)
        for variable, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            before = run.of(variable)
            now = tf.stop_gradient(tf.reshape(now, tf.shape(before)))
            run.update(variable, before * layer.momentum + now * (1 - layer.momentum))
        return result

    return apply


def _normalized_images(
    values: Tensor, like: Tensor, beta: Tensor | None, gamma: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images (N, H, W, channels) normalised per channel, and the mean and variance of each.

    One operation with a gradient of its own reads the images fewer times than moments and products do.
    """
    scale = tf.ones_like(like) if gamma is None else gamma
    offset = tf.zeros_like(like) if beta is None else beta
    result, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=values, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    # It divides by one less than the count, as an estimate for other images would; Keras divides by the count.
    count = tf.cast(tf.reduce_prod(tf.shape(values)[:3]), tf.float32)
    return result, mean, variance * (count - 1) / count


def layer_normalization(layer: layers.LayerNormalization, shapes: Shapes, shared: bool) -> Fused:
    """Statistics over the channels of each member's example, at each pixel."""
    if getattr(layer, "rms_scaling", False):
        raise refuse(layer, "rms_scaling has no fused form")
    last_axis(layer, shapes)
    if shared and not has_floats(layer):  # then what comes out is shared, too
        return lambda run, inputs: run.call_shared(layer, inputs[0].values)
    return lambda run, inputs: _normalized_apart(run, layer, inputs[0], groups=1, across=False)


def group_normalization(layer: layers.GroupNormalization, shapes: Shapes, shared: bool) -> Fused:
    """Statistics over groups of channels of each member's example, over all pixels."""
    last_axis(layer, shapes)
    if shared and not has_floats(layer):
        return lambda run, inputs: run.call_shared(layer, inputs[0].values)
    return lambda run, inputs: _normalized_apart(run, layer, inputs[0], groups=layer.groups, across=True)


def _normalized_apart(run: Pass, layer: Any, x: Activations, *, groups: int, across: bool) -> Tensor:
    """Normalise every example by itself, in ``groups`` of channels, over all pixels (``across``) or at each."""
    values, channels = unshared(run, x), x.shape[-1]
    image = len(x.shape) == 3

    def along(variable: keras.Variable | None) -> Tensor | None:
        """Return gamma or beta as numbers per channel, to stand beside those of the last axis."""
        if variable is None:
            return None
        numbers = run.of(variable)
        return tf.reshape(numbers, (-1,)) if image else numbers[:, None]

    beta, gamma = along(layer.beta), along(layer.gamma)
    if image and across:
        return _normalized_groups(values, beta, gamma, layer.epsilon, channels // groups)
    size = tf.shape(values)
    grouped = tf.reshape(values, tf.concat((size[:-1], (-1, channels // groups)), 0))
    centred = grouped - tf.reduce_mean(grouped, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    normal = tf.reshape(centred * tf.math.rsqrt(variance + layer.epsilon), size)
    normal = normal if gamma is None else normal * gamma
    return normal if beta is None else normal + beta


def _normalized_groups(
    values: Tensor, beta: Tensor | None, gamma: Tensor | None, epsilon: float, channels: int
) -> Tensor:
    """Return images (N, H, W, all channels) normalised in groups of ``channels``, over all pixels.

    What is large is read as rarely as can be: for two means, and for one product and one sum per image and channel.
    """
    size = tf.shape(values)
    pixels = tf.reshape(values, (size[0], size[1] * size[2], size[3]))

    def in_groups(numbers: Tensor) -> Tensor:
        """Return the mean (N, groups, 1) of numbers (N, all channels)."""
        return tf.reduce_mean(tf.reshape(numbers, (size[0], -1, channels)), axis=-1, keepdims=True)

    def by_channel(numbers: Tensor) -> Tensor:
        """(N, groups, 1) -> (N, 1, all channels)."""
        return tf.reshape(tf.repeat(numbers, channels, axis=-1), (size[0], 1, size[3]))

    mean = in_groups(tf.reduce_mean(pixels, axis=1))
    variance = in_groups(tf.reduce_mean(tf.square(pixels), axis=1)) - tf.square(mean)
    factor = by_channel(tf.math.rsqrt(tf.maximum(variance, 0.0) + epsilon))
    factor = factor if gamma is None else factor * gamma
    shift = -by_channel(mean) * factor
    return tf.reshape(pixels * factor + (shift if beta is None else shift + beta), size)
