"""A second layout for a population's images, made for tensor cores: convolutions as matrix products over patches.

Images of each member lie members first, (P, N, H, W, C). A convolution cuts them into patches, so that it becomes

    (P, N*H*W, kh*kw*in) x (P, kh*kw*in, out)

one batched matrix product over members. In the first layer members share images, hence patches, and it is a single
product with (kh*kw*in, P*out). Patches and the windows of a max-pooling are cut by plain slices, which XLA puts into
the operations around them, forwards and backwards. Nothing is transposed but the first layer's output, once it is
pooled, and what goes to layers that only know the other layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from metagd_optuna.training.fused import grouped
from metagd_optuna.training.fused.activations import (
    Activations,
    Fused,
    Pass,
    Rule,
    Shapes,
    channels_last,
    members_beside,
    members_first,
)
from metagd_optuna.training.fused.grouped import activate
from metagd_optuna.training.network import Tensor


def _margins(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return the pixels that padding "same" adds before and after, as TensorFlow does.

    >>> _margins(28, 3, 1, 1), _margins(13, 2, 2, 1), _margins(8, 2, 2, 1)
    ((1, 1), (0, 1), (0, 0))
    """
    reach = (window - 1) * dilation + 1
    missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return missing // 2, missing - missing // 2


def _windows(
    images: Tensor,
    window: tuple[int, int],
    strides: tuple[int, int],
    *,
    dilation: tuple[int, int] = (1, 1),
    padding: str,
    padded_with: float,
) -> Iterator[Tensor]:
    """Yield, for every place in a window, row by row, what lies there: (..., H, W, C) -> (..., H', W', C)."""
    sides = images.shape[-3:-1]
    if padding == "same":
        margins = [_margins(*numbers) for numbers in zip(sides, window, strides, dilation, strict=True)]
        outer = [(0, 0)] * (images.shape.rank - 3)
        images = tf.pad(images, [*outer, *margins, (0, 0)], constant_values=padded_with)
        sides = images.shape[-3:-1]
    reach = [(size - 1) * gap for size, gap in zip(window, dilation, strict=True)]
    for y in range(0, reach[0] + 1, dilation[0]):
        for x in range(0, reach[1] + 1, dilation[1]):
            rows = slice(y, y + sides[0] - reach[0], strides[0])
            columns = slice(x, x + sides[1] - reach[1], strides[1])
            yield images[..., rows, columns, :]


def _largest(images: Tensor, pooling: layers.MaxPooling2D) -> Tensor:
    """Max-pooling; where numbers are equal the first one gets the gradient, as in TensorFlow's own."""
    padding = pooling.padding
    windows = _windows(images, pooling.pool_size, pooling.strides, padding=padding, padded_with=images.dtype.min)
    largest = next(windows)
    for values in windows:
        largest = tf.maximum(largest, values)
    return largest


def convolution(
    layer: layers.Conv2D, shapes: Shapes, shared: bool, pooling: layers.MaxPooling2D | None = None
) -> Fused:
    """Matrix products over patches; a max-pooling that follows goes before bias and activation."""
    if layer.groups != 1:
        in_groups = partial(grouped.convolution, pooling=pooling)
        return _converting(_beside, in_groups)(layer, shapes, shared)
    channels_last(layer)
    activation = activate(layer)
    strides, dilation, padding = layer.strides, layer.dilation_rate, layer.padding
    size = math.prod(layer.kernel.shape[:-1])  # kh*kw*in

    def cut(images: Tensor) -> Tensor:
        windows = _windows(images, layer.kernel_size, strides, dilation=dilation, padding=padding, padded_with=0.0)
        return tf.concat(list(windows), axis=-1)

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        kernels = tf.reshape(run.of(layer.kernel), (-1, size, layer.filters))
        if shared:
            images = inputs[0].values
            everyones = tf.reshape(tf.transpose(kernels, (1, 0, 2)), (size, -1))
            values = run.multiply(lambda a, b: tf.einsum("nhwk,kq->nhwq", cut(a), b), images, everyones)
        else:
            images = members_first(run, inputs[0])
            values = run.multiply(lambda a, b: tf.einsum("pnhwk,pko->pnhwo", cut(a), b), images, kernels)
        if pooling is not None:
            values = _largest(values, pooling)
        if shared:
            shape = (*values.shape[1:3], layer.filters)
            values = members_first(run, Activations(values, shape, shared=False))
        if layer.use_bias:
            values += run.of(layer.bias)[:, None, None, None]
        return activation(values)

    return apply


def _max_pooling(layer: layers.MaxPooling2D, shapes: Shapes, shared: bool) -> Fused:
    channels_last(layer)
    return lambda run, inputs: _largest(inputs[0].values, layer)


def _image_by_image(layer: Any, shapes: Shapes, shared: bool) -> Fused:
    """A layer without weights that treats images apart, so that members can lie along the batch."""
    channels_last(layer)

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        values = inputs[0].values
        if values.shape.rank != 5:
            return layer.call(values)
        outer = tf.shape(values)[:2]
        result = layer.call(tf.reshape(values, (-1, *values.shape[2:])))
        return tf.reshape(result, tf.concat((outer, result.shape[1:]), 0))

    return apply


def _beside(run: Pass, x: Activations) -> Activations:
    """Lay out members along the channels."""
    return x if x.values.shape.rank != 5 else replace(x, values=members_beside(x.values))


def _first(run: Pass, x: Activations) -> Activations:
    """Lay out members first."""
    return replace(x, values=members_first(run, x), shared=False)


def _converting(convert: Callable[[Pass, Activations], Activations], rule: Rule) -> Rule:
    """Return a rule whose inputs are laid out by ``convert`` first, unless all of them are shared."""

    def converted(layer: Any, shapes: Shapes, shared: bool) -> Fused:
        fused = rule(layer, shapes, shared)
        return fused if shared else lambda run, inputs: fused(run, [convert(run, x) for x in inputs])

    return converted


IMAGE_BY_IMAGE = (
    layers.AveragePooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.UpSampling2D,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
)
NUMBER_BY_NUMBER = (
    layers.Activation,
    layers.Identity,
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)
# Layers that are done members first; for any other images are laid out along the channels.
MEMBERS_FIRST: Mapping[type, Rule] = {
    layers.Conv2D: convolution,
    layers.MaxPooling2D: _max_pooling,
    layers.Flatten: grouped.RULES[layers.Flatten],
    **dict.fromkeys(IMAGE_BY_IMAGE, _image_by_image),
    **{kind: _converting(_first, grouped.RULES[kind]) for kind in NUMBER_BY_NUMBER},
}


def rule_for(layer: keras.Layer) -> Rule:
    """Return how a layer is fused in this layout.

    Raises:
        CannotFuseError: if there is no way.
    """
    rule = grouped.rule_for(layer)
    return MEMBERS_FIRST[type(layer)] if type(layer) in MEMBERS_FIRST else _converting(_beside, rule)
