"""What the parts of a row have to be: coefficients, trends, formulas, and functions that can be called."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, prefix, shortened, validate_choice
from metagd_optuna.policy.coefficients import Categorical, Kind, check_mapping, range_of


def check_row(coefficients: Any, what: str, allowed: tuple[type[Any], ...]) -> None:
    """Check that a row's coefficients are ranges, each with a name that a template and a function can hold."""
    holds = f"Python names, each with a {' or '.join(one.__name__ for one in allowed)}"
    for name, kind in check_mapping(coefficients, f"{what}, coefficients", holds).items():
        if not name.isidentifier() or not isinstance(kind, allowed):
            raise MetaGDError(f"{what}: the coefficient {as_given(name)} is {as_given(kind)}; coefficients are {holds}")


def check_tuple(given: Any, what: str, such_as: str) -> tuple[Any, ...]:
    """Return a part of a row if it is a tuple, or raise ``MetaGDError``."""
    if not isinstance(given, tuple):
        raise MetaGDError(f"{what} is {as_given(given)}; give a tuple, such as ({such_as},)")
    return given


def check_trend(trend: Any, what: str) -> None:
    """Check that a trend is two directions."""
    if not (isinstance(trend, tuple) and len(trend) == 2 and all(one in (-1, 0, 1) for one in trend)):
        raise MetaGDError(f"{what}: trend gives {as_given(trend)}; it must be two directions, each -1, 0 or 1")


def check_template(template: str, kinds: Mapping[str, Kind], what: str) -> None:
    """Check that a formula's fields are coefficients: ``{a}``, and for a number ``{a_signed}`` and ``{a_rest}``."""
    fields = set(kinds)
    for name, kind in kinds.items():
        fields |= set() if isinstance(kind, Categorical) else {f"{name}_signed", f"{name}_rest"}
    try:
        found = [(name, form, how) for _, name, form, how in Formatter().parse(template) if name is not None]
    except (TypeError, ValueError) as error:
        raise MetaGDError(
            f"{what} is {as_given(template)}, which is no template ({error}); write {{a}} for a coefficient a, and "
            "{{ and }} for braces"
        ) from None
    for name, form, how in found:
        validate_choice(name, fields, f"a field of {what}")
        if form or how:
            raise MetaGDError(f"{what} has the field {as_given(name)} with a format of its own; write {{{name}}}")


def check_values(values: Any, kinds: Mapping[str, Kind], what: str, optimizer: str = "adam") -> None:
    """Check values of some coefficients, such as those at which a form has no feedback."""
    for name, value in check_mapping(values, what, "a mapping of names to values").items():
        range_of(kinds[validate_choice(name, kinds, f"a key of {what}")], optimizer).check(f"{what}.{name}", value)


def tried(what: str, call: Any, *arguments: Any) -> Any:
    """Return what a row's function answers in the middle of its ranges, or say that it cannot be called so."""
    try:
        return call(*arguments)
    except Exception as error:  # of whatever kind: it is somebody else's code
        raise MetaGDError(
            f"{prefix(what)}it raised {type(error).__name__}: {shortened(str(error))}, with every coefficient in the "
            "middle of its range; mend its function or its ranges"
        ) from error
