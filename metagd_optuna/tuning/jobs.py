"""What is trained together, as data: a job knows all that its trainings need besides the task."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from metagd_optuna.contracts import Curve, FloatArray, RunRecord, Watch
from metagd_optuna.policy import Candidate
from metagd_optuna.tuning.pruning import behind_median, optimistic_objective

if TYPE_CHECKING:
    from metagd_optuna.tuning.task_trainer import TaskTrainer


@dataclass(frozen=True, slots=True, eq=False)
class StoppingRule:
    """When a training of a search is stopped; every threshold comes from trainings that were finished before it began.

    Args:
        targets: of the search, shape (T,).
        through: per candidate, its objectives on the seeds that are through, in epochs.
        seeds: seeds per trial.
        limit: the objective beyond which a trial is hopeless, in epochs; infinite if there is none yet.
        best_run: the best objective of any single run of the method so far, in epochs.
        pruning: whether hopeless trials are stopped.
        earlier: intermediate values of earlier trials on this seed, shape (trials, evaluations), in epochs; no trials
            where the study does not ask for a comparison with their median.
        least: trials that have to have come as far before their median counts.
    """

    targets: FloatArray
    through: tuple[tuple[float, ...], ...]
    seeds: int
    limit: float
    best_run: float
    pruning: bool
    earlier: FloatArray
    least: int

    def hopeless(self, place: int, curve: Curve, trainer: TaskTrainer) -> float | None:
        """Return the best objective that a candidate can still have if it is hopeless, in epochs; else None.

        Args:
            place: of the candidate in the job.
            curve: of its training so far.
            trainer: converts steps to epochs.
        """
        if not curve.steps:
            return None
        through = self.through[place]
        bound = trainer.bound(curve, self.targets)
        hopeful = optimistic_objective(through, [bound], self.best_run, self.seeds)
        # Seeds to come count as 0 here, so that the value only rises and never exceeds the objective.
        certain = optimistic_objective(through, [bound], 0.0, self.seeds)
        evaluation = trainer.plan.evaluation_steps.index(curve.steps[-1]) + 1
        total = len(trainer.plan.evaluation_steps)
        hopeless = (self.pruning and hopeful > self.limit) or (
            # Where trials are few, enough have to be through for the shortlist before any is stopped for this.
            math.isfinite(self.limit)
            and behind_median(certain, self.earlier[:, evaluation - 1], share=evaluation / total, least=self.least)
        )
        return hopeful if hopeless else None

    def watch(self, trainer: TaskTrainer) -> Watch:
        """Return what stops a training that is hopeless, or has reached all targets and so has its objective."""

        def watched(curves: Mapping[int, Curve]) -> Collection[int]:
            last = float(self.targets[-1])
            return [
                place
                for place, curve in curves.items()
                if trainer.reached(curve, last) or self.hopeless(place, curve, trainer) is not None
            ]

        return watched

    def of(self, places: Sequence[int]) -> StoppingRule:
        """Return the rule for some of the candidates."""
        return replace(self, through=tuple(self.through[place] for place in places))


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Trainings from the same initial weights on the same mini-batches.

    Args:
        candidates: with names of their own.
        seed: fixes initial weights and the order of the examples.
        test: whether the test part is measured as well.
        resample: whether the seed also deals the cases into other parts.
        stop: when trainings are stopped; None for those that have the full budget.
    """

    candidates: tuple[Candidate, ...]
    seed: int
    test: bool = False
    resample: bool = False
    stop: StoppingRule | None = None

    def populations(self, most: int, batch_size: int) -> list[list[int]]:
        """Return the places of those that share a program: of one optimizer and batch size, at most ``most``."""
        alike: dict[tuple[str, int], list[int]] = {}
        for place, candidate in enumerate(self.candidates):
            alike.setdefault((candidate.optimizer, candidate.batch_size or batch_size), []).append(place)
        return [group[i : i + most] for group in alike.values() for i in range(0, len(group), most)]

    def of(self, places: Sequence[int]) -> Job:
        """Return the job of some of the candidates."""
        stop = None if self.stop is None else self.stop.of(places)
        return replace(self, candidates=tuple(self.candidates[place] for place in places), stop=stop)


@dataclass(frozen=True, slots=True)
class Trained:
    """What became of a job.

    Args:
        records: one per candidate, in their order.
        seconds: wall-clock of each training; of those that trained together, an equal share.
    """

    records: list[RunRecord]
    seconds: list[float]
