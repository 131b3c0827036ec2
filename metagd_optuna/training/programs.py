"""The compiled programs of one network on one task: the steps between two rate updates, and the forward pass.

Between two rate updates nothing leaves the graph: a loop gathers the mini-batches, takes the steps and sums the losses.
All state is passed in and returned, so one program serves all trials, and nothing has to be reset between them.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.training.batch_norm import BATCH, BATCHES, BatchStatistics, mixed_rows
from metagd_optuna.training.network import Network, Start, Tensor
from metagd_optuna.training.optimizers import Slots, Update, UpdateRule
from metagd_optuna.training.probing import probe_rows

# From about this many weights on, an update takes its time from memory: XLA reads and writes each number once.
MANY_WEIGHTS = 250_000


def scale(images: Tensor) -> Tensor:
    """Return images as float32: bytes divided by 255, floats as they are."""
    values = tf.cast(images, tf.float32)
    return values / 255.0 if images.dtype == tf.uint8 else values


class Programs:
    """Compiled programs, traced once per optimizer and batch size whatever the size of a population.

    The data are an argument of theirs, so that other data of the same shape need no other programs.

    What is traced is a ``partial``: TensorFlow would count functions of several engines that share their code as one
    that is traced over and over, and warn.

    Args:
        network: the forward pass.
        start: tells the sizes of weights, state and noise; its values do not matter.
        images: the training part, (n, h, w, c).
        labels: int32 (n,).
        statistics: of batch normalisation, None where there are none.
        compiled: compile with XLA (for GPUs; on a CPU TensorFlow's own kernels are faster).
    """

    def __init__(
        self,
        network: Network,
        start: Start,
        images: npt.NDArray[Any],
        labels: npt.NDArray[np.int32],
        *,
        statistics: BatchStatistics | None = None,
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
        self.statistics = statistics
        size = min(BATCH, len(labels))
        rows = mixed_rows(len(labels))[: min(BATCHES, len(labels) // size) * size].reshape(-1, size)
        self.statistics_rows = tf.constant(rows, tf.int32)
        self._updates: dict[tuple[str, int], Any] = {}
        self._probes: dict[str, Any] = {}
        self.forward = tf.function(
            partial(_predicted, self._network),
            input_signature=[
                self._weights,
                self._state,
                self._noise,
                tf.TensorSpec((None, *images.shape[1:]), self._images.dtype),
            ],
            jit_compile=compiled,
            autograph=False,
        )

        self._state_at = tf.function(
            partial(state_at, self._network, self.statistics),
            input_signature=[
                tf.TensorSpec(images.shape, self._images.dtype),
                self._weights,
                self._state,
                self._noise,
                tf.TensorSpec((None, None), tf.int32),
            ],
            jit_compile=compiled,
            autograph=False,
        )

    def state_at(self, weights: Tensor, state: Tensor, noise: Any) -> Tensor:
        """Return the state (P, S) with the statistics of batch normalisation that belong to ``weights``.

        They are taken from the same few hundred training images every time.
        """
        if self.statistics is None:
            return state
        return self._state_at(self._images, weights, state, noise, self.statistics_rows)

    def on(self, images: npt.NDArray[Any], labels: npt.NDArray[np.int32]) -> Programs:
        """Return the same compiled programs for other data of the same shape."""
        other = copy(self)
        other._images, other._labels = tf.constant(images), tf.constant(labels, tf.int32)
        return other

    def probe(
        self,
        optimizer: str,
        weights: Tensor,
        slots: Slots,
        state: Tensor,
        noise: Any,
        taken: int,
        rates: npt.NDArray[np.float32],
        origin: Tensor,
    ) -> list[npt.NDArray[np.float32]]:
        """Probe the coming step of a population; return what ``probed`` does, an array of shape (P, ...) each.

        Args:
            optimizer: takes the step, from ``weights``, ``slots``, ``state`` and ``noise``.
            taken: steps of the optimizer so far.
            rates: to be tried, shape (P, S).
            origin: weights that training began from, shape (D,).
        """
        if optimizer not in self._probes:
            rule = self._rule(optimizer)
            self._probes[optimizer] = tf.function(
                partial(probed, self._network, rule.update),
                input_signature=[
                    tf.TensorSpec(self._images.shape, self._images.dtype),
                    tf.TensorSpec(self._labels.shape, tf.int32),
                    self._weights,
                    tuple(self._weights for _ in slots),
                    self._state,
                    self._noise,
                    tf.TensorSpec((), tf.float32),
                    tf.TensorSpec((None, rates.shape[1]), tf.float32),
                    tf.TensorSpec((self._weights.shape[1],), tf.float32),
                    tf.TensorSpec((None,), tf.int32),
                ],
                jit_compile=self._compiled,
                autograph=False,
            )
        found = self._probes[optimizer](
            self._images,
            self._labels,
            weights,
            slots,
            state,
            noise,
            tf.constant(taken + 1.0),
            tf.constant(rates),
            origin,
            tf.constant(probe_rows(len(self._labels))),
        )
        return [each.numpy() for each in found]

    def _rule(self, optimizer: str) -> UpdateRule:
        rule: UpdateRule = OPTIMIZERS[optimizer].rule()
        if self._weights.shape[1] >= MANY_WEIGHTS and not self._compiled:
            return replace(rule, update=tf.function(rule.update, jit_compile=True, autograph=False))
        return rule

    def train_steps(self, optimizer: str, batch_size: int) -> Any:
        """Return the program that takes the steps between two rate updates.

        It maps weights, slots, state, noise, the number of steps taken before, mini-batches of indices
        (steps, batch) and rates (steps, P) to weights, slots, state, noise, mean loss (P,) and mean accuracy (P,).
        """
        if (optimizer, batch_size) not in self._updates:
            rule = self._rule(optimizer)
            steps = steps_of(self._network, rule)
            self._updates[optimizer, batch_size] = tf.function(
                partial(steps),
                input_signature=[
                    tf.TensorSpec(self._images.shape, self._images.dtype),
                    tf.TensorSpec(self._labels.shape, tf.int32),
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
        return partial(self._updates[optimizer, batch_size], self._images, self._labels)


def _predicted(network: Network, weights: Tensor, state: Tensor, noise: Any, images: Tensor) -> Tensor:
    """Return logits (P, N, K) of images as they are stored."""
    return network.logits(weights, state, noise, scale(images), training=False)[0]


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


def state_at(
    network: Network,
    places: BatchStatistics | None,
    images: Tensor,
    weights: Tensor,
    state: Tensor,
    noise: Any,
    batches: Tensor,
) -> Tensor:
    r"""Return the state (P, S) with means and variances of batch normalisation over mini-batches of one size.

    .. math:: \mu = \sum_b \mu_b / B, \quad \sigma^2 = \sum_b (\sigma_b^2 + \mu_b^2) / B - \mu^2

    The moving statistics are set to 0 first, so that those of a batch are what a pass leaves behind, divided by
    1 - momentum. The formula is that of ``recalibrate_batch_norm``.
    """
    assert places is not None
    where = np.arange(state.shape[1])
    kept = np.ones(len(where), np.float32)
    kept[places.means] = kept[places.variances] = 0.0
    cleared = state * kept
    channels = len(places.means)
    where[places.means] = len(where) + np.arange(channels)
    where[places.variances] = len(where) + channels + np.arange(channels)

    def add(i: Tensor, noise: Any, first: Tensor, second: Tensor) -> Any:
        seen = scale(tf.gather(images, batches[i]))
        _, _, after, noise = network.logits(weights, cleared, noise, seen, training=True)
        mean = tf.gather(after, places.means, axis=1) / (1 - places.momentum)
        variance = tf.gather(after, places.variances, axis=1) / (1 - places.momentum)
        return i + 1, noise, first + mean, second + variance + tf.square(mean)

    count = tf.shape(batches)[0]
    zeros = tf.zeros((tf.shape(state)[0], channels))
    _, _, first, second = tf.while_loop(lambda i, *_: i < count, add, (0, noise, zeros, zeros))
    mean, square = first / tf.cast(count, tf.float32), second / tf.cast(count, tf.float32)
    variance = tf.maximum(square - tf.square(mean), 0.0)
    return tf.gather(tf.concat((state, mean, variance), axis=1), where, axis=1)


def probed(
    network: Network,
    update: Update,
    images: Tensor,
    labels: Tensor,
    weights: Tensor,
    slots: Slots,
    state: Tensor,
    noise: Any,
    number: Tensor,
    rates: Tensor,
    origin: Tensor,
    rows: Tensor,
) -> Any:
    """Return what ``Probe`` holds but for the rates: (P,) each, and losses (P, S).

    The gradient is the mean of those of both halves of the images; each loss behind the step is of all images at once.
    """
    seen, wanted = scale(tf.gather(images, rows)), tf.gather(labels, rows)
    half = tf.shape(rows)[0] // 2
    one = _gradients(network, weights, state, noise, seen[:half], wanted[:half])[0]
    other = _gradients(network, weights, state, noise, seen[half:], wanted[half:])[0]
    gradient = (one + other) / 2

    def behind(tried: Tensor) -> Tensor:
        return update(weights, slots, gradient, tried[:, None], number)[0]

    def loss(tried: Tensor) -> Tensor:
        logits, penalties, _, _ = network.logits(behind(tried), state, noise, seen, training=True)
        everyones = tf.broadcast_to(wanted, tf.shape(logits)[:2])
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(everyones, logits)
        return tf.reduce_mean(entropy, axis=1) + penalties

    first = rates[:, 0]
    direction = (behind(tf.zeros_like(first)) - behind(first)) / first[:, None]
    tried = tf.concat((tf.zeros_like(rates[:, :1]), rates), axis=1)
    losses = tf.transpose(tf.map_fn(loss, tf.transpose(tried)))
    lengths = _length(one) * _length(other)
    return (
        losses[:, 0],
        losses[:, 1:],
        _length(gradient),
        _length(direction),
        tf.reduce_sum(gradient * direction, axis=1),
        tf.math.divide_no_nan(tf.reduce_sum(one * other, axis=1), lengths),
        _length(weights - origin),
    )


def _length(vectors: Tensor) -> Tensor:
    return tf.sqrt(tf.reduce_sum(tf.square(vectors), axis=1))


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
