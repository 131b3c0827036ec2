"""What a report compares: a controller with a name, a kind, a formula and JSON-able settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metagd_optuna.contracts import Controller
from metagd_optuna.policy.controller import PolicyController
from metagd_optuna.policy.meta_policy import MetaPolicy


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that can be trained and compared.

    Args:
        name: unique within a task.
        kind: ``meta-policy``, ``baseline``, ``default``, ``article`` or ``control``.
        optimizer: what it sets the rate of.
        controller: sets the rate.
        formula: the rule with its coefficients as plain text; latex: the same as LaTeX.
        settings: JSON-able; ``contender_from_settings`` turns them into the same contender.
        batch_size: examples per step of the optimizer; None for those of the study.
        feedback: whether the rate depends on how training goes.
        steers_on_validation: whether it depends on validation metrics, which a report has to flag.
    """

    name: str
    kind: str
    optimizer: str
    controller: Controller
    formula: str
    latex: str
    settings: Mapping[str, Any]
    batch_size: int | None = None
    feedback: bool = False
    steers_on_validation: bool = False


def contender_of(policy: MetaPolicy, name: str = "meta-policy") -> Contender:
    """Return the contender of a meta-policy; its settings are the policy's JSON document."""
    return Contender(
        name=name,
        kind="meta-policy",
        optimizer=policy.optimizer,
        controller=PolicyController(policy),
        formula=policy.formula,
        latex=policy.latex,
        settings=policy.to_dict(),
        batch_size=policy.batch_size,
        feedback=policy.depends_on_performance,
        steers_on_validation=policy.steers_on_validation,
    )
