"""The resumable sampler, public for any study: Optuna's own conformance suite."""

import optuna
import pytest
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

import metagd_optuna
from metagd_optuna import ResumableTPESampler


class TestConformance(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """As Optuna tests its own: a sampler whose first trials are random proposes nothing together in them."""

    @pytest.fixture
    def sampler(self):
        return lambda: ResumableTPESampler(seed=0, n_startup_trials=0)


class TestConformanceWithRandomTrialsFirst(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: ResumableTPESampler(seed=0)


def objective(trial):
    x = trial.suggest_float("x", -1, 1)
    form = trial.suggest_categorical("form", ["a", "b"])
    return x**2 + (trial.suggest_float("y", 1e-3, 1, log=True) if form == "a" else trial.suggest_int("z", 1, 5))


@pytest.mark.parametrize("cut", [1, 4, 11])
def test_a_study_that_was_cut_off_goes_on_as_if_nothing_had_happened(tmp_path, cut):
    def run(path, *trials):
        for count in trials:  # each with a new sampler, as a new process has
            study = optuna.create_study(
                study_name="ours",
                storage=f"sqlite:///{path}",
                sampler=ResumableTPESampler(seed=3, n_startup_trials=4),
                load_if_exists=True,
            )
            study.optimize(objective, n_trials=count)
        return [(trial.params, trial.value) for trial in study.trials]

    whole = run(tmp_path / "whole.db", 14)
    assert run(tmp_path / "cut.db", cut, 14 - cut) == whole
    assert len({str(params) for params, _ in whole}) == 14


def test_it_is_public():
    assert "ResumableTPESampler" in metagd_optuna.__all__
