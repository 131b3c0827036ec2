"""Controls that show what mattered: the rates without feedback, or the rule with p and d held, or with c held."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from metagd_optuna.contracts import Context, FloatArray, MetaGDError, Observation, RunRecord, Validation
from metagd_optuna.policy.coefficients import BATCH_SIZE, known
from metagd_optuna.policy.contender import Contender
from metagd_optuna.policy.controller import PolicyController, PolicyState, start_of
from metagd_optuna.policy.formula import batches_text, number_latex, number_text
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.open_loop import Replay
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.rate_form import Moment


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
        self._form = policy.rate_form
        self._bounds = OPTIMIZERS[policy.optimizer].bounds

    def start(self, context: Context) -> PolicyState:
        """Return the state before any observation."""
        return start_of(self.policy, context)._replace(performance=self.performance, difficulty=self.difficulty)

    def rates(self, state: PolicyState, observation: Observation, steps: int) -> tuple[FloatArray, PolicyState]:
        """Return one rate per step of the coming tick, shape (steps,), and the new state."""
        low, high = self._bounds
        now = Moment(
            self.difficulty, self.performance, False, observation.step, steps, state.budget, state.rate, low, high
        )
        rates, memory = self._form(now, self.policy.rate_coefficients, state.memory)
        return rates, state._replace(rate=float(rates[-1]), memory=memory)


def observations_of(record: RunRecord) -> Iterator[tuple[Observation, int]]:
    """Yield what the controller of a run saw at each tick, and the steps of the tick that followed.

    The validation seen at a tick is the latest one measured at or before its step.
    """
    curve = record.validation
    evaluations = [
        Validation(*values)
        for values in zip(curve.steps, curve.loss, curve.accuracy, curve.balanced_accuracy, curve.auc, strict=True)
    ]
    if not record.tick_ends:
        return
    yield Observation(0), record.tick_ends[0]
    latest, seen = None, 0
    for tick, (step, end) in enumerate(zip(record.tick_ends, record.tick_ends[1:], strict=False)):
        while seen < len(evaluations) and evaluations[seen].step <= step:
            latest, seen = evaluations[seen], seen + 1
        yield (
            Observation(step, record.train_loss[tick], record.train_accuracy[tick], latest, record.rates[step - 1]),
            end - step,
        )


def replay_of(
    records: Sequence[RunRecord], optimizer: str, name: str = "replay", batch_size: int | None = None
) -> Contender:
    """Return a contender that plays the geometric mean of the rates of several runs.

    At each step the mean is over the runs that came so far; after the longest, the last rate holds.

    Raises:
        MetaGDError: if no run took a step.
    """
    known(optimizer, OPTIMIZERS, "optimizer")
    traces = [np.asarray(record.rates, dtype=np.float64) for record in records if record.rates]
    if not traces:
        raise MetaGDError("a replay needs the rates of one run or more; none of the given runs took a step")
    logs = np.full((len(traces), max(trace.size for trace in traces)), np.nan)
    with np.errstate(divide="ignore"):  # a rate of 0 makes the mean 0
        for row, trace in zip(logs, traces, strict=True):
            row[: trace.size] = np.log(trace)
    return replay_contender(np.exp(np.nanmean(logs, axis=0)).tolist(), optimizer, name, batch_size)


def replay_contender(
    rates: Sequence[float], optimizer: str, name: str = "replay", batch_size: int | None = None
) -> Contender:
    """Return a contender that plays ``rates``, one per step of the study."""
    controller = Replay(rates)
    size = None if batch_size is None else int(BATCH_SIZE.check("batch_size", batch_size, name))
    chosen = {} if size is None else {"batch_size": size}
    return Contender(
        name=name,
        kind="control",
        optimizer=optimizer,
        controller=controller,
        formula=f"lr as recorded, {len(controller.recorded)} steps; {optimizer}{batches_text(size)}",
        latex="lr = \\text{as recorded}",
        settings={"replay": {"optimizer": optimizer, "rates": list(controller.recorded), **chosen}},
        batch_size=size,
    )


def mean_state(policy: MetaPolicy, context: Context, records: Sequence[RunRecord]) -> tuple[float, float] | None:
    """Return the means of p and d over several runs of a policy, to hold them there in a ``frozen_contender``.

    Both are worked out again by playing the runs' observations to the policy's controller.

    Args:
        policy: the rule that set the rate of the runs.
        context: what it knew before them.
        records: the runs.

    Returns:
        p and d; None if the policy never saw anything, as in runs that diverge at once.
    """
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


def frozen_contender(policy: MetaPolicy, performance: float, difficulty: float, name: str = "frozen") -> Contender:
    """Return a contender that holds p and d of a policy at the given values."""
    return Contender(
        name=name,
        kind="control",
        optimizer=policy.optimizer,
        controller=Frozen(policy, performance, difficulty),
        formula=f"{policy.formula}; p held at {number_text(performance)}, d at {number_text(difficulty)}",
        latex=f"{policy.latex},\\; p = {number_latex(performance)},\\; d = {number_latex(difficulty)}",
        settings={"frozen": {"policy": policy.to_dict(), "performance": performance, "difficulty": difficulty}},
        batch_size=policy.batch_size,
    )


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
        self._controller = PolicyController(policy)

    def start(self, context: Context) -> PolicyState:
        """Return the state before any observation."""
        return self._controller.start(replace(context, complexity=self.complexity))

    def rates(self, state: PolicyState, observation: Observation, steps: int) -> tuple[FloatArray, PolicyState]:
        """Return one rate per step of the coming tick, shape (steps,), and the new state."""
        return self._controller.rates(state, observation, steps)


def constant_complexity(policy: MetaPolicy, complexity: float, name: str = "constant-complexity") -> Contender:
    """Return a contender that applies a policy as if the task had the given complexity.

    If it is as fast as the policy, what the policy makes of c did not matter.
    """
    return Contender(
        name=name,
        kind="control",
        optimizer=policy.optimizer,
        controller=ConstantComplexity(policy, complexity),
        formula=f"{policy.formula}; c held at {number_text(complexity)}",
        latex=f"{policy.latex},\\; c = {number_latex(complexity)}",
        settings={"constant-complexity": {"policy": policy.to_dict(), "complexity": complexity}},
        batch_size=policy.batch_size,
    )
