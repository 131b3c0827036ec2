"""What every phase is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from metagd_optuna.tuning.flow import Flow
from metagd_optuna.tuning.phases.task_state import TaskState
from metagd_optuna.tuning.settings import StudySettings


class Phase(Protocol):
    """One phase of a study on one task.

    ``waits_for_all`` says whether all tasks have to be through the phases before it, ``first_seed`` is where its
    training seeds begin in a study of seed 0.
    """

    waits_for_all: bool
    first_seed: int

    def planned_runs(self, settings: StudySettings) -> int:
        """Return how many runs it has on one task, pruned ones included."""

    def run(self, task: TaskState, tasks: Mapping[str, TaskState]) -> Flow[None]:
        """Run it, going on wherever an earlier process stopped.

        Args:
            task: where it is run; what it finds goes there and into the storage.
            tasks: all of the study, by name.
        """
