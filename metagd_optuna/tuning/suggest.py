"""What a trial of Optuna is asked for: ranges of coefficients, and a meta-policy beside parameters of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.policy import Categorical, MetaPolicy, Sizes, propose_meta_policy
from metagd_optuna.policy.coefficients import Range
from metagd_optuna.policy.parameters import check_prefix, noted_as
from metagd_optuna.tuning.settings import StudySettings


def suggest_meta_policy(
    trial: optuna.Trial,
    *,
    prefix: str = "",
    forms: Sequence[str] | None = None,
    difficulty_forms: Sequence[str] | None = None,
    optimizers: Sequence[str] | None = None,
    signal: str = "train-loss",
    batch_sizes: Sequence[int] = (),
) -> MetaPolicy:
    """Return a meta-policy whose forms and coefficients a trial suggests.

    ``MetaPolicy.from_trial`` returns the same policy from the finished trial.

    Args:
        trial: of any study, whatever else it is asked for.
        prefix: begins the names of all parameters, so that none is like one of your own.
        forms: of g, the rate; by default those that a study file has.
        difficulty_forms: of f, the difficulty; by default those that a study file has.
        optimizers: to choose from; by default those that a study file has.
        signal: where performance comes from, a key of ``SIGNALS``.
        batch_sizes: examples per step of the optimizer to choose from; empty to leave the batch to you.

    Raises:
        MetaGDError: for something that is no trial, an unknown name, or nothing to choose from.

    >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    >>> trial = study.ask()
    >>> policy = suggest_meta_policy(trial, prefix="rate.", optimizers=["adam"])
    >>> MetaPolicy.from_trial(trial, prefix="rate.") == policy
    True
    """
    if not hasattr(trial, "suggest_float") or isinstance(trial, optuna.trial.FrozenTrial):
        raise MetaGDError(f"the trial is {as_given(trial)}; pass the one that Optuna gives your objective")
    asked: list[str] = []
    suggest = suggest_with(trial, check_prefix(prefix))

    def noted(name: str, allowed: Range) -> Any:
        asked.append(name)
        try:
            return suggest(name, allowed)
        except ValueError as error:
            raise MetaGDError(
                f"the parameter {prefix + name!r} cannot be suggested, because the study has another of that name "
                f"({error}); give suggest_meta_policy a prefix such as 'rate.'"
            ) from error

    policy = propose_meta_policy(
        noted,
        difficulty_forms=_given_or_default(difficulty_forms, "difficulty_forms"),
        rate_forms=_given_or_default(forms, "rate_forms", "forms"),
        optimizers=_given_or_default(optimizers, "optimizers"),
        signal=signal,
        batch_sizes=_sizes(batch_sizes),
    )
    trial.set_user_attr(noted_as(prefix), asked)
    return policy


def _sizes(given: Sequence[int]) -> Sequence[int]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise MetaGDError(f"batch_sizes={as_given(given)}; give a list of numbers of examples, such as [16, 32]")
    return given


def _given_or_default(given: Sequence[str] | None, key: str, called: str = "") -> Sequence[str]:
    if given is None:
        names: tuple[str, ...] = StudySettings.model_fields[key].default
        return names
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise MetaGDError(f"{called or key}={as_given(given)}; give a list of names")
    repeated = sorted({str(name) for name in given if list(given).count(name) > 1})
    if repeated:
        raise MetaGDError(f"{called or key} names {', '.join(repeated)} more than once; name each once")
    return given


def suggest_with(trial: optuna.Trial, prefix: str = "") -> Callable[[str, Range], Any]:
    """Return how a coefficient's value is asked from ``trial``, its name behind ``prefix``."""

    def suggest(name: str, allowed: Range) -> Any:
        name = prefix + name
        if isinstance(allowed, Categorical | Sizes):
            return trial.suggest_categorical(name, allowed.choices)
        if allowed.integer:
            return trial.suggest_int(name, int(allowed.low), int(allowed.high), log=allowed.log)
        return trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)

    return suggest


def distribution_of(allowed: Range) -> BaseDistribution:
    """Return what Optuna stores of a coefficient's range."""
    if isinstance(allowed, Categorical | Sizes):
        return CategoricalDistribution(allowed.choices)
    if allowed.integer:
        return IntDistribution(int(allowed.low), int(allowed.high), log=allowed.log)
    return FloatDistribution(allowed.low, allowed.high, log=allowed.log)
