"""Calibration: Adam at constant rates, before anything is tuned, fixes the target of the searches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from metagd_optuna.analysis.convergence import search_target
from metagd_optuna.analysis.scores import standard_error
from metagd_optuna.policy import Candidate, baseline_from_params
from metagd_optuna.tasks.audit import cases_by_class
from metagd_optuna.tuning.flow import Flow
from metagd_optuna.tuning.grid import run_grid
from metagd_optuna.tuning.parts import CALIBRATE
from metagd_optuna.tuning.phases.task_state import TaskState
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.store import TaskStore
from metagd_optuna.tuning.task_trainer import TaskTrainer

# Adam's usual 1e-3, half a decade and a decade around it.
CALIBRATION_RATES = (3e-4, 1e-3, 3e-3, 1e-2)


class Calibrate:
    """Sets the target of the searches; the metadata of the task are stored with it."""

    waits_for_all = False
    first_seed = 0

    def planned_runs(self, settings: StudySettings) -> int:
        """Return the runs of every rate on every seed."""
        return len(CALIBRATION_RATES) * settings.calibration_seeds

    def run(self, task: TaskState, tasks: Mapping[str, TaskState]) -> Flow[None]:
        """Train every rate, and set the target."""
        task.snapshots.restore(task.store, task.metadata)
        task.progress.phase(task.name, CALIBRATE)
        task.store.note_metadata(task.metadata)
        task.search_target = task.store.search_target
        if task.search_target is not None:
            task.progress.runs(self.planned_runs(task.settings), None)
            return
        scores = yield from calibration_scores(task.store, task.settings, task.trainer, task.progress)
        with task.named():
            counts = cases_by_class(task.metadata.audit, "val")
            known = sum(count > 0 for count in counts) > 1
            error = standard_error(task.settings.metric, task.metadata.chance, counts) if known else 0.0
            task.search_target = search_target(task.metadata.chance, scores, error=error)
        task.store.note_search_target(task.search_target)


def calibration_scores(
    store: TaskStore, settings: StudySettings, trainer: TaskTrainer, progress: Progress
) -> Flow[dict[float, list[float]]]:
    """Train every rate on every seed; return the best scores by rate, minus infinity for a run that diverged."""
    candidates = calibration_candidates()
    runs = yield from run_grid(
        store,
        store.open_calibration(),
        list(candidates.values()),
        phase_seeds(settings.seed, Calibrate.first_seed, settings.calibration_seeds),
        trainer,
        value=trainer.best_score,
        progress=progress,
    )
    return {
        rate: [-math.inf if run.diverged else trainer.best_score(run) for run in runs[candidate.name]]
        for rate, candidate in candidates.items()
    }


def calibration_candidates() -> dict[float, Candidate]:
    """Return what the calibration trains, by rate."""
    return {
        rate: replace(
            baseline_from_params("adam-constant", {"adam-constant.lr0": rate}), name=f"adam-constant@{rate:g}"
        )
        for rate in CALIBRATION_RATES
    }
