"""How each Keras layer is done for a whole population by one operation.

A layer that treats channels apart (pooling, dropout, activations) then works on a population as it is, a
convolution becomes a grouped convolution, and a dense layer a batched matrix product. ``patches.py`` has another
layout for images of each member, (P, N, H, W, C), and turns it into this one for the layers that it leaves to us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from metagd_optuna.training.fused.activations import (
    Activations,
    Fused,
    Pass,
    Rule,
    Shapes,
    channels_last,
    last_axis,
    members_beside,
    members_first,
    members_last,
    merged,
    refuse,
    unshared,
)
from metagd_optuna.training.fused.normalization import batch_normalization, group_normalization, layer_normalization
from metagd_optuna.training.network import Tensor


def _activations(*names: str) -> frozenset[Any]:
    return frozenset(getattr(keras.activations, name) for name in names)


# These keep order, so that the largest of a few comes out the same before and after them.
RISING = _activations("linear", "relu", "relu6", "leaky_relu", "tanh", "sigmoid", "softplus", "softsign")
# Applied to every number alone, so members cannot mix.
ELEMENTWISE = RISING | _activations(
    "elu", "selu", "celu", "gelu", "silu", "hard_sigmoid", "hard_silu", "exponential", "mish"
)


def _gelu(values: Tensor) -> Tensor:
    """Return x Phi(x), Phi the normal distribution; TensorFlow's erf is twice as fast as Keras' erfc on a CPU."""
    return values * (0.5 + 0.5 * tf.math.erf(values * 0.5**0.5))


# The same functions by other operations. Keras' relu goes through more Python to the same one.
FASTER: Mapping[Any, Callable[[Tensor], Tensor]] = {
    keras.activations.relu: tf.nn.relu,
    keras.activations.gelu: _gelu,
}


def activate(layer: keras.Layer) -> Callable[[Tensor], Tensor]:
    """Return a layer's activation, which must treat every number alone."""
    if layer.activation not in ELEMENTWISE:
        raise refuse(layer, f"activation {getattr(layer.activation, '__name__', layer.activation)!r} mixes numbers")
    return FASTER.get(layer.activation, layer.activation)


def _grouped(kernels: Tensor) -> Tensor:
    """(P, kh, kw, in, out) -> (kh, kw, in, P*out): group p owns the output channels [p*out, (p+1)*out)."""
    _, height, width, inputs, _ = kernels.shape
    return tf.reshape(tf.transpose(kernels, (1, 2, 3, 0, 4)), (height, width, inputs, -1))


def _by_pixel(values: Tensor, kernels: Tensor) -> Tensor:
    """Convolution by 1 x 1."""
    return tf.nn.conv2d(values, kernels, 1, "VALID")


def _biased(run: Pass, layer: Any, values: Tensor) -> Tensor:
    if not layer.use_bias:
        return values
    biases = run.of(layer.bias)
    return tf.nn.bias_add(values, tf.reshape(biases, (-1,))) if values.shape.rank == 4 else values + biases[:, None]


def convolution(
    layer: layers.Conv2D, shapes: Shapes, shared: bool, pooling: layers.MaxPooling2D | None = None
) -> Fused:
    """Grouped convolution, one group per member; without groups while the input is shared.

    A max-pooling that follows goes before bias and activation: they keep order, so the result is the same, on a
    quarter of the numbers. tf.nn.conv2d, because Keras' own grouped layer goes through XLA, on a CPU 10 to 30 times
    slower.
    """
    channels_last(layer)
    activation = activate(layer)
    tiles = shared and layer.groups != 1  # a shared input has no groups of its own to spare

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        values = unshared(run, inputs[0]) if tiles else inputs[0].values
        kernels = _grouped(run.of(layer.kernel))
        values = run.multiply(
            lambda a, b: tf.nn.conv2d(a, b, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate),
            values,
            kernels,
        )
        if pooling is not None:
            values = tf.nn.max_pool2d(values, pooling.pool_size, pooling.strides, pooling.padding.upper())
        return activation(_biased(run, layer, values))

    return apply


def _depthwise(run: Pass, layer: Any, kernel: keras.Variable, x: Activations) -> Tensor:
    # (P, kh, kw, C, m) -> (kh, kw, P*C, m)
    kernels = tf.transpose(run.of(kernel), (1, 2, 0, 3, 4))
    height, width, _, _, multiplier = kernels.shape
    kernels = tf.reshape(kernels, (height, width, -1, multiplier))
    strides = (1, *layer.strides, 1)
    return run.multiply(
        lambda a, b: tf.nn.depthwise_conv2d(a, b, strides, layer.padding.upper(), dilations=layer.dilation_rate),
        unshared(run, x),
        kernels,
    )


