"""The resumable sampler, public for any study: Optuna's own conformance suite."""

import copy
import functools
import pickle

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


@pytest.mark.slow
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


class EachTrialReadAnew(ResumableTPESampler):
    """The slow way: TPE reads all trials for every parameter."""

    def infer_relative_search_space(self, study, trial):
        return self._tpe(study, trial, "").infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        return dict(self._tpe(study, trial, "").sample_relative(study, trial, search_space))

    def sample_independent(self, study, trial, param_name, param_distribution):
        tpe = self._tpe(study, trial, param_name)
        return tpe.sample_independent(study, trial, param_name, param_distribution)


@functools.cache
def drawn_at_random(trials):
    """Return finished trials: some stopped early, some that a constraint forbids."""

    def earlier(trial):
        value = objective(trial)
        trial.set_constraint("c", trial.number % 7 - 5)
        trial.report(value, step=trial.number % 5)
        if trial.number % 3 == 0:
            raise optuna.TrialPruned
        return value

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(earlier, n_trials=trials)
    return study.trials


def proposals(sampler, trials, direction, interleaved):
    """Return the parameters of eight trials, four at a time, after so many that were drawn at random."""
    study = optuna.create_study(study_name="s", direction=direction, sampler=sampler)
    study.add_trials(drawn_at_random(trials))
    found = []
    for _ in range(2):
        batch = [study.ask() for _ in range(4)] if interleaved else (study.ask() for _ in range(4))
        values = {trial.number: objective(trial) for trial in batch}
        for number, value in values.items():
            study.tell(number, value)
        found += [study.trials[number].params for number in values]
    return found


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(
    ("trials", "startup", "interleaved"),
    [
        (30, 10, False),
        pytest.param(540, 10, True, marks=pytest.mark.slow),
        pytest.param(540, 400, False, marks=pytest.mark.slow),
    ],
)
def test_what_it_leaves_out_and_reads_once_changes_no_proposal(trials, startup, interleaved, direction):
    samplers = (kind(seed=3, n_startup_trials=startup) for kind in (ResumableTPESampler, EachTrialReadAnew))
    quick, slow = (proposals(sampler, trials, direction, interleaved) for sampler in samplers)
    assert quick == slow
    assert len({str(params) for params in quick}) == 8


def test_a_trial_that_ended_between_two_parameters_of_another_counts_at_once():
    def second_parameter(kind):
        study = optuna.create_study(study_name="s", sampler=kind(seed=3, n_startup_trials=2))
        study.optimize(objective, n_trials=4)
        slow, quick = study.ask(), study.ask()
        slow.suggest_float("x", -1, 1)
        study.tell(quick, objective(quick))
        return slow.suggest_float("late", 0, 1), slow.suggest_categorical("form", ["a", "b"])

    assert second_parameter(ResumableTPESampler) == second_parameter(EachTrialReadAnew)


def test_one_that_was_used_can_be_copied_and_pickled():
    study = optuna.create_study(study_name="s", sampler=ResumableTPESampler(seed=3, n_startup_trials=2))
    study.optimize(objective, n_trials=4)
    copies = copy.deepcopy(study.sampler), pickle.loads(pickle.dumps(study.sampler))
    following = []
    for sampler in (study.sampler, *copies):
        again = optuna.create_study(study_name="s", sampler=sampler)
        again.add_trials(study.trials)
        following.append(again.ask().suggest_float("x", -1, 1))
    assert len(set(following)) == 1


def test_it_is_public():
    assert "ResumableTPESampler" in metagd_optuna.__all__
