"""The compiled programs of one network on one task: the steps between two rate updates, and the forward pass.

Between two rate updates nothing leaves the graph: a loop gathers the mini-batches, takes the steps and sums the losses.
All state is passed in and returned, so one program serves all trials, and nothing has to be reset between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.training.network import Network, Start, Tensor
from metagd_optuna.training.optimizers import UpdateRule


def scale(images: Tensor) -> Tensor:
    """Return images as float32: bytes divided by 255, floats as they are."""
    values = tf.cast(images, tf.float32)
    return values / 255.0 if images.dtype == tf.uint8 else values


class Programs:
    """Compiled programs, traced once per optimizer and batch size whatever the size of a population.

    Args:
        network: the forward pass.
        start: tells the sizes of weights, state and noise; its values do not matter.
        images: the training part, (n, h, w, c).
        labels: int32 (n,).
        compiled: compile with XLA (for GPUs; on a CPU TensorFlow's own kernels are faster).
    """

    def __init__(
        self,
        network: Network,
        start: Start,
        images: npt.NDArray[Any],
        labels: npt.NDArray[np.int32],
        *,
        compiled: bool,
    ) -> None:
        self._network = network
        # All data is put on the device once.
        self._images = tf.constant(images)
        self._labels = tf.constant(labels, tf.int32)
        self._compiled = compiled
        self._weights = tf.TensorSpec((None, len(start.weights)), tf.float32)
        self._state = tf.TensorSpec((None, len(start.state)), tf.float32)
        self._noise = tuple(tf.TensorSpec(array.shape, array.dtype) for array in start.noise)
        self._updates: dict[tuple[str, int], Any] = {}
        self.forward = tf.function(
            lambda weights, state, noise, images: self._network.logits(
                weights, state, noise, scale(images), training=False
            )[0],
            input_signature=[
                self._weights,
                self._state,
                self._noise,
                tf.TensorSpec((None, *images.shape[1:]), self._images.dtype),
            ],
            jit_compile=compiled,
            autograph=False,
        )

    def train_steps(self, optimizer: str, batch_size: int) -> Any:
        """Return the program that takes the steps between two rate updates.

        It maps weights, slots, state, noise, the number of steps taken before, mini-batches of indices
        (steps, batch) and rates (steps, P) to weights, slots, state, noise, mean loss (P,) and mean accuracy (P,).
        """
        if (optimizer, batch_size) not in self._updates:
            rule = OPTIMIZERS[optimizer].rule()
            steps = steps_of(self._network, rule)
            self._updates[optimizer, batch_size] = tf.function(
                lambda *arguments: steps(self._images, self._labels, *arguments),
                input_signature=[
                    self._weights,
                    tuple(self._weights for _ in rule.slots(tf.zeros((1, 1)))),
                    self._state,
                    self._noise,
                    tf.TensorSpec((), tf.int32),
                    tf.TensorSpec((None, batch_size), tf.int32),
                    tf.TensorSpec((None, None), tf.float32),
                ],
                jit_compile=self._compiled,
                autograph=False,
            )
        return self._updates[optimizer, batch_size]


def steps_of(network: Network, rule: UpdateRule) -> Callable[..., Any]:
    """Return the steps between two rate updates as a function of everything that they depend on, the data included.

    It maps images (n, h, w, c) and labels int32 (n,), and what ``Programs.train_steps`` takes, to what that returns.
    """

    def train_steps(
        images: Tensor,
        labels: Tensor,
        weights: Tensor,
        slots: Any,
        state: Tensor,
        noise: Any,
        begin: Tensor,
        batches: Tensor,
        rates: Tensor,
    ) -> Any:
        steps = tf.shape(batches)[0]
        zeros = tf.zeros_like(rates[0])

        def step(
            i: Tensor, weights: Tensor, slots: Any, state: Tensor, noise: Any, losses: Tensor, hits: Tensor
        ) -> Any:
            examples = scale(tf.gather(images, batches[i])), tf.gather(labels, batches[i])
            gradients, loss, correct, state, noise = _gradients(network, weights, state, noise, *examples)
            number = tf.cast(begin + i + 1, tf.float32)
            weights, slots = rule.update(weights, slots, gradients, rates[i][:, None], number)
            return i + 1, weights, slots, state, noise, losses + loss, hits + correct

        _, weights, slots, state, noise, losses, hits = tf.while_loop(
            lambda i, *_: i < steps, step, (0, weights, slots, state, noise, zeros, zeros)
        )
        count = tf.cast(steps, tf.float32)
        return weights, slots, state, noise, losses / count, hits / count

    return train_steps


def _gradients(network: Network, weights: Tensor, state: Tensor, noise: Any, images: Tensor, labels: Tensor) -> Any:
    """Return gradients (P, D), mean loss (P,), accuracy (P,), and what follows ``state`` and ``noise``."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits, penalties, state, noise = network.logits(weights, state, noise, images, training=True)
        everyones = tf.broadcast_to(labels, tf.shape(logits)[:2])
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(everyones, logits)
        loss = tf.reduce_mean(entropy, axis=1) + penalties
        # Members share no weights, so the gradient of the sum holds every member's own gradient.
        total = tf.reduce_sum(loss)
    correct = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), everyones)
    accuracy = tf.reduce_mean(tf.cast(correct, tf.float32), axis=1)
    return tape.gradient(total, weights), loss, accuracy, state, noise
