"""What is trained together, as data: a job knows all that its trainings need besides the task."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from metagd_optuna.contracts import Curve, FloatArray, RunPlan, RunRecord, Watch
from metagd_optuna.policy import Candidate
from metagd_optuna.tuning.pruning import behind_median, optimistic_objective


class Measures(Protocol):
    """How far a training has come, as ``TaskTrainer`` measures it."""

    @property
    def plan(self) -> RunPlan:
        """The timetable of every run."""

    def bound(self, curve: Curve, targets: FloatArray) -> float:
        """Return the best objective that a run can still have, in epochs."""

    def reached(self, curve: Curve, target: float) -> bool:
        """Return whether the score has reached ``target``."""


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

    def hopeless(self, place: int, curve: Curve, measures: Measures) -> float | None:
        """Return the best objective that a candidate can still have if it is hopeless, in epochs; else None.

        Args:
            place: of the candidate in the job.
            curve: of its training so far.
            measures: converts steps to epochs.
        """
        if not curve.steps:
            return None
        through = self.through[place]
        bound = measures.bound(curve, self.targets)
        hopeful = optimistic_objective(through, [bound], self.best_run, self.seeds)
        # Seeds to come count as 0 here, so that the value only rises and never exceeds the objective.
        certain = optimistic_objective(through, [bound], 0.0, self.seeds)
        evaluation = measures.plan.evaluation_steps.index(curve.steps[-1]) + 1
        total = len(measures.plan.evaluation_steps)
        hopeless = (self.pruning and hopeful > self.limit) or (
            # Where trials are few, enough have to be through for the shortlist before any is stopped for this.
            math.isfinite(self.limit)
            and behind_median(certain, self.earlier[:, evaluation - 1], share=evaluation / total, least=self.least)
        )
        return hopeful if hopeless else None

    def watch(self, measures: Measures) -> Watch:
        """Return what stops a training that is hopeless, or has reached all targets and so has its objective."""

        def watched(curves: Mapping[int, Curve]) -> Collection[int]:
            last = float(self.targets[-1])
            return [
                place
                for place, curve in curves.items()
                if measures.reached(curve, last) or self.hopeless(place, curve, measures) is not None
            ]

        return watched

    def document(self) -> list[Any]:
        """Return all of it, JSON-able."""
        return [
            each.tolist() if isinstance(each, np.ndarray) else each
            for each in (getattr(self, name) for name in self.__slots__)
        ]

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

    def key(self, token: str) -> str:
        """Return what tells this job from all others of its study, with a beginning that says what it is.

        Args:
            token: of the task in one run of the study.
        """
        rule = self.stop
        held = [[each.name, dict(each.settings)] for each in self.candidates]
        decisive = [held, self.seed, self.test, self.resample, rule is not None and rule.document()]
        digest = hashlib.sha256(json.dumps([token, decisive], sort_keys=True).encode()).hexdigest()
        return f"{self.candidates[0].name.partition('#')[0]}-{digest}"

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
