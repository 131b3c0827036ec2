"""What a search over meta-policies proposes, and the initial points of its forms that it should start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metagd_optuna.policy.coefficients import Range, middle
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.parameters import Suggest, names_of, suggest_params
from metagd_optuna.policy.rate import RATE_FORMS

# So many initial points are tried at most, as the rest of a search's trials is to be its own.
MOST_KNOWN = 5


def propose_meta_policy(
    suggest: Suggest,
    *,
    difficulty_forms: Sequence[str],
    rate_forms: Sequence[str],
    optimizers: Sequence[str],
    signal: str = "train-loss",
    batch_sizes: Sequence[int] = (),
) -> MetaPolicy:
    """Return a meta-policy whose choices and coefficients are asked of ``suggest``, one after another.

    Args:
        suggest: (flat name, ``Coefficient``, ``Categorical`` or ``Sizes``) -> value, e.g. an adapter of an Optuna
            trial.
        difficulty_forms, rate_forms, optimizers: what to choose from; none of them empty.
        signal: where performance comes from, a key of ``SIGNALS``.
        batch_sizes: examples per step of the optimizer to choose from; empty to leave them to the study.

    Raises:
        MetaGDError: for an unknown name, nothing to choose from, or a suggested value out of range.
    """
    params = suggest_params(
        suggest,
        difficulty_forms=difficulty_forms,
        rate_forms=rate_forms,
        optimizers=optimizers,
        signal=signal,
        batch_sizes=batch_sizes,
    )
    return MetaPolicy.from_params(params)


def initial_meta_policies(
    difficulty_forms: Sequence[str],
    rate_forms: Sequence[str],
    optimizers: Sequence[str],
    signal: str = "train-loss",
    batch_sizes: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """Return flat parameters of at most five initial points of the given forms, in the order of the forms.

    The names are those that ``propose_meta_policy`` asks for, all of them and no others; the batch is the first that
    may be chosen.

    >>> [params["g.power.lr0.adam"] for params in initial_meta_policies(["mix"], ["power"], ["adam"])]
    [0.001]
    """
    found = []
    rows = [(rate, RATE_FORMS.find(rate, "rate form")) for rate in rate_forms]
    for rate, form, point in ((rate, row, point) for rate, row in rows for point in row.initial):
        if point.optimizer not in optimizers:
            continue
        given = {**form.neutral, **point.coefficients}
        flat = names_of("g", rate, form.coefficients, point.optimizer)
        values = {"half_life": 0.0, "optimizer": point.optimizer, "g": rate}
        values |= {name: given[key] for name, key in flat.items() if key in given}

        def answer(name: str, wanted: Range, values: Mapping[str, Any] = values) -> Any:
            return values[name] if name in values else middle(wanted)

        found.append(
            suggest_params(
                answer,
                difficulty_forms=difficulty_forms,
                rate_forms=rate_forms,
                optimizers=optimizers,
                signal=signal,
                batch_sizes=batch_sizes,
            )
        )
    return found[:MOST_KNOWN]
