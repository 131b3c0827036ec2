"""Trainings on one task, in the units of a search: candidates in, scores and epochs out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

from metagd_optuna.analysis.convergence import final_best, mean_time_bound, mean_time_bounds, mean_time_to_targets
from metagd_optuna.analysis.scores import chance_level
from metagd_optuna.contracts import (
    Curve,
    FloatArray,
    MetaGDError,
    Planned,
    RunPlan,
    RunRecord,
    Trainer,
    TrainingJob,
    Watch,
)
from metagd_optuna.policy import Candidate
from metagd_optuna.tasks import Task
from metagd_optuna.tasks.resampling import resampled
from metagd_optuna.tuning.flow import Flow
from metagd_optuna.tuning.jobs import Job, Trained
from metagd_optuna.tuning.progress import Throughput
from metagd_optuna.tuning.settings import StudySettings

if TYPE_CHECKING:
    from metagd_optuna.training.device import Device
    from metagd_optuna.training.network import BuildNetwork


class Elsewhere(Protocol):
    """Where jobs of one task are trained, if not in this process."""

    @property
    def throughput(self) -> Throughput:
        """What has been trained there so far, on all tasks."""

    def train(self, job: Job) -> Flow[Trained]:
        """Train a job."""

    def measured_speed(self, candidate: Candidate, jobs_at_once: int) -> float:
        """Return the training examples per second there."""


@dataclass(slots=True)
class TaskTrainer:
    """Trains candidates on one task, and converts steps to epochs.

    Args:
        trainer: trains; one of the engine, or whatever else does what ``Trainer`` says. If training is done elsewhere,
            what is known of the network.
        metric: what has to converge.
        chance: its chance level.
        complexity: of the task; class_frequencies: of its training part. Both are what controllers are told.
        resampled: returns what trains on the same cases in other parts, dealt by a seed.
        elsewhere: where jobs are trained; None for here.
    """

    trainer: Planned
    metric: str
    chance: float
    complexity: float
    class_frequencies: tuple[float, ...]
    resampled: Callable[[int], TaskTrainer] | None = field(default=None, repr=False)
    elsewhere: Elsewhere | None = field(default=None, repr=False)
    examples: int = field(default=0)
    seconds: float = field(default=0.0)

    @property
    def plan(self) -> RunPlan:
        """The timetable of every run."""
        return self.trainer.plan

    @property
    def throughput(self) -> Throughput | None:
        """What has been trained so far; None before that."""
        found = self if self.elsewhere is None else self.elsewhere.throughput
        return found if found.seconds else None

    def trained(self, job: Job) -> Flow[Trained]:
        """Train a job wherever this study trains."""
        if self.elsewhere is not None:
            return (yield from self.elsewhere.train(job))
        began = time.perf_counter()
        records = self.run(job)
        count = len(job.candidates)
        return Trained(records, [(time.perf_counter() - began) / count] * count)

    def run(self, job: Job) -> list[RunRecord]:
        """Train a job here, and return the records of its candidates in their order."""
        dealt = self.resampled(job.seed) if job.resample and self.resampled else self
        names = [candidate.name for candidate in job.candidates]
        watch = None if job.stop is None else job.stop.watch(dealt)
        records = dealt.train(job.candidates, names, seed=job.seed, test=job.test, watch=watch)
        if dealt is not self:
            self.examples, self.seconds = self.examples + dealt.examples, self.seconds + dealt.seconds
        return records

    def train(
        self,
        candidates: Sequence[Candidate],
        names: Sequence[str],
        *,
        seed: int,
        test: bool = False,
        watch: Watch | None = None,
    ) -> list[RunRecord]:
        """Train candidates here, under the given names."""
        named = zip(names, candidates, strict=True)
        jobs = [TrainingJob(name, each.controller, each.optimizer, each.batch_size) for name, each in named]
        began = time.perf_counter()
        records = self._engine.train(jobs, seed=seed, test=test, watch=watch)
        self.seconds += time.perf_counter() - began
        self.examples += sum(record.steps for record in records) * self.plan.batch_size
        return records

    def measured_speed(self, candidate: Candidate, jobs_at_once: int) -> float:
        """Return the training examples per second, evaluations included, of some runs up to their first evaluation.

        They are trained twice, because the first time programs are built, and thrown away.
        """
        if self.elsewhere is not None:
            return self.elsewhere.measured_speed(candidate, jobs_at_once)
        jobs = [TrainingJob(f"speed#{i}", candidate.controller, candidate.optimizer) for i in range(jobs_at_once)]
        for _ in range(2):
            began = time.perf_counter()
            records = self._engine.train(jobs, seed=0, watch=list)
            seconds = time.perf_counter() - began
        return sum(record.steps for record in records) * self.plan.batch_size / seconds

    @property
    def _engine(self) -> Trainer:
        assert self.elsewhere is None, "training is done elsewhere"
        return cast(Trainer, self.trainer)

    def objective(self, curve: Curve, targets: FloatArray) -> float:
        """Return the mean time to the targets of a finished run, in epochs."""
        scores = curve.metric(self.metric)
        return mean_time_to_targets(self.plan.epochs(curve.steps), scores, targets, self.plan.budget_epochs)

    def bound(self, curve: Curve, targets: FloatArray) -> float:
        """Return the optimistic objective of a run that still trains, in epochs."""
        epochs = self.plan.epochs(curve.steps)
        return mean_time_bound(epochs, curve.metric(self.metric), targets, float(epochs[-1]))

    def bounds(self, curve: Curve, targets: FloatArray) -> FloatArray:
        """Return what ``bound`` was at every evaluation of the timetable, shape (evaluations,), in epochs."""
        at = self.plan.epochs(self.plan.evaluation_steps)
        return mean_time_bounds(self.plan.epochs(curve.steps), curve.metric(self.metric), targets, at)

    def best_score(self, run: RunRecord) -> float:
        """Return the confirmed best score of a run, or the chance level if it confirmed none."""
        return max(final_best(run.validation.metric(self.metric)), self.chance)

    def reached(self, curve: Curve, target: float) -> bool:
        """Return whether the confirmed score has reached ``target``."""
        return final_best(curve.metric(self.metric)) >= target


def open_task_trainer(
    task: Task,
    settings: StudySettings,
    device: Device,
    *,
    complexity: float,
    population: int = 0,
    build_network: BuildNetwork | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> TaskTrainer:
    """Return what trains on a task under the settings of a study.

    Args:
        population: members that share one program, as an earlier run of the study stored it; 0 if there was none.
        build_network: makes the network that is trained; None for the article's.
        log: called with a line about how members share programs; by default nothing is logged.

    Raises:
        MetaGDError: if batch sizes are to be tuned and the training part is smaller than the largest of them.
    """
    # TensorFlow takes seconds to load, which a complete study should not cost.
    from metagd_optuna.training.default_network import default_network
    from metagd_optuna.training.open_trainer import images_of, open_trainer
    from metagd_optuna.training.plan import plan_run

    train_examples = len(task.train_labels)
    if settings.batch_sizes and train_examples < settings.batch_size:
        raise MetaGDError(
            f"task {task.name!r} has {train_examples} training images, fewer than batch_size = {settings.batch_size}, "
            "so it has no halves to tune: lower batch_size to a multiple of 8 up to that, or leave tune_batch_size out"
        )
    plan = plan_run(
        train_examples=train_examples,
        epochs=settings.epochs_for(train_examples),
        batch_size=settings.batch_size,
        evaluations=settings.evaluations,
        rate_updates_per_evaluation=settings.rate_updates_per_evaluation,
    )
    trainer = open_trainer(
        task,
        plan,
        device,
        complexity=complexity,
        compute=settings.compute,
        jobs_at_once=settings.trials_at_once,
        population=settings.population,
        stored_population=population,
        build_network=build_network or default_network,
        log=log,
    )

    def on(task: Task, trainer: Trainer) -> TaskTrainer:
        chance = chance_level(settings.metric, task.class_frequencies)
        return TaskTrainer(trainer, settings.metric, chance, complexity, task.class_frequencies, on_other_parts)

    def on_other_parts(seed: int) -> TaskTrainer:
        other = resampled(task, seed)
        if other.train_images.shape == task.train_images.shape:
            return on(other, trainer.on(images_of(other), other.class_frequencies))
        return on_other_columns(seed)

    @lru_cache(maxsize=1)  # the members of a seed may come one by one, and each engine compiles its programs
    def on_other_columns(seed: int) -> TaskTrainer:
        """The columns of a table follow from its training part, and another number of them needs another network."""
        return open_task_trainer(
            resampled(task, seed),
            settings,
            device,
            complexity=complexity,
            population=trainer.population,
            build_network=build_network,
        )

    return on(task, trainer)
