"""The methods of a study: each gets candidates from an Optuna trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from metagd_optuna.policy import (
    BASELINES,
    Candidate,
    candidate_of,
    initial_meta_policies,
    propose_meta_policy,
    suggest_baseline,
)
from metagd_optuna.policy.coefficients import Range, middle
from metagd_optuna.policy.parameters import possible_params
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.suggest import suggest_with

META_POLICY = "meta-policy"


@dataclass(frozen=True, slots=True)
class Method:
    """A way to get candidates, tuned by an Optuna study of its own.

    Args:
        name: ``meta-policy``, or a baseline's name.
        suggest: a trial -> the candidate with the trial's coefficients.
        initial_points: parameters, most of them its authors', tried first; they count as trials.
        ranges: every parameter that ``suggest`` may ask for, and what it may be.
    """

    name: str
    suggest: Callable[[optuna.Trial], Candidate]
    initial_points: tuple[Mapping[str, Any], ...]
    ranges: Mapping[str, Range]


def methods_of(settings: StudySettings) -> tuple[Method, ...]:
    """Return the methods that a study compares: its baselines, then the meta-policy."""

    def searched(trial: optuna.Trial) -> Candidate:
        policy = propose_meta_policy(
            suggest_with(trial),
            difficulty_forms=settings.difficulty_forms,
            rate_forms=settings.rate_forms,
            optimizers=settings.optimizers,
            signal=settings.signal,
            batch_sizes=settings.batch_sizes,
        )
        return candidate_of(policy, META_POLICY)

    def tuned(name: str) -> Callable[[optuna.Trial], Candidate]:
        return lambda trial: suggest_baseline(name, suggest_with(trial), settings.batch_sizes)

    def published(name: str) -> tuple[Mapping[str, Any], ...]:
        # Nobody publishes a rate for each batch, so what is known is tried with the study's.
        batch = {f"{name}.batch_size": settings.batch_size} if settings.batch_sizes else {}
        return tuple({**point, **batch} for point in BASELINES[name].initial_points)

    def asked(name: str) -> dict[str, Range]:
        ranges: dict[str, Range] = {}

        def note(parameter: str, allowed: Range) -> Any:
            ranges[parameter] = allowed
            return middle(allowed)

        suggest_baseline(name, note, settings.batch_sizes)
        return ranges

    baselines = tuple(Method(name, tuned(name), published(name), asked(name)) for name in settings.baselines)
    space = (settings.difficulty_forms, settings.rate_forms, settings.optimizers, settings.signal, settings.batch_sizes)
    return (*baselines, Method(META_POLICY, searched, tuple(initial_meta_policies(*space)), possible_params(*space)))
