"""JSON values that cannot be changed, for what a frozen rule holds."""

from __future__ import annotations

from typing import Any, NoReturn


class _Frozen:
    """What a dict and a list refuse; a copy is the value itself, since it never changes."""

    def _refuse(self, *given: Any, **options: Any) -> NoReturn:
        raise TypeError(
            "what a rule holds cannot be changed; make another rule, with dataclasses.replace for a MetaPolicy and "
            "model_copy(update=...) for any other"
        )

    __setitem__ = __delitem__ = clear = pop = _refuse

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


class FrozenDict(_Frozen, dict[str, Any]):
    """A dict that cannot be changed; json and pydantic write it as a dict.

    >>> held = frozen({"seeds": [1, 2]})
    >>> held == {"seeds": [1, 2]}
    True
    >>> held["seeds"].append(3)
    Traceback (most recent call last):
        ...
    TypeError: what a rule holds cannot be changed; make another rule, with dataclasses.replace for a MetaPolicy and \
model_copy(update=...) for any other
    """

    popitem = setdefault = update = __ior__ = _Frozen._refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


class FrozenList(_Frozen, list[Any]):
    """A list that cannot be changed; json and pydantic write it as a list."""

    append = extend = insert = remove = sort = reverse = __iadd__ = __imul__ = _Frozen._refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)


def frozen(value: Any) -> Any:
    """Return a JSON value, and all that is in it, as one that cannot be changed."""
    if isinstance(value, dict):
        return FrozenDict({key: frozen(inside) for key, inside in value.items()})
    return FrozenList(map(frozen, value)) if isinstance(value, list) else value


def thawed(value: Any) -> Any:
    """Return a copy of a frozen JSON value that can be changed."""
    if isinstance(value, dict):
        return {key: thawed(inside) for key, inside in value.items()}
    return list(map(thawed, value)) if isinstance(value, list) else value