def _depthwise_convolution(layer: layers.DepthwiseConv2D, shapes: Shapes, shared: bool) -> Fused:
    channels_last(layer)
    activation = activate(layer)
    return lambda run, inputs: activation(_biased(run, layer, _depthwise(run, layer, layer.kernel, inputs[0])))


def _separable_convolution(layer: layers.SeparableConv2D, shapes: Shapes, shared: bool) -> Fused:
    channels_last(layer)
    activation = activate(layer)

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        values = _depthwise(run, layer, layer.depthwise_kernel, inputs[0])
        values = run.multiply(_by_pixel, values, _grouped(run.of(layer.pointwise_kernel)))
        return activation(_biased(run, layer, values))

    return apply


def _dense(layer: layers.Dense, shapes: Shapes, shared: bool) -> Fused:
    """One batched matrix product over members, (P, N, in) x (P, in, out); on images a convolution by 1 x 1."""
    activation = activate(layer)

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        [x] = inputs
        if len(x.shape) == 3:
            values = run.multiply(_by_pixel, x.values, _grouped(run.of(layer.kernel)[:, None, None]))
        else:
            values = run.multiply(tf.matmul, x.values[None] if shared else x.values, run.of(layer.kernel))
        return activation(_biased(run, layer, values))

    return apply


def _noise(neutral: Callable[[Tensor], Tensor], combine: Callable[[Tensor, Tensor], Tensor]) -> Rule:
    """Noise that each member would draw alone: drawn once in one member's shape, and the same for all members."""

    def rule(layer: keras.Layer, shapes: Shapes, shared: bool) -> Fused:
        if getattr(layer, "noise_shape", None) is not None:
            raise refuse(layer, "noise_shape has no fused form")

        def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
            [x] = inputs
            if not run.training or shared:
                return run.call_shared(layer, x.values) if shared else x.values
            image = len(x.shape) == 3
            count = tf.shape(x.values)[0 if image else 1]
            drawn = run.call_shared(layer, neutral((count, *x.shape)))
            drawn = tf.tile(drawn, (1, 1, 1, run.population)) if image else drawn[None]
            return combine(x.values, drawn)

        return apply

    return rule


def _flatten(layer: layers.Flatten, shapes: Shapes, shared: bool) -> Fused:
    channels_last(layer)

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        [x] = inputs
        size = 1
        for side in x.shape:
            size *= side
        if shared:
            return tf.reshape(x.values, (-1, size))
        values = members_first(run, x)
        return tf.reshape(values, (run.population, tf.shape(values)[1], size))

    return apply


def _reshape(layer: layers.Reshape, shapes: Shapes, shared: bool) -> Fused:
    target = tuple(layer.compute_output_shape((None, *shapes[0]))[1:])
    if len(target) not in (1, 3):
        raise refuse(layer, f"shape {target} is neither a vector nor an image")

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        if shared:
            return tf.reshape(inputs[0].values, (-1, *target))
        values = members_first(run, inputs[0])
        values = tf.reshape(values, (run.population, tf.shape(values)[1], *target))
        return members_beside(values) if len(target) == 3 else values

    return apply


def _global_pooling(layer: Any, shapes: Shapes, shared: bool) -> Fused:
    channels_last(layer)

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        [x] = inputs
        pooled = layer.call(x.values)
        if shared or layer.keepdims:
            return pooled
        return tf.transpose(tf.reshape(pooled, (-1, run.population, x.shape[-1])), (1, 0, 2))

    return apply


def _channelwise(layer: Any, shapes: Shapes, shared: bool) -> Fused:
    """A layer without weights that treats channels apart; ``call``, because ``__call__`` would expect one member's."""
    channels_last(layer)
    return lambda run, inputs: layer.call(inputs[0].values)


def _activation(layer: Any, shapes: Shapes, shared: bool) -> Fused:
    activation = activate(layer)
    return lambda run, inputs: activation(inputs[0].values)


def _rescaling(layer: layers.Rescaling, shapes: Shapes, shared: bool) -> Fused:
    if not shared and not all(isinstance(number, int | float) for number in (layer.scale, layer.offset)):
        raise refuse(layer, "numbers per channel can be fused only before the first layer with weights")
    return _shared_only(layer, shapes, shared) if shared else _channelwise(layer, shapes, shared)


def _shared_only(layer: keras.Layer, shapes: Shapes, shared: bool) -> Fused:
    """A layer that Keras runs on what all members share, such as augmentation of the images."""
    if not shared:
        raise refuse(layer, "can be fused only before the first layer with weights")
    return lambda run, inputs: run.call_shared(layer, inputs[0].values)


