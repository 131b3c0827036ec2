"""The phases that take a task from its data to a confirmed verdict, one file each.

A phase knows its seeds, the runs that it plans, and how it runs; what it found is in the storage, so a phase that is
through is gone over without training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metagd_optuna.tuning.flow import Flow, side_by_side
from metagd_optuna.tuning.phases.calibrate import Calibrate
from metagd_optuna.tuning.phases.confirm import Confirm
from metagd_optuna.tuning.phases.phase import Phase
from metagd_optuna.tuning.phases.search import Search
from metagd_optuna.tuning.phases.select_elsewhere import SelectElsewhere
from metagd_optuna.tuning.phases.shortlist import Shortlist
from metagd_optuna.tuning.phases.task_state import TaskState
from metagd_optuna.tuning.settings import PER_TASK, UNIVERSAL, StudySettings

PHASES: Mapping[str, tuple[Phase, ...]] = {
    PER_TASK: (Calibrate(), Search(), Shortlist(), Confirm()),
    UNIVERSAL: (Calibrate(), Search(), SelectElsewhere(), Confirm()),
}


def planned_runs(settings: StudySettings) -> int:
    """Return how many runs a study has on each of its tasks, pruned ones included."""
    return sum(phase.planned_runs(settings) for phase in PHASES[settings.scope])


def run_phases(tasks: Sequence[TaskState], scope: str) -> Flow[None]:
    """Take tasks through all phases, side by side, but for phases that wait for all tasks.

    Args:
        tasks: in the order of the study file.
        scope: which phases there are.

    Raises:
        MetaGDError: if nothing learns on a task.
    """
    for task in tasks:
        if task.trained_by is None:
            task.progress.runs(planned_runs(task.settings), None)
    waiting = list(PHASES[scope])
    everyone = {task.name: task for task in tasks}

    def through(task: TaskState, phases: Sequence[Phase], *, last: bool) -> Flow[None]:
        if task.trained_by is None:  # before the storage was away
            return
        for phase in phases:
            yield from phase.run(task, everyone)
        if last:
            task.trained_by = None

    while waiting:
        # The phases up to the next one that needs what all tasks have found.
        together = next((i for i, phase in enumerate(waiting) if i and phase.waits_for_all), len(waiting))
        last = together == len(waiting)
        yield from side_by_side(through(task, waiting[:together], last=last) for task in everyone.values())
        waiting = waiting[together:]


__all__ = ["PHASES", "Phase", "TaskState", "planned_runs", "run_phases"]
