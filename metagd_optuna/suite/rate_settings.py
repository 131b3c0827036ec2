"""What is trained on every workload: optimizers at six rates, constant or under a schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace

from metagd_optuna.contracts import Controller, TrainingJob
from metagd_optuna.policy import ScheduleController
from metagd_optuna.suite.fixed_rules import REFERENCE_BATCH
from metagd_optuna.suite.second_moment import optimizer_at

RATES = (0.0003, 0.0008, 0.0025, 0.0045, 0.011, 0.026)
ADAM, SCHEDULE_FREE = "adam", "schedule-free-adamw-r1"
# One setting for all: the warm-ups that their authors and our own runs recommend, over the whole budget.
WARMUPS = {"constant": 0.0, "cosine": 0.1, "one-cycle": 0.3}


@dataclass(frozen=True, slots=True)
class RateSetting:
    """An optimizer, a schedule and its highest rate.

    Args:
        optimizer: a key of ``OPTIMIZERS``.
        schedule: a key of ``WARMUPS``.
        rate: the highest.
        scaled_memory: whether beta_2 is 0.999^(B/32).
    """

    optimizer: str
    schedule: str
    rate: float
    scaled_memory: bool = False

    @property
    def family(self) -> str:
        """What it is called without its rate."""
        return f"{self.optimizer} {self.schedule}{' beta_2^(B/32)' if self.scaled_memory else ''}"

    @property
    def name(self) -> str:
        """What its runs are stored under.

        >>> RateSetting("adam", "cosine", 0.0025).name
        'adam cosine 0.0025'
        """
        return f"{self.family} {self.rate:g}"

    def at(self, batch_size: int) -> RateSetting:
        """Return it, or what is the same at this batch size and needs no runs of its own."""
        return replace(self, scaled_memory=False) if batch_size == REFERENCE_BATCH else self

    def job(self, batch_size: int) -> TrainingJob:
        """Return it as something to train with batches of this size."""
        controller: Controller = ScheduleController(self.schedule, self.rate, 1.0, WARMUPS[self.schedule])
        optimizer = optimizer_at(self.optimizer, batch_size) if self.scaled_memory else self.optimizer
        return TrainingJob(self.name, controller, optimizer)


CONSTANTS = tuple(RateSetting(optimizer, "constant", rate) for optimizer in (ADAM, SCHEDULE_FREE) for rate in RATES)
SCHEDULED = tuple(RateSetting(ADAM, schedule, rate) for schedule in ("cosine", "one-cycle") for rate in RATES)
SCALED_MEMORY = tuple(replace(each, scaled_memory=True) for each in CONSTANTS)
# What one would take for any network: the rate that the authors of the optimizer recommend.
PRESENT = RateSetting(SCHEDULE_FREE, "constant", 0.0025)
