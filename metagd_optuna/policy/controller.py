"""A meta-policy bound to a task: at every rate update, observation to performance to difficulty to rates."""

from __future__ import annotations

from typing import Any, NamedTuple

from metagd_optuna.contracts import Context, FloatArray, MetaGDError, Observation
from metagd_optuna.policy.complexities import complexity_of, probed_complexity, told_by
from metagd_optuna.policy.evaluation import advanced, difficulty_of
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.probes import FIRST_PROBE, SPACING, critical_rate, next_probe, trial_rates
from metagd_optuna.policy.rate_form import FormedRule, RateInputs
from metagd_optuna.policy.signal import SIGNALS, keep, measure, reference, smooth


class PolicyState(NamedTuple):
    """What a policy carries from one rate update to the next.

    Args:
        performance, difficulty: p and d behind the last rate; None until something has been seen (and
            difficulty always, if the rule has no f).
        rate: the rate of the last step; None at the start.
        complexity, chance, budget: of the run; ``chance`` is the signal at chance level.
        smoothed: moving average of the signal.
        train_loss: training loss since the last rate update, for ``improvement``.
        validation_step: step of the latest validation that was used, -1 if none.
        memory: what a form of g remembers.
        centre: rate around which the next probe tries some, None before the first; next_probe: its step, or any later.
        probed: how many probes there were; told: sum of what they told of complexity.
    """

    performance: float | None
    difficulty: float | None
    rate: float | None
    complexity: float
    chance: float
    budget: int
    smoothed: float | None = None
    train_loss: float | None = None
    validation_step: int = -1
    memory: Any = None
    centre: float | None = None
    next_probe: int = FIRST_PROBE
    probed: int = 0
    told: float = 0.0


class PolicyController:
    """Sets the rate by a meta-policy.

    Until anything has been seen, performance counts as 0, since the network is taken to be at chance level, unless the
    form of g says otherwise.

    Args:
        policy: the rule.
    """

    def __init__(self, policy: FormedRule) -> None:
        self.policy = policy
        self._g = policy.rate_form
        self._form_probes = self._g.probes(policy.rate_coefficients)
        self._complexity_probes = policy.complexity_probes
        self._probes = max(self._form_probes, self._complexity_probes)
        self._bounds = OPTIMIZERS[policy.optimizer].bounds
        self._keep = keep(policy.half_life)
        self._uses_validation = SIGNALS[policy.signal].uses_validation
        self._improvement_scale = 1.0 if policy.improvement_scale is None else policy.improvement_scale

    def __reduce__(self) -> tuple[type[PolicyController], tuple[FormedRule]]:
        """Be copied by the policy alone: the forms are functions that cannot be."""
        return PolicyController, (self.policy,)

    def start(self, context: Context) -> PolicyState:
        """Return the state before any observation.

        Raises:
            MetaGDError: if the context is of another optimizer, or its complexity or class frequencies are impossible.
        """
        return start_of(self.policy, context)

    @property
    def probes(self) -> int:
        """How many probes the form of g looks at, or complexity is measured by."""
        return self._probes

    def trial_rates(self, state: PolicyState, step: int) -> tuple[float, ...]:
        """Return the rates that a probe is to try before this step; none if there is to be no probe."""
        if state.probed >= self._probes or state.rate is None or step < state.next_probe:
            return ()
        return trial_rates(SPACING * state.rate if state.centre is None else state.centre)

    def rates(self, state: PolicyState, observation: Observation, steps: int) -> tuple[FloatArray, PolicyState]:
        """Return one rate per step until the next update, shape (steps,), and the new state."""
        policy, probe = self.policy, observation.probe
        complexity, told = state.complexity, state.told
        if probe is not None and state.probed < self._complexity_probes:
            told += told_by(policy.complexity, probe)
            complexity = probed_complexity(policy.complexity, told / (state.probed + 1))
        value = measure(policy.signal, observation, state.chance, state.train_loss)
        smoothed = state.smoothed if value is None else smooth(state.smoothed, value, self._keep)
        performance = None if smoothed is None else min(max(smoothed / self._improvement_scale, 0.0), 1.0)
        p = self._g.first_performance if performance is None else performance
        d = difficulty_of(policy, complexity, p)
        measured = -1 if observation.validation is None else observation.validation.step
        fresh = value is not None and (not self._uses_validation or measured != state.validation_step)
        low, high = self._bounds
        step = observation.step
        seen = probe if state.probed < self._form_probes else None
        now = RateInputs(d or 0.0, p, fresh, step, steps, state.budget, state.rate, low, high, seen)
        rates, memory = advanced(policy, now, state.memory)
        return rates, PolicyState(
            performance,
            None if performance is None else d,
            float(rates[-1]),
            complexity,
            state.chance,
            state.budget,
            smoothed,
            observation.train_loss,
            measured,
            memory,
            state.centre if probe is None else critical_rate(probe),
            state.next_probe if probe is None else next_probe(step),
            state.probed + (probe is not None),
            told,
        )


def start_of(policy: FormedRule, context: Context) -> PolicyState:
    """Return the state of a policy before any observation, after checking that it fits the context."""
    if context.optimizer != policy.optimizer:
        raise MetaGDError(
            f"the policy sets the rate of {policy.optimizer}, but the optimizer is {context.optimizer}; "
            f"train with {policy.optimizer}, or load a policy for {context.optimizer}"
        )
    complexity = complexity_of(policy.complexity, context)
    return PolicyState(None, None, None, complexity, reference(policy.signal, context), context.steps)
