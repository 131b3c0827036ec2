"""What a report compares: a rule for the learning rate under a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from metagd_optuna.contracts import Controller


class StoredRule(Protocol):
    """What every kind of rule offers; ``rules.Policy`` names them, and each member is the one of ``MetaPolicy``."""

    # ruff: noqa: D102

    @property
    def kind(self) -> str: ...
    @property
    def compared_as(self) -> str: ...
    @property
    def optimizer(self) -> str: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def formula(self) -> str: ...
    @property
    def latex(self) -> str: ...
    @property
    def depends_on_performance(self) -> bool: ...
    @property
    def steers_on_validation(self) -> bool: ...
    def controller(self) -> Controller: ...
    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that can be trained and compared.

    Args:
        name: unique within a task.
        rule: sets the rate, and can be stored.
    """

    name: str
    rule: StoredRule

    @property
    def kind(self) -> str:
        """How a comparison groups it: ``meta-policy``, ``baseline``, ``default``, ``article`` or ``control``."""
        return self.rule.compared_as or self.rule.kind

    @property
    def optimizer(self) -> str:
        """What it sets the rate of."""
        return self.rule.optimizer

    @property
    def controller(self) -> Controller:
        """Sets the rate."""
        return self.rule.controller()

    @property
    def formula(self) -> str:
        """The rule with its coefficients as plain text."""
        return self.rule.formula

    @property
    def latex(self) -> str:
        """The rule with its coefficients as LaTeX."""
        return self.rule.latex

    @property
    def settings(self) -> Mapping[str, Any]:
        """The rule's JSON document."""
        return self.rule.to_dict()

    @property
    def batch_size(self) -> int | None:
        """Examples per step of the optimizer; None for those of the study."""
        return self.rule.batch_size

    @property
    def feedback(self) -> bool:
        """Whether the rate depends on how training goes."""
        return self.rule.depends_on_performance

    @property
    def steers_on_validation(self) -> bool:
        """Whether it depends on validation metrics, which a report has to flag."""
        return self.rule.steers_on_validation


def candidate_of(rule: StoredRule, name: str = "meta-policy") -> Candidate:
    """Return a rule as a candidate."""
    return Candidate(name, rule)
