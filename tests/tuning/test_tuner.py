"""Which trials a search stops, on made-up runs: against a recomputation from the stored curves, and after a cut."""

import contextlib
import math
import sqlite3

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import task_store, task_trainer

from metagd_optuna.analysis import mean_time_bound, targets_up_to
from metagd_optuna.contracts import Curve, RunRecord
from metagd_optuna.training.plan import plan_run
from metagd_optuna.tuning import light_storage
from metagd_optuna.tuning.flow import to_the_end
from metagd_optuna.tuning.methods import methods_of
from metagd_optuna.tuning.own_trials import OwnView, finished_settings
from metagd_optuna.tuning.phases.search import Search
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.pruning import MEDIAN_FROM, behind_median
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySpec
from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.stored_trials import (
    LEAST_OBJECTIVE,
    OBJECTIVES,
    records_of,
    runs_of,
    steps_of,
    without_steps,
)
from metagd_optuna.tuning.tuner import Tuner

TARGETS = targets_up_to(0.5, 0.9)
PLAN = plan_run(train_examples=320, epochs=10, batch_size=32, evaluations=20, rate_updates_per_evaluation=1)
EPOCHS = PLAN.epochs(PLAN.evaluation_steps)
SEEDS = 2
LEAST = 6  # trials until TPE begins, of 36


def spec(**settings):
    return StudySpec(name="s", tasks=("breast_cancer",), baselines=("adam-constant",), **{"trials": 36} | settings)


class MadeUpEngine:
    """Scores that rise with a speed of the rate's own, best at 0.001, and noise of the seed; a power cut at ``cut``."""

    def __init__(self, cut=math.inf):
        self.cut = cut

    def train(self, jobs, *, seed, test, watch):
        records = []
        for index, job in enumerate(jobs):
            rate = job.controller.lr0
            number = int(job.name.partition("#")[2])
            rng = np.random.default_rng([seed, number])
            speed = math.exp(-abs(math.log(rate / 1e-3))) * rng.uniform(0.7, 1)
            scores = 0.5 + 0.45 * (1 - np.exp(-speed * EPOCHS)) + rng.normal(scale=0.01, size=EPOCHS.size)
            for evaluation in range(1, EPOCHS.size + 1):
                self.cut -= 1
                if self.cut < 0:
                    raise KeyboardInterrupt
                shown = tuple(scores[:evaluation].tolist())
                steps = PLAN.evaluation_steps[:evaluation]
                curve = Curve(steps, shown, shown, shown, shown)
                if index in watch({index: curve}):
                    break
            records.append(RunRecord(job.name, seed, PLAN.steps, steps[-1], curve, None, (1,), (0.0,), (0.0,), (rate,)))
        return records


def searched(settings, storage=None, cut=math.inf):
    """Return the trials of a search, each as state and runs."""
    store = task_store(settings, storage)
    study, trainer = store.open("adam-constant"), task_trainer(MadeUpEngine(cut).train, PLAN)
    seeds = phase_seeds(settings.seed, Search.first_seed, SEEDS)
    to_the_end(Tuner(store, study, methods_of(settings)[0], settings, trainer, TARGETS, seeds).run(Progress()))
    return study.get_trials(deepcopy=False)


def value_at(trial, position, evaluation):
    """The slow way: the objective so far, seeds to come as 0; None if the trial did not come as far."""
    runs = runs_of(trial)
    if len(runs) <= position:
        return None
    scores = runs[position]["validation"]["auc"]
    stopped = trial.state == optuna.trial.TrialState.PRUNED and len(runs) == position + 1
    if stopped and len(scores) < evaluation:
        return None
    scores = scores[:evaluation]
    bound = mean_time_bound(EPOCHS[: len(scores)], scores, TARGETS, now=EPOCHS[evaluation - 1])
    return (sum(trial.user_attrs[OBJECTIVES][:position]) + bound) / SEEDS


