"""Leave out what a network never looks at: the last rows and columns of an image that reach no logit.

Without padding, a pooling whose windows do not cover its whole input drops the last rows and columns, and what they
were computed from was computed for nothing. The article's CNN, for one, turns 28 x 28 pixels into 26 x 26, 13 x 13,
11 x 11 and 5 x 5: its second pooling drops a row and a column of eleven, and with them goes all of the image behind
the 26th row and column. The numbers that are left stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from keras import layers

from metagd_optuna.training.fused.graph import Call
from metagd_optuna.training.fused.grouped import ELEMENTWISE

# Layers that put every number where it was, so that whatever is not needed after them is not needed before them.
# Those that draw noise are not among them: they draw it for the whole image.
_IN_PLACE = (layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Identity, layers.Rescaling)
_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_POOLINGS = (layers.MaxPooling2D, layers.AveragePooling2D)

Sides = tuple[int, int]


def trimmed(calls: Sequence[Call], entrance: int, input_shape: tuple[int, ...]) -> tuple[list[Call], int, int]:
    """Return the calls with the shapes that they have on a cropped image, and that image's height and width.

    Args:
        calls: of a whole model, in an order that can be computed.
        entrance: id of the model's input.
        input_shape: of the model's input, (height, width, channels), or (features,), which have no sides.

    Anything that cannot be told needs all of its input, so then nothing is cropped.
    """
    if any(None in call.shape for call in calls):  # of a nested model that takes images of any size
        calls = _shaped(calls, entrance, input_shape)
    if len(input_shape) != 3:
        return list(calls), 0, 0
    height, width = _needed(calls, entrance, input_shape)
    if (height, width) == input_shape[:2]:
        return list(calls), height, width
    result = _shaped(calls, entrance, (height, width, input_shape[2]))
    if result[-1].shape != calls[-1].shape:
        raise AssertionError(f"cropping {input_shape} to {height} x {width} changed the output; please report this")
    return result, height, width


def _shaped(calls: Sequence[Call], entrance: int, input_shape: tuple[int, ...]) -> list[Call]:
    """Return the calls with the shapes that they have on inputs of one shape."""
    shapes: dict[int, tuple[int, ...]] = {entrance: input_shape}
    result = []
    for call in calls:
        inputs = tuple(shapes[key] for key in call.inputs)
        shapes[call.output] = _output_shape(call, inputs)
        result.append(replace(call, input_shapes=inputs, shape=shapes[call.output]))
    return result


def _needed(calls: Sequence[Call], entrance: int, input_shape: tuple[int, ...]) -> Sides:
    """Return how many rows and columns of the image the output depends on."""
    wanted: dict[int, Sides] = {calls[-1].output: _whole(calls[-1].shape)}
    for call in reversed(calls):
        if call.output not in wanted:
            continue  # nothing looks at it
        for key, shape in zip(call.inputs, call.input_shapes, strict=True):
            sides = _reach(call.layer)(wanted[call.output]) if len(shape) == len(call.shape) == 3 else None
            if sides is None:
                sides = _whole(shape)
            earlier = wanted.get(key, (0, 0))
            wanted[key] = (max(earlier[0], sides[0]), max(earlier[1], sides[1]))
    return wanted.get(entrance, _whole(input_shape))


def _whole(shape: tuple[int, ...]) -> Sides:
    return (shape[0], shape[1]) if len(shape) == 3 else (0, 0)


def _reach(layer: Any) -> Callable[[Sides], Sides | None]:
    """Return what tells the part of its input that a layer needs for a part of its output; None is all of it."""
    if type(layer) in _IN_PLACE or (type(layer) is layers.Activation and layer.activation in ELEMENTWISE):
        return lambda sides: sides
    if type(layer) in _CONVOLUTIONS and (layer.padding, layer.data_format) == ("valid", "channels_last"):
        return _windows(layer.kernel_size, layer.strides, layer.dilation_rate)
    if type(layer) in _POOLINGS and (layer.padding, layer.data_format) == ("valid", "channels_last"):
        return _windows(layer.pool_size, layer.strides, (1, 1))
    return lambda sides: None


def _windows(size: Sides, strides: Sides, dilation: Sides) -> Callable[[Sides], Sides]:
    """Return what tells how much of an image so many windows cover."""

    def covered(windows: int, axis: int) -> int:
        return (windows - 1) * strides[axis] + (size[axis] - 1) * dilation[axis] + 1

    return lambda sides: (covered(sides[0], 0), covered(sides[1], 1))


def _output_shape(call: Call, inputs: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    given = [(None, *shape) for shape in inputs]
    shape = call.layer.compute_output_shape(given[0] if len(given) == 1 else given)
    return tuple(shape[1:])
