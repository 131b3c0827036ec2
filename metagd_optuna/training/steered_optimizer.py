"""Which optimizer a rule's rates are for, and whether a model is compiled with it."""

from __future__ import annotations

from typing import Any

import keras

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.training.schedule_free import ScheduleFreeAdamW

# Keras optimizers whose rates mean the same as those that a policy was searched with.
OPTIMIZER_FAMILIES = {
    "adam": ("Adam", "AdamW", "Nadam"),
    "sgd-nesterov": ("SGD",),
    "sgd": ("SGD",),
    "schedule-free-adamw": ("ScheduleFreeAdamW",),
    "schedule-free-adamw-r1": ("ScheduleFreeAdamW",),
}

# The power r by which the average of ScheduleFreeAdamW weighs its iterates, of the engine's two kinds of it.
AVERAGING_POWER = {"schedule-free-adamw": 0, "schedule-free-adamw-r1": 1}

# Momentum and whether it is Nesterov's, of the engine's two kinds of SGD.
SGD_MOMENTUM = {"sgd-nesterov": (0.9, True), "sgd": (0.0, False)}


def optimizer_of(model: keras.Model) -> Any:
    """Return the optimizer that holds the rate; a mixed-precision wrapper only passes it on."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def iterations_of(optimizer: Any) -> int:
    """Return how many steps an optimizer has taken."""
    # A strategy of tf.distribute mirrors the counter, and what mirrors a number is none.
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def check_optimizer(model: keras.Model, family: str) -> None:
    """Refuse a model whose optimizer is not the one that the rates are for.

    Args:
        model: to be trained.
        family: a key of ``OPTIMIZER_FAMILIES``.

    Raises:
        MetaGDError: if the model is not compiled, or with another optimizer, momentum or averaging, or with a schedule
            for a rate.
    """
    optimizer = optimizer_of(model) if getattr(model, "compiled", False) else None
    allowed = OPTIMIZER_FAMILIES[family]
    if optimizer is None:
        raise MetaGDError(f"the model is not compiled; compile it with one of {', '.join(allowed)}")
    given = type(optimizer).__name__
    if given not in allowed:
        raise MetaGDError(
            f"this policy sets the rates of {family}, but the model is compiled with {given}; "
            f"compile it with one of {', '.join(allowed)}"
        )
    _check_averaging(optimizer, family)
    momentum = getattr(optimizer, "momentum", 0.0), getattr(optimizer, "nesterov", False)
    expected = SGD_MOMENTUM.get(family, momentum)
    if momentum != expected:
        raise MetaGDError(
            f"this policy sets the rates of SGD with momentum={expected[0]}, nesterov={expected[1]}, but the model "
            f"is compiled with momentum={momentum[0]}, nesterov={momentum[1]}, where the same rate is a step of "
            f"another size; compile it with SGD(1e-2, momentum={expected[0]}, nesterov={expected[1]})"
        )
    if not isinstance(optimizer._learning_rate, keras.Variable):
        raise MetaGDError(
            f"the optimizer's learning_rate is a {type(optimizer._learning_rate).__name__}, which a callback "
            f"cannot steer; compile the model with a plain number, e.g. {given}(1e-3)"
        )


class RateWatch:
    """Sets an optimizer's rate, and notices when something else has set it in between.

    Args:
        optimizer: what holds the rate, at the beginning of a training.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._last = self._now()
        # Loading an optimizer's state before the first step sets its rate too, and its iterations.
        self._iterations: int | None = iterations_of(optimizer)

    def set(self, rate: float) -> float | None:
        """Set the rate; return the one that something else has set since the last call, None if nothing has."""
        found = self._now()
        loaded = self._iterations is not None and self._iterations != iterations_of(self._optimizer)
        self._iterations = None
        self._optimizer.learning_rate = rate
        other = found if found != self._last and not loaded else None
        self._last = self._now()
        return other

    def _now(self) -> float:
        return float(keras.ops.convert_to_numpy(self._optimizer.learning_rate))


def _check_averaging(optimizer: Any, family: str) -> None:
    """Refuse a ScheduleFreeAdamW that averages otherwise than the one that the policy was searched with."""
    r = AVERAGING_POWER.get(family)
    if r is None:
        return
    wanted = f"metagd_optuna.ScheduleFreeAdamW(2.5e-3{', r=1' if r else ''})"
    if not isinstance(optimizer, ScheduleFreeAdamW):
        raise MetaGDError(
            f"this policy sets the rates of this package's ScheduleFreeAdamW with r={r}, but the model is compiled "
            f"with Keras' own, which departs from the paper in two ways; compile it with {wanted}"
        )
    if optimizer.r != r:
        raise MetaGDError(
            f"this policy was searched with r={r} in the average of ScheduleFreeAdamW, but the model is compiled "
            f"with r={optimizer.r}; compile it with {wanted}"
        )
