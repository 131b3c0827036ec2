"""Which optimizer a rule's rates are for, and whether a model is compiled with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy.optimizers import OPTIMIZERS


def optimizer_of(model: keras.Model) -> Any:
    """Return the optimizer that holds the rate; a mixed-precision wrapper only passes it on."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def iterations_of(optimizer: Any) -> int:
    """Return how many steps an optimizer has taken."""
    # A strategy of tf.distribute mirrors the counter, and what mirrors a number is none.
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def check_optimizer(model: keras.Model, name: str) -> None:
    """Refuse a model whose optimizer is not the one that the rates are for.

    Args:
        model: to be trained.
        name: a key of ``OPTIMIZERS``.

    Raises:
        MetaGDError: if there is no such optimizer, or the model is not compiled, or with another one, with other
            settings, or with a schedule for a rate.
    """
    row = OPTIMIZERS.find(name, "optimizer")
    optimizer = optimizer_of(model) if getattr(model, "compiled", False) else None
    remedy = f"compile it with {' or '.join((row.example, *row.accepted[1:]))}"
    if optimizer is None:
        raise MetaGDError(f"the model is not compiled; {remedy}")
    given = type(optimizer)
    if not row.accepts(given):
        namesake = any(accepted.endswith(f".{given.__name__}") for accepted in row.accepted)
        reason = f" of another package, {given.__module__}: {row.refusal}" if namesake else ""
        raise MetaGDError(
            f"this policy sets the rates of {name}, but the model is compiled with {given.__name__}{reason}; {remedy}"
        )
    found = {key: getattr(optimizer, key, None) for key in row.settings}
    if found != row.settings:
        raise MetaGDError(
            f"this policy sets the rates of {name}, which has {_in_words(row.settings)}, but the model is compiled "
            f"with {_in_words(found)}, where the same rate is a step of another size; {remedy}"
        )
    if not isinstance(optimizer._learning_rate, keras.Variable):
        raise MetaGDError(
            f"the optimizer's learning_rate is a {type(optimizer._learning_rate).__name__}, which a callback "
            f"cannot steer; compile the model with a plain number, e.g. {given.__name__}(1e-3)"
        )


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in settings.items())


class RateWatch:
    """Sets an optimizer's rate, and notices when something else has set it in between.

    Args:
        optimizer: what holds the rate, at the beginning of a training.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._rate: float | None = None  # as it was last set, before the optimizer rounded it
        self._last = self._now()
        # Loading an optimizer's state before the first step sets its rate too, and its iterations.
        self._iterations: int | None = iterations_of(optimizer)

    def set(self, rate: float) -> float | None:
        """Set the rate; return the one that something else has set since the last call, None if nothing has."""
        found = self._now()
        loaded = self._iterations is not None and self._iterations != iterations_of(self._optimizer)
        self._iterations = None
        self._optimizer.learning_rate = self._rate = rate
        other = found if found != self._last and not loaded else None
        self._last = self._now()
        return other

    def is_set(self, rate: float, variables: Sequence[Any], values: Sequence[Any]) -> bool:
        """Return whether a rate is the one that was last set, and is still there.

        Args:
            rate: to be set.
            variables, values: of the optimizer, and what they hold where JAX keeps it while ``fit`` trains.
        """
        place = next(i for i, variable in enumerate(variables) if variable is self._optimizer._learning_rate)
        return rate == self._rate and float(np.asarray(values[place])) == self._last

    def _now(self) -> float:
        return float(keras.ops.convert_to_numpy(self._optimizer.learning_rate))
