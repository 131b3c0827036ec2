"""Keras' optimizers as pure functions on whole populations, one learning rate per member.

Weights, gradients and slots are tensors of shape (P, D): P members, D weights of the network laid end to end.
One fused update of a (P, D) tensor is cheaper than one per variable, and state that is passed in and
returned needs no reset between trials. Each rule equals the Keras class that stands with it in policy/optimizers.py
(tested).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

Tensor = Any  # TensorFlow ships no types
Slots = tuple[Tensor, ...]
Update = Callable[[Tensor, Slots, Tensor, Tensor, Tensor], tuple[Tensor, Slots]]


def _trained_point(weights: Tensor, slots: Slots) -> Tensor:
    return weights


@dataclass(frozen=True, slots=True)
class UpdateRule:
    """How an optimizer changes the weights of a population.

    Args:
        slots: weights (P, D) -> initial slots, a tuple of (P, D) tensors.
        update: (weights, slots, gradients, rates of shape (P, 1), step from 1 as a float) -> weights, slots.
        evaluation_point: (weights, slots) -> the weights (P, D) to evaluate; by default those that are trained.
    """

    slots: Callable[[Tensor], Slots]
    update: Update
    evaluation_point: Callable[[Tensor, Slots], Tensor] = _trained_point

    @property
    def averages(self) -> bool:
        """Whether other weights are evaluated than those that train."""
        return self.evaluation_point is not _trained_point


def _adam_update(beta_2: float) -> Update:
    """Kingma and Ba 2015, algorithm 1, in the efficient order of its section 2; other constants as in Keras."""

    def update(weights: Tensor, slots: Slots, gradients: Tensor, rates: Tensor, step: Tensor) -> tuple[Tensor, Slots]:
        momentum, velocity = slots
        momentum += (gradients - momentum) * (1 - 0.9)
        velocity += (tf.square(gradients) - velocity) * (1 - beta_2)
        alpha = rates * tf.sqrt(1 - tf.pow(beta_2, step)) / (1 - tf.pow(0.9, step))
        return weights - alpha * momentum / (tf.sqrt(velocity) + 1e-7), (momentum, velocity)

    return update


def _nesterov_update(
    weights: Tensor, slots: Slots, gradients: Tensor, rates: Tensor, step: Tensor
) -> tuple[Tensor, Slots]:
    """Nesterov momentum 0.9 as in keras.optimizers.SGD(momentum=0.9, nesterov=True)."""
    (momentum,) = slots
    descent = gradients * rates
    momentum = 0.9 * momentum - descent
    return weights + 0.9 * momentum - descent, (momentum,)


def _sgd_update(weights: Tensor, slots: Slots, gradients: Tensor, rates: Tensor, step: Tensor) -> tuple[Tensor, Slots]:
    """Plain gradient descent."""
    return weights - gradients * rates, slots


def _schedule_free_update(r: int, beta_2: float) -> Update:
    """Defazio et al. 2024 (arXiv 2405.15682), with the constants of keras.optimizers.ScheduleFreeAdamW.

    The weights are y; the slots are z and the second moment; the average x follows from
    y = (1 - beta_1) z + beta_1 x.

    Args:
        r: power of the step by which the average weighs the iterates.
        beta_2: memory of the second moment.
    """

    def update(weights: Tensor, slots: Slots, gradients: Tensor, rates: Tensor, step: Tensor) -> tuple[Tensor, Slots]:
        z, velocity = slots
        average = _average_point(weights, slots)
        velocity += (tf.square(gradients) - velocity) * (1 - beta_2)
        z -= rates * gradients / (tf.sqrt(velocity / (1 - tf.pow(beta_2, step))) + 1e-8)
        share = (r + 1) / (step + r)
        average = (1 - share) * average + share * z
        return (1 - 0.9) * z + 0.9 * average, (z, velocity)

    return update


def _average_point(weights: Tensor, slots: Slots) -> Tensor:
    """Return x = (y - (1 - beta_1) z) / beta_1, which Keras never swaps in by itself."""
    return (weights - (1 - 0.9) * slots[0]) / 0.9


def adam(beta_2: float = 0.999) -> UpdateRule:
    """Return keras.optimizers.Adam.

    Args:
        beta_2: memory of the second moment, in [0, 1).
    """
    return UpdateRule(lambda w: (tf.zeros_like(w), tf.zeros_like(w)), _adam_update(beta_2))


def sgd_nesterov() -> UpdateRule:
    """Return keras.optimizers.SGD with Nesterov's momentum."""
    return UpdateRule(lambda w: (tf.zeros_like(w),), _nesterov_update)


def sgd() -> UpdateRule:
    """Return keras.optimizers.SGD."""
    return UpdateRule(lambda w: (), _sgd_update)


def schedule_free_r0() -> UpdateRule:
    """Return ScheduleFreeAdamW as published, whose average counts all steps alike."""
    return UpdateRule(
        lambda w: (tf.identity(w), tf.zeros_like(w)), _schedule_free_update(r=0, beta_2=0.999), _average_point
    )


def schedule_free_r1(beta_2: float = 0.999) -> UpdateRule:
    """Return ScheduleFreeAdamW with r = 1, whose average counts step t t times.

    Args:
        beta_2: memory of the second moment, in [0, 1).
    """
    return UpdateRule(lambda w: (tf.identity(w), tf.zeros_like(w)), _schedule_free_update(1, beta_2), _average_point)
