"""ScheduleFreeAdamW as published, for comparisons that must not handicap it."""

from __future__ import annotations

from typing import Any

import keras


class ScheduleFreeAdamW(keras.optimizers.ScheduleFreeAdamW):
    """Keras' ScheduleFreeAdamW with the update of its paper.

    Keras 3.15.1 on the TensorFlow backend departs from it twice. Where x_t is recovered from y_t and z_t, it
    reads z after its update, because the variable and not a copy is kept. And ``fit`` builds the optimizer
    where the initial ``z = weights`` is lost, so that the first step resets the network to about zero; call
    ``optimizer.build(model.trainable_variables)`` before ``fit``.

    z_{t+1} = z_t - rate g_t / (sqrt(v_t / (1 - beta_2^t)) + epsilon)
    x_{t+1} = (1 - 1/t) x_t + z_{t+1} / t
    y_{t+1} = (1 - beta_1) z_{t+1} + beta_1 x_{t+1}

    Args:
        learning_rate: the rate, a number.

    Source: Defazio et al. 2024, arXiv 2405.15682.
    """

    def __init__(self, learning_rate: float) -> None:
        super().__init__(learning_rate=learning_rate, warmup_steps=0)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take one step for one variable, which holds y."""
        ops = keras.ops
        index = self._get_variable_index(variable)
        z, velocity = self._momentums[index], self._velocities[index]
        step = ops.cast(self.iterations + 1, variable.dtype)
        average = (variable - (1 - self.beta_1) * z) / self.beta_1
        self.assign(velocity, velocity + (ops.square(gradient) - velocity) * (1 - self.beta_2))
        scale = ops.sqrt(velocity / (1 - ops.power(self.beta_2, step))) + self.epsilon
        new_z = z - learning_rate * gradient / scale
        self.assign(z, new_z)
        average = (1 - 1 / step) * average + new_z / step
        self.assign(variable, (1 - self.beta_1) * new_z + self.beta_1 * average)
