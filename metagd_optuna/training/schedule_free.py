"""ScheduleFreeAdamW as published, for comparisons that must not handicap it."""

from __future__ import annotations

import math
from typing import Any

import keras

from metagd_optuna.contracts import MetaGDError


@keras.saving.register_keras_serializable("metagd_optuna")
class ScheduleFreeAdamW(keras.optimizers.ScheduleFreeAdamW):
    """Keras' ScheduleFreeAdamW with the update of its paper.

    Keras 3.15.1 on the TensorFlow backend departs from it twice. Where x_t is recovered from y_t and z_t, it
    reads z after its update, because the variable and not a copy is kept. And ``fit`` builds the optimizer
    where the initial ``z = weights`` is lost, so that the first step resets the network to about zero;
    ``MetaPolicyCallback`` mends that, and without it ``optimizer.build(model.trainable_variables)`` before ``fit``.

    The network that it trains is y; the one to use is the average x, to which ``MetaPolicyCallback`` takes the model
    whenever ``fit`` validates or ends an epoch.

    z_{t+1} = z_t - rate g_t / (sqrt(v_t / (1 - beta_2^t)) + epsilon)
    x_{t+1} = (1 - c_t) x_t + c_t z_{t+1},  c_t = (r + 1) / (t + r)
    y_{t+1} = (1 - beta_1) z_{t+1} + beta_1 x_{t+1}

    Args:
        learning_rate: the rate, a number.
        r: how much more later iterates count in the average, 0 or more. With 0, as published, all count the same;
            with 1 iterate t counts t times, so that the network's poor beginnings are forgotten sooner.

    Raises:
        MetaGDError: if ``r`` is negative or no finite number.

    Source: Defazio et al. 2024, arXiv 2405.15682; ``r`` is the polynomial decay of Shamir and Zhang 2013, arXiv
    1212.1824, section 4, there called eta.
    """

    def __init__(self, learning_rate: float, r: float = 0) -> None:
        if not isinstance(r, int | float) or not 0 <= r < math.inf:
            raise MetaGDError(
                f"r={r!r} is not allowed; pass a finite number of at least 0: with 0 all steps count the same, with 1 "
                "step t counts t times"
            )
        super().__init__(learning_rate=learning_rate, warmup_steps=0)
        self.r = r

    def build(self, variables: Any) -> None:
        """Make z and v for every variable, and keep where the model stands: at y, or left at x.

        It is saved with them, because a model that is loaded and trained on has to know.
        """
        if self.built:
            return
        super().build(variables)
        self._stands_at_average = self.add_variable((), initializer="zeros", dtype="int32", name="at_average")

    @property
    def at_average(self) -> bool:
        """Whether the model stands at its average x; else at y."""
        return self.built and bool(self._stands_at_average.numpy())

    @at_average.setter
    def at_average(self, there: bool) -> None:
        self._stands_at_average.assign(int(there))

    def get_config(self) -> dict[str, Any]:
        """Return what a saved model needs to make the optimizer again."""
        return {"learning_rate": float(self.learning_rate), "r": self.r}

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
        share = (self.r + 1) / (step + self.r)
        average = (1 - share) * average + share * new_z
        self.assign(variable, (1 - self.beta_1) * new_z + self.beta_1 * average)


class AveragePoint:
    """Takes a model between y, where ScheduleFreeAdamW trains it, and the average x, where it is to be used.

    The optimizer remembers where its model stands, so that going where it already is changes nothing.

    Args:
        optimizer: the model's, built.
    """

    def __init__(self, optimizer: ScheduleFreeAdamW) -> None:
        self._optimizer = optimizer
        self._pairs = list(zip(optimizer._trainable_variables, optimizer._momentums, strict=True))
        self._trained: list[Any] = []

    def begin(self) -> None:
        """Get ready for training: z begins at the weights; a model that was left at x goes on from y."""
        # A strategy of tf.distribute mirrors the counter, and what mirrors a number is none.
        if int(keras.ops.convert_to_numpy(self._optimizer.iterations)) == 0:
            for variable, z in self._pairs:
                z.assign(variable)
        self.leave()

    def enter(self) -> None:
        """Go to x, remembering y."""
        if self._optimizer.at_average:
            return
        beta = self._optimizer.beta_1
        self._trained = [keras.ops.copy(variable.value) for variable, _ in self._pairs]
        for variable, z in self._pairs:
            variable.assign((variable - (1 - beta) * z) / beta)
        self._optimizer.at_average = True

    def leave(self) -> None:
        """Go back to y, bit by bit what it was; as near as x and z tell it where a stored model was loaded at x."""
        if not self._optimizer.at_average:
            return
        beta = self._optimizer.beta_1
        trained = self._trained or [(1 - beta) * z + beta * variable for variable, z in self._pairs]
        for (variable, _), value in zip(self._pairs, trained, strict=True):
            variable.assign(value)
        self._trained = []
        self._optimizer.at_average = False
