"""A task made ready for training: its data, timetable, engine and the units of its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from metagd_optuna.analysis.convergence import final_best, ladder_bound, ladder_bounds, ladder_objective
from metagd_optuna.analysis.scores import chance_level
from metagd_optuna.contracts import Curve, FloatArray, MetaGDError, RunRecord
from metagd_optuna.policy import Contender
from metagd_optuna.search.study_file import StudySpec
from metagd_optuna.tasks import Task
from metagd_optuna.training.cnn import article_cnn
from metagd_optuna.training.device import Device
from metagd_optuna.training.engine import Engine, Images, Watch
from metagd_optuna.training.member import Entrant
from metagd_optuna.training.network import BuildNetwork
from metagd_optuna.training.plan import RunPlan, plan_run
from metagd_optuna.training.population_size import PopulationSize, population_size


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
        entrants = [
            Entrant(name, c.controller, c.optimizer, c.batch_size) for name, c in zip(names, contenders, strict=True)
        ]
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

    def bounds(self, curve: Curve, targets: Any) -> FloatArray:
        """Return what ``bound`` was at every evaluation of the timetable, shape (evaluations,), in epochs."""
        at = self.plan.epochs(self.plan.evaluation_steps)
        return ladder_bounds(self.plan.epochs(curve.steps), curve.metric(self.metric), targets, at)

    def reached(self, curve: Curve, target: float) -> bool:
        """Return whether the confirmed score has reached ``target``."""
        return final_best(curve.metric(self.metric)) >= target


def open_workshop(
    task: Task,
    spec: StudySpec,
    device: Device,
    *,
    complexity: float,
    population: int = 0,
    build_network: BuildNetwork = article_cnn,
    say: Callable[[str], None] = lambda line: None,
) -> Workshop:
    """Return the workshop of a task under the settings of a study.

    Args:
        population: members that share one program, as an earlier run of the study stored it; 0 if there was none.
        build_network: makes the network that is trained.
        say: called with a line about how members share programs; by default nothing is said.

    Raises:
        MetaGDError: if batch sizes are to be tuned and the training part is smaller than the largest of them.
    """
    train_examples = len(task.train_labels)
    if spec.batch_sizes and train_examples < spec.batch_size:
        raise MetaGDError(
            f"task {task.name!r} has {train_examples} training images, fewer than batch_size = {spec.batch_size}, so "
            "it has no halves to tune: lower batch_size to a multiple of 8 up to that, or leave tune_batch_size out"
        )
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
        lanes=device.lanes,
        compiled=device.compiled,
        layout=device.layout,
        compute=spec.compute,
        build_network=build_network,
    )
    if engine.uncompiled:
        say(f"  {engine.uncompiled}, so nothing is, which is slower")
    size = _population(engine, spec, device, population, say)
    engine.population = size.members
    lanes, members = ("lane" if engine.lanes == 1 else "lanes"), ("member" if engine.population == 1 else "members")
    say(f"  {engine.lanes} {lanes} x {engine.population} {members} per program ({size.origin})")
    return Workshop(task, spec.metric, complexity, plan, engine)


def _population(
    engine: Engine, spec: StudySpec, device: Device, stored: int, say: Callable[[str], None]
) -> PopulationSize:
    """Return how many members share one program: as stored, else as the study file says, else as measured."""
    # It decides rounding, so a resumed study keeps what it began with.
    given = stored or spec.population
    if given and not engine.unfused:
        return PopulationSize(given, "as the study began" if stored else "as the study file says")
    measured = population_size(engine, device, say)
    # It was measured with every lane busy; one that leaves lanes idle while a batch trains would be slower.
    share = -(-spec.trials_at_once // engine.lanes)
    if engine.lanes > 1 and share < measured.members:
        return PopulationSize(share, f"{measured.members} {measured.origin}, but a batch has to fill all lanes")
    return measured
