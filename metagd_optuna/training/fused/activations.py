"""What flows between the layers of a population, how it lies in memory, and the values of all variables.

How values lie, told apart by rank and by ``shared``:

    images that members share    (N, H, W, C)
    images of each member        (N, H, W, P*C), member by member along the channels
    vectors                      (N, F) while shared, (P, N, F) afterwards
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.training.network import Tensor


class CannotFuseError(MetaGDError):
    """A layer, or an option of one, that has no fused form."""


@dataclass(frozen=True, slots=True)
class Activations:
    """What flows between two layers.

    Args:
        values: in one of the module's layouts.
        shape: of one member's values, without the batch.
        shared: whether all members still have the same values, so that there is no member axis yet.
    """

    values: Tensor
    shape: tuple[int, ...]
    shared: bool


@dataclass(slots=True)
class Pass:
    """One forward pass while it is traced: the values of all variables, by the variable's id.

    Args:
        population: P, a scalar tensor.
        training: whether dropout, augmentation and batch statistics are on.
        members: value (P, *shape) of every weight and float state.
        noise: state of every random generator.
        compute: type of the numbers that convolutions and matrix products multiply.
    """

    population: Tensor
    training: bool
    members: dict[int, Tensor]
    noise: dict[int, tuple[keras.Variable, Tensor]]
    compute: Any

    def of(self, variable: keras.Variable) -> Tensor:
        """Return a variable's values, shape (P, *its own shape)."""
        return self.members[id(variable)]

    def update(self, variable: keras.Variable, values: Tensor) -> None:
        """Set a variable's values for the steps to come, shape (P, *its own shape)."""
        self.members[id(variable)] = values

    def multiply(self, product: Callable[[Tensor, Tensor], Tensor], values: Tensor, kernels: Tensor) -> Tensor:
        """Return a convolution or matrix product of both, multiplied in ``compute``, as float32."""
        return tf.cast(product(tf.cast(values, self.compute), tf.cast(kernels, self.compute)), tf.float32)

    def call_shared(self, layer: keras.Layer, values: Tensor) -> Tensor:
        """Run a Keras layer itself on what all members share, with its random generators as they stand here."""
        scope = keras.StatelessScope(state_mapping=list(self.noise.values()))
        with scope:
            result = layer(values, training=self.training)
        for key, (variable, _) in self.noise.items():
            self.noise[key] = (variable, scope.get_current_value(variable))
        return result


Fused = Callable[[Pass, Sequence[Activations]], Tensor]
Shapes = Sequence[tuple[int, ...]]
# (layer, one member's shape of each input, whether all inputs are shared) -> its fused form
Rule = Callable[[Any, Shapes, bool], Fused]


def refuse(layer: keras.Layer, reason: str) -> CannotFuseError:
    """Return the error that says which layer has no fused form, and why."""
    return CannotFuseError(f"layer {layer.name!r} ({type(layer).__name__}): {reason}")


def channels_last(layer: Any) -> None:
    """Raise CannotFuseError for a layer that expects channels elsewhere."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise refuse(layer, f"data_format {layer.data_format!r} has no fused form; channels_last has")


def last_axis(layer: Any, shapes: Shapes) -> None:
    """Raise CannotFuseError for a layer that works along another axis than the last."""
    rank = len(shapes[0])
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if not all(axis in (-1, rank) for axis in axes):
        raise refuse(layer, f"axis {layer.axis} has no fused form; the last axis has")


def unshared(run: Pass, x: Activations) -> Tensor:
    """Return values with a member axis, every member's the same if they were shared."""
    if not x.shared:
        return x.values
    if len(x.shape) == 3:
        return tf.tile(x.values, (1, 1, 1, run.population))
    return tf.repeat(x.values[None], run.population, axis=0)


def members_last(x: Tensor, channels: int) -> Tensor:
    """(N, H, W, P*C) -> (N, H, W, P, C)."""
    size = tf.shape(x)
    return tf.reshape(x, (size[0], size[1], size[2], -1, channels))


def merged(x: Tensor) -> Tensor:
    """(N, H, W, P, C) -> (N, H, W, P*C)."""
    size = tf.shape(x)
    return tf.reshape(x, (size[0], size[1], size[2], -1))


def members_first(run: Pass, x: Activations) -> Tensor:
    """Any layout -> (P, N, ...)."""
    values = unshared(run, x)
    if len(x.shape) != 3 or values.shape.rank == 5:
        return values
    height, width, channels = x.shape
    split = tf.reshape(values, (-1, height * width, run.population, channels))
    count = tf.shape(split)[0]
    return tf.reshape(tf.transpose(split, (2, 0, 1, 3)), (run.population, count, height, width, channels))


def members_beside(x: Tensor) -> Tensor:
    """(P, N, H, W, C) -> (N, H, W, P*C)."""
    return merged(tf.transpose(x, (1, 2, 3, 0, 4)))