def behind(trial, earlier, position, evaluation):
    values = [value_at(one, position, evaluation) for one in earlier]
    came = [value for value in values if value is not None]
    return (
        evaluation >= MEDIAN_FROM * EPOCHS.size
        and len(came) >= LEAST
        and value_at(trial, position, evaluation) > np.median(came)
    )


@pytest.fixture(scope="module")
def median_only():
    return searched(spec(pruning=False, median_pruning=True))


def test_trials_behind_the_median_are_stopped_there_and_no_others(median_only):
    stopped = 0
    for trial in median_only:
        earlier = median_only[: trial.number - trial.number % 4]
        looks = [
            (position, evaluation)
            for position, run in enumerate(runs_of(trial))
            for evaluation in range(1, len(run["validation"]["auc"]) + 1)
        ]
        expected = [behind(trial, earlier, *look) for look in looks]
        pruned = trial.state == optuna.trial.TrialState.PRUNED
        assert expected == [False] * (len(looks) - 1) + [pruned]
        stopped += pruned
    assert 8 < stopped < 28


def evaluations(trials):
    return sum(len(run["validation"]["auc"]) for trial in trials for run in runs_of(trial))


@pytest.fixture(scope="module")
def both():
    return searched(spec(median_pruning=True))


def test_a_search_saves_by_it_and_finds_as_good_a_trial(median_only, both):
    def best(trials):
        return min(trial.value for trial in trials if trial.value is not None)

    whole = searched(spec(pruning=False))
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in whole)
    assert evaluations(median_only) < 0.85 * evaluations(whole)
    assert best(median_only) < 1.1 * best(whole)
    assert evaluations(both) <= evaluations(median_only)


@pytest.mark.parametrize("pruning", [True, False])
def test_few_trials_fill_the_shortlist_before_the_median_stops_any(pruning):
    """Twelve trials of which ten are wanted: by the median alone, about half of the last eight would be stopped."""
    found = searched(spec(pruning=pruning, median_pruning=True, trials=12, shortlist_trials=10))
    states = [trial.state for trial in found]
    assert states.count(optuna.trial.TrialState.COMPLETE) >= 10
    assert any(behind(trial, found[:8], SEEDS - 1, EPOCHS.size) for trial in found[8:])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_after_a_power_cut_the_same_trials_are_stopped(both, share):
    settings = spec(median_pruning=True)
    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(KeyboardInterrupt):
        searched(settings, storage, cut=share * evaluations(both))
    found = searched(settings, storage)

    def told(trials):
        return [(t.state, t.params, t.value, runs_of(t)) for t in trials]

    assert told(found) == told(both)


def test_what_was_stopped_has_no_value_but_tpe_ranks_it_by_how_far_it_came():
    settings, storage = spec(median_pruning=True), optuna.storages.InMemoryStorage()
    stored = searched(settings, storage)
    assert all(trial.intermediate_values == {} for trial in stored)
    seen = OwnView(task_store(settings, storage).open("adam-constant")).get_trials()
    pruned = [trial for trial in seen if trial.state == optuna.trial.TrialState.PRUNED]
    assert len(pruned) > 1
    for trial in pruned:
        [(steps, least)] = trial.intermediate_values.items()
        assert steps == sum(run["steps"] for run in runs_of(trial))
        assert least == trial.user_attrs[LEAST_OBJECTIVE] > 0
    assert {trial.value for trial in stored if trial.number in {each.number for each in pruned}} == {None}


values = st.lists(st.floats(0, 100) | st.just(math.nan), max_size=12)


@given(value=st.floats(0, 100), earlier=values, share=st.floats(0.01, 1), least=st.integers(1, 8))
def test_at_most_half_of_those_that_came_as_far_are_behind(value, earlier, share, least):
    earlier = np.array(earlier)
    came = earlier[~np.isnan(earlier)]
    is_behind = behind_median(value, earlier, share=share, least=least)
    if share < MEDIAN_FROM or len(came) < least:
        assert not is_behind
    else:
        assert sum(behind_median(one, earlier, share=share, least=least) for one in came) <= len(came) / 2
        assert is_behind == (value > np.median(came))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"median_pruning": True}], ids=["pruning", "median pruning"])
