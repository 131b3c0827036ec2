"""What a meta-policy does, in words."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagd_optuna.policy import (
    DIFFICULTY_FORMS,
    OPTIMIZERS,
    RATE_FORMS,
    Categorical,
    MetaPolicy,
    propose_meta_policy,
)
from metagd_optuna.policy.words import in_words

MIX = ("mix", {"w": 0.5})
STEPS = {"lr0": 1e-3, "up": 0.0488, "down": 0.6931, "theta": 0.01, "patience": 2, "cooldown": 1}
CYCLE = {"base": "one-cycle", "lr0": 0.005, "horizon": 1.0, "warmup": 0.3, "k": 0.0}


@pytest.mark.parametrize(
    ("rate", "coefficients", "words"),
    [
        ("power", {"lr0": 1e-3, "a": 0.0, "b": 0.0}, "The rate stays at 0.001, whatever the network does."),
        (
            "exponential",
            {"lr0": 1e-3, "kd": 0.0, "kp": -1.3863},
            "The rate is 0.001 at chance level and 0.004 when it is perfect: doubled with every 0.50 that "
            "performance gains.",
        ),
        (
            "logistic",
            {"lo": 1e-4, "hi": 1e-2, "s": 30.0, "p0": 0.5},
            "The rate is 0.01 at chance level and 0.0001 when it is perfect; half of the way, on a log "
            "scale, lies at performance 0.50.",
        ),
        (
            "article",
            {},
            "The rate is 0 at chance level and 0.00745 when it is perfect.",
        ),
        (
            "multiplicative",
            STEPS,
            "The rate begins at 0.001. Each time the training loss falls 1.00% below its best so far, the rate is "
            "raised by 5.0%; after more than 2 rate updates without progress it is cut by half, and then left alone "
            "for 1 rate update.",
        ),
        (
            "multiplicative",
            STEPS | {"up": 0.0, "down": 0.2, "patience": 0, "cooldown": 0},
            "The rate begins at 0.001. It is never raised. A fall of the training loss by 1.00% below its best so far "
            "counts as progress; at every rate update without it is cut by 18%.",
        ),
        (
            "schedule",
            CYCLE,
            "The rate rises from 0.0002 to 0.005 over the first 30% of the run and falls along a cosine, almost to 0 "
            "at 100% of the run. Performance does not change it.",
        ),
        (
            "schedule",
            CYCLE | {"base": "cosine", "warmup": 0.0, "horizon": 1.5, "k": 2.0},
            "The rate begins at 0.005 and falls along a cosine; it would be 0 only at 150% of the run, which ends "
            "before. That is multiplied by 1.632 at chance level and by 0.6126 when it is perfect.",
        ),
        (
            "schedule",
            {"base": "constant-with-warmup", "lr0": 0.005, "warmup": 0.0, "k": 0.0},
            "The rate is 0.005. Performance does not change it.",
        ),
        (
            "schedule",
            {"base": "constant", "lr0": 0.005, "k": 2.0},
            "The rate is 0.008162 at chance level and 0.003063 when it is perfect: cut by half with every "
            "0.71 that performance gains.",
        ),
        (
            "schedule",
            {"base": "constant-with-warmup", "lr0": 0.005, "warmup": 0.05, "k": 2.0},
            "The rate rises to 0.005 over the first 5% of the run and stays there. That is multiplied by 1.632 at "
            "chance level and by 0.6126 when it is perfect.",
        ),
    ],
)
def test_words(rate, coefficients, words):
    assert in_words(MetaPolicy("adam", rate, coefficients, *MIX), 0.5) == words


@pytest.mark.parametrize(
    ("lr0", "k", "said"),
    [
        (0.02, 3.0, ["is 0.02.", " It is never above 0.03, whatever this gives."]),  # exp(1.47) is 4.3
        (2e-5, -3.0, ["is 2e-05.", " It is never below 1e-05, whatever this gives."]),
        (0.005, 3.0, []),
    ],
)
def test_a_rate_that_meets_its_bounds_is_not_said_to_leave_them(lr0, k, said):
    policy = MetaPolicy(
        "adam", "schedule", {"base": "constant-with-warmup", "lr0": lr0, "warmup": 0.0, "k": k}, "gap", {}
    )
    words = in_words(policy, 0.5)
    assert all(part in words for part in said)
    assert ("never" in words) == bool(said)
    rates = [policy.rate_at(policy.difficulty_at(0.5, p), p, step=500, budget=1000) for p in (0.0, 1.0)]
    assert all(any(str(bound) in part for part in said) for bound in (0.03, 1e-05) if bound in rates)


def test_a_chosen_batch_is_said():
    rule = MetaPolicy("adam", "schedule", {"base": "constant", "lr0": 0.001, "k": 0.0}, "gap", batch_size=8)
    assert (
        in_words(rule, 0.5)
        == "The rate stays at 0.001, whatever the network does. Every step is taken on a batch of 8."
    )


def test_a_turn_is_said():
    policy = MetaPolicy("adam", "power", {"lr0": 0.02, "a": 2.0, "b": 2.0}, "logistic", {"a0": -4, "a1": 0, "a2": 8})
    assert re.fullmatch(
        r"The rate is 1e-05 at chance level, rises to 0\.00\d+ at performance 0\.\d\d, and falls to \S+ when "
        r"it is perfect\.",
        in_words(policy, 0.5),
    )


@given(st.data(), st.floats(0, 1))
def test_every_policy_has_words_that_begin_with_its_rate(data, complexity):
    def answer(name, wanted):
        if isinstance(wanted, Categorical):
            return data.draw(st.sampled_from(wanted.choices))
        draw = st.integers(int(wanted.low), int(wanted.high)) if wanted.integer else st.floats(wanted.low, wanted.high)
        return data.draw(draw)

    policy = propose_meta_policy(
        answer,
        difficulty_forms=tuple(DIFFICULTY_FORMS),
        rate_forms=tuple(RATE_FORMS),
        optimizers=("adam", "sgd-nesterov"),
    )
    words = in_words(policy, complexity)
    assert words.startswith("The rate ")
    assert words.endswith(".")
    if not (policy.timed or policy.rate_form.remembers):
        said = float(re.search(r"(?:is|at) (\d\S*?)(?:,| )", words)[1])
        d = policy.difficulty_at(complexity, 0.0)
        assert said == pytest.approx(policy.rate_at(0.0 if d is None else d, 0.0), rel=1e-3)
        assert policy.rate == "article" or OPTIMIZERS[policy.optimizer].bounds[0] * 0.99 <= said
