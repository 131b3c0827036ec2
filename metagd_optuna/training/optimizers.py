"""Keras' optimizers as pure functions on whole populations, one learning rate per member.

Weights, gradients and slots are tensors of shape (P, D): P members, D weights of the network laid end to end.
One fused update of a (P, D) tensor is cheaper than one per variable, and state that is passed in and
returned needs no reset between trials. Each update equals the Keras class named beside it (tested).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from metagd_optuna.training.schedule_free import ScheduleFreeAdamW

Tensor = Any  # TensorFlow ships no types
Slots = tuple[Tensor, ...]
Update = Callable[[Tensor, Slots, Tensor, Tensor, Tensor], tuple[Tensor, Slots]]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An update rule.

    Args:
        slots: weights (P, D) -> initial slots, a tuple of (P, D) tensors.
        update: (weights, slots, gradients, rates of shape (P, 1), step from 1 as a float) -> weights, slots.
        evaluation_point: (weights, slots) -> the weights (P, D) to evaluate.
        keras: a rate -> the Keras optimizer that this equals.
    """

    slots: Callable[[Tensor], Slots]
    update: Update
    evaluation_point: Callable[[Tensor, Slots], Tensor]
    keras: Callable[[float], keras.optimizers.Optimizer]


def _trained_point(weights: Tensor, slots: Slots) -> Tensor:
    return weights


def _adam(weights: Tensor, slots: Slots, gradients: Tensor, rates: Tensor, step: Tensor) -> tuple[Tensor, Slots]:
    """Kingma and Ba 2015, algorithm 1, in the efficient order of its section 2; constants as in Keras."""
    momentum, velocity = slots
    momentum += (gradients - momentum) * (1 - 0.9)
    velocity += (tf.square(gradients) - velocity) * (1 - 0.999)
    alpha = rates * tf.sqrt(1 - tf.pow(0.999, step)) / (1 - tf.pow(0.9, step))
    return weights - alpha * momentum / (tf.sqrt(velocity) + 1e-7), (momentum, velocity)


def _nesterov(weights: Tensor, slots: Slots, gradients: Tensor, rates: Tensor, step: Tensor) -> tuple[Tensor, Slots]:
    """Nesterov momentum 0.9 as in keras.optimizers.SGD(momentum=0.9, nesterov=True)."""
    (momentum,) = slots
    descent = gradients * rates
    momentum = 0.9 * momentum - descent
    return weights + 0.9 * momentum - descent, (momentum,)


def _sgd(weights: Tensor, slots: Slots, gradients: Tensor, rates: Tensor, step: Tensor) -> tuple[Tensor, Slots]:
    """Plain gradient descent."""
    return weights - gradients * rates, slots


def _schedule_free(r: int) -> Update:
    """Defazio et al. 2024 (arXiv 2405.15682), with the constants of keras.optimizers.ScheduleFreeAdamW.

    The weights are y; the slots are z and the second moment; the average x follows from
    y = (1 - beta_1) z + beta_1 x.

    Args:
        r: power of the step by which the average weighs the iterates.
    """

    def update(weights: Tensor, slots: Slots, gradients: Tensor, rates: Tensor, step: Tensor) -> tuple[Tensor, Slots]:
        z, velocity = slots
        average = _average_point(weights, slots)
        velocity += (tf.square(gradients) - velocity) * (1 - 0.999)
        z -= rates * gradients / (tf.sqrt(velocity / (1 - tf.pow(0.999, step))) + 1e-8)
        share = (r + 1) / (step + r)
        average = (1 - share) * average + share * z
        return (1 - 0.9) * z + 0.9 * average, (z, velocity)

    return update


def _average_point(weights: Tensor, slots: Slots) -> Tensor:
    """Return x = (y - (1 - beta_1) z) / beta_1, which Keras never swaps in by itself."""
    return (weights - (1 - 0.9) * slots[0]) / 0.9


OPTIMIZERS = {
    "adam": Optimizer(
        lambda w: (tf.zeros_like(w), tf.zeros_like(w)),
        _adam,
        _trained_point,
        lambda rate: keras.optimizers.Adam(rate),
    ),
    "sgd-nesterov": Optimizer(
        lambda w: (tf.zeros_like(w),),
        _nesterov,
        _trained_point,
        lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    ),
    "sgd": Optimizer(lambda w: (), _sgd, _trained_point, lambda rate: keras.optimizers.SGD(rate)),
    "schedule-free-adamw": Optimizer(
        lambda w: (tf.identity(w), tf.zeros_like(w)),
        _schedule_free(r=0),
        _average_point,
        ScheduleFreeAdamW,
    ),
    "schedule-free-adamw-r1": Optimizer(
        lambda w: (tf.identity(w), tf.zeros_like(w)),
        _schedule_free(r=1),
        _average_point,
        lambda rate: ScheduleFreeAdamW(rate, r=1),
    ),
}