def test_a_search_that_keeps_less_in_memory_finds_the_same(tmp_path, settings):
    """In a real database, from which trials are read without their rates."""
    storage = open_storage(tmp_path / "optuna.db", must_exist=False)
    kept, whole = searched(spec(trials=16, **settings), storage), searched(spec(trials=16, **settings))
    assert [(trial.params, trial.value, trial.state) for trial in kept] == [
        (trial.params, trial.value, trial.state) for trial in whole
    ]
    store = task_store(spec(trials=16, **settings), storage)
    for part in (kept, store.trials("adam-constant"), store.load("adam-constant").get_trials(deepcopy=False)):
        assert len(finished_settings(part)) == 16
        assert all(not run.rates and not run.train_loss for trial in part for run in records_of(trial))
    for trial, other in zip(kept, whole, strict=True):
        stored = storage.get_trial(trial._trial_id)
        assert records_of(stored) == records_of(other)
        assert all(run.rates for run in records_of(stored))
        assert [run.validation for run in records_of(trial)] == [run.validation for run in records_of(stored)]
        assert steps_of(trial) == steps_of(stored)


def test_a_trial_without_runs_stays_as_it_is():
    [trial, *_] = searched(spec(trials=4))
    trial.system_attrs = {}
    assert without_steps(trial) is trial


def test_trials_whose_identifiers_are_far_apart_are_read(tmp_path, monkeypatch):
    """A storage from a stranger, of two trials and 2^50 identifiers, was read for ever."""
    monkeypatch.setattr(light_storage, "PAGE", 1)
    storage = open_storage(tmp_path / "optuna.db", must_exist=False)
    study = optuna.create_study(storage=storage, study_name="ours")
    study.add_trials([optuna.create_trial(value=0.0) for _ in range(3)])
    with contextlib.closing(sqlite3.connect(tmp_path / "optuna.db")) as connection:
        for table in ("trials", "trial_values"):
            connection.execute(f"UPDATE {table} SET trial_id = ? WHERE trial_id = 3", (2**50,))
        connection.commit()
    light = optuna.load_study(study_name="ours", storage=light_storage.storage_of("adam-constant", storage))
    assert [(trial.number, trial.value) for trial in light.get_trials()] == [(0, 0.0), (1, 0.0), (2, 0.0)]


@pytest.mark.parametrize("page", [1, 4, 5, 12])
def test_trials_that_are_read_in_pages_are_all_there_once(tmp_path, monkeypatch, page):
    """Beside another study's, with one that waits in the middle and one that runs at the end."""
    monkeypatch.setattr(light_storage, "PAGE", page)
    storage = open_storage(tmp_path / "optuna.db", must_exist=False)
    ours, others = (optuna.create_study(storage=storage, study_name=name) for name in ("ours", "others"))
    for number in range(10):
        others.add_trial(optuna.create_trial(value=0.0))
        if number == 4:
            ours.enqueue_trial({"x": 0.5})
        else:
            ours.add_trial(optuna.create_trial(value=float(number)))
    running = optuna.Trial(ours, storage.create_new_trial(ours._study_id))
    light = optuna.load_study(study_name="ours", storage=light_storage.storage_of("adam-constant", storage))
    assert light.get_trials() == ours.get_trials()
    assert [trial.number for trial in light.get_trials()] == list(range(11))
    ours.tell(running, 1.0)
    taken = ours.ask()
    assert taken.number == 4
    ours.tell(taken, 2.0)
    ours.add_trial(optuna.create_trial(value=3.0))
    assert light.get_trials() == ours.get_trials()
    assert all(trial.state.is_finished() for trial in light.get_trials())
