"""Results as they are not: copies with another value at one place, for tests of what a report then says."""

from typing import Any

from pydantic import BaseModel


def altered(part: Any, place: str, value: Any) -> Any:
    """Return a copy of a part of the results, unchecked, with another value at one place.

    Args:
        place: fields and keys, joined by dots; a candidate goes by its name, and * stands for all of them.
        value: what stands there then, or a function of what stood there.
    """
    if not place:
        return value(part) if callable(value) else value
    first, _, rest = place.partition(".")
    if isinstance(part, BaseModel):
        changed = altered(getattr(part, first), rest, value)
        return part.model_construct(part.model_fields_set | {first}, **dict(part) | {first: changed})
    if isinstance(part, tuple):
        assert first == "*" or any(row.name == first for row in part), first
        return tuple(altered(row, rest, value) if first in ("*", row.name) else row for row in part)
    return {**part, first: altered(part[first], rest, value)}
