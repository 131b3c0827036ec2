"""Python values to values that JSON can hold, the same bytes for the same records."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

SIGNIFICANT_DIGITS = 10


def json_value(value: object, digits: int = SIGNIFICANT_DIGITS) -> object:
    """Return ``value`` with floats rounded to significant digits and everything that is not finite as None.

    Args:
        value: None, a bool, number or string, a NumPy array or scalar, a part of the results, which has been rounded
            before and is returned as it is, or mappings and sequences of those.
        digits: how many significant ones a float keeps.

    Raises:
        TypeError: for any other type; such a value is a programming error, not a user's.

    >>> json_value({"times": (1 / 3, float("inf"))})
    {'times': [0.3333333333, None]}
    """
    if value is None or isinstance(value, bool | str | BaseModel):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return json_value(value.tolist(), digits)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        rounded = float(f"{value:.{digits}g}")
        if math.isfinite(rounded):
            return rounded
        return value if math.isfinite(value) else None  # the largest floats are rounded to infinity
    if isinstance(value, Mapping):
        return {str(key): json_value(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item, digits) for item in value]
    raise TypeError(f"a report cannot hold {value!r} of type {type(value).__name__}; convert it to plain values first")


def times(values: Sequence[float | None]) -> list[float]:
    """Return times as Python has them: a miss, None in JSON, is infinity.

    >>> times([1.5, None])
    [1.5, inf]
    """
    return [math.inf if value is None else float(value) for value in values]


def json_text(value: object, depth: int = 0) -> str:
    """Return a value as indented JSON; flat lists stay on one line, so that a difference is easy to read.

    >>> print(json_text({"a": [1, 2], "b": {"c": None}}))
    {
     "a": [1, 2],
     "b": {
      "c": null
     }
    }
    """
    inner, outer = " " * (depth + 1), " " * depth
    if isinstance(value, Mapping) and value:
        rows = (f"{inner}{json.dumps(key, ensure_ascii=False)}: {json_text(v, depth + 1)}" for key, v in value.items())
        return "{\n" + ",\n".join(rows) + f"\n{outer}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return "[\n" + ",\n".join(inner + json_text(item, depth + 1) for item in value) + f"\n{outer}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
