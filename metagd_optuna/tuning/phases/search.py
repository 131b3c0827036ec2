"""The searches: all trials of every method."""

from __future__ import annotations

from collections.abc import Mapping

from metagd_optuna.tuning.flow import Flow, side_by_side
from metagd_optuna.tuning.methods import Method, methods_of
from metagd_optuna.tuning.phases.task_state import TaskState
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.tuner import Tuner


class Search:
    """Tunes every baseline and the meta-policy with the same number of trials, and keeps a snapshot of each."""

    waits_for_all = False
    first_seed = 10_000

    def planned_runs(self, settings: StudySettings) -> int:
        """Return the runs of every trial of every method, pruned ones included."""
        return (len(settings.baselines) + 1) * settings.trials * settings.seeds_per_trial

    def run(self, task: TaskState, tasks: Mapping[str, TaskState]) -> Flow[None]:
        """Run all trials that are missing; methods do not wait for one another."""
        yield from side_by_side(self._tune(task, method) for method in methods_of(task.settings))
        if task.settings.universal:  # a design is of use whole
            task.snapshots.save(task.store)

    def _tune(self, task: TaskState, method: Method) -> Flow[None]:
        task.progress.phase(task.name, f"tune {method.name}")
        seeds = phase_seeds(task.settings.seed, self.first_seed, task.settings.seeds_per_trial)
        study = task.open(method.name)
        tuner = Tuner(task.store, study, method, task.settings, task.trainer, task.targets, seeds)
        yield from tuner.run(task.progress)
        if not task.settings.universal:
            task.snapshots.save(task.store)
