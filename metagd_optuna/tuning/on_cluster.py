"""One task whose jobs a cluster trains, and the time that passes meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from metagd_optuna.policy import Candidate
from metagd_optuna.tuning.flow import Flow, side_by_side
from metagd_optuna.tuning.jobs import Job, Trained
from metagd_optuna.tuning.worker import Answer, Known, Opening


@dataclass(slots=True)
class WallClock:
    """What all workers trained, and how long they have been at it together."""

    examples: int = 0
    began: float = field(default_factory=monotonic)

    @property
    def seconds(self) -> float:
        """Wall-clock since the first job, 0 before any was done."""
        return monotonic() - self.began if self.examples else 0.0


class Answering(Protocol):
    """The workers of a cluster, as one task sees them."""

    @property
    def throughput(self) -> WallClock:
        """What has been trained so far, on all tasks."""

    @property
    def width(self) -> int:
        """How many jobs the workers train at once."""

    def answer(self, opening: Opening, job: Job | None, what: str) -> Flow[Answer]:
        """Ask for a job until some worker has done it."""


@dataclass(frozen=True, slots=True)
class OnCluster:
    """One task on a cluster.

    Args:
        cluster: where it is trained.
        opening: how workers open it.
        known: what the first one found out.
    """

    cluster: Answering
    opening: Opening
    known: Known

    @property
    def throughput(self) -> WallClock:
        """What has been trained so far, on all tasks."""
        return self.cluster.throughput

    def train(self, job: Job) -> Flow[Trained]:
        """Train a job, every population by itself."""
        populations = job.populations(self.known.population, self.known.plan.batch_size)
        records: dict[int, Any] = {}
        seconds: dict[int, float] = {}

        def part(places: list[int]) -> Flow[None]:
            one = job.of(places)
            names = ", ".join(candidate.name for candidate in one.candidates)
            answer = yield from self.cluster.answer(
                self.opening, one, f"task {self.opening.task!r}, {names}, seed {one.seed}"
            )
            assert answer.records is not None
            for place, record in zip(places, answer.records, strict=True):
                records[place] = record
                seconds[place] = answer.seconds / len(places)
                self.cluster.throughput.examples += record.steps * self.known.plan.batch_size

        yield from side_by_side(part(places) for places in populations)
        places = range(len(job.candidates))
        return Trained([records[place] for place in places], [seconds[place] for place in places])

    def measured_speed(self, candidate: Candidate, jobs_at_once: int) -> float:
        """Return the training examples per second of all workers together, if there is work for all of them."""
        return self.known.speed * self.cluster.width
