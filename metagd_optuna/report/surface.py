"""The winner's learning rate over performance and difficulty, for a figure of the rule itself."""

from __future__ import annotations

import numpy as np

from metagd_optuna.policy import MetaPolicy
from metagd_optuna.records import CandidateRecord, TaskRecord
from metagd_optuna.report.task_document import Surface

POINTS = 33
# Rules with a schedule in them change over the run; the figure shows them in the middle of the budget.
BUDGET, STEP = 1000, 500


def rate_surface(policy: CandidateRecord, task: TaskRecord) -> Surface | None:
    """Return the rate g(d, p) in the middle of the budget, within the optimizer's bounds.

    None for a rule that remembers, whose rate is no function of d and p.

    Args:
        policy: the winner, with its meta-policy's JSON document as settings.
        task: gives the complexity at which the rule was searched.

    Raises:
        MetaGDError: if the settings are no valid meta-policy.
    """
    rule = MetaPolicy.from_dict(policy.settings, f"{task.name}, {policy.name}")
    if rule.rate_form.remembers:
        return None
    performance = np.linspace(0.0, 1.0, POINTS)
    difficulty = np.linspace(0.0, 1.0, POINTS) if rule.depends_on_difficulty else np.array([])
    rows = difficulty if difficulty.size else np.array([0.5])
    return Surface.of(
        performance=performance,
        difficulty=difficulty,
        rate=[[rule.rate_at(float(d), float(p), STEP, BUDGET) for p in performance] for d in rows],
        path=[rule.difficulty_at(task.complexity, float(p)) for p in performance] if difficulty.size else None,
    )
