"""Valid documents made invalid: values of a tree replaced, left out and nested, and bytes changed, cut and repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

# Stands in a JSON or TOML text without its quotation marks, for what no value of Python is written as.
_RAW = re.compile(r'"@@(.*?)@@"')
DEEP = 3000  # lists within lists
NAMES = (
    "",
    "a",
    "\0",
    "a\nb",
    "../../etc/passwd",
    "/",
    "x" * 5000,
    "<script>alert(1)</script>",
    "\x1b[2J",
    "\ud800",
    "é心😀",
    "__class__",
    "{0}",
    "%s",
    "constructor",
)
NUMBERS = (0, -1, 1, 2, 2**31, 2**63, -(2**64), 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308)
RAW = ("@@1e999@@", "@@-1e999@@", "@@NaN@@", "@@Infinity@@", f"@@{'9' * 5000}@@", f"@@{'[' * DEEP}{']' * DEEP}@@")
OTHERS = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": {}},
    {"a": [1, {"b": 2}]},
    ["a", 1],
    "2026-11-27",
    "nan",
    "1e999",
)
JUNK: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from((*OTHERS, *NUMBERS)),
    st.sampled_from((*NAMES, *RAW)),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
)


def places(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to every value of a tree of dicts and lists."""
    yield place
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inside in pairs:
        yield from places(inside, (*place, key))


def changed(tree: Any, place: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """Return a tree with another value at a place; what is not on the way there is shared. Places may be gone."""
    if not place:
        return change(tree)
    key, rest = place[0], place[1:]
    if isinstance(tree, dict) and key in tree:
        return {**tree, key: changed(tree[key], rest, change)}
    if isinstance(tree, list) and isinstance(key, int) and key < len(tree):
        return [*tree[:key], changed(tree[key], rest, change), *tree[key + 1 :]]
    return tree


def trees(valid: list[Any]) -> st.SearchStrategy[Any]:
    """Return trees that differ from valid ones in one to three places."""
    known = [list(places(tree)) for tree in valid]
    many = st.integers(0, 2**32)

    @st.composite
    def mutated(draw: st.DrawFn) -> Any:
        which = draw(st.integers(0, len(valid) - 1))
        tree = valid[which]
        for _ in range(draw(st.integers(1, 3))):
            place = known[which][draw(many) % len(known[which])]
            how, junk = draw(st.integers(0, 6)), draw(JUNK)
            tree = changed(tree, place, lambda value, how=how, junk=junk: other(value, how, junk))
        return tree

    return mutated()


def other(value: Any, how: int, junk: Any) -> Any:
    """Return what a value becomes: mostly something else, or a table or list with more or less in it."""
    if how < 4 or not isinstance(value, dict | list):
        return [value] if how == 4 else {"a": value} if how == 5 else junk
    if isinstance(value, list):
        return [*value, junk] if how == 4 else value[1:] if how == 5 else [*value, *value]
    if how == 4:
        return {**value, str(junk)[:50]: junk}
    keys = list(value)[1:] if how == 5 else list(value)[:-1]
    return {key: value[key] for key in keys}


def as_json(tree: Any) -> str:
    """Return a tree as JSON, or as what looks like it."""
    return _RAW.sub(r"\1", json.dumps(_writable(tree)))


def as_toml(table: Any) -> str:
    """Return a table as TOML, or as what looks like it."""
    if not isinstance(table, dict):
        return as_json(table)
    return _RAW.sub(r"\1", "".join(f"{key} = {_toml(_writable(value))}\n" for key, value in table.items()))


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inside)}" for key, inside in value.items()) + "}"
    return "2026-11-27" if value is None or value == "2026-11-27" else json.dumps(value)


def _writable(value: Any) -> Any:
    """Return a tree without whole numbers that Python refuses to write out."""
    if isinstance(value, dict):
        return {key: _writable(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_writable(inside) for inside in value]
    return f"@@1{'0' * 400}@@" if isinstance(value, int) and abs(value) > 10**300 else value


def bytes_of(valid: list[bytes]) -> st.SearchStrategy[bytes]:
    """Return bytes that differ from valid ones in one to four places: changed, cut out, put in, repeated, cut off."""
    many = st.integers(0, 2**32)

    @st.composite
    def mutated(draw: st.DrawFn) -> bytes:
        found = valid[draw(st.integers(0, len(valid) - 1))]
        for _ in range(draw(st.integers(1, 4))):
            at, how = draw(many) % (len(found) + 1), draw(st.integers(0, 6))
            if how <= 2:
                found = found[:at] + bytes([draw(st.integers(0, 255))]) + found[at + 1 :]
            elif how == 3:
                found = (
                    found[:at] + draw(st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"])) + found[at + 4 :]
                )
            elif how == 4:
                found = found[:at] + found[at + draw(st.integers(1, 40)) :]
            elif how == 5:
                found = found[:at] + draw(st.binary(min_size=1, max_size=8)) + found[at:]
            else:
                found = found[:at] + found[at : at + 64] * draw(st.integers(0, 3))
        return found

    return mutated()
