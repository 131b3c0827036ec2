"""Which parameters mattered, and how sure that is."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from metagd_optuna.tuning.importance import importance_intervals, importances

RANGE = {"matters": FloatDistribution(0, 1), "noise": FloatDistribution(0, 1)}


@pytest.fixture
def study():
    """Sixty trials whose value follows one of two parameters."""
    rng = np.random.default_rng(0)
    found = optuna.create_study()
    for matters, noise, error in rng.random((60, 3)):
        params = {"matters": matters, "noise": noise}
        value = (matters - 0.3) ** 2 + 0.01 * error
        found.add_trial(optuna.create_trial(params=params, distributions=RANGE, value=value))
    return found


def test_the_parameter_that_matters_stands_out_with_its_interval(study):
    shares, intervals = importances(study), importance_intervals(study, resamples=30)
    assert list(shares) == ["matters", "noise"]
    assert shares["matters"] > 0.8
    assert all(0 <= low <= high <= 1 for low, high in intervals.values())
    assert intervals["matters"][0] > intervals["noise"][1]
    assert importance_intervals(study, resamples=30) == intervals


def test_few_trials_have_wider_intervals(study):
    few = optuna.create_study()
    few.add_trials(study.trials[:8])
    ends = [importance_intervals(one, resamples=30)["noise"] for one in (few, study)]
    widths = [high - low for low, high in ends]
    assert widths[0] > widths[1]


@pytest.mark.parametrize("values", [[], [1.0, 2.0, 3.0], [1.0] * 6])
def test_nothing_is_said_of_too_few_trials_or_equal_ones(values):
    study = optuna.create_study()
    for place, value in enumerate(values):
        params = {"matters": place / 10, "noise": 0.5}
        study.add_trial(optuna.create_trial(params=params, distributions=RANGE, value=value))
    assert importances(study) == importance_intervals(study) == {}


def test_optuna_says_what_it_said_before(study):
    before = optuna.logging.get_verbosity()
    importance_intervals(study, resamples=2)
    assert optuna.logging.get_verbosity() == before
