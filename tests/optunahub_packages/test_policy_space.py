"""The benchmark problem: its space, its values, and how well its surrogate orders trials that it has not seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from scipy.stats import spearmanr

from metagd_optuna import MetaGDError

ROOT = Path(__file__).parents[2]
PACKAGE = "benchmarks/metagd_policy_space"
SPEED = {"optimizer": "adam", "signal": "train-loss", "half_life": 0.0}
# One constant rate of 0.005, written in two forms.
POWER = SPEED | {"f": "mix", "f.mix.w": 0.5, "g": "power", "g.power.a": 0.0, "g.power.b": 0.0, "g.power.lr0.adam": 5e-3}
SCHEDULE = SPEED | {
    "f": "mix",
    "f.mix.w": 0.1,
    "g": "schedule",
    "g.schedule.base": "constant",
    "g.schedule.k": 0.0,
    "g.schedule.lr0.adam": 5e-3,
}


@pytest.fixture(scope="module")
def problem(load):
    return load(PACKAGE).Problem()


def test_held_out_trials_are_ordered(problem, load) -> None:
    predicted = load(PACKAGE).held_out_predictions(problem.policies, problem.objectives, problem.complexity)
    assert len(predicted) == 256
    assert spearmanr(predicted, problem.objectives).statistic >= 0.7
    # Within the better half the order is harder to tell, and the README says what to expect.
    better = problem.objectives <= np.median(problem.objectives)
    assert spearmanr(predicted[better], problem.objectives[better]).statistic >= 0.5


def test_trials_with_other_objectives_are_not_ordered(problem, load) -> None:
    shuffled = np.random.default_rng(0).permutation(problem.objectives)
    predicted = load(PACKAGE).held_out_predictions(problem.policies, shuffled, problem.complexity)
    assert abs(spearmanr(predicted, shuffled).statistic) < 0.3


@pytest.mark.parametrize("sampler", [optuna.samplers.TPESampler, optuna.samplers.RandomSampler])
def test_a_study_optimizes_it(problem, load, sampler) -> None:
    def found(problem: Any) -> list[optuna.trial.FrozenTrial]:
        study = optuna.create_study(directions=problem.directions, sampler=sampler(seed=0))
        study.optimize(problem, n_trials=30)
        return study.trials

    trials, again = found(problem), found(load(PACKAGE).Problem())
    assert [trial.values for trial in trials] == [trial.values for trial in again]
    space = problem.search_space
    for trial in trials:
        assert trial.distributions.items() <= space.items()
        assert len(trial.params) < len(space)
        assert trial.value == problem.evaluate(trial.params)
        assert 0 < trial.value <= max(problem.objectives)
    assert len({trial.value for trial in trials}) > 20


def test_every_parameter_of_the_space_is_asked_for_sometimes(problem) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(problem, n_trials=80)
    assert {name for trial in study.trials for name in trial.params} == problem.search_space.keys()


def test_a_fixed_space_is_the_same_problem(problem) -> None:
    every = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask(problem.search_space)
    assert every.params.keys() == problem.search_space.keys()
    needed = optuna.create_study()
    needed.enqueue_trial(every.params)
    needed.optimize(problem, n_trials=1)
    assert needed.best_params.items() <= every.params.items()
    assert problem.evaluate(every.params) == pytest.approx(needed.best_value, rel=1e-9)


def test_the_same_rates_in_two_forms_have_the_same_objective(problem) -> None:
    assert problem.evaluate(POWER) == pytest.approx(problem.evaluate(SCHEDULE), rel=1e-9)
    assert problem.evaluate(POWER | {"g.power.lr0.adam": 1e-5}) > 5 * problem.evaluate(POWER)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (POWER | {"g.power.lr": 0.1}, "a parameter is 'g.power.lr'"),
        (POWER | {"g.power.lr0.adam": 5.0}, "g.power.lr0.adam is 5.0"),
        (POWER | {"f.logistic.a0": 99.0}, "f.logistic.a0 is 99.0"),
        (POWER | {"g": "exponential"}, "exponential"),
        ({name: value for name, value in POWER.items() if name != "g.power.a"}, "lacks a"),
        ({name: value for name, value in POWER.items() if name != "optimizer"}, "'optimizer' is missing"),
        ({}, "'optimizer' is missing"),
    ],
)
def test_parameters_that_make_no_policy_are_an_error(problem, params: dict[str, Any], said: str) -> None:
    with pytest.raises(MetaGDError, match=said):
        problem.evaluate(params)


@pytest.mark.slow
def test_nothing_loads_tensorflow() -> None:
    code = f"""
import os, sys
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
import optunahub
problem = optunahub.load_local_module({PACKAGE!r}, registry_root="docs/optunahub/package").Problem()
print(problem.evaluate({POWER!r}) > 0, sorted({{"tensorflow", "keras"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "True []\n"
