"""What the JSON Schema of a policy says beyond types: the names, ranges and coefficients that are allowed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import Field
from pydantic_core import PydanticUndefined

from metagd_optuna.policy.coefficients import Categorical, Coefficient, Kind, RateCoefficient
from metagd_optuna.policy.difficulty import DifficultyForm
from metagd_optuna.policy.rate_form import RateForm

# Names are looked up when the schema is asked for: plugins may have brought more of them by then.
Extra = Callable[[dict[str, Any]], None]


def named(table: Collection[str], default: Any = PydanticUndefined) -> Any:
    """Return a field that holds one of the names in a table."""
    return Field(default=default, json_schema_extra=names_in(table))


def names_in(table: Collection[str]) -> Extra:
    """Return what adds the names of a table to the schema of a field."""

    def extra(schema: dict[str, Any]) -> None:
        schema["enum"] = list(table)

    return extra


def within(allowed: Coefficient, default: Any = None) -> Any:
    """Return a field that holds a number within a range, or nothing where the default is None."""
    return Field(default=default, json_schema_extra=lambda schema: _narrow(schema, range_schema(allowed)))


def forms_schema(table: Mapping[str, DifficultyForm] | Mapping[str, RateForm], *, optional: bool) -> dict[str, Any]:
    """Return the JSON Schema of one of the forms in a table, each with its own coefficients."""
    terms: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {"form": {"const": name}, "coefficients": coefficients},
            "required": ["form", "coefficients"],
            "additionalProperties": False,
        }
        for name, form in table.items()
        for coefficients in _schemas_of(form)
    ]
    return {"oneOf": [*terms, {"type": "null"}] if optional else terms}


def _schemas_of(form: DifficultyForm | RateForm) -> list[dict[str, Any]]:
    if isinstance(form, DifficultyForm):
        return [coefficients_schema(form.coefficients)]
    found = []
    for variant in form.variants():
        found.append(coefficients_schema(form.needed(variant)))
        found[-1]["properties"] |= {name: {"const": choice} for name, choice in variant.items()}
    return found


def coefficients_schema(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Return the JSON Schema of the coefficients of a form or a baseline."""
    properties = {name: range_schema(kind) for name, kind in kinds.items()}
    return {"type": "object", "properties": properties, "required": list(kinds), "additionalProperties": False}


def range_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema of one coefficient; the bounds of a learning rate depend on the optimizer.

    >>> range_schema(Coefficient(0, 8, integer=True))
    {'type': 'integer', 'minimum': 0, 'maximum': 8}
    """
    if isinstance(kind, Categorical):
        return {"enum": list(kind.choices)}
    if isinstance(kind, RateCoefficient):
        return {"type": "number", "exclusiveMinimum": 0, "description": "within the bounds of the optimizer"}
    return {"type": "integer" if kind.integer else "number", "minimum": kind.low, "maximum": kind.high}


def _narrow(schema: dict[str, Any], allowed: dict[str, Any]) -> None:
    options = schema.pop("anyOf", None)
    schema.pop("type", None)
    schema.update({"anyOf": [allowed, {"type": "null"}]} if options else allowed)
