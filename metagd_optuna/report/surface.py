"""The winner's learning rate over performance and difficulty, for a figure of the rule itself."""

from __future__ import annotations

import warnings

import numpy as np

from metagd_optuna.contracts import MetaGDError, MetaGDWarning
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.policy.complexities import TASK
from metagd_optuna.records import CandidateRecord, TaskRecord
from metagd_optuna.report.task_document import Surface

POINTS = 33
# Rules with a schedule in them change over the run; the figure shows them in the middle of the budget.
BUDGET, STEP = 1000, 500


def rate_surface(policy: CandidateRecord, task: TaskRecord) -> Surface | None:
    """Return the rate g(d, p) of the winner, as ``surface_of`` a rule.

    Args:
        policy: the winner, with its meta-policy's JSON document as settings.
        task: gives the complexity at which the rule was searched.

    Raises:
        MetaGDError: if the settings are no valid meta-policy.
    """
    rule = MetaPolicy.from_dict(policy.settings, f"{task.name}, {policy.name}")
    return surface_of(rule, task.complexity if rule.complexity == TASK else None)


def surface_of(rule: MetaPolicy, complexity: float | None) -> Surface | None:
    """Return the rate g(d, p) in the middle of the budget, within the optimizer's bounds.

    None for a rule that remembers, whose rate is no function of d and p, and for one whose form fails somewhere.

    Args:
        rule: whose rate it is.
        complexity: of the task, in [0, 1]; None if it is not known, and so which difficulties the task can visit.
    """
    if rule.rate_form.remembers:
        return None
    performance = np.linspace(0.0, 1.0, POINTS)
    difficulty = np.linspace(0.0, 1.0, POINTS) if rule.depends_on_difficulty else np.array([])
    rows = difficulty if difficulty.size else np.array([0.5])
    try:
        rates = [[rule.rate_at(float(d), float(p), STEP, BUDGET) for p in performance] for d in rows]
    except MetaGDError as error:  # from a form of the user's own, where no training was: no report is lost for a figure
        warnings.warn(f"{error}; the figure of the rate is left out", MetaGDWarning, stacklevel=2)
        return None
    path = None
    if difficulty.size and complexity is not None:
        path = [rule.difficulty_at(complexity, float(p)) for p in performance]
    return Surface.of(
        performance=performance,
        difficulty=difficulty,
        rate=rates,
        path=path,
    )
