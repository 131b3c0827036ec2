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
    members_last,
    merged,
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
        if run.training and layer.trainable:
            mean, variance = tf.nn.moments(values, (0, 1, 2) if image else (1,), keepdims=not image)
            for variable, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
                before = run.of(variable)
                now = tf.stop_gradient(tf.reshape(now, tf.shape(before)))
                run.update(variable, before * layer.momentum + now * (1 - layer.momentum))
        return tf.nn.batch_normalization(values, mean, variance, along(layer.beta), along(layer.gamma), layer.epsilon)

    return apply


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
    split = members_last(values, channels) if image else values
    size = tf.shape(split)
    grouped = tf.reshape(split, tf.concat((size[:-1], (groups, channels // groups)), 0))
    axes = (1, 2, -1) if image and across else (-1,)
    mean, variance = tf.nn.moments(grouped, axes, keepdims=True)
    # gamma and beta (P, C), to stand before the last two axes (groups, channels of a group)
    trailing = (-1, groups, channels // groups)

    def along(variable: keras.Variable | None) -> Tensor | None:
        if variable is None:
            return None
        numbers = tf.reshape(run.of(variable), trailing)
        return numbers if image else numbers[:, None]

    normal = tf.nn.batch_normalization(grouped, mean, variance, along(layer.beta), along(layer.gamma), layer.epsilon)
    normal = tf.reshape(normal, size)
    return merged(normal) if image else normal
