"""Controls that show what mattered: the rates without feedback, or the rule with p and d held, or with c held."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from metagd_optuna.contracts import Context, FloatArray, MetaGDError, Observation, RunRecord, Validation
from metagd_optuna.models import Row, checked
from metagd_optuna.policy.candidate import Candidate
from metagd_optuna.policy.coefficients import BATCH_SIZE
from metagd_optuna.policy.complexities import TASK
from metagd_optuna.policy.controller import PolicyController, PolicyState, start_of
from metagd_optuna.policy.document import Rule
from metagd_optuna.policy.evaluation import advanced
from metagd_optuna.policy.formula import batches_text, number_latex, number_text
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.open_loop import Replay
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.rate_form import RateInputs
from metagd_optuna.policy.schema import named


class Frozen:
    """Sets the rate by a meta-policy whose performance and difficulty never change; a schedule in it keeps moving.

    A form that multiplies the last rate sees nothing new, so it stays at its first rate.

    Args:
        policy: the rule.
        performance, difficulty: p and d to hold, in [0, 1].
    """

    def __init__(self, policy: MetaPolicy, performance: float, difficulty: float) -> None:
        for name, value in (("performance", performance), ("difficulty", difficulty)):
            if not 0 <= value <= 1:
                raise MetaGDError(f"{name} is {value!r}; it must be a number from 0 to 1")
        self.policy = policy
        self.performance = performance
        self.difficulty = difficulty
        self._bounds = OPTIMIZERS[policy.optimizer].bounds

    def start(self, context: Context) -> PolicyState:
        """Return the state before any observation."""
        return start_of(self.policy, context)._replace(performance=self.performance, difficulty=self.difficulty)

    def rates(self, state: PolicyState, observation: Observation, steps: int) -> tuple[FloatArray, PolicyState]:
        """Return one rate per step until the next update, shape (steps,), and the new state."""
        low, high = self._bounds
        now = RateInputs(
            self.difficulty, self.performance, False, observation.step, steps, state.budget, state.rate, low, high
        )
        rates, memory = advanced(self.policy, now, state.memory)
        return rates, state._replace(rate=float(rates[-1]), memory=memory)


Share = Annotated[float, Field(ge=0, le=1)]


class RecordedRates(Rule):
    """The rates of a training, or the geometric mean of several, played without looking."""

    compared_as: ClassVar[str] = "control"

    kind: Literal["replay"] = "replay"
    optimizer: str = named(OPTIMIZERS)
    rates: Row[Annotated[float, Field(ge=0)]] = Field(min_length=1)
    batch_size: int | None = Field(None, ge=int(BATCH_SIZE.low), le=int(BATCH_SIZE.high))

    @field_validator("optimizer")
    @classmethod
    def _known(cls, given: str) -> str:
        return OPTIMIZERS.validate(given, "optimizer")

    @property
    def formula(self) -> str:
        """The rule as plain text."""
        return f"lr as recorded, {len(self.rates)} steps; {self.optimizer}{batches_text(self.batch_size)}"

    @property
    def latex(self) -> str:
        """The rule as LaTeX."""
        return "lr = \\text{as recorded}"

    def controller(self) -> Replay:
        """Return what sets the rate by this rule."""
        return Replay(self.rates)


class _OfPolicy(Rule):
    """A meta-policy of which something is held."""

    compared_as: ClassVar[str] = "control"

    policy: MetaPolicy

    @property
    def optimizer(self) -> str:
        """What it sets the rate of."""
        return self.policy.optimizer

    @property
    def batch_size(self) -> int | None:
        """Examples per step of the optimizer, as for the policy."""
        return self.policy.batch_size

    @property
    def timed(self) -> bool:
        """Whether the rate depends on where in the run it is."""
        return self.policy.timed


class FrozenPolicy(_OfPolicy):
    """A meta-policy whose performance and difficulty are held."""

    kind: Literal["frozen"] = "frozen"
    performance: Share
    difficulty: Share

    @property
    def formula(self) -> str:
        """The rule as plain text."""
        p, d = number_text(self.performance), number_text(self.difficulty)
        return f"{self.policy.formula}; p held at {p}, d at {d}"

    @property
    def latex(self) -> str:
        """The rule as LaTeX."""
        p, d = number_latex(self.performance), number_latex(self.difficulty)
        return f"{self.policy.latex},\\; p = {p},\\; d = {d}"

    def controller(self) -> Frozen:
        """Return what sets the rate by this rule."""
        return Frozen(self.policy, self.performance, self.difficulty)


class FixedComplexity(_OfPolicy):
    """A meta-policy that is told the same complexity on every task."""

    kind: Literal["constant-complexity"] = "constant-complexity"
    complexity: Share

    @property
    def reads(self) -> str | None:
        """What the policy reads."""
        return self.policy.reads

    @property
    def formula(self) -> str:
        """The rule as plain text."""
        return f"{self.policy.formula}; c held at {number_text(self.complexity)}"

    @property
    def latex(self) -> str:
        """The rule as LaTeX."""
        return f"{self.policy.latex},\\; c = {number_latex(self.complexity)}"

    def controller(self) -> ConstantComplexity:
        """Return what sets the rate by this rule."""
        return ConstantComplexity(self.policy, self.complexity)


def observations_of(record: RunRecord) -> Iterator[tuple[Observation, int]]:
    """Yield what the controller of a run saw at each rate update, and the steps until the next.

    The validation seen at a rate update is the latest one measured at or before its step.
    """
    curve = record.validation
    evaluations = [
        Validation(*values)
        for values in zip(curve.steps, curve.loss, curve.accuracy, curve.balanced_accuracy, curve.auc, strict=True)
    ]
    if not record.update_steps:
        return
    yield Observation(0), record.update_steps[0]
    latest, seen = None, 0
    for place, (step, end) in enumerate(zip(record.update_steps, record.update_steps[1:], strict=False)):
        while seen < len(evaluations) and evaluations[seen].step <= step:
            latest, seen = evaluations[seen], seen + 1
        yield (
            Observation(step, record.train_loss[place], record.train_accuracy[place], latest, record.rates[step - 1]),
            end - step,
        )


def replay_of(
    records: Sequence[RunRecord], optimizer: str, name: str = "replay", batch_size: int | None = None
) -> Candidate:
    """Return a candidate that plays the geometric mean of the rates of several runs.

    At each step the mean is over the runs that came so far; after the longest, the last rate holds.

    Raises:
        MetaGDError: if no run took a step.
    """
    OPTIMIZERS.validate(optimizer, "optimizer")
    traces = [np.asarray(record.rates, dtype=np.float64) for record in records if record.rates]
    if not traces:
        raise MetaGDError("a replay needs the rates of one run or more; none of the given runs took a step")
    logs = np.full((len(traces), max(trace.size for trace in traces)), np.nan)
    with np.errstate(divide="ignore"):  # a rate of 0 makes the mean 0
        for row, trace in zip(logs, traces, strict=True):
            row[: trace.size] = np.log(trace)
    return replay_candidate(np.exp(np.nanmean(logs, axis=0)).tolist(), optimizer, name, batch_size)


def replay_candidate(
    rates: Sequence[float], optimizer: str, name: str = "replay", batch_size: int | None = None
) -> Candidate:
    """Return a candidate that plays ``rates``, one per step of the study."""
    table = {"optimizer": optimizer, "rates": list(map(float, rates)), "batch_size": batch_size}
    return Candidate(name, checked(RecordedRates, table, name))


def mean_state(policy: MetaPolicy, context: Context, records: Sequence[RunRecord]) -> tuple[float, float] | None:
    """Return the means of p and d over several runs of a policy, to hold them there in a ``frozen_candidate``.

    Both are worked out again by playing the runs' observations to the policy's controller.

    Args:
        policy: the rule that set the rate of the runs.
        context: what it knew before them.
        records: the runs.

    Returns:
        p and d; None if the policy never saw anything, as in runs that diverge at once, or if its complexity is of
        probes, which records do not hold.
    """
    if policy.complexity_probes:
        return None
    controller = PolicyController(policy)
    performances: list[float] = []
    difficulties: list[float] = []
    for record in records:
        state = controller.start(context)
        for observation, steps in observations_of(record):
            _, state = controller.rates(state, observation, steps)
            if state.performance is not None:
                performances.append(state.performance)
                difficulties.append(state.difficulty or 0.0)
    if not performances:
        return None
    count = len(performances)
    return math.fsum(performances) / count, math.fsum(difficulties) / count


def frozen_candidate(policy: MetaPolicy, performance: float, difficulty: float, name: str = "frozen") -> Candidate:
    """Return a candidate that holds p and d of a policy at the given values."""
    table = {"policy": policy, "performance": performance, "difficulty": difficulty}
    return Candidate(name, checked(FrozenPolicy, table, name))


class ConstantComplexity:
    """Sets the rate by a meta-policy that is told the same complexity on every task.

    Args:
        policy: the rule.
        complexity: c to tell it, in [0, 1].
    """

    def __init__(self, policy: MetaPolicy, complexity: float) -> None:
        if not 0 <= complexity <= 1:
            raise MetaGDError(f"complexity is {complexity!r}; it must be a number from 0 to 1")
        self.complexity = complexity
        # Whatever c is measured on, it is told.
        self._controller = PolicyController(replace(policy, complexity=TASK))

    @property
    def probes(self) -> int:
        """How many probes the policy looks at."""
        return self._controller.probes

    def trial_rates(self, state: PolicyState, step: int) -> tuple[float, ...]:
        """Return the rates that a probe is to try before this step; none if there is to be no probe."""
        return self._controller.trial_rates(state, step)

    def start(self, context: Context) -> PolicyState:
        """Return the state before any observation."""
        return self._controller.start(replace(context, complexity=self.complexity))

    def rates(self, state: PolicyState, observation: Observation, steps: int) -> tuple[FloatArray, PolicyState]:
        """Return one rate per step until the next update, shape (steps,), and the new state."""
        return self._controller.rates(state, observation, steps)


def constant_complexity(policy: MetaPolicy, complexity: float, name: str = "constant-complexity") -> Candidate:
    """Return a candidate that applies a policy as if the task had the given complexity.

    If it is as fast as the policy, what the policy makes of c did not matter.
    """
    return Candidate(name, checked(FixedComplexity, {"policy": policy, "complexity": complexity}, name))
