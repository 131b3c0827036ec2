"""Python values to values that JSON can hold, the same bytes for the same records."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SIGNIFICANT_DIGITS = 10


def json_value(value: Any, digits: int = SIGNIFICANT_DIGITS) -> Any:
    """Return ``value`` with floats rounded to significant digits and everything that is not finite as None.

    Args:
        value: None, a bool, number or string, a NumPy array or scalar, or mappings and sequences of those.
        digits: how many significant ones a float keeps.

    Raises:
        TypeError: for any other type; such a value is a programming error, not a user's.

    >>> json_value({"times": (1 / 3, float("inf"))})
    {'times': [0.3333333333, None]}
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.generic):
        return json_value(value.item(), digits)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return json_value(value.tolist(), digits)
    if isinstance(value, Mapping):
        return {str(key): json_value(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item, digits) for item in value]
    raise TypeError(f"a report cannot hold {value!r} of type {type(value).__name__}; convert it to plain values first")


def times(values: Sequence[float | None]) -> list[float]:
    """Return times as Python has them: a miss, None in JSON, is infinity.

    >>> times([1.5, None])
    [1.5, inf]
    """
    return [math.inf if value is None else float(value) for value in values]


def json_text(table: Mapping[str, Any]) -> str:
    """Return ``table`` as indented JSON; flat lists stay on one line, so that a difference is easy to read.

    >>> print(json_text({"a": [1, 2], "b": {"c": None}}))
    {
     "a": [1, 2],
     "b": {
      "c": null
     }
    }
    """
    return _indented(json_value(table), 0)


def _indented(value: Any, depth: int) -> str:
    inner, outer = " " * (depth + 1), " " * depth
    if isinstance(value, dict) and value:
        rows = (f"{inner}{json.dumps(key, ensure_ascii=False)}: {_indented(v, depth + 1)}" for key, v in value.items())
        return "{\n" + ",\n".join(rows) + f"\n{outer}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(inner + _indented(item, depth + 1) for item in value) + f"\n{outer}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
