"""A study's settings as the text of a study file."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import JsonValue


def settings_text(settings: Mapping[str, JsonValue]) -> str:
    """Return settings as TOML: one key per line, tables in brackets, what is None left out.

    Args:
        settings: strings, numbers, booleans, lists of those and of tables, and tables of those.

    >>> tasks = ["a", {"path": "b.csv", "image_size": 64}]
    >>> print(settings_text({"tasks": tasks, "pruning": True, "seconds": {"all": 2.5}}))
    tasks = ["a", { path = "b.csv", image_size = 64 }]
    pruning = true
    <BLANKLINE>
    [seconds]
    all = 2.5
    """
    return "\n".join(_lines(settings, ()))


def _lines(table: Mapping[str, JsonValue], path: tuple[str, ...]) -> list[str]:
    lines = [
        f"{_key(key)} = {_value(value)}"
        for key, value in table.items()
        if value is not None and not isinstance(value, Mapping)
    ]
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner = (*path, _key(key))
            lines += ["", f"[{'.'.join(inner)}]", *_lines(value, inner)]
    return lines


def _value(value: JsonValue) -> str:
    """Return a value in a line: JSON writes strings, numbers and booleans as TOML does."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        inside = (f"{_key(key)} = {_value(held)}" for key, held in value.items() if held is not None)
        return f"{{ {', '.join(inside)} }}"
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else json.dumps(key, ensure_ascii=False)