def _identity(layer: keras.Layer, shapes: Shapes, shared: bool) -> Fused:
    return lambda run, inputs: inputs[0].values


def _merging(merge: Callable[[list[Tensor]], Tensor]) -> Rule:
    def rule(layer: keras.Layer, shapes: Shapes, shared: bool) -> Fused:
        if len({len(shape) for shape in shapes}) > 1:
            raise refuse(layer, "inputs of different ranks have no fused form")
        if len(shapes[0]) == 3 and len({shape[-1] for shape in shapes}) > 1:
            raise refuse(layer, "inputs of different numbers of channels have no fused form")
        return lambda run, inputs: merge([x.values if shared else unshared(run, x) for x in inputs])

    return rule


def _sum(values: list[Tensor]) -> Tensor:
    # tf.add_n does not broadcast, as Keras does.
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


def _subtract(values: list[Tensor]) -> Tensor:
    first, second = values
    return first - second


def _product(values: list[Tensor]) -> Tensor:
    result = values[0]
    for value in values[1:]:
        result = result * value
    return result


def _largest(values: list[Tensor]) -> Tensor:
    result = values[0]
    for value in values[1:]:
        result = tf.maximum(result, value)
    return result


def _smallest(values: list[Tensor]) -> Tensor:
    return -_largest([-value for value in values])


def _concatenate(layer: layers.Concatenate, shapes: Shapes, shared: bool) -> Fused:
    last_axis(layer, shapes)

    def apply(run: Pass, inputs: Sequence[Activations]) -> Tensor:
        if shared or len(inputs[0].shape) != 3:
            return tf.concat([x.values if shared else unshared(run, x) for x in inputs], axis=-1)
        return merged(tf.concat([members_last(unshared(run, x), x.shape[-1]) for x in inputs], axis=-1))

    return apply


MULTIPLIED = _noise(tf.ones, lambda values, drawn: values * drawn)
ADDED = _noise(tf.zeros, lambda values, drawn: values + drawn)

# Layers by class; a subclass may compute anything, so only these very classes will do.
FUSED: Mapping[type, Rule] = {
    layers.Conv2D: convolution,
    layers.DepthwiseConv2D: _depthwise_convolution,
    layers.SeparableConv2D: _separable_convolution,
    layers.Dense: _dense,
    layers.BatchNormalization: batch_normalization,
    layers.LayerNormalization: layer_normalization,
    layers.GroupNormalization: group_normalization,
    layers.Dropout: MULTIPLIED,
    layers.SpatialDropout2D: MULTIPLIED,
    layers.GaussianDropout: MULTIPLIED,
    layers.GaussianNoise: ADDED,
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.GlobalAveragePooling2D: _global_pooling,
    layers.GlobalMaxPooling2D: _global_pooling,
    layers.MaxPooling2D: _channelwise,
    layers.AveragePooling2D: _channelwise,
    layers.ZeroPadding2D: _channelwise,
    layers.Cropping2D: _channelwise,
    layers.UpSampling2D: _channelwise,
    layers.ReLU: _channelwise,
    layers.LeakyReLU: _channelwise,
    layers.ELU: _channelwise,
    layers.Activation: _activation,
    layers.Identity: _identity,
    layers.Rescaling: _rescaling,
    layers.Add: _merging(_sum),
    layers.Subtract: _merging(_subtract),
    layers.Multiply: _merging(_product),
    layers.Average: _merging(lambda values: _sum(values) / len(values)),
    layers.Maximum: _merging(_largest),
    layers.Minimum: _merging(_smallest),
    layers.Concatenate: _concatenate,
}

# Run by Keras before the first layer with weights; those that this version of Keras has.
PREPARING = (
    "Normalization",
    "Resizing",
    "CenterCrop",
    "AutoContrast",
    "Equalization",
    "Solarization",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
RULES: Mapping[type, Rule] = {
    **FUSED,
    **{getattr(layers, name): _shared_only for name in PREPARING if hasattr(layers, name)},
}


def rule_for(layer: keras.Layer) -> Rule:
    """Return how a layer is fused.

    Raises:
        CannotFuseError: if there is no way.
    """
    if type(layer) not in RULES:
        raise refuse(layer, "has no fused form")
    for variable in layer.variables:
        if getattr(variable, "regularizer", None) is not None:
            raise refuse(layer, "regularizers have no fused form")
    if getattr(layer, "activity_regularizer", None) is not None:
        raise refuse(layer, "activity regularizers have no fused form")
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        raise refuse(layer, "LoRA and quantisation have no fused form")
    if layer.dtype_policy.compute_dtype != "float32":
        raise refuse(layer, f"computes in {layer.dtype_policy.compute_dtype}")
    return RULES[type(layer)]
