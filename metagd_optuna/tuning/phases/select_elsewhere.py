"""The choice of the universal scope: every task gets the settings that are best on all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean

from metagd_optuna.analysis import best_elsewhere
from metagd_optuna.analysis.convergence import confirmation_target
from metagd_optuna.tuning.flow import Flow
from metagd_optuna.tuning.grid import run_grid
from metagd_optuna.tuning.methods import META_POLICY, methods_of
from metagd_optuna.tuning.own_trials import finished_settings, objectives
from metagd_optuna.tuning.parts import SHORTLIST
from metagd_optuna.tuning.phases.shortlist import Shortlist
from metagd_optuna.tuning.phases.task_state import Selected, TaskState
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.stored_trials import candidate_of_trial


class SelectElsewhere:
    """Selects by leave-one-task-out: no setting was tried on a task before it was selected for it.

    The target follows from the calibration, because there is no shortlist that could raise it.
    """

    waits_for_all = True
    first_seed = Shortlist.first_seed

    def planned_runs(self, settings: StudySettings) -> int:
        """Return the runs of the selected meta-policy, whose rates and performances its controls need."""
        return settings.shortlist_seeds

    def run(self, task: TaskState, tasks: Mapping[str, TaskState]) -> Flow[None]:
        """Select, and run the selected meta-policy on the seeds of a shortlist."""
        methods = [method.name for method in methods_of(task.settings)]
        found = {name: objectives(other.store, methods) for name, other in tasks.items()}
        selected = best_elsewhere(found, task.name, task.settings.baselines)
        candidates = {}
        for method, number in selected.settings.items():
            trial = finished_settings(task.open(method).get_trials(deepcopy=False))[number]
            candidates[method] = replace(candidate_of_trial(trial), name=method)
        assert task.search_target is not None
        with task.named():
            target = confirmation_target(task.metadata.chance, [task.search_target], share=task.settings.target_share)
        task.progress.phase(task.name, SHORTLIST)
        name = f"{META_POLICY}#{selected.settings[META_POLICY]}"
        runs = yield from run_grid(
            task.store,
            task.open(SHORTLIST),
            [replace(candidates[META_POLICY], name=name)],
            phase_seeds(task.settings.seed, self.first_seed, task.settings.shortlist_seeds),
            task.trainer,
            value=lambda run: task.trainer.objective(run.validation, task.targets),
            progress=task.progress,
        )
        elsewhere = fmean(other.metadata.complexity for other in tasks.values() if other is not task)
        task.selected = Selected(
            candidates, selected.settings, selected.best_baseline, target, tuple(runs[name]), elsewhere
        )
