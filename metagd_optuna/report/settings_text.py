"""A study's settings as the text of a study file."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import JsonValue


def settings_text(settings: Mapping[str, JsonValue]) -> str:
    """Return settings as TOML: one key per line, tables in brackets, what is None left out.

    Args:
        settings: strings, numbers, booleans, lists of those, and tables of those.

    >>> print(settings_text({"tasks": ["a", "b"], "pruning": True, "seconds": {"all": 2.5}}))
    tasks = ["a", "b"]
    pruning = true
    <BLANKLINE>
    [seconds]
    all = 2.5
    """
    return "\n".join(_lines(settings, ()))


def _lines(table: Mapping[str, JsonValue], path: tuple[str, ...]) -> list[str]:
    # JSON writes strings, numbers, booleans and flat lists as TOML does.
    lines = [
        f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in table.items()
        if value is not None and not isinstance(value, Mapping)
    ]
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner = (*path, _key(key))
            lines += ["", f"[{'.'.join(inner)}]", *_lines(value, inner)]
    return lines


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else json.dumps(key, ensure_ascii=False)
