from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import Context, Curve, MetaGDError, Observation, RunRecord, Validation
from metagd_optuna.policy import (
    Frozen,
    MetaPolicy,
    PolicyController,
    candidate_from_settings,
    constant_complexity,
    frozen_candidate,
    mean_state,
    observations_of,
    replay_of,
)
from metagd_optuna.policy.schedules import cosine

CONTEXT = Context(0.6, (0.5, 0.5), "adam", 8, 4.0)
POLICY = MetaPolicy("adam", "power", {"lr0": 1e-2, "a": 1.0, "b": 0.0}, "mix", {"w": 0.5})


def record(rates, update_steps, losses, evaluations=((2, 0.5), (5, 0.4)), diverged=False):
    steps, scores = tuple(zip(*evaluations, strict=True)) if evaluations else ((), ())
    curve = Curve(steps, scores, scores, scores, scores)
    return RunRecord(
        "x", 0, 8, len(rates), curve, None, update_steps, losses, tuple(0.5 for _ in losses), tuple(rates), diverged
    )


RECORD = record([1e-3, 2e-3, 3e-3, 4e-3, 5e-3], (2, 4, 5), (0.6, 0.4, 0.2))


def seen(step, loss, score_step, score, rate):
    return Observation(step, loss, 0.5, Validation(score_step, score, score, score, score), rate)


def test_the_observations_of_a_run():
    assert list(observations_of(RECORD)) == [
        (Observation(0), 2),
        (seen(2, 0.6, 2, 0.5, 2e-3), 2),
        (seen(4, 0.4, 2, 0.5, 4e-3), 1),
    ]


def test_a_run_without_ticks_or_evaluations():
    assert list(observations_of(record([], (), (), ()))) == []
    assert list(observations_of(record([1e-3] * 4, (2, 4), (0.6, 0.4), ()))) == [
        (Observation(0), 2),
        (Observation(2, 0.6, 0.5, None, 1e-3), 2),
    ]


def rates_of(controller, ticks, context=CONTEXT):
    state = controller.start(context)
    rates = []
    for step, steps in ticks:
        array, state = controller.rates(state, Observation(step, 0.1, 0.9), steps)
        rates += array.tolist()
    return rates


def test_a_replay_is_the_geometric_mean_of_what_is_there_and_holds_the_last():
    other = record([4e-3, 2e-3], (2,), (0.5,), ())
    replay = replay_of([RECORD, other], "adam")
    expected = [2e-3, 2e-3, 3e-3, 4e-3, 5e-3, 5e-3, 5e-3]
    np.testing.assert_allclose(rates_of(replay.controller, [(0, 3), (3, 4)]), expected)
    assert (replay.kind, replay.optimizer, replay.feedback) == ("control", "adam", False)


def test_a_replay_of_a_rate_of_zero_is_zero():
    zero = record([0.0, 2e-3], (2,), (0.5,), ())
    np.testing.assert_allclose(rates_of(replay_of([RECORD, zero], "adam").controller, [(0, 2)]), [0.0, 2e-3])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(1e-5, 3e-2), min_size=1, max_size=9))
def test_a_replay_of_one_run_is_that_run(rates):
    replay = replay_of([record(rates, (len(rates),), (0.5,), ())], "adam")
    np.testing.assert_allclose(rates_of(replay.controller, [(0, len(rates))]), rates, rtol=1e-12)


@pytest.mark.parametrize("records", [[], [record([], (), (), ())]])
def test_a_replay_of_nothing_is_refused(records):
    with pytest.raises(MetaGDError, match="none of the given runs took a step"):
        replay_of(records, "adam")
    assert mean_state(POLICY, CONTEXT, records) is None


def frozen_of(policy, context, records):
    return frozen_candidate(policy, *mean_state(policy, context, records))


def test_frozen_holds_the_means_of_what_the_controller_saw():
    """By hand: p = 1 - L / log 2 at the two rate updates that were followed by another; d = 0.3 + (1 - p) / 2."""
    frozen = frozen_of(POLICY, CONTEXT, [RECORD])
    p = np.mean([1 - 0.6 / np.log(2), 1 - 0.4 / np.log(2)])
    assert frozen.rule.performance == pytest.approx(p)
    assert frozen.rule.difficulty == pytest.approx(0.3 + (1 - p) / 2)
    rates = rates_of(frozen.controller, [(0, 2), (2, 2), (4, 4)])
    np.testing.assert_allclose(rates, [1e-2 * (1 - (0.3 + (1 - p) / 2))] * 8)
    twice = frozen_of(POLICY, CONTEXT, [RECORD, RECORD])
    assert twice.settings == frozen.settings


