import math

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metagd_optuna.search.neighbours import good_trials, moved
from metagd_optuna.search.steady_sampler import SteadySampler
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metagd_optuna.analysis import halving_rounds
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import BASELINES, SIGNALS, MetaPolicy
from metagd_optuna.search.methods import META_POLICY, methods_of
from metagd_optuna.search.phases import PHASES, planned_runs
from metagd_optuna.search.pruning import optimistic_objective, threshold
from metagd_optuna.search.seeds import phase_seeds, sampler_seed
from metagd_optuna.search.settings import StudySettings, StudySpec

objectives = st.lists(st.floats(0, 100), max_size=8)


@given(objectives, st.integers(1, 5))
def test_threshold_is_the_worst_place_of_the_shortlist(values, places):
    limit = threshold(values, places)
    assert (limit == math.inf) == (len(values) < places)
    assert sum(value < limit for value in values) < places or limit == math.inf


@settings(deadline=None)
@given(
    finished=st.lists(st.floats(0.1, 9), max_size=3),
    bound=st.floats(0, 9),
    rest=st.floats(0, 9),
    best=st.floats(0, 0.1),
    seeds=st.integers(4, 5),
)
def test_optimistic_objective_never_exceeds_what_follows(finished, bound, rest, best, seeds):
    """Whatever the seeds to come bring, as long as none beats the best run so far."""
    now = optimistic_objective(finished, [bound], best, seeds)
    final = (sum(finished) + max(bound + rest, best) + (seeds - len(finished) - 1) * (best + rest)) / seeds
    assert now <= final + 1e-9


def test_optimism_falls_when_a_seed_is_through():
    before = optimistic_objective([], [2.0], 0.5, 2)
    after = optimistic_objective([3.0], [], 0.5, 2)
    assert (before, after) == (1.25, 1.75)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_phases_and_studies_share_no_seed(one, other):
    firsts = [phase.first_seed for phase in PHASES["per-task"]]
    drawn = [set(phase_seeds(study, first, 1000)) for study in {one, other} for first in firsts]
    assert len(set().union(*drawn)) == 1000 * len(drawn)


@pytest.mark.parametrize("scope", PHASES)
def test_no_phase_has_more_seeds_than_it_may_take(scope):
    """Even where a study file asks for as many as it may; the last one is followed by the next study's."""
    keys = StudySettings.model_json_schema()["properties"]
    most = {
        key: keys[key]["maximum"]
        for key in keys
        if key.endswith("seeds") or key in ("seeds_per_trial", "shortlist_trials")
    }
    rounds = halving_rounds(most["shortlist_trials"], most["shortlist_seeds"])
    counts = {
        "Calibrate": most["calibration_seeds"],
        "Search": most["seeds_per_trial"],
        "Shortlist": sum(each.seeds for each in rounds),
        "SelectElsewhere": most["shortlist_seeds"],
        "Confirm": most["confirmation_seeds"],
    }
    drawn = [phase_seeds(0, phase.first_seed, counts[type(phase).__name__]) for phase in PHASES[scope]]
    ends = [*(seeds[0] for seeds in drawn[1:]), phase_seeds(1, 0, 1)[0]]
    assert all(seeds[-1] < end for seeds, end in zip(drawn, ends, strict=True))


def test_sampler_seeds_depend_on_everything():
    seeds = {sampler_seed(s, name, n) for s in (0, 1) for name in ("a", "b") for n in (0, 1)}
    assert len(seeds) == 8


def test_methods_are_all_baselines_and_the_meta_policy():
    spec = StudySpec(name="x", tasks=("breast_cancer",), baselines=tuple(BASELINES))
    assert [method.name for method in methods_of(spec)] == [*BASELINES, META_POLICY]


@pytest.mark.parametrize("forms", [("power",), ("multiplicative",), ("logistic", "hybrid", "monotone-spline")])
def test_every_proposal_of_a_real_sampler_is_a_candidate(forms):
    spec = StudySpec(name="x", tasks=("breast_cancer",), baselines=tuple(BASELINES), rate_forms=forms)
    for method in methods_of(spec):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1, n_startup_trials=4))
        made = []
        for known in method.initial_points:
            study.enqueue_trial(dict(known))
        for number in range(12):
            trial = study.ask()
            candidate = method.suggest(trial)
            made.append(candidate)
            assert candidate.kind == ("meta-policy" if method.name == META_POLICY else "baseline")
            if number < len(method.initial_points):
                assert trial.params == dict(method.initial_points[number])
            study.tell(trial, float(number % 5))
        if method.name == META_POLICY:
            best = study.best_trial
            assert MetaPolicy.from_trial(best) == MetaPolicy.from_dict(made[best.number].settings)


@pytest.mark.parametrize("signal", sorted(SIGNALS))
def test_known_points_can_be_enqueued_whatever_the_signal(signal):
    method = methods_of(StudySpec(name="x", tasks=("breast_cancer",), signal=signal))[-1]
    study = optuna.create_study()
    for known in method.initial_points:
        study.enqueue_trial(dict(known))
        trial = study.ask()
        assert method.suggest(trial).settings["signal"] == signal
        assert trial.params == dict(known)


