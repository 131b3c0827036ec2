"""The peers on the same GPU: Keras' ``fit`` on JAX, and the same CNN in plain JAX with ``vmap`` over members."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gpu_cases
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = Any  # jax.Array, or what stands for it while it is traced

# Kernel and bias of every layer, in the order in which the flat weights hold them.
SHAPES = ((3, 3, 1, 32), (32,), (3, 3, 32, 64), (64,), (3, 3, 64, 64), (64,), (576, 64), (64,), (64, 2), (2,))


def keras_fit(batch: int, *, epochs: int, steps_per_execution: int) -> list[float]:
    """Return the seconds of every epoch but the first, in which JAX compiles.

    Args:
        batch: examples per step.
        epochs: passes over the data to time.
        steps_per_execution: 1 is what Keras does unless told otherwise; with more the host waits less often.

    Raises:
        ImportError: where Keras is not installed.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    class Clock(keras.callbacks.Callback):
        """Takes the time at the end of every epoch."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """Take the time."""
            ends.append(time.perf_counter())

    data = gpu_cases.data()
    model = keras.Sequential(
        [
            keras.layers.Input(data["images"].shape[1:]),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(gpu_cases.CLASSES),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
    )
    ends: list[float] = []
    images = data["images"].astype(np.float32) / 255
    model.fit(images, data["labels"], batch_size=batch, epochs=1 + epochs, verbose=0, callbacks=[Clock()])
    return [float(seconds) for seconds in np.diff(ends)]


def _logits(compute: Any, flat: Array, images: Array) -> Array:
    """The article's CNN for one member: flat weights (D,), images (N, 28, 28, 1) -> (N, 2)."""
    sizes = np.cumsum([int(np.prod(shape)) for shape in SHAPES])[:-1]
    parts = [part.reshape(shape) for part, shape in zip(jnp.split(flat, sizes), SHAPES, strict=True)]
    x = images
    for layer in range(3):
        kernel, bias = parts[2 * layer : 2 * layer + 2]
        x = lax.conv_general_dilated(
            x.astype(compute), kernel.astype(compute), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ).astype(jnp.float32)
        if layer < 2:
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = jax.nn.relu(x + bias)
    x = x.reshape(len(x), -1)
    for layer, activation in ((3, jax.nn.relu), (4, lambda values: values)):
        kernel, bias = parts[2 * layer : 2 * layer + 2]
        x = activation((x.astype(compute) @ kernel.astype(compute)).astype(jnp.float32) + bias)
    return x


def vmapped_tick(compute: str) -> Callable[..., tuple[Array, Array]]:
    """Return some steps: images, labels, weights (P, D), batches, rates -> weights, mean loss (P,)."""
    logits_of = partial(_logits, jnp.dtype(compute))

    def loss_of(flat: Array, images: Array, labels: Array) -> Array:
        logarithms = jax.nn.log_softmax(logits_of(flat, images))
        return -jnp.mean(jnp.take_along_axis(logarithms, labels[:, None], axis=1))

    members = jax.vmap(jax.value_and_grad(loss_of), in_axes=(0, None, None))

    @jax.jit
    def tick(images: Array, labels: Array, weights: Array, batches: Array, rates: Array) -> tuple[Array, Array]:
        def step(carry: Any, now: Any) -> Any:
            weights, momentum, velocity, number = carry
            batch, rate = now
            loss, gradients = members(weights, images[batch].astype(jnp.float32) / 255, labels[batch])
            momentum += (gradients - momentum) * (1 - 0.9)
            velocity += (jnp.square(gradients) - velocity) * (1 - 0.999)
            alpha = rate[:, None] * jnp.sqrt(1 - 0.999**number) / (1 - 0.9**number)
            weights -= alpha * momentum / (jnp.sqrt(velocity) + 1e-7)
            return (weights, momentum, velocity, number + 1), loss

        zeros = jnp.zeros_like(weights)
        (weights, *_), losses = lax.scan(step, (weights, zeros, zeros, jnp.float32(1)), (batches, rates))
        return weights, jnp.mean(losses, axis=0)

    return tick
