"""What a user gives the callback: checked, and turned into plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.policy import Policy


def policy(given: object) -> Policy:
    """Return a policy, or say how to get one."""
    if not isinstance(given, Policy):
        raise MetaGDError(
            f"policy={as_given(given)} is a {type(given).__name__}, and has to be a MetaPolicy or another policy: "
            "metagd_optuna.load_policy(name or path) reads one"
        )
    return given


def complexity(given: object) -> float:
    """Return c, in [0, 1]."""
    if not _is_number(given) or not 0.0 <= float(given) <= 1.0:  # type: ignore[arg-type]
        raise MetaGDError(
            f"complexity={as_given(given)} must be a number in [0, 1]; metagd_optuna.measure_complexity(x, y) computes "
            "it"
        )
    return float(given)  # type: ignore[arg-type]


def class_frequencies(given: Any) -> tuple[float, ...]:
    """Return the share of every class, shape (K,)."""
    problem = MetaGDError(
        f"class_frequencies={as_given(given)} must be the share of each of at least 2 classes, in the order of their "
        "numbers, summing to 1; metagd_optuna.class_frequencies(labels) computes them"
    )
    try:
        shares = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise problem from None
    adds_up = math.isclose(shares.sum(), 1.0, abs_tol=1e-6)
    if shares.ndim != 1 or len(shares) < 2 or not np.all((shares >= 0) & (shares < 1)) or not adds_up:
        raise problem
    return tuple(float(share) for share in shares)


def whole(name: str, given: object) -> int:
    """Return a whole number of at least 1."""
    if not isinstance(given, Integral) or isinstance(given, bool) or given < 1:
        raise MetaGDError(f"{name}={as_given(given)} must be a whole number of at least 1")
    return int(given)


def validation_freq(given: object) -> int:
    """Return the epochs from one validation to the next."""
    try:
        return whole("validation_freq", given)
    except MetaGDError as error:
        raise MetaGDError(
            f"{error}; pass what fit() gets, and for a list of epochs the longest way from one to the next"
        ) from None


def budget(epochs: object, steps: object) -> tuple[int | None, int | None]:
    """Return the budget in epochs and in steps, at most one of which is given."""
    if epochs is not None and steps is not None:
        raise MetaGDError(
            f"budget={as_given(epochs)} and budget_steps={as_given(steps)} both say how long the training is; pass one"
        )
    return (
        None if epochs is None else whole("budget", epochs),
        None if steps is None else whole("budget_steps", steps),
    )


def class_weight(given: object, classes: int) -> dict[int, float] | None:
    """Return the weight of every class that has one, by its number."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise MetaGDError(
            f"class_weight={as_given(given)} must be what fit() gets: a dictionary of class number to weight"
        )
    for number, weight in given.items():
        if not isinstance(number, Integral) or isinstance(number, bool) or not 0 <= int(number) < classes:
            raise MetaGDError(
                f"class_weight has the class {as_given(number)}; the classes of class_frequencies are 0 to "
                f"{classes - 1}"
            )
        if not _is_number(weight) or not 0 <= float(weight) < math.inf:
            raise MetaGDError(f"class_weight[{number}]={as_given(weight)} must be a number of at least 0")
    return {int(number): float(weight) for number, weight in given.items()}


def chance_loss(given: object) -> float | None:
    """Return the loss of chance level, or None where it is to be measured."""
    if given is not None and (not _is_number(given) or not 0 < float(given) < math.inf):  # type: ignore[arg-type]
        raise MetaGDError(f"chance_loss={as_given(given)} must be a number above 0, or left out to be measured")
    return None if given is None else float(given)  # type: ignore[arg-type]


def searched(policy: Policy) -> dict[str, float]:
    """Return the epochs and the updates of the trainings that a policy was found in, where its provenance says so."""
    found = {key: policy.provenance.get(key) for key in ("budget_epochs", "rate_updates")}
    return {key: float(value) for key, value in found.items() if _is_number(value)}  # type: ignore[arg-type]


def searched_updates(policy: Policy, default: int) -> int:
    """Return how often per training a policy looked where it was searched; the default for one written by hand."""
    rate_updates = policy.provenance.get("rate_updates", default)
    if isinstance(rate_updates, bool) or not isinstance(rate_updates, int):
        raise MetaGDError(
            f"the policy's provenance says rate_updates={rate_updates!r}, which must be a whole number of at least 1; "
            "correct the policy's file, or pass rate_updates= to the callback"
        )
    return rate_updates


def _is_number(given: object) -> bool:
    """Return whether it is a number that a float holds."""
    if not isinstance(given, Real) or isinstance(given, bool):
        return False
    try:
        float(given)
    except OverflowError:  # a whole number of more than 308 digits
        return False
    return True


def probe(given: Any) -> tuple[Any, Any] | None:
    """Return training images and labels for probes, or None."""
    if given is None:
        return None
    if not isinstance(given, tuple | list) or len(given) != 2 or not all(hasattr(part, "__len__") for part in given):
        raise MetaGDError(
            f"probe is {as_given(type(given).__name__)}; give training images and their labels as arrays, probe=(x, y)"
        )
    return given[0], given[1]
