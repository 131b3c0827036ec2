"""A task made ready for training: its data, timetable, engine and the units of its results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from metagd_optuna.analysis.convergence import final_best, ladder_bound, ladder_objective
from metagd_optuna.analysis.scores import chance_level
from metagd_optuna.contracts import Curve, RunRecord
from metagd_optuna.policy import Contender
from metagd_optuna.search.study_file import StudySpec
from metagd_optuna.tasks import Task
from metagd_optuna.training.device import Device
from metagd_optuna.training.engine import Engine, Images, Watch
from metagd_optuna.training.member import Entrant
from metagd_optuna.training.plan import RunPlan, plan_run


@dataclass(slots=True)
class Workshop:
    """Trains contenders on one task and converts steps to epochs.

    Args:
        task: the data.
        metric: what has to converge.
        complexity: of the task.
        plan: the timetable of every run.
        engine: trains.
    """

    task: Task
    metric: str
    complexity: float
    plan: RunPlan
    engine: Engine
    examples: int = field(default=0)
    seconds: float = field(default=0.0)

    @property
    def chance(self) -> float:
        """The metric's value when guessing."""
        return chance_level(self.metric, self.task.class_shares)

    def train(
        self,
        contenders: Sequence[Contender],
        names: Sequence[str],
        *,
        seed: int,
        test: bool = False,
        watch: Watch | None = None,
    ) -> list[RunRecord]:
        """Train contenders under the given names."""
        entrants = [Entrant(name, c.controller, c.optimizer) for name, c in zip(names, contenders, strict=True)]
        began = time.perf_counter()
        records = self.engine.train(entrants, seed=seed, test=test, watch=watch)
        self.seconds += time.perf_counter() - began
        self.examples += sum(record.steps for record in records) * self.plan.batch_size
        return records

    def objective(self, curve: Curve, targets: Any) -> float:
        """Return the ladder objective of a finished run, in epochs."""
        scores = curve.metric(self.metric)
        return ladder_objective(self.plan.epochs(curve.steps), scores, targets, self.plan.budget_epochs)

    def bound(self, curve: Curve, targets: Any) -> float:
        """Return the optimistic objective of a run that still trains, in epochs."""
        epochs = self.plan.epochs(curve.steps)
        return ladder_bound(epochs, curve.metric(self.metric), targets, float(epochs[-1]))

    def reached(self, curve: Curve, target: float) -> bool:
        """Return whether the confirmed score has reached ``target``."""
        return final_best(curve.metric(self.metric)) >= target

    def spent_epochs(self, records: Sequence[RunRecord]) -> float:
        """Return the passes over the training part that runs took."""
        return float(self.plan.epochs(sum(record.steps for record in records)))


def open_workshop(task: Task, spec: StudySpec, device: Device, *, complexity: float, population: int) -> Workshop:
    """Return the workshop of a task under the settings of a study."""
    train_examples = len(task.train_labels)
    plan = plan_run(
        train_examples=train_examples,
        epochs=spec.epochs_for(train_examples),
        batch_size=spec.batch_size,
        evaluations=spec.evaluations,
        ticks_per_evaluation=spec.ticks_per_evaluation,
    )
    images = Images(
        (task.train_images, task.train_labels.astype(np.int32)),
        (task.val_images, task.val_labels.astype(np.int32)),
        (task.test_images, task.test_labels.astype(np.int32)),
    )
    engine = Engine(
        images,
        classes=len(task.classes),
        class_shares=task.class_shares,
        complexity=complexity,
        plan=plan,
        population=population,
        lanes=device.lanes,
        compiled=device.compiled,
    )
    return Workshop(task, spec.metric, complexity, plan, engine)
