"""What a key of a study file may hold: its kind, its range or its names, and what it means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import MOST_QUOTED, as_given, shortened
from metagd_optuna.policy.registry import Registry

Names = Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a study file.

    Args:
        kind: ``whole`` (an integer), ``switch`` (true or false), ``name`` or ``names`` (a list of strings).
        meaning: one sentence for the documentation.
        low, high: the range of a ``whole``, both ends included.
        or_zero: whether a ``whole`` may also be 0, below its range.
        suffix: how a path ends that a ``name`` may be instead; "" if it may not.
        names: returns the names to choose from; None where any text is a candidate.
        what: what a name stands for, in error messages.
    """

    kind: str
    meaning: str
    low: int = 0
    high: int = 0
    names: Names | None = None
    what: str = ""
    or_zero: bool = False
    suffix: str = ""

    @property
    def allowed(self) -> str:
        """What the key accepts, in words."""
        if self.kind == "whole":
            return f"{'0, or ' if self.or_zero else ''}a whole number from {self.low:,} to {self.high:,}"
        if self.kind == "switch":
            return "true or false"
        known = ", ".join(self.names()) if self.names else ""
        if self.kind == "name":
            return f"one of {known}" if not self.suffix else f"{known}, or a path to a {self.suffix} file"
        return f"a list of {self.what} names" + (f" out of {known}" if known else "")

    def check(self, value: object) -> None:
        """Raise MetaGDError with what was given and what is allowed, unless ``value`` is acceptable."""
        given = _in_toml(value)
        if self.kind == "whole":
            self._check_whole(value, given)
        elif self.kind == "switch":
            if not isinstance(value, bool):
                raise MetaGDError(f"{given} is {_kind_of(value)}; allowed is {self.allowed}")
        elif self.kind == "name":
            if not isinstance(value, str):
                raise MetaGDError(f"{given} is {_kind_of(value)}; allowed is {self.allowed}")
            self._check_name(value)
        else:
            self._check_names(value, given)

    def _check_whole(self, value: object, given: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise MetaGDError(f"{given} is {_kind_of(value)}; allowed is {self.allowed}")
        if not self.low <= value <= self.high and not (self.or_zero and value == 0):
            raise MetaGDError(f"{given} is out of range; allowed is {self.allowed}")

    def _check_name(self, name: str) -> None:
        known = list(self.names()) if self.names else [name]
        if name not in known and not (self.suffix and name.endswith(self.suffix)):
            path = f", or a path to a {self.suffix} file" if self.suffix else ""
            remedy = f". {self.names.remedy}" if isinstance(self.names, Registry) else ""
            raise MetaGDError(
                f"there is no {self.what} {as_given(name)}{did_you_mean(name, known)}; "
                f"allowed: {', '.join(known)}{path}{remedy}"
            )

    def _check_names(self, value: object, given: str) -> None:
        if not isinstance(value, tuple):
            raise MetaGDError(f"{given} is {_kind_of(value)}; allowed is {self.allowed}, in square brackets")
        if not value:
            raise MetaGDError(f"the list is empty; name at least one {self.what}, or leave the key out")
        for name in value:
            if not isinstance(name, str):
                raise MetaGDError(f"{_in_toml(name)} in the list is {_kind_of(name)}; allowed is {self.allowed}")
            self._check_name(name)
        repeated = sorted({name for name in value if value.count(name) > 1})
        if repeated:
            raise MetaGDError(
                f"{shortened(', '.join(map(as_given, repeated)))} is listed more than once; name each {self.what} once"
            )


def whole(default: int, low: int, high: int, meaning: str, *, or_zero: bool = False) -> Any:
    """Return a dataclass field that holds an integer from ``low`` to ``high``, or also 0."""
    return field(default=default, metadata={"setting": Setting("whole", meaning, low=low, high=high, or_zero=or_zero)})


def switch(default: bool, meaning: str) -> Any:
    """Return a dataclass field that is true or false."""
    return field(default=default, metadata={"setting": Setting("switch", meaning)})


def name_of(default: str, what: str, names: Names, meaning: str) -> Any:
    """Return a dataclass field that holds one of ``names()``."""
    return field(default=default, metadata={"setting": Setting("name", meaning, names=names, what=what)})


def name_or_file(default: str, what: str, names: Names, suffix: str, meaning: str) -> Any:
    """Return a dataclass field that holds one of ``names()``, or a path that ends in ``suffix``."""
    setting = Setting("name", meaning, names=names, what=what, suffix=suffix)
    return field(default=default, metadata={"setting": setting})


def names_of(default: tuple[str, ...], what: str, names: Names, meaning: str) -> Any:
    """Return a dataclass field that holds a tuple of different ``names()``."""
    return field(default=default, metadata={"setting": Setting("names", meaning, names=names, what=what)})


def required_names(what: str, meaning: str) -> Any:
    """Return a dataclass field without a default that holds a tuple of different strings."""
    return field(metadata={"setting": Setting("names", meaning, what=what)})


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the suggestion for a misspelt name, whatever its case, or an empty string if nothing is near.

    >>> did_you_mean("Logistc", ["mix", "logistic"])
    " (did you mean 'logistic'?)"
    >>> did_you_mean("xyz", ["mix", "logistic"])
    ''
    """
    if len(name) > MOST_QUOTED:
        return ""
    by_case = {candidate.casefold(): candidate for candidate in known}
    near = get_close_matches(name.casefold(), by_case, n=1)
    return f" (did you mean {by_case[near[0]]!r}?)" if near else ""


def _in_toml(value: object) -> str:
    """Return ``value`` as a study file would spell it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return shortened("[" + ", ".join(map(_in_toml, value)) + "]")
    return f'"{shortened(value)}"' if isinstance(value, str) else as_given(value)


def _kind_of(value: object) -> str:
    """Return what ``value`` is, in the words of a study file."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float):
        return "a number with a fraction" if math.isfinite(value) else "not a finite number"
    kinds: dict[type, str] = {int: "a whole number", str: "text", tuple: "a list", list: "a list", dict: "a table"}
    return kinds.get(type(value), f"a {type(value).__name__}")
