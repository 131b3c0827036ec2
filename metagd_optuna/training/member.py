"""One training run on the host: observations for the controller, the rates that it returns, and the run's record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from metagd_optuna.contracts import (
    Context,
    Curve,
    FloatArray,
    Observation,
    Probe,
    Probing,
    RunRecord,
    TrainingJob,
    Validation,
)

# step, loss, accuracy, balanced accuracy, AUC
Row = tuple[int, float, float, float, float]


@dataclass(slots=True)
class Member:
    """A training job in progress.

    Args:
        index: its place among the jobs.
        job: what trains.
        state: of the controller.
        observation: what the controller sees next.
    """

    index: int
    job: TrainingJob
    state: Any
    observation: Observation
    rates: list[float] = field(default_factory=list)
    update_steps: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    validation: list[Row] = field(default_factory=list)
    test: list[Row] = field(default_factory=list)
    steps: int = 0
    stopped: bool = False
    diverged: bool = False

    @classmethod
    def enter(cls, index: int, job: TrainingJob, context: Context) -> Member:
        """Return the member at the start of its training."""
        return cls(index, job, job.controller.start(context), Observation(step=0))

    @property
    def training(self) -> bool:
        """Whether it still takes part."""
        return not (self.stopped or self.diverged)

    @property
    def probes(self) -> int:
        """How many probes its controller makes, at most."""
        return self.job.controller.probes if isinstance(self.job.controller, Probing) else 0

    def trial_rates(self, step: int) -> tuple[float, ...]:
        """Return the rates that are to be probed before the controller is asked; none for no probe."""
        controller = self.job.controller
        return controller.trial_rates(self.state, step) if self.training and isinstance(controller, Probing) else ()

    def observe_probe(self, probe: Probe) -> None:
        """Take note of a probe of the coming step."""
        self.observation = replace(self.observation, probe=probe)

    @property
    def curve(self) -> Curve:
        """What was measured on the validation part so far."""
        return curve_of(self.validation)

    def rates_for(self, steps: int) -> FloatArray:
        """Ask the controller for the rates until the next update, shape (steps,); zeros once it no longer trains.

        Raises:
            ValueError: if the controller answers with anything but ``steps`` finite rates of at least 0.
        """
        if not self.training:
            return np.zeros(steps)
        rates, self.state = self.job.controller.rates(self.state, self.observation, steps)
        if rates.shape != (steps,) or not np.all(np.isfinite(rates)) or np.any(rates < 0):
            raise ValueError(
                f"controller of {self.job.name!r} answered {rates!r}; it must answer with {steps} finite rates of at "
                "least 0"
            )
        self.observation = replace(self.observation, probe=None)
        self.rates.extend(float(rate) for rate in rates)
        return rates

    def observe_update(self, step: int, loss: float, accuracy: float) -> None:
        """Take note of the mean loss and accuracy; a loss that is not finite means divergence."""
        self.steps = step
        if not np.isfinite(loss):
            self.diverged = True
            return
        self.update_steps.append(step)
        self.train_loss.append(loss)
        self.train_accuracy.append(accuracy)
        self.observation = replace(
            self.observation, step=step, train_loss=loss, train_accuracy=accuracy, rate=self.rates[-1]
        )

    def observe_evaluation(self, validation: Row, test: Row | None) -> None:
        """Take note of an evaluation, ``test`` for the record alone; a loss that is not finite means divergence."""
        if not all(np.isfinite(row[1]) for row in (validation, test) if row):
            self.diverged = True
            return
        self.validation.append(validation)
        self.observation = replace(self.observation, validation=Validation(*validation))
        if test:
            self.test.append(test)

    def record(self, seed: int, budget: int, *, test: bool) -> RunRecord:
        """Return what the training leaves behind."""
        return RunRecord(
            candidate=self.job.name,
            seed=seed,
            budget=budget,
            steps=self.steps,
            validation=self.curve,
            test=curve_of(self.test) if test else None,
            update_steps=tuple(self.update_steps),
            train_loss=tuple(self.train_loss),
            train_accuracy=tuple(self.train_accuracy),
            rates=tuple(self.rates),
            diverged=self.diverged,
        )


def curve_of(rows: Sequence[Row]) -> Curve:
    """Return the rows of all evaluations as one curve."""
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * 5
    return Curve(*columns)