def test_a_policy_whose_complexity_is_of_probes_has_no_frozen_one_unless_it_does_not_read_it():
    of_probes = {"complexity": "critical-rate"}
    assert mean_state(replace(POLICY, **of_probes), CONTEXT, [RECORD]) is None
    gap = replace(POLICY, difficulty="gap", difficulty_coefficients={})
    assert mean_state(replace(gap, **of_probes), CONTEXT, [RECORD]) == mean_state(gap, CONTEXT, [RECORD])


def test_a_schedule_in_a_frozen_policy_keeps_moving():
    cosine_rule = {"base": "cosine", "lr0": 1e-3, "horizon": 1.0, "warmup": 0.0, "k": 2.0}
    frozen = Frozen(MetaPolicy("adam", "schedule", cosine_rule, "mix", {"w": 0.5}), 0.3, 1.0)
    rates = rates_of(frozen, [(0, 2), (2, 2), (4, 2)])
    np.testing.assert_allclose(rates, cosine(np.arange(6.0), 1e-3, 8, 0.0) * np.e)


def test_a_frozen_rule_that_multiplies_stays():
    coefficients = {"lr0": 1e-3, "up": 0.3, "down": 1.0, "theta": 0.01, "patience": 0, "cooldown": 0}
    frozen = Frozen(MetaPolicy("adam", "multiplicative", coefficients), 0.9, 0.0)
    assert rates_of(frozen, [(0, 2), (2, 2)]) == [1e-3] * 4


def test_frozen_at_what_was_seen_is_the_policy_where_nothing_changes():
    """The degenerate case: a run whose loss never moves."""
    loss = 0.35
    still = record([1e-3] * 8, (2, 4, 6, 8), (loss,) * 4, ())
    frozen = frozen_of(POLICY, CONTEXT, [still]).controller
    policy = PolicyController(POLICY)
    state, other = policy.start(CONTEXT), frozen.start(CONTEXT)
    for tick, (observation, steps) in enumerate(observations_of(still)):
        ours, state = policy.rates(state, observation, steps)
        theirs, other = frozen.rates(other, observation, steps)
        if tick > 0:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize(("p", "d"), [(-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)])
def test_what_is_held_is_in_the_unit_interval(p, d):
    with pytest.raises(MetaGDError, match="must be a number from 0 to 1"):
        Frozen(POLICY, p, d)


def test_constant_complexity_is_the_same_rule_on_a_task_of_that_complexity():
    blind = constant_complexity(POLICY, 0.2)
    ticks = [(0, 3), (3, 4)]
    there = rates_of(PolicyController(POLICY), ticks, replace(CONTEXT, complexity=0.2))
    assert rates_of(blind.controller, ticks) == there
    assert rates_of(PolicyController(POLICY), ticks) != there
    assert (blind.kind, blind.optimizer) == ("control", "adam")
    assert blind.formula.endswith("; c held at 0.2")


def test_constant_complexity_comes_back_from_its_settings():
    blind = constant_complexity(POLICY, 0.2)
    again = candidate_from_settings("blind", blind.settings)
    assert (again.name, again.kind, again.settings) == ("blind", "control", blind.settings)
    assert rates_of(again.controller, [(0, 2)]) == rates_of(blind.controller, [(0, 2)])


@pytest.mark.parametrize(
    "control",
    [
        lambda policy: replay_of([RECORD], policy.optimizer, batch_size=policy.batch_size),
        lambda policy: frozen_candidate(policy, 0.5, 0.5),
        lambda policy: constant_complexity(policy, 0.2),
    ],
    ids=["replay", "frozen", "constant-complexity"],
)
@pytest.mark.parametrize("batch_size", [None, 8])
def test_controls_train_with_the_batch_of_their_policy(control, batch_size):
    made = control(replace(POLICY, batch_size=batch_size))
    again = candidate_from_settings(made.name, made.settings)
    assert made.batch_size == again.batch_size == batch_size
    assert ("batches of 8" in made.formula) == ("batches of 8" in again.formula) == (batch_size == 8)


def test_a_replay_of_a_batch_that_no_step_can_have_is_refused():
    with pytest.raises(MetaGDError, match='replay: batch_size is "8"; allowed is a whole number from 1 to 4,096'):
        replay_of([RECORD], "adam", batch_size="8")


@pytest.mark.parametrize("complexity", [-0.1, 1.1, float("nan")])
def test_an_impossible_complexity_is_refused(complexity):
    with pytest.raises(MetaGDError, match="a number from 0 to 1"):
        constant_complexity(POLICY, complexity)
