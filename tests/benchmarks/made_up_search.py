"""A method's search whose trainings are made up but as long as real ones, so that what is left is the coordinator's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metagd_optuna.analysis.convergence import targets_up_to
from metagd_optuna.contracts import Curve, RunPlan, RunRecord, TrainingJob, Watch
from metagd_optuna.training.plan import plan_run
from metagd_optuna.tuning.flow import to_the_end
from metagd_optuna.tuning.methods import META_POLICY, Method, methods_of
from metagd_optuna.tuning.phases.search import Search
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.runner import versions
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.store import Identity, StudyStore, TaskStore
from metagd_optuna.tuning.task_trainer import TaskTrainer
from metagd_optuna.tuning.tuner import Tuner
from metagd_optuna.tuning.write_ahead import write_ahead

TASK = "breast_cancer"
# 40 evaluations and 1,900 steps, as PneumoniaMNIST has for 15,000 examples a run at a batch of 32 with 4 epochs.
PLAN = plan_run(train_examples=15_200, epochs=4, batch_size=32, evaluations=40, rate_updates_per_evaluation=3)


class MadeUpTrainer:
    """Makes up the record of a run of full length from seed and trial; how fast it rises is the trial's own.

    Args:
        around: called with "begins" and "ends" around every training.
    """

    population, weights, fingerprint = 1, 1, "0"

    def __init__(self, around: Callable[[str], None] = lambda moment: None) -> None:
        self._around = around

    @property
    def plan(self) -> RunPlan:
        """The timetable of every run."""
        return PLAN

    def train(
        self, jobs: Sequence[TrainingJob], *, seed: int, test: bool = False, watch: Watch | None = None
    ) -> list[RunRecord]:
        """Return a record per job, cut where ``watch`` stops it."""
        self._around("begins")
        records = [made_up_run(job.name, seed) for job in jobs]
        for index, record in enumerate(records if watch else ()):
            for evaluation in range(1, len(PLAN.evaluation_steps) + 1):
                curve = beginning(record.validation, evaluation)
                if watch and index in watch({index: curve}):
                    records[index] = cut(record, curve)
                    break
        self._around("ends")
        return records


def made_up_run(name: str, seed: int) -> RunRecord:
    """Return a run of all steps, with a rate of its own at each, as a schedule has."""
    number = int(name.partition("#")[2])
    rng = np.random.default_rng([seed, number])
    speed = np.random.default_rng(number).uniform(0.3, 2)
    epochs = PLAN.epochs(PLAN.evaluation_steps)
    scores = 0.5 + 0.45 * (1 - np.exp(-speed * epochs)) + rng.normal(scale=0.01, size=epochs.size)
    curve = Curve(PLAN.evaluation_steps, *(tuple((scores + i / 100).tolist()) for i in range(4)))
    losses, accuracies = (tuple(rng.uniform(size=len(PLAN.update_steps)).tolist()) for _ in range(2))
    rates = tuple((10 ** rng.uniform(-5, -2, PLAN.steps)).tolist())
    return RunRecord(name, seed, PLAN.steps, PLAN.steps, curve, None, PLAN.update_steps, losses, accuracies, rates)


def beginning(curve: Curve, evaluations: int) -> Curve:
    """Return a curve up to one of its evaluations."""
    values = (curve.steps, curve.loss, curve.accuracy, curve.balanced_accuracy, curve.auc)
    return Curve(*(each[:evaluations] for each in values))  # type: ignore[arg-type]


def cut(record: RunRecord, curve: Curve) -> RunRecord:
    """Return a run as if it had been stopped at the end of a curve."""
    steps = curve.steps[-1]
    updates = tuple(step for step in record.update_steps if step <= steps)
    losses, accuracies = record.train_loss[: len(updates)], record.train_accuracy[: len(updates)]
    rates = record.rates[:steps]
    return RunRecord(record.candidate, record.seed, PLAN.steps, steps, curve, None, updates, losses, accuracies, rates)


def open_store(folder: Path, settings: StudySettings) -> TaskStore:
    """Return what a study keeps of its task in a new SQLite file with a write-ahead log, as in a run."""
    storage = open_storage(folder / "optuna.db", must_exist=False)
    write_ahead(storage)
    identity = Identity(settings.name, settings.to_dict(), versions(), "benchmark", (TASK,))
    return StudyStore(storage, identity).task(TASK)


def method_of(settings: StudySettings) -> Method:
    """Return the meta-policy over all forms of a default study."""
    return next(method for method in methods_of(settings) if method.name == META_POLICY)


def search(
    store: TaskStore, study: Any, method: Method, settings: StudySettings, trainer: MadeUpTrainer, progress: Progress
) -> None:
    """Run a method's search to its end."""
    trains = TaskTrainer(trainer, "auc", 0.5, 0.5, (0.5, 0.5))
    seeds = phase_seeds(settings.seed, Search.first_seed, settings.seeds_per_trial)
    to_the_end(Tuner(store, study, method, settings, trains, targets_up_to(0.5, 0.9), seeds).run(progress))