def test_a_trial_cut_off_between_two_parameters_gets_the_same_values():
    """At every place in two start-up and two TPE trials, as after a kill: the trial is taken over and asked again."""
    spec = StudySpec(name="x", tasks=("breast_cancer",))
    method = methods_of(spec)[-1]

    class Cut(Exception):  # noqa: N818
        pass

    def ask(study, stop):
        trial = study.ask()
        count = 0
        suggest = optuna.Trial._suggest

        def counting(self, name, distribution):
            nonlocal count
            if count == stop:
                raise Cut
            count += 1
            return suggest(self, name, distribution)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optuna.Trial, "_suggest", counting)
            try:
                method.suggest(trial)
            except Cut:
                pass
            else:
                return trial, True
        fresh = optuna.Trial(study, trial._trial_id)
        method.suggest(fresh)
        return fresh, False

    def run(cuts):
        study = optuna.create_study(study_name="s", sampler=SteadySampler(3, startup_trials=4))
        whole = True
        for number in range(8):
            trial, uncut = ask(study, cuts.get(number))
            whole = whole and uncut
            study.tell(trial, sum(map(ord, str(trial.params))) % 97)
        return [trial.params for trial in study.trials], whole

    expected, _ = run({})
    for number in (1, 3, 5, 7):
        for stop in range(20):
            found, whole = run({number: stop})
            if whole:
                break
            assert found == expected, (number, stop)
        assert stop > 4


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_step_stays_in_the_range_and_on_its_grid(seed, share):
    rng = np.random.default_rng(seed)
    for low, high, log in ((1e-5, 3e-2, True), (-3.0, 3.0, False), (2.0, 2.0, False)):
        allowed = FloatDistribution(low, high, log=log)
        assert low <= moved(low + share * (high - low), allowed, rng) <= high
    whole = moved(round(8 * share), IntDistribution(0, 8), rng)
    assert whole in range(9)
    assert isinstance(whole, int)
    assert moved("b", CategoricalDistribution(("a", "b", "c")), rng) in ("a", "b", "c")


def test_steps_are_short_and_go_both_ways():
    rng = np.random.default_rng(0)
    rates = np.array([moved(1e-3, FloatDistribution(1e-5, 3e-2, log=True), rng) for _ in range(500)])
    steps = np.log(rates / 1e-3) / np.log(3e-2 / 1e-5)
    assert abs(np.median(steps)) < 0.01
    assert 0.02 < np.median(np.abs(steps)) < 0.08
    edge = [moved(0.0, FloatDistribution(0, 8), rng) for _ in range(100)]  # reflected, not stuck
    assert min(edge) >= 0
    assert len(set(edge)) == 100
    kept = [moved("a", CategoricalDistribution(("a", "b", "c")), rng) for _ in range(500)]
    assert 0.85 < kept.count("a") / 500 < 0.95
    assert {"b", "c"} < set(kept)


def test_good_trials_are_those_that_cannot_be_told_from_the_best():
    study = optuna.create_study()
    for value in (3.0, 2.0, 2.19, 2.3):
        study.add_trial(optuna.create_trial(value=value))
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.PRUNED))
    assert [trial.number for trial in good_trials(study)] == [1, 2]
    assert good_trials(optuna.create_study()) == []


def test_half_of_the_trials_step_from_a_good_one():
    """After a trial that is far better than all others, about half of the proposals lie close to it."""
    study = optuna.create_study(study_name="s", sampler=SteadySampler(1, startup_trials=1000))
    study.enqueue_trial({"x": 0.731})
    distances = []
    for number in range(101):
        trial = study.ask()
        distances.append(abs(trial.suggest_float("x", 0, 1) - 0.731))
        study.tell(trial, 1.0 if number == 0 else 9.0)
    near = sum(distance < 0.05 for distance in distances[1:])
    assert 20 < near < 55  # without steps it would be 10


def test_steps_go_on_when_tpe_has_begun(monkeypatch):
    """TPE proposes what all trials have together, and must not take the steps' parameters from them."""
    import metagd_optuna.search.steady_sampler as steady

    steps = []
    monkeypatch.setattr(
        steady, "moved", lambda value, allowed, rng: steps.append(allowed) or moved(value, allowed, rng)
    )
    study = optuna.create_study(study_name="s", sampler=SteadySampler(1, startup_trials=4))
    stepped = []
    for _ in range(80):
        trial = study.ask()
        before = len(steps)
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_categorical("y", ("a", "b"))
        stepped.append(len(steps) - before)
        study.tell(trial, x + (y == "b"))
    assert set(stepped) == {0, 2}  # a step moves all of its parameters, any other trial none
    assert 12 < sum(count == 2 for count in stepped[40:]) < 28


def test_two_trials_at_a_time_are_refused():
    study = optuna.create_study(study_name="s", sampler=SteadySampler(1, startup_trials=4))
    first, _ = study.ask(), study.ask()
    with pytest.raises(MetaGDError, match="trial 0 asks for parameters after trial 1 began"):
        first.suggest_float("x", 0, 1)


def test_planned_runs_of_the_defaults():
    # 4 rates x 4 seeds; 4 methods x 24 trials x 2 seeds; 4 methods x (4 x 3 + 2 x 6) shortlisted; 10 candidates x 10
    assert planned_runs(StudySpec(name="x", tasks=("breast_cancer",))) == 16 + 192 + 96 + 100
