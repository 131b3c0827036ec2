"""A Keras network for a whole population at once.

The weights of P members are one tensor of shape (P, D). Every layer is rewritten so that one operation
serves all members: a convolution becomes a grouped convolution with one group per member, a dense layer a
batched matrix product. All members see the same images, so the first convolution needs no groups.
P is a dynamic dimension: one traced program serves every population size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from metagd_optuna.contracts import MetaGDError

Tensor = Any  # TensorFlow ships no types


@dataclass(frozen=True, slots=True)
class Activations:
    """What flows between two layers.

    Args:
        values: (N, H, W, C) while ``shared``; (N, H, W, P*C), member by member, for images; (P, N, F) for vectors.
        shared: whether all members still have the same values, so that there is no member axis yet.
        population: P, a scalar tensor.
    """

    values: Tensor
    shared: bool
    population: Tensor


Layer = Callable[[Activations, Sequence[Tensor]], Activations]


def _convolution(layer: keras.layers.Conv2D, pooling: keras.layers.MaxPooling2D | None) -> Layer:
    """Grouped convolution, one group per member; without groups while the input is shared.

    A max-pooling that follows goes before bias and relu: they keep order, so the result is the same, on a
    quarter of the numbers.
    """
    if layer.groups != 1 or layer.data_format != "channels_last":
        raise MetaGDError(f"layer {layer.name!r}: only channels_last Conv2D without groups can be fused")

    def apply(x: Activations, weights: Sequence[Tensor]) -> Activations:
        kernels = weights[0]
        _, height, width, inputs, _ = kernels.shape
        # (P, kh, kw, in, out) -> (kh, kw, in, P * out): group p owns the output channels [p * out, (p + 1) * out)
        grouped = tf.reshape(tf.transpose(kernels, (1, 2, 3, 0, 4)), (height, width, inputs, -1))
        values = tf.nn.conv2d(x.values, grouped, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate)
        if pooling is not None:
            values = _pool(pooling, values)
        if layer.use_bias:
            values = tf.nn.bias_add(values, tf.reshape(weights[1], (-1,)))
        return Activations(_activate(layer, values), shared=False, population=x.population)

    return apply


def _pool(layer: keras.layers.MaxPooling2D, values: Tensor) -> Tensor:
    return tf.nn.max_pool2d(values, layer.pool_size, layer.strides, layer.padding.upper())


def _max_pooling(layer: keras.layers.MaxPooling2D) -> Layer:
    """Pooling treats channels apart, so members too."""

    def apply(x: Activations, weights: Sequence[Tensor]) -> Activations:
        return Activations(_pool(layer, x.values), x.shared, x.population)

    return apply


def _flatten(layer: keras.layers.Flatten) -> Layer:
    """(N, H, W, P*C) -> (P, N, H*W*C), in Keras' own order within a member."""
    _, height, width, channels = layer.input.shape

    def apply(x: Activations, weights: Sequence[Tensor]) -> Activations:
        pixels = height * width
        if x.shared:
            values = tf.reshape(x.values, (1, -1, pixels * channels))
            values = tf.repeat(values, x.population, axis=0)
        else:
            values = tf.reshape(x.values, (-1, pixels, x.population, channels))
            count = tf.shape(values)[0]
            values = tf.reshape(tf.transpose(values, (2, 0, 1, 3)), tf.stack((x.population, count, pixels * channels)))
        return Activations(values, shared=False, population=x.population)

    return apply


def _dense(layer: keras.layers.Dense) -> Layer:
    """One batched matrix product over members: (P, N, in) x (P, in, out)."""

    def apply(x: Activations, weights: Sequence[Tensor]) -> Activations:
        values = tf.matmul(x.values, weights[0])
        if layer.use_bias:
            values += weights[1][:, None, :]
        return Activations(_activate(layer, values), shared=False, population=x.population)

    return apply


def _activate(layer: keras.layers.Layer, values: Tensor) -> Tensor:
    if layer.activation is keras.activations.linear:
        return values
    if layer.activation is keras.activations.relu:
        return tf.nn.relu(values)
    raise MetaGDError(f"layer {layer.name!r}: activation {layer.activation.__name__!r} cannot be fused; use relu")


FUSED_LAYERS = (keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.Flatten, keras.layers.Dense)


def _fuse(layers: Sequence[keras.layers.Layer]) -> list[tuple[Layer, list[tuple[int, ...]]]]:
    """Return every layer's operation for a population, with the shapes of one member's weights."""
    fused: list[tuple[Layer, list[tuple[int, ...]]]] = []
    remaining = list(layers)
    while remaining:
        layer = remaining.pop(0)
        match layer:
            case keras.layers.Conv2D():
                pools = bool(remaining) and isinstance(remaining[0], keras.layers.MaxPooling2D)
                operation = _convolution(layer, remaining.pop(0) if pools else None)
            case keras.layers.MaxPooling2D():
                operation = _max_pooling(layer)
            case keras.layers.Flatten():
                operation = _flatten(layer)
            case _:
                operation = _dense(layer)
        fused.append((operation, [tuple(variable.shape) for variable in layer.weights]))
    return fused


class FusedNetwork:
    """The forward pass of a Keras Sequential model for P sets of weights.

    Args:
        model: a built Sequential of layers in ``FUSED_LAYERS`` that ends in logits (P, N, K).

    Raises:
        MetaGDError: if a layer cannot be fused.
    """

    def __init__(self, model: keras.Sequential) -> None:
        self.input_shape: tuple[int, int, int] = model.input_shape[1:]
        self.classes: int = model.output_shape[-1]
        for layer in model.layers:
            # A subclass may compute anything, so only these very classes will do.
            if type(layer) not in FUSED_LAYERS:
                allowed = ", ".join(sorted(kind.__name__ for kind in FUSED_LAYERS))
                raise MetaGDError(f"layer {layer.name!r} ({type(layer).__name__}) cannot be fused; allowed: {allowed}")
        self._layers = _fuse(model.layers)
        self._sizes = [int(np.prod(shape)) for _, shapes in self._layers for shape in shapes]

    @property
    def size(self) -> int:
        """D, the number of weights of one member."""
        return sum(self._sizes)

    def logits(self, weights: Tensor, images: Tensor) -> Tensor:
        """Return logits (P, N, K) for weights (P, D) and images (N, H, W, C), both float32."""
        population = tf.shape(weights)[0]
        pieces = iter(tf.split(weights, self._sizes, axis=1))
        x = Activations(images, shared=True, population=population)
        for layer, shapes in self._layers:
            tensors = [tf.reshape(next(pieces), (-1, *shape)) for shape in shapes]
            x = layer(x, tensors)
        return x.values


def flat_weights(model: keras.Model) -> npt.NDArray[np.float32]:
    """Return all weights of a model laid end to end, shape (D,), float32."""
    return np.concatenate([np.ravel(weight) for weight in model.get_weights()]).astype(np.float32)
