"""Flat parameters with readable names, between a search and the document of a meta-policy.

A name says where a coefficient belongs (``f.mix.w``, ``g.power.a``), and a learning rate also for which optimizer
(``g.power.lr0.adam``), so that no two ranges ever share a name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, prefix, validate_choice
from metagd_optuna.policy.coefficients import (
    Categorical,
    Kind,
    Range,
    RateCoefficient,
    Sizes,
    check_mapping,
    middle,
    range_of,
)
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.signal import HALF_LIFE, IMPROVEMENT_SCALE, SIGNALS
from metagd_optuna.registry import Registry

Suggest = Callable[[str, Range], Any]

# The names that every meta-policy may have, whatever its forms.
_OPTIONAL = ("signal", "half_life", "improvement_scale", "batch_size", "complexity")
_PLAIN = ("optimizer", "g", "f", *_OPTIONAL)


def parameter_name(letter: str, form: str, coefficient: str, kind: Kind, optimizer: str) -> str:
    """Return the flat name of a coefficient.

    >>> parameter_name("g", "power", "lr0", RateCoefficient(), "adam")
    'g.power.lr0.adam'
    """
    name = f"{letter}.{form}.{coefficient}"
    return f"{name}.{optimizer}" if isinstance(kind, RateCoefficient) else name


def names_of(letter: str, form: str, kinds: Mapping[str, Kind], optimizer: str) -> dict[str, str]:
    """Return flat name to coefficient, for all coefficients of a form."""
    return {parameter_name(letter, form, name, kind, optimizer): name for name, kind in kinds.items()}


def to_params(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat parameters of a meta-policy's document; its provenance is left out."""
    optimizer, rate, difficulty = table["optimizer"], table["rate"], table.get("difficulty")
    params: dict[str, Any] = {name: table[name] for name in ("optimizer", *_OPTIONAL) if name in table}
    if difficulty is not None:
        form = difficulty["form"]
        params["f"] = form
        for flat, name in names_of("f", form, DIFFICULTY_FORMS[form].coefficients, optimizer).items():
            params[flat] = difficulty["coefficients"][name]
    params["g"] = rate["form"]
    needed = RATE_FORMS[rate["form"]].needed(rate["coefficients"])
    for flat, name in names_of("g", rate["form"], needed, optimizer).items():
        params[flat] = rate["coefficients"][name]
    return params


