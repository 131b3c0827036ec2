"""What holds for every controller: each candidate joins one list, each meta-policy is drawn from the whole box."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import Context, MetaGDError, Observation, Validation
from metagd_optuna.policy import (
    ARTICLES,
    BASELINES,
    DEFAULTS,
    DIFFICULTY_FORMS,
    OPTIMIZERS,
    RATE_FORMS,
    SIGNALS,
    Categorical,
    MetaPolicy,
    PolicyController,
    article_candidate,
    baseline_from_params,
    candidate_from_settings,
    candidate_of,
    default_candidate,
    propose_meta_policy,
    suggest_baseline,
)
from metagd_optuna.policy.coefficients import middle
from metagd_optuna.policy.controls import frozen_candidate, replay_candidate

BUDGET, TICK = 60, 4
MODERATE = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
METRIC = st.floats(0, 1)
LOSS = st.one_of(st.floats(0, 3), st.sampled_from([float("inf"), float("nan")]))


@st.composite
def observations(draw):
    """Rate updates of a run: what was seen, first nothing, then losses of any kind and now and then a validation."""
    seen = [Observation(0)]
    validation = None
    for tick in range(1, draw(st.integers(2, 12))):
        if draw(st.booleans()):
            validation = Validation(tick * TICK, draw(LOSS), draw(METRIC), draw(METRIC), draw(METRIC))
        seen.append(Observation(tick * TICK, draw(LOSS), draw(METRIC), validation, 1e-3))
    return seen


def context_for(optimizer):
    return Context(0.6, (0.7, 0.3), optimizer, BUDGET, 7.5)


def value_of(draw):
    """Return a ``suggest`` that draws any point of the box."""

    def suggest(name, wanted):
        if isinstance(wanted, Categorical):
            return draw(st.sampled_from(wanted.choices))
        if wanted.integer:
            return draw(st.integers(int(wanted.low), int(wanted.high)))
        return draw(st.floats(wanted.low, wanted.high))

    return suggest


def any_policy(draw, rate, difficulties=tuple(DIFFICULTY_FORMS)):
    return propose_meta_policy(
        value_of(draw),
        difficulty_forms=difficulties,
        rate_forms=[rate],
        optimizers=tuple(OPTIMIZERS),
        signal=draw(st.sampled_from(tuple(SIGNALS))),
    )


def middle_policy(rate):
    return propose_meta_policy(
        lambda name, wanted: middle(wanted), difficulty_forms=["mix"], rate_forms=[rate], optimizers=["adam"]
    )


CANDIDATES = {
    **{name: suggest_baseline(name, lambda name, wanted: middle(wanted)) for name in BASELINES},
    **{name: default_candidate(name) for name in DEFAULTS},
    **{name: article_candidate(name) for name in ARTICLES},
    **{f"policy-{rate}": candidate_of(middle_policy(rate), f"policy-{rate}") for rate in RATE_FORMS},
    **{f"frozen-{rate}": frozen_candidate(middle_policy(rate), 0.4, 0.7, f"frozen-{rate}") for rate in RATE_FORMS},
    "replay": replay_candidate([1e-3, 2e-3, 5e-4], "adam"),
}


def play(controller, context, seen):
    """Return the rates of a run, after checking the contract at every rate update."""
    state = controller.start(context)
    rates = []
    for observation in seen:
        before = copy.deepcopy(state)
        array, new = controller.rates(state, observation, TICK)
        again, same = controller.rates(state, observation, TICK)
        np.testing.assert_array_equal(array, again)
        assert repr(new) == repr(same)  # repr, because a NaN that was seen does not equal itself
        assert repr(state) == repr(before)
        assert isinstance(state, tuple)
        assert array.shape == (TICK,)
        assert array.dtype == np.float64
        assert np.all(np.isfinite(array) & (array >= 0))
        rates.append(array)
        state = new
    return np.concatenate(rates)


@pytest.mark.parametrize("name", CANDIDATES)
@MODERATE
@given(seen=observations())
def test_every_candidate_keeps_the_contract(name, seen):
    candidate = CANDIDATES[name]
    rates = play(candidate.controller, context_for(candidate.optimizer), seen)
    if candidate.kind == "baseline":
        assert np.all(rates <= OPTIMIZERS[candidate.optimizer].bounds[1] * (1 + 1e-12))


@pytest.mark.parametrize("name", CANDIDATES)
@MODERATE
@given(seen=observations())
def test_every_candidate_comes_back_from_its_settings(name, seen):
    candidate = CANDIDATES[name]
    settings_ = json.loads(json.dumps(candidate.settings, allow_nan=False))
    again = candidate_from_settings(candidate.name, settings_)
    for field in ("name", "kind", "optimizer", "formula", "latex", "settings", "feedback", "steers_on_validation"):
        assert getattr(again, field) == getattr(candidate, field), field
    context = context_for(candidate.optimizer)
    np.testing.assert_array_equal(play(candidate.controller, context, seen), play(again.controller, context, seen))


@pytest.mark.parametrize("name", [name for name, candidate in CANDIDATES.items() if not candidate.feedback])
@MODERATE
@given(one=observations(), other=observations())
def test_without_feedback_nothing_seen_matters(name, one, other):
    candidate = CANDIDATES[name]
    ticks = min(len(one), len(other))
    context = context_for(candidate.optimizer)
    np.testing.assert_array_equal(
        play(candidate.controller, context, one[:ticks]), play(candidate.controller, context, other[:ticks])
    )


@pytest.mark.parametrize("rate", RATE_FORMS)
@MODERATE
@given(data=st.data(), seen=observations())
def test_every_meta_policy_keeps_the_contract_its_bounds_and_its_limit(rate, data, seen):
    policy = any_policy(data.draw, rate)
    rates = play(PolicyController(policy), context_for(policy.optimizer), seen)
    if RATE_FORMS[rate].bounded:
        low, high = OPTIMIZERS[policy.optimizer].bounds
        assert np.all((rates >= low) & (rates <= high))
        ticks = rates.reshape(-1, TICK)
        change = ticks[1:] / ticks[:-1, -1:]
        assert np.all((change <= 4 * (1 + 1e-12)) & (change >= 0.25 * (1 - 1e-12)))


@pytest.mark.parametrize("rate", RATE_FORMS)
@MODERATE
@given(data=st.data())
def test_every_meta_policy_comes_back_from_json_and_from_parameters(rate, data):
    policy = any_policy(data.draw, rate)
    assert MetaPolicy.from_json(policy.to_json()) == policy
    assert MetaPolicy.from_params(policy.to_params()) == policy
    assert policy.formula
    assert "{" not in policy.formula
    assert policy.latex.count("{") == policy.latex.count("}")


@pytest.mark.parametrize("rate", RATE_FORMS)
@MODERATE
@given(data=st.data(), one=observations(), other=observations())
def test_a_meta_policy_that_says_it_is_open_loop_is(rate, data, one, other):
    policy = any_policy(data.draw, rate)
    ticks = min(len(one), len(other))
    context = context_for(policy.optimizer)
    same = np.array_equal(
        play(PolicyController(policy), context, one[:ticks]), play(PolicyController(policy), context, other[:ticks])
    )
    assert same or policy.depends_on_performance


LEARNING = [Observation(0)] + [
    Observation(i * TICK, 0.6 * 0.8**i, 0.5, Validation(i * TICK, 0.6 * 0.8**i, 0.8, 0.6, 0.7), 1e-3)
    for i in range(1, 8)
]
STUCK = [Observation(0)] + [
    Observation(i * TICK, 0.6, 0.5, Validation(i * TICK, 0.6, 0.7, 0.5, 0.5), 1e-3) for i in range(1, 8)
]


@pytest.mark.parametrize("name", ["adam-plateau", "greedy-lr", *ARTICLES, "policy-power", "policy-multiplicative"])
def test_what_claims_feedback_has_it(name):
    baselines = {
        "adam-plateau": {"lr0": 1e-3, "factor": 0.5, "patience": 2, "cooldown": 0},
        "greedy-lr": {"lr0": 1e-3, "factor": 0.5, "patience": 2, "window": 1},
    }
    candidate = BASELINES[name].candidate(baselines[name]) if name in baselines else CANDIDATES[name]
    context = context_for(candidate.optimizer)
    assert candidate.feedback
    learning, stuck = (play(candidate.controller, context, seen) for seen in (LEARNING, STUCK))
    assert not np.array_equal(learning, stuck)


def test_names_are_those_that_a_study_may_list():
    assert set(BASELINES) == {
        "adam-constant",
        "adam-cosine",
        "adam-one-cycle",
        "sgd-one-cycle",
        "adam-plateau",
        "greedy-lr",
        "schedule-free",
        "schedule-free-r1",
    }
    assert set(DEFAULTS) == {"keras-adam", "keras-sgd"}
    assert ARTICLES == ("article", "article-as-printed")


@pytest.mark.parametrize("name", BASELINES)
def test_known_settings_are_points_of_the_search(name):
    baseline = BASELINES[name]
    assert 1 <= len(baseline.initial_points) <= 3
    for params in baseline.initial_points:
        asked = []

        def suggest(flat, wanted, params=params, asked=asked):
            asked.append(flat)
            return params[flat]

        suggested = suggest_baseline(name, suggest)
        assert set(asked) == set(params) == {f"{name}.{key}" for key in baseline.coefficients}
        assert suggested.settings == baseline_from_params(name, params).settings
        assert "{" not in suggested.formula


def test_schedules_are_tuned_over_the_ranges_of_the_form_schedule():
    searched = RATE_FORMS["schedule"].coefficients
    for name in ("adam-cosine", "adam-one-cycle", "sgd-one-cycle"):
        assert BASELINES[name].coefficients == {key: searched[key] for key in ("lr0", "horizon", "warmup")}
    assert BASELINES["schedule-free"].coefficients["warmup"] == searched["warmup"]


def test_schedule_free_warms_up_and_stays():
    candidate = BASELINES["schedule-free"].candidate({"lr0": 0.01, "warmup": 0.1})
    assert candidate.optimizer == "schedule-free-adamw"
    rates = play(candidate.controller, context_for("schedule-free-adamw"), LEARNING)
    np.testing.assert_allclose(rates, [0.01 * min(1, (i + 1) / 6) for i in range(len(rates))])


@pytest.mark.parametrize(("name", "optimizer", "rate"), [("keras-adam", "adam", 1e-3), ("keras-sgd", "sgd", 1e-2)])
def test_defaults_are_constant(name, optimizer, rate):
    candidate = default_candidate(name)
    assert (candidate.optimizer, candidate.kind) == (optimizer, "default")
    assert set(play(candidate.controller, context_for(optimizer), LEARNING)) == {rate}


def document(kind, **fields):
    return {"schema": 2, "kind": kind, **fields}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: suggest_baseline("adam-cosin", middle), "baseline is 'adam-cosin'.*Did you mean 'adam-cosine'"),
        (lambda: default_candidate("keras-adm"), "Did you mean 'keras-adam'"),
        (lambda: article_candidate("articel"), "Did you mean 'article'"),
        (lambda: baseline_from_params("adam-constant", {"adam-constant.lr": 1}), "a parameter is 'adam-constant.lr'"),
        (lambda: baseline_from_params("adam-constant", {}), "adam-constant lacks lr0"),
        (lambda: BASELINES["adam-constant"].candidate({"lr0": 1.0}), "adam-constant.lr0 is 1.0"),
        (lambda: candidate_from_settings("x", {}), "x: schema is None; this version reads schema 2"),
        (lambda: candidate_from_settings("x", {"schema": 2}), "x: kind is None; allowed: meta-policy, baseline"),
        (lambda: candidate_from_settings("x", document("baseline", name="greedy-lr")), "x: the key 'coefficients'"),
        (lambda: candidate_from_settings("x", document("baseline", name="greedy")), "x: name is 'greedy'.*'greedy-lr'"),
        (lambda: candidate_from_settings("x", document("meta-policy")), "x: the key 'optimizer' is missing"),
        (lambda: candidate_from_settings("x", document("default", name="keras-adm")), "name is .* one of keras-adam"),
        (lambda: candidate_from_settings("x", document("replay", optimizer="adam", rates=[])), "a list of at least 1"),
        (lambda: candidate_from_settings("x", document("replay", optimizer="adm", rates=[1.0])), "optimizer is 'adm'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(MetaGDError, match=message):
        call()


POWER = MetaPolicy("adam", "power", {"lr0": 1e-2, "a": 1.0, "b": 1.0}, "mix", {"w": 0.5}, half_life=1)


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_articles_form_does_not_start_at_a_rate_of_zero(signal):
    """By hand: c p = 0.6 x 0.8 before anything is seen, so the rate is 0.01 (1 - 0.48) 0.8."""
    improvement_scale = 0.01 if signal == "improvement" else None
    policy = MetaPolicy("adam", "article", {}, "product-article", signal=signal, improvement_scale=improvement_scale)
    controller = PolicyController(policy)
    rates, state = controller.rates(controller.start(Context(0.6, (0.5, 0.5), "adam", BUDGET, 7.5)), Observation(0), 3)
    np.testing.assert_allclose(rates, [0.01 * (1 - 0.48) * 0.8] * 3)
    assert state.performance is None
    if signal == "train-loss":
        seen = Observation(3, np.log(2), 0.5)  # measured as chance level: what the form says, no assumption
        assert controller.rates(state, seen, 3)[0].tolist() == [0.0] * 3


def test_a_meta_policy_step_by_step():
    """By hand: H = log 2, so p is 1 - L / log 2, smoothed by half; d = 0.3 + (1 - p) / 2; limited throughout."""
    controller = PolicyController(POWER)
    state = controller.start(Context(0.6, (0.5, 0.5), "adam", BUDGET, 7.5))
    assert (state.performance, state.difficulty, state.rate) == (None, None, None)
    [rate, *_], state = controller.rates(state, Observation(0), TICK)
    assert rate == pytest.approx(1e-2 * (1 - (0.3 + 0.495)) * 0.01)  # p counts as 0, and enters f as 0.01
    assert (state.performance, state.difficulty, state.rate) == (None, None, rate)
    expected = [(0.4, 0.6, 4 * rate), (0.6, 0.5, 16 * rate), (0.7, 0.45, 64 * rate)]
    for tick, (p, d, limited) in enumerate(expected):
        raw = [0.4, 0.8, 0.8][tick]
        rates, state = controller.rates(state, Observation((tick + 1) * TICK, (1 - raw) * np.log(2), 0.5), TICK)
        assert state.performance == pytest.approx(p)
        assert state.difficulty == pytest.approx(d)
        assert 1e-2 * (1 - d) * (p + 0.01) > limited
        np.testing.assert_allclose(rates, [limited] * TICK)
        assert state.rate == rates[-1]


def test_improvement_needs_two_losses_and_is_measured_in_improvement_scale():
    policy = MetaPolicy("adam", "power", {"lr0": 1e-3, "a": 0, "b": 1.0}, signal="improvement", improvement_scale=0.1)
    controller = PolicyController(policy)
    state = controller.start(context_for("adam"))
    for observation, performance in (
        (Observation(0), None),
        (Observation(4, 1.0, 0.5), None),
        (Observation(8, 0.95, 0.5), 0.5),
        (Observation(12, 1.9, 0.5), 0.0),
    ):
        _, state = controller.rates(state, observation, TICK)
        assert state.performance == (None if performance is None else pytest.approx(performance))


def test_validation_counts_once():
    """A rule that falls when nothing improves must not fall between two evaluations."""
    coefficients = {"lr0": 1e-3, "up": 0.0, "down": 0.5, "theta": 0.01, "patience": 0, "cooldown": 0}
    controller = PolicyController(MetaPolicy("adam", "multiplicative", coefficients, signal="val-auc"))
    state = controller.start(context_for("adam"))
    measured = Validation(4, 0.5, 0.5, 0.5, 0.5)
    rates = []
    for observation in (
        Observation(0),
        Observation(4, 0.5, 0.5, measured),
        Observation(8, 0.5, 0.5, measured),
        Observation(12, 0.5, 0.5, Validation(12, 0.5, 0.5, 0.5, 0.5)),
    ):
        array, state = controller.rates(state, observation, TICK)
        rates.append(array[0])
    np.testing.assert_allclose(rates, 1e-3 * np.exp([0, -0.5, -0.5, -1.0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd-nesterov"}, "the policy sets the rate of adam, but the optimizer is sgd-nesterov"),
        ({"complexity": 1.5}, "complexity is 1.5"),
        ({"complexity": float("nan")}, "complexity is nan"),
        ({"class_frequencies": (1.0,)}, "class_frequencies are"),
    ],
)
def test_a_context_that_does_not_fit_is_refused(changes, message):
    given_ = {
        "complexity": 0.5,
        "class_frequencies": (0.5, 0.5),
        "optimizer": "adam",
        "steps": 10,
        "steps_per_epoch": 5.0,
    }
    with pytest.raises(MetaGDError, match=message):
        PolicyController(POWER).start(Context(**(given_ | changes)))


def test_a_meta_policy_within_its_limit_follows_the_formula():
    """By hand: H = log 2, so p is 1 - L / log 2; d = 0.3 + (1 - p) / 2; lr = 0.01 (1 - d) (p + 0.01)."""
    policy = MetaPolicy("adam", "power", {"lr0": 1e-2, "a": 1.0, "b": 1.0}, "mix", {"w": 0.5})
    controller = PolicyController(policy)
    state = controller.start(Context(0.6, (0.5, 0.5), "adam", BUDGET, 7.5))
    for tick, p in enumerate([0.5, 0.75, 0.9]):
        rates, state = controller.rates(state, Observation((tick + 1) * TICK, (1 - p) * np.log(2), 0.5), TICK)
        np.testing.assert_allclose(rates, [1e-2 * (1 - (0.3 + (1 - p) / 2)) * (p + 0.01)] * TICK)
