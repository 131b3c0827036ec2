"""Values that are checked as they are made, from Python or from a file: the base of settings, policies and results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date, time
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Strict, ValidationError
from pydantic_core import ErrorDetails

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, nearest, shortened

# JSON and TOML know lists only; what does not change is a tuple. Numbers, texts and truth values are never converted.
T = TypeVar("T")
Row = Annotated[tuple[T, ...], Strict(False)]
Pair = Annotated[tuple[T, T], Strict(False)]


class Model(BaseModel):
    """A frozen value whose fields have been checked: no unknown key, no conversion, no number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed, which is checked as a new one is.

        Args:
            update: field to value.
            deep: whether values that could change are copied as well.

        Raises:
            MetaGDError: for a field that there is not, or a value that does not fit.

        >>> class Example(Model):
        ...     trials: int
        >>> Example(trials=3).model_copy(update={"trials": 4})
        Example(trials=4)
        """
        copied = super().model_copy(deep=deep)
        if not update:
            return copied
        fields = type(self).model_fields
        values = {name: getattr(copied, name) for name in copied.model_fields_set} | dict(update)
        table = {fields[name].alias or name if name in fields else name: value for name, value in values.items()}
        return checked(type(self), table, f"a copy of {type(self).__name__}")


M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], table: object, source: str, remedy: str = "") -> M:
    """Return a value of a model from what a file or a user gave.

    Args:
        model: what it has to be.
        table: as JSON or TOML was read.
        source: the file that it is from, or what else it is, which errors name first.
        remedy: how an error ends: what to do about it.

    Raises:
        MetaGDError: naming the first place that does not fit, what stands there, and what is allowed.

    >>> class Example(Model):
    ...     trials: int
    >>> checked(Example, {"trials": "many"}, "my_study.toml")
    Traceback (most recent call last):
        ...
    metagd_optuna.contracts.MetaGDError: my_study.toml: trials is "many"; allowed is a whole number
    """
    try:
        return model.model_validate(table)
    except MetaGDError as error:  # from a check of ours inside the model
        raise MetaGDError(f"{shortened(source)}: {error}{remedy and f'; {remedy}'}") from None
    except ValidationError as error:
        raise MetaGDError(f"{shortened(source)}: {what_is_wrong(error, model)}{remedy and f'; {remedy}'}") from None


def what_is_wrong(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first thing that does not fit: its place, what stands there, and what is allowed."""
    # A misspelt key is told as such, and not as the missing one that it was meant to be.
    first = min(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
    return _in_words(first, model)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the suggestion for a misspelt name, or an empty string if nothing is near.

    >>> did_you_mean("Logistc", ["mix", "logistic"])
    " (did you mean 'logistic'?)"
    >>> did_you_mean("xyz", ["mix", "logistic"])
    ''
    """
    near = nearest(name, known)
    return f" (did you mean {near!r}?)" if near else ""


def schema_document(title: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema to be printed: with the title of its document and its dialect, without words of our own."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    plain = {key: value for key, value in _without_allowed(schema).items() if key != "title"}
    return {"$schema": dialect, "title": title} | plain


def _without_allowed(part: Any) -> Any:
    """Return a part of a JSON Schema without the texts that ``allowed_by`` reads; a property of that name stays."""
    if isinstance(part, list):
        return [_without_allowed(each) for each in part]
    if not isinstance(part, Mapping):
        return part
    kept = {key: value for key, value in part.items() if key != "allowed" or not isinstance(value, str)}
    return {key: _without_allowed(value) for key, value in kept.items()}


def as_json(value: object) -> str:
    """Return a value as JSON spells it, which TOML mostly does as well, in at most 200 characters."""
    if isinstance(value, int) and not isinstance(value, bool):  # which may have any number of digits
        return as_given(value)
    if isinstance(value, date | time):  # of TOML
        return value.isoformat()
    try:
        return shortened(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return as_given(value)


def _in_words(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what is wrong at one place, and what is allowed there."""
    *outer, last = error["loc"] or ("",)
    whole = model.model_json_schema()
    if error["type"] == "extra_forbidden":
        known = list(_at(whole, outer).get("properties", {}))
        inside = f" in {_place(outer)}" if outer else ""
        return f"there is no key '{shortened(str(last))}'{inside}{did_you_mean(str(last), known)}; allowed keys: " + (
            ", ".join(known) or "none"
        )
    if error["type"] == "missing":
        return f"the key '{_place(error['loc'])}' is missing; it holds {allowed_by(_at(whole, error['loc']), whole)}"
    if error["type"] == "value_error":  # from a check of ours, which says it all
        said = str(error.get("ctx", {}).get("error", error["msg"]))
        return f"{_place(error['loc'])}: {said}" if error["loc"] else said
    allowed = allowed_by(_at(whole, error["loc"]), whole)
    return f"{_place(error['loc']) or 'it'} is {as_json(error['input'])}; allowed is {allowed}"


def _place(loc: Iterable[int | str]) -> str:
    """Return a place as it is written: ``tasks.breastmnist.seeds[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return shortened(text.removeprefix("."))


def _at(whole: Mapping[str, Any], loc: Iterable[int | str]) -> Mapping[str, Any]:
    """Return the part of a JSON Schema that a place belongs to."""
    found = whole
    for part in loc:
        found = _resolved(found, whole)
        for each in (found, *(_resolved(option, whole) for option in found.get("anyOf", found.get("oneOf", ())))):
            inside = _inside(each, part)
            if isinstance(inside, Mapping):
                found = inside
                break
    return _resolved(found, whole)


def _inside(schema: Mapping[str, Any], part: int | str) -> object:
    if isinstance(part, str):
        return schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    return dict(enumerate(schema.get("prefixItems", ()))).get(part, schema.get("items"))


def _resolved(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else whole["$defs"][reference.rpartition("/")[2]]


def allowed_by(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """Return in words what a part of a JSON Schema allows; a part that has an ``allowed`` of its own says it itself."""
    schema = _resolved(schema, whole)
    if "allowed" in schema:
        return str(schema["allowed"])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return f"{'one of ' if len(values) > 1 else ''}{', '.join(map(str, values))}"
    options = schema.get("anyOf", schema.get("oneOf"))
    if options:
        return " or ".join(allowed_by(option, whole) for option in options)
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(schema)
    if kind == "array":
        if "prefixItems" in schema:
            return f"a list of {', '.join(allowed_by(item, whole) for item in schema['prefixItems'])}"
        least = f" of at least {schema['minItems']}" if "minItems" in schema else ""
        return f"a list{least}, each entry {allowed_by(schema.get('items', {}), whole)}"
    if kind == "object" and "minProperties" in schema:
        return f"a table of at least {schema['minProperties']}"
    return {"string": "text", "boolean": "true or false", "object": "a table", "null": "null"}.get(str(kind), "a value")


def _range(schema: Mapping[str, Any]) -> str:
    low, high, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    if above is not None:
        return f" above {above:,}"
    return f" of at least {low:,}" if low is not None else f" of at most {high:,}" if high is not None else ""
