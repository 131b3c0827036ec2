"""Keras' own optimizers at their defaults, which nobody has tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from metagd_optuna.given import validate_choice
from metagd_optuna.models import checked
from metagd_optuna.policy.candidate import Candidate
from metagd_optuna.policy.document import Rule
from metagd_optuna.policy.open_loop import ScheduleController

# Keras' own optimizers as they come: optimizer and constant rate.
DEFAULTS: Mapping[str, tuple[str, float]] = {"keras-adam": ("adam", 1e-3), "keras-sgd": ("sgd", 1e-2)}


class KerasDefault(Rule):
    """Keras' own Adam or SGD at its default rate."""

    kind: Literal["default"] = "default"
    name: Literal["keras-adam", "keras-sgd"]

    batch_size: ClassVar[int | None] = None

    @property
    def optimizer(self) -> str:
        """What it sets the rate of."""
        return DEFAULTS[self.name][0]

    @property
    def timed(self) -> bool:
        """A constant rate is not."""
        return False

    @property
    def formula(self) -> str:
        """The rule as plain text."""
        return f"{self.latex}; {self.optimizer}"

    @property
    def latex(self) -> str:
        """The rule as LaTeX."""
        return f"lr = {DEFAULTS[self.name][1]:g}"

    def controller(self) -> ScheduleController:
        """Return what sets the rate by this rule."""
        return ScheduleController("constant", DEFAULTS[self.name][1])


def default_candidate(name: str) -> Candidate:
    """Return Keras' own Adam or SGD at its default rate, untuned.

    >>> default_candidate("keras-sgd").formula
    'lr = 0.01; sgd'
    """
    return Candidate(name, checked(KerasDefault, {"name": validate_choice(name, DEFAULTS, "default candidate")}, name))
