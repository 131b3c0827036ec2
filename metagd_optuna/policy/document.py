"""The JSON document of a meta-policy: schema 1, unknown keys refused, nothing evaluated."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.policy.coefficients import check_mapping, known, prefix

SCHEMA = 1
KEYS = ("schema", "optimizer", "signal", "half_life", "s_ref", "difficulty", "rate", "batch_size", "provenance")
NEEDED = ("schema", "optimizer", "rate")


def fields_of(table: Any, source: str = "") -> dict[str, Any]:
    """Return the fields of a meta-policy from its document; their values are checked by the meta-policy.

    Raises:
        MetaGDError: for another schema, an unknown or missing key, a part of the wrong type.
    """
    if not isinstance(table, Mapping):
        raise MetaGDError(f"{prefix(source)}a meta-policy is a JSON object with the keys {', '.join(KEYS)}")
    schema = table.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int | float) or schema != SCHEMA:
        raise MetaGDError(
            f"{prefix(source)}schema is {as_given(schema)}; this version reads schema {SCHEMA}: "
            "export the policy again, or use the version of metagd_optuna that wrote it"
        )
    for key in check_mapping(table, "the document", "a JSON object", source):
        known(key, KEYS, "a key", source)
    missing = [key for key in NEEDED if key not in table]
    if missing:
        raise MetaGDError(f"{prefix(source)}the keys {', '.join(missing)} are missing; needed: {', '.join(NEEDED)}")
    plain_keys = ("optimizer", "signal", "half_life", "s_ref", "batch_size", "provenance")
    fields = {key: table[key] for key in plain_keys if key in table}
    for part in ("rate", "difficulty"):
        if table.get(part) is None and part == "difficulty":
            continue
        fields[part], fields[f"{part}_coefficients"] = _term(table[part], part, source)
    if not isinstance(fields.get("provenance", {}), Mapping):
        raise MetaGDError(f"{prefix(source)}provenance is {as_given(fields['provenance'])}; it must be a JSON object")
    return fields


def _term(term: Any, part: str, source: str) -> tuple[Any, Mapping[str, Any]]:
    """Return the form and the coefficients of ``rate`` or ``difficulty``."""
    if not isinstance(term, Mapping) or "form" not in term:
        raise MetaGDError(
            f'{prefix(source)}{part} is {as_given(term)}; it must be {{"form": NAME, "coefficients": {{...}}}}'
        )
    for key in check_mapping(term, part, "a JSON object", source):
        known(key, ("form", "coefficients"), f"a key of {part}", source)
    coefficients = term.get("coefficients", {})
    if not isinstance(coefficients, Mapping):
        raise MetaGDError(f"{prefix(source)}{part}.coefficients is {as_given(coefficients)}; it must be a JSON object")
    return term["form"], coefficients


def parse(text: str, source: str = "") -> Any:
    """Return the value of a JSON text; NaN, infinity and a repeated key raise ``MetaGDError``."""

    if not isinstance(text, str | bytes | bytearray):
        raise MetaGDError(f"{prefix(source)}the document is {as_given(text)}; give its JSON as text")

    def refuse_constant(name: str) -> Any:
        raise MetaGDError(f"{prefix(source)}{name} is no number that a policy may hold; give a finite one")

    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise MetaGDError(
                f"{prefix(source)}the key {shortened(', '.join(repeated))} is given more than once; keep one"
            )
        return table

    try:
        return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_repeats)
    except (json.JSONDecodeError, RecursionError) as error:
        raise MetaGDError(f"{prefix(source)}this is not JSON ({error}); a policy file is written by save()") from None
    except ValueError as error:  # Python reads whole numbers of up to 4,300 digits
        raise MetaGDError(f"{prefix(source)}a number cannot be read ({error}); give one of fewer digits") from None


def plain(table: Any, name: str) -> dict[str, Any]:
    """Return a copy of a JSON-able mapping; anything else, NaN included, raises ``MetaGDError``."""
    if not isinstance(table, Mapping):
        raise MetaGDError(f"{name} is {as_given(table)}; it must be a mapping of JSON values")
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(table), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise MetaGDError(
            f"{name} cannot be written as JSON ({shortened(str(error))}); use finite numbers, text, lists"
        ) from None
    return copy


def read(path: Path) -> str:
    """Return the text of a file, or raise ``MetaGDError`` saying why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MetaGDError(f"{path}: cannot be read as a policy file ({reason})") from None


def write(text: str, path: Path) -> None:
    """Write ``text`` to a new file beside ``path`` and move it there, so that nobody sees half of it."""
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name[:40]}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise MetaGDError(f"{path}: cannot be written ({error.strerror or error})") from None
