"""What it cost to choose settings on other tasks: how much a setting for each task of its own could have won."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from metagd_optuna.records import TaskRecord
from metagd_optuna.report import blocks
from metagd_optuna.report.document import Across, MeanRegret
from metagd_optuna.report.sentences import epochs, ratio
from metagd_optuna.report.task_document import RegretResults, TaskResults

REGRET_TITLE = "What a setting of this task's own could have won"
REGRET_CAPTION = (
    "The objective in epochs, the mean time to the targets of the search, on the seeds of the design: lower is better. "
    "Every method's setting was chosen on the other tasks; beside it the setting of the same design that is best on "
    "this one. That one was lucky on these seeds, so the factor is the most that a choice which knows the task could "
    "have won. A chosen setting that was stopped here has the best objective that it could still have had."
)


def regrets(task: TaskRecord) -> list[RegretResults]:
    """Return, for every method, the setting that other tasks chose and the best one on this task.

    Nothing in the per-task scope, whose choice looks at this task.
    """
    return [RegretResults.of(method=method, **asdict(regret)) for method, regret in task.regrets.items()]


def regret_table(task: TaskResults) -> blocks.Table | None:
    """Return the table of regrets; None where settings were chosen on this task."""
    rows = [
        (
            blocks.Code(row.method),
            str(row.trial),
            epochs(row.chosen) + _open_end(row),
            str(row.best_trial),
            epochs(row.best),
            ratio(row.chosen / row.best) + _open_end(row),
        )
        for row in task.regrets
    ]
    heads = ("method", "chosen on the others", "its objective here", "best here", "its objective", "factor")
    return blocks.Table(heads, rows, REGRET_CAPTION, numbers_from=1) if rows else None


def mean_regrets(tasks: Sequence[Sequence[RegretResults]]) -> dict[str, MeanRegret]:
    r"""Return the geometric mean over tasks of every method's regret, empty unless every task has regrets.

    .. math:: \exp\Bigl(\frac{1}{T} \sum_t \log \frac{o_{t,\text{chosen}}}{o_{t,\text{best}}}\Bigr)

    Args:
        tasks: the regrets of each.

    Returns:
        by method that has one on every task; it is ``stopped`` if its chosen setting was on any.

    >>> row = RegretResults(method="m", trial=1, chosen=2.0, stopped=False, best_trial=0, best=1.0)
    >>> mean_regrets([[row], [row.model_copy(update={"chosen": 8.0})]])
    {'m': MeanRegret(factor=4.0, stopped=False)}
    """
    found = [{row.method: row for row in rows} for rows in tasks]
    return {
        method: MeanRegret.of(
            factor=math.exp(
                math.fsum(math.log(rows[method].chosen / rows[method].best) for rows in found) / len(found)
            ),
            stopped=any(rows[method].stopped for rows in found),
        )
        for method in found[0]
        if all(method in rows for rows in found)
    }


def regret_sentences(across: Across) -> list[str]:
    """Return what choosing for each task could have won; nothing where no setting was chosen on other tasks."""
    if not across.regrets:
        return []
    factors = [f"{method} {ratio(row.factor)}{_open_end(row)}" for method, row in across.regrets.items()]
    return [
        "With the setting that is best on each task's own seeds of the design, which no choice among the same settings "
        f"could beat, the objective would have been lower by a factor of (geometric mean): {', '.join(factors)}."
    ]


def _open_end(row: RegretResults | MeanRegret) -> str:
    return " or more" if row.stopped else ""