def from_params(params: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    """Return the arguments of a meta-policy from flat parameters.

    Raises:
        MetaGDError: for a parameter that is missing, unknown, or out of range.
    """
    optimizer, rate = _optimizer_and_rate(params, source)
    g = RATE_FORMS[rate]
    names = _rate_names(rate, params, optimizer)
    used = {*_PLAIN, *names}
    f_names: dict[str, str] = {}
    if "f" in params:
        f_form = DIFFICULTY_FORMS.find(params["f"], "f", source)
        f_names = names_of("f", params["f"], f_form.coefficients, optimizer)
        used |= f_names.keys()
    for name in params:
        validate_choice(name, sorted(used), "a parameter", source)
    coefficients = g.checked(_renamed(params, names), optimizer, f"g.{rate}", source)
    return {
        "optimizer": optimizer,
        "rate": rate,
        "rate_coefficients": g.arranged(coefficients),
        "difficulty": params.get("f"),
        "difficulty_coefficients": _renamed(params, f_names),
        **{
            name: params[name]
            for name in ("signal", "half_life", "improvement_scale", "batch_size", "complexity")
            if name in params
        },
    }


def noted_as(names_begin: str) -> str:
    """Return the attribute of a trial that names which of its parameters are a meta-policy's."""
    return f"{check_prefix(names_begin)}meta-policy parameters"


def noted_params(params: Mapping[str, Any], attributes: Mapping[str, Any], names_begin: str) -> dict[str, Any]:
    """Return the parameters that a trial notes as its meta-policy's, without what begins them; none if it notes none.

    A trial of a study of one's own may have other parameters by the same names, such as ``batch_size``.
    """
    names = attributes.get(noted_as(names_begin), ())
    return {name: params[names_begin + name] for name in names if names_begin + name in params}


def check_prefix(prefix: object) -> str:
    """Return what begins the names of all parameters of a meta-policy, or raise ``MetaGDError``."""
    if not isinstance(prefix, str):
        raise MetaGDError(f"prefix={as_given(prefix)}; give a text such as 'rate.', or leave it out")
    return prefix


def own_params(params: Mapping[str, Any], source: str = "", names_begin: str = "") -> dict[str, Any]:
    """Return those of a trial's parameters that belong to its meta-policy, their names without what begins them.

    Raises:
        MetaGDError: if the optimizer or the form of g is missing or unknown.
    """
    begin = check_prefix(names_begin)
    if not begin:
        return _own(params, source)
    found = {name.removeprefix(begin): value for name, value in params.items() if str(name).startswith(begin)}
    if not found:
        raise MetaGDError(
            f"{prefix(source)}no parameter begins with {begin!r}; there are "
            f"{', '.join(sorted(map(str, params))) or 'none'}: "
            "give the prefix that suggest_meta_policy was given"
        )
    return _own(found, source)


def _own(params: Mapping[str, Any], source: str) -> dict[str, Any]:
    optimizer, rate = _optimizer_and_rate(params, source)
    form, signal = params.get("f"), params.get("signal")
    # A rule that knows no difficulty leaves the name "f" to whoever made the trial.
    with_f = RATE_FORMS[rate].uses_difficulty or (isinstance(form, str) and form in DIFFICULTY_FORMS)
    used = {*_PLAIN, *_rate_names(rate, params, optimizer)}
    used -= {name for name, unused in (("f", not with_f), ("improvement_scale", signal != "improvement")) if unused}
    if with_f and form is not None:
        used |= names_of("f", form, DIFFICULTY_FORMS.find(form, "f", source).coefficients, optimizer).keys()
    return {name: value for name, value in params.items() if name in used}


def _optimizer_and_rate(params: Any, source: str) -> tuple[str, str]:
    """Return the two choices that say which other parameters there are."""
    check_mapping(params, "params", "a mapping of flat names to values", source)
    for needed in ("optimizer", "g"):
        if needed not in params:
            raise MetaGDError(f"{prefix(source)}the parameter {needed!r} is missing: this is no meta-policy")
    RATE_FORMS.find(params["g"], "g", source)
    return OPTIMIZERS.validate(params["optimizer"], "optimizer", source), params["g"]


def _rate_names(rate: str, params: Mapping[str, Any], optimizer: str) -> dict[str, str]:
    """Return flat name to coefficient, for those that the choices in ``params`` need."""
    form = RATE_FORMS[rate]
    given = _renamed(params, names_of("g", rate, form.coefficients, optimizer))
    return names_of("g", rate, form.needed(given), optimizer)


def _renamed(params: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {name: params[flat] for flat, name in names.items() if flat in params}


def suggest_params(
    suggest: Suggest,
    *,
    difficulty_forms: Sequence[str],
    rate_forms: Sequence[str],
    optimizers: Sequence[str],
    signal: str = "train-loss",
    batch_sizes: Sequence[int] = (),
) -> dict[str, Any]:
    """Return flat parameters, each asked of ``suggest`` in turn; only those that the chosen forms need.

    Args:
        suggest: (flat name, range) -> value.
        difficulty_forms, rate_forms, optimizers: what to choose from; none of them empty.
        signal: where performance comes from; suggested with this single choice, so that parameters are complete.
        batch_sizes: examples per step of the optimizer to choose from; empty to leave them to the study.
    """
    for form in difficulty_forms:
        DIFFICULTY_FORMS.find(form, "difficulty form")
    for form in rate_forms:
        RATE_FORMS.find(form, "rate form")
    f_names = _choices(difficulty_forms, DIFFICULTY_FORMS, "difficulty form")
    g_names = _choices(rate_forms, RATE_FORMS, "rate form")
    params: dict[str, Any] = {}

    def ask(name: str, wanted: Range) -> Any:
        params[name] = wanted.check(name, suggest(name, wanted))
        return params[name]

    optimizer = ask("optimizer", _choices(optimizers, OPTIMIZERS, "optimizer"))
    rate = ask("g", g_names)
    if RATE_FORMS[rate].uses_difficulty:
        form = ask("f", f_names)
        for name, coefficient in DIFFICULTY_FORMS[form].coefficients.items():
            ask(parameter_name("f", form, name, coefficient, optimizer), coefficient)
    chosen: dict[str, Any] = {}
    for name, kind in RATE_FORMS[rate].coefficients.items():
        if name in RATE_FORMS[rate].needed(chosen):  # of the choices that were asked for before it
            chosen[name] = ask(parameter_name("g", rate, name, kind, optimizer), range_of(kind, optimizer))
    ask("signal", Categorical((validate_choice(signal, SIGNALS, "signal"),)))
    ask("half_life", HALF_LIFE)
    if signal == "improvement":
        ask("improvement_scale", IMPROVEMENT_SCALE)
    if batch_sizes:
        ask("batch_size", Sizes(tuple(batch_sizes)))
    return params


def possible_params(
    difficulty_forms: Sequence[str],
    rate_forms: Sequence[str],
    optimizers: Sequence[str],
    signal: str = "train-loss",
    batch_sizes: Sequence[int] = (),
) -> dict[str, Range]:
    """Return every parameter that ``suggest_params`` may ask for with these choices, and its range."""
    found: dict[str, Range] = {}
    variants = [(rate, variant) for rate in rate_forms for variant in RATE_FORMS[rate].variants()]
    for optimizer, (rate, variant), form in product(optimizers, variants, difficulty_forms):
        choices = {f"g.{rate}.{name}": choice for name, choice in variant.items()}
        suggest_params(
            _Answers(found, {"optimizer": optimizer, "g": rate, "f": form, **choices}),
            difficulty_forms=difficulty_forms,
            rate_forms=rate_forms,
            optimizers=optimizers,
            signal=signal,
            batch_sizes=batch_sizes,
        )
    return found


class _Answers:
    """Notes what is asked, and answers with a choice that was made or the middle of the range."""

    def __init__(self, asked: dict[str, Range], choices: Mapping[str, str]) -> None:
        self._asked = asked
        self._choices = choices

    def __call__(self, name: str, wanted: Range) -> Any:
        self._asked[name] = wanted
        return self._choices.get(name, middle(wanted))


def _choices(names: Sequence[str], table: Registry[Any], what: str) -> Categorical:
    if not names:
        raise MetaGDError(f"no {what} is given; choose from {', '.join(table)}")
    return Categorical(tuple(table.validate(name, what) for name in names))
