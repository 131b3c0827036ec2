"""One value as people write it in a table or an array: a label, a patient, or what is learnt from."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given

_LONGEST = 10_000  # characters of a value
# How people write that a value is missing, in any case of letters.
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})


def is_missing(value: object) -> bool:
    """Return whether a value is missing: None, or what does not equal itself, such as NaN, NaT and pandas' NA.

    >>> is_missing(float("nan")), is_missing("nan")
    (True, False)
    """
    if value is None or (isinstance(value, Decimal) and value.is_nan()):  # one of which must not even be compared
        return True
    equal: object = value == value  # of pandas' NA it is NA again, which has no truth
    return equal is not True and equal is not np.True_


def as_text(value: object, what: str) -> str:
    """Return a value as text without blanks around it, empty if it is missing.

    Args:
        value: of any type.
        what: what it is, for the error.

    Raises:
        MetaGDError: if it is a list, an array or the like, or a text of more than 10,000 characters.

    >>> as_text(" ill ", "a label"), as_text(2, "a label"), as_text(2.0, "a label"), as_text(None, "a label")
    ('ill', '2', '2', '')
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        if len(value) > _LONGEST:
            raise MetaGDError(
                f"{what} is {as_given(value)}, of {len(value):,} characters; it may have {_LONGEST:,}: shorten it, or "
                "leave it out"
            )
        return value.strip()
    if _is_whole(value):
        return str(int(value))  # type: ignore[call-overload]
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return as_text(value.item(), what)
    if hasattr(value, "__len__") and not isinstance(value, tuple):
        raise MetaGDError(
            f"{what} is {as_given(value)}; it must be one text or number, no list or table: make one of it, or leave "
            "it out"
        )
    return "" if is_missing(value) else str(value).strip()


def _is_whole(value: object) -> bool:
    """Return whether a number is written as a whole one, as it was before others in its column were missing."""
    if isinstance(value, Decimal):  # of an exponent of millions, too
        return value.is_finite() and value.adjusted() < 300 and value == value.to_integral_value()
    return isinstance(value, (float, np.floating)) and float(value).is_integer()


def numbered(texts: Iterable[str]) -> npt.NDArray[np.int64]:
    """Return the place of each text among all in their order; in an array each would take what the longest does.

    >>> numbered(["b", "a", "b"]).tolist()
    [1, 0, 1]
    """
    each = list(texts)
    numbers = {text: number for number, text in enumerate(sorted(set(each)))}
    return np.array([numbers[text] for text in each], np.int64)
