"""Policies that are no meta-policies, loaded from their files, in a real ``fit``."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from small_training import X, Y, callback_of, compiled, fit

from metagd_optuna import MetaPolicy, load_policy
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import article_candidate, baseline_from_params, constant_complexity, frozen_candidate
from metagd_optuna.policy.controls import replay_candidate

FOLLOWS = MetaPolicy("adam", "power", {"lr0": 1e-2, "a": 0.0, "b": 1.0}, "mix", {"w": 0.5})
# Losses of a network that learns little get stuck, so both baselines with feedback change their rate.
PLATEAU = {"lr0": 1e-2, "factor": 0.5, "patience": 1, "cooldown": 0}
GREEDY = {"lr0": 1e-2, "factor": 0.5, "patience": 0, "window": 1}
STUCK = {"validation_data": (X, 1 - Y), "epochs": 5}


def baseline(name, coefficients):
    return baseline_from_params(name, {f"{name}.{key}": value for key, value in coefficients.items()}).rule


RULES = {
    "plateau": (baseline("adam-plateau", PLATEAU), STUCK),
    "greedy": (baseline("greedy-lr", GREEDY), STUCK),
    "article": (article_candidate("article").rule, STUCK),
    "constant": (baseline("adam-constant", {"lr0": 2e-3}), {}),
    "cosine": (baseline("adam-cosine", {"lr0": 1e-2, "horizon": 1.0, "warmup": 0.0}), {"epochs": 2}),
    "replay": (replay_candidate([1e-3, 2e-3, 3e-3, 4e-3], "adam").rule, {}),
    "frozen": (frozen_candidate(FOLLOWS, 0.5, 0.5).rule, {}),
    "constant-complexity": (constant_complexity(FOLLOWS, 0.2).rule, {"epochs": 2}),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_from_its_file_steers_a_training(tmp_path, name):
    rule, options = RULES[name]
    rule.save(tmp_path / "winner.json")
    callback = callback_of(load_policy(tmp_path / "winner.json"))
    history = fit(compiled(), callback, **options)
    assert len(callback.rates) == 4 * options.get("epochs", 1)
    assert history.history["learning_rate"][-1] == callback.rates[-1]
    assert (len(set(callback.rates)) > 1) is (name not in ("constant", "frozen"))
    assert ("performance" in history.history) is (name == "constant-complexity")
    assert callback.get_state()


def test_the_plateau_baseline_cuts_as_keras_own_callback_does():
    rates = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(float(model.optimizer.learning_rate))
    )
    model = compiled(keras.optimizers.Adam(PLATEAU["lr0"]))
    own = keras.callbacks.ReduceLROnPlateau(factor=PLATEAU["factor"], patience=PLATEAU["patience"])
    fit(model, own, record, **STUCK)
    ours = callback_of(RULES["plateau"][0])
    fit(compiled(), ours, **STUCK)
    np.testing.assert_allclose(ours.rates, rates, rtol=1e-6)
    assert len(set(rates)) > 2


def test_a_constant_complexity_is_what_the_policy_would_do_there():
    blind, there = callback_of(RULES["constant-complexity"][0]), callback_of(FOLLOWS, complexity=0.2)
    for callback in (blind, there):
        fit(compiled(), callback, epochs=2)
    assert blind.rates == there.rates


@pytest.mark.parametrize(("name", "missing"), [("plateau", "val_loss"), ("greedy", "val_loss"), ("article", "val_acc")])
def test_validation_that_a_rule_needs_and_fit_does_not_measure_is_asked_for(name, missing):
    with pytest.raises(MetaGDError, match=f"the policy looks at .*{missing}.*; pass validation_data to fit"):
        fit(compiled(), callback_of(RULES[name][0]), epochs=2)


def test_something_else_is_no_policy():
    with pytest.raises(MetaGDError, match=r"policy='power' is a str, and has to be a MetaPolicy or another policy"):
        callback_of("power")


def test_another_optimizer_is_refused():
    with pytest.raises(MetaGDError, match="adam"):
        fit(compiled(keras.optimizers.SGD(0.1)), callback_of(RULES["plateau"][0]))
