"""What values a coefficient may take, and the errors for those that it may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, prefix, validate_choice
from metagd_optuna.policy.optimizers import OPTIMIZERS


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A number in [low, high].

    Args:
        low, high: the bounds, both allowed.
        log: whether a search should spread its proposals over the logarithm.
        integer: whether only whole numbers are allowed.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def check(self, name: str, value: Any, source: str = "") -> float | int:
        """Return ``value`` as a float (an int if ``integer``), or raise ``MetaGDError`` naming ``name``.

        >>> Coefficient(0, 3).check("a", 1)
        1.0
        """
        kind = "a whole number" if self.integer else "a number"
        allowed = f"{kind} from {self.low:g} to {self.high:g}"
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise MetaGDError(f"{prefix(source)}{name} is {as_given(value)}, which is no number; it must be {allowed}")
        if isinstance(value, np.number):  # which would round the bounds to its own type
            value = value.item()
        # NaN is in no range, and an integer that is too large for a float compares without becoming one.
        if not self.low <= value <= self.high:
            raise MetaGDError(f"{prefix(source)}{name} is {as_given(value)}; it must be {allowed}")
        if self.integer:
            if value != int(value):
                raise MetaGDError(f"{prefix(source)}{name} is {as_given(value)}; it must be {allowed}")
            return int(value)
        return float(value)


# Examples per step of the optimizer, where a rule says how many it wants.
BATCH_SIZE = Coefficient(1, 4096, integer=True)


@dataclass(frozen=True, slots=True)
class RateCoefficient:
    """A learning rate, whose bounds are those of the optimizer; searched on a log scale."""

    def of(self, optimizer: str) -> Coefficient:
        """Return the range for ``optimizer``; an unknown one raises ``MetaGDError``.

        >>> RateCoefficient().of("adam")
        Coefficient(low=1e-05, high=0.03, log=True, integer=False)
        """
        low, high = OPTIMIZERS.find(optimizer, "optimizer").bounds
        return Coefficient(low, high, log=True)


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of a few names."""

    choices: tuple[str, ...]

    def check(self, name: str, value: Any, source: str = "") -> str:
        """Return ``value`` if it is one of ``choices``, or raise ``MetaGDError`` naming ``name``."""
        return validate_choice(value, self.choices, name, source)


@dataclass(frozen=True, slots=True)
class Sizes:
    """One of a few whole numbers, which a search treats as choices without an order."""

    choices: tuple[int, ...]

    def check(self, name: str, value: Any, source: str = "") -> int:
        """Return ``value`` if it is one of ``choices``, or raise ``MetaGDError`` naming ``name``.

        >>> Sizes((32, 16)).check("batch_size", 16)
        16
        """
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value not in self.choices:
            allowed = ", ".join(map(str, self.choices))
            raise MetaGDError(f"{prefix(source)}{name} is {as_given(value)}; allowed: {allowed}")
        return int(value)


Range = Coefficient | Categorical | Sizes
Kind = Coefficient | RateCoefficient | Categorical
Coefficients = Mapping[str, float | int | str]


def check_mapping(given: Any, what: str, holds: str, source: str = "") -> Mapping[str, Any]:
    """Return ``given`` if it is a mapping whose keys are text, or raise ``MetaGDError``.

    Args:
        given: what was passed.
        what: its name, for the error.
        holds: what it should be, e.g. ``a mapping of name to number``.
        source: the file or trial that the error names first.
    """
    if not isinstance(given, Mapping):
        raise MetaGDError(f"{prefix(source)}{what} is {as_given(given)}; it must be {holds}")
    for key in given:
        if not isinstance(key, str):
            raise MetaGDError(
                f"{prefix(source)}{what} has the key {as_given(key)}, which is no text; it must be {holds}"
            )
    return given


def range_of(kind: Kind, optimizer: str) -> Range:
    """Return the range of a coefficient once the optimizer is known."""
    return kind.of(optimizer) if isinstance(kind, RateCoefficient) else kind


def middle(wanted: Range) -> Any:
    """Return a value in the middle of a range (the geometric one on a log scale), or the first choice.

    >>> middle(Coefficient(0, 8))
    4.0
    """
    if isinstance(wanted, Categorical | Sizes):
        return wanted.choices[0]
    value = (wanted.low * wanted.high) ** 0.5 if wanted.log else (wanted.low + wanted.high) / 2
    return int(value) if wanted.integer else float(value)


def check_coefficients(
    given: Mapping[str, Any], kinds: Mapping[str, Kind], optimizer: str, where: str, source: str = ""
) -> dict[str, float | int | str]:
    """Return the coefficients in the order of ``kinds``, each checked; none may be missing or unknown.

    Args:
        given: name to value.
        kinds: name to range.
        optimizer: whose bounds hold for learning rates.
        where: how errors name the place, e.g. ``rate.coefficients``.
        source: the file or trial that errors name first.
    """
    for name in check_mapping(given, where, "a mapping of names to values", source):
        validate_choice(name, kinds, f"a key of {where}", source)
    missing = [name for name in kinds if name not in given]
    if missing:
        raise MetaGDError(f"{prefix(source)}{where} lacks {', '.join(missing)}; it needs {', '.join(kinds)}")
    return {
        name: range_of(kind, optimizer).check(f"{where}.{name}", given[name], source) for name, kind in kinds.items()
    }
