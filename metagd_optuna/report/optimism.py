"""How much a search overfitted its seeds: the objective of the chosen settings on three disjoint sets of seeds."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from metagd_optuna.analysis import mean_time_to_targets, targets_up_to
from metagd_optuna.contracts import RunRecord
from metagd_optuna.records import TaskRecord
from metagd_optuna.report import blocks
from metagd_optuna.report.sentences import epochs
from metagd_optuna.report.task_document import Optimism, TaskResults

OPTIMISM_TITLE = "How much the search overfitted its seeds"
OPTIMISM_CAPTION = (
    "The objective in epochs, the mean time to the targets of the search: lower is better. The best of many trials "
    "fits the seeds of the search by chance; those of the confirmation had no say in the choice. Seeds also differ in "
    "how hard they are, for all methods alike: what a method loses beyond the others is its own overfitting."
)


def optimism(task: TaskRecord) -> list[Optimism]:
    """Return, for every method, the objective of its setting on the seeds of search, shortlist and confirmation.

    The objective falls on the seeds that a setting was chosen by, the more the more settings there were to choose from,
    and rises again on seeds that had no say: the optimism of a choice (Efron 1983, "Estimating the error rate of a
    prediction rule"). Nothing in the universal scope, whose choice looks at other tasks.
    """
    runs = {candidate.name: candidate.runs for candidate in task.candidates}
    return [
        Optimism.of(
            method=method,
            **asdict(chosen),
            confirmation=np.mean([_objective(task, run) for run in runs[method]]),
        )
        for method, chosen in task.selections.items()
    ]


def optimism_table(task: TaskResults) -> blocks.Table | None:
    """Return the table of how much was overfitted; None where no search chose on this task."""
    rows: list[tuple[blocks.Text, ...]] = [
        (
            blocks.Code(row.method),
            epochs(row.best),
            str(row.trial),
            *map(epochs, (row.search, row.shortlist, row.confirmation)),
        )
        for row in task.optimism
    ]
    heads = (
        "method",
        "best trial on its search seeds",
        "chosen trial",
        "on its search seeds",
        "on the shortlist",
        "confirmed",
    )
    return blocks.Table(heads, rows, OPTIMISM_CAPTION, numbers_from=1) if rows else None


def _objective(task: TaskRecord, run: RunRecord) -> float:
    evaluated = np.array(run.validation.steps) / task.steps_per_epoch
    targets = targets_up_to(task.chance, task.search_target)
    return mean_time_to_targets(evaluated, run.validation.metric(task.metric), targets, task.budget_epochs)
