"""The shortlist on made-up runs: which settings go on, on which seeds, and what is left of them when it is cut off."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from made_up import task_state, task_store

from metagd_optuna.contracts import Curve, MetaGDError, RunRecord
from metagd_optuna.policy import MetaPolicy, baseline_from_params, candidate_of
from metagd_optuna.tuning.flow import to_the_end
from metagd_optuna.tuning.grid import run_grid
from metagd_optuna.tuning.jobs import Trained
from metagd_optuna.tuning.phases.shortlist import Shortlist, best_trials, run_shortlist
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySpec
from metagd_optuna.tuning.stored_trials import STEPS, SUBJECT, described, runs_of

METHODS = ("adam-constant", "schedule-free", "meta-policy")
SPEC = StudySpec(
    name="s", tasks=("breast_cancer",), baselines=METHODS[:2], trials=8, shortlist_trials=8, shortlist_seeds=2
)
# Of each trial, by number: what its search says and what is true. The search was luckiest where it is worst.
SEARCHED = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7)
TRUE = {
    "adam-constant": (9.0, 3.0, 4.0, 2.0, 8.0, 7.0, 6.0, 5.0),
    "schedule-free": (8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 1.0, 2.0),
    "meta-policy": (5.0, 6.0, 7.0, 8.0, 2.5, 4.0, 9.0, 3.0),
}


class MadeUp:
    """Runs whose objective is the truth and a little noise of the seed's own; ``left`` of them, then a power cut."""

    seconds, examples = 1.0, 1
    plan = SimpleNamespace(steps_per_epoch=1.0)

    def __init__(self, left=10**9):
        self.left = left

    def train(self, candidates, names, *, seed, test):
        records = []
        for name in names:
            method, _, number = name.partition("#")
            noise = np.random.default_rng([seed, int(number)]).normal(scale=0.2)
            curve = Curve((1,), (TRUE[method][int(number)] + noise,), (0.0,), (0.0,), (0.0,))
            records.append(RunRecord(name, seed, 1, 1, curve, None, (1,), (0.0,), (0.0,), (0.1,)))
        return records

    def trained(self, job):
        yield from ()
        names = [candidate.name for candidate in job.candidates]
        return Trained(self.train(job.candidates, names, seed=job.seed, test=job.test), [1.0] * len(names))

    @property
    def throughput(self):
        return self

    def objective(self, curve, targets):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return curve.loss[0]


@pytest.fixture
def storage():
    storage = optuna.storages.InMemoryStorage()
    for method in METHODS:
        study = opened(storage, method)
        for value in SEARCHED:
            attributes = {SUBJECT: described(candidate(method, value / 100)), STEPS: 1}
            study.add_trial(optuna.create_trial(value=value, user_attrs=attributes))
        study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.PRUNED))
    return storage


def candidate(method, rate):
    if method == "meta-policy":
        return candidate_of(MetaPolicy("adam", "power", {"lr0": rate, "a": 1.0, "b": 0.0}, "mix", {"w": 0.5}), method)
    warmup = {} if method == "adam-constant" else {f"{method}.warmup": 0.0}
    return baseline_from_params(method, {f"{method}.lr0": rate} | warmup)


def opened(storage, part):
    return task_store(SPEC, storage).open(part)


def held(storage, trainer, folder=Path()):
    return to_the_end(run_shortlist(task_state(SPEC, trainer, folder, storage, search_target=0.9)))


def told(chosen):
    """What was chosen, without controllers, which are equal to nothing but themselves."""
    return {m: (s.number, s.candidate.name, s.candidate.settings, s.objective, s.runs) for m, s in chosen.items()}


def seeds_by_name(storage):
    found = {}
    for trial in opened(storage, "shortlist").get_trials(deepcopy=False):
        [run] = runs_of(trial)
        found.setdefault(run["candidate"], []).append(run["seed"])
    return found


def test_it_finds_the_best_where_the_search_was_misled(storage):
    chosen = held(storage, MadeUp())
    assert {method: setting.number for method, setting in chosen.items()} == {
        "adam-constant": 3,
        "schedule-free": 6,
        "meta-policy": 4,
    }
    assert [setting.candidate.name for setting in chosen.values()] == list(METHODS)
    assert chosen["adam-constant"].candidate.settings["coefficients"] == {"lr0": pytest.approx(0.013)}
    assert chosen["adam-constant"].objective == pytest.approx(2.0, abs=0.2)


def test_every_round_has_half_as_many_on_twice_as_many_new_seeds(storage):
    chosen = held(storage, MadeUp())
    seeds = list(phase_seeds(SPEC.seed, Shortlist.first_seed, 14))
    for method in METHODS:
        ranks = sorted(range(8), key=lambda number: TRUE[method][number])
        for rank, number in enumerate(ranks):
            ran = 14 if rank < 2 else 6 if rank < 4 else 2
            assert seeds_by_name(storage)[f"{method}#{number}"] == seeds[:ran]
        assert [run.seed for run in chosen[method].runs] == seeds
        assert chosen[method].objective == pytest.approx(
            np.mean([run.validation.loss[0] for run in chosen[method].runs])
        )


@pytest.mark.parametrize("left", [1, 25, 60, 105, 180, 225])
def test_cut_off_anywhere_it_ends_the_same(storage, left):
    other = optuna.storages.InMemoryStorage()
    whole = told(held(storage, MadeUp()))
    for method in METHODS:
        name = opened(storage, method).study_name
        optuna.copy_study(from_study_name=name, from_storage=storage, to_storage=other)
    with pytest.raises(KeyboardInterrupt):
        held(other, MadeUp(left))
    assert told(held(other, MadeUp())) == whole
    assert seeds_by_name(other) == seeds_by_name(storage)


def test_equal_trials_go_by_their_number(storage):
    study = opened(storage, "equal")
    for value in (2.0, 1.0, 1.0, 2.0):
        study.add_trial(optuna.create_trial(value=value))
    assert [trial.number for trial in best_trials(study, 3)] == [1, 2, 0]


def test_runs_of_another_setting_under_the_same_name_are_refused(storage):
    """An older version may have chosen another setting for a confirmation that it began."""
    held(storage, MadeUp())
    study = opened(storage, "shortlist")
    stored = [trial.user_attrs for trial in study.get_trials()]
    other = replace(baseline_from_params("adam-constant", {"adam-constant.lr0": 0.02}), name="adam-constant#3")
    with pytest.raises(MetaGDError, match=r"s/t/shortlist holds runs of adam-constant#3 with other .*another --out"):
        to_the_end(
            run_grid(
                task_store(SPEC, storage), study, [other], [1], MadeUp(), value=lambda run: 1.0, progress=Progress()
            )
        )
    assert [trial.user_attrs for trial in study.get_trials()] == stored
