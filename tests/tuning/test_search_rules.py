import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.analysis import halving_rounds
from metagd_optuna.policy import BASELINES, SIGNALS, MetaPolicy
from metagd_optuna.tuning.methods import META_POLICY, methods_of
from metagd_optuna.tuning.phases import PHASES, planned_runs
from metagd_optuna.tuning.pruning import optimistic_objective, threshold
from metagd_optuna.tuning.resumable_sampler import ResumableTPESampler
from metagd_optuna.tuning.seeds import phase_seeds, sampler_seed
from metagd_optuna.tuning.settings import StudySettings, StudySpec

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


@pytest.mark.parametrize("forms", [("power",), ("multiplicative",), ("logistic", "schedule", "monotone-spline")])
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


@pytest.mark.slow
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
        study = optuna.create_study(study_name="s", sampler=ResumableTPESampler(3, n_startup_trials=4))
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


def test_the_sampler_remembers_nothing():
    """One that is made anew for every trial proposes the same, and four trials may ask before any of them is told."""

    def run(anew):
        study = optuna.create_study(study_name="s", sampler=ResumableTPESampler(1, n_startup_trials=4))
        for _ in range(6):
            trials = []
            for _ in range(4):
                study.sampler = ResumableTPESampler(1, n_startup_trials=4) if anew else study.sampler
                trials.append(study.ask())
            for trial in trials:
                trial.suggest_float("x", 0, 1)
                form = trial.suggest_categorical("form", ("a", "b"))
                trial.suggest_int(f"n.{form}", 1, 9)
            for trial in trials:
                study.tell(trial, trial.params["x"])
        return [trial.params for trial in study.trials]

    assert run(anew=True) == run(anew=False)


def test_planned_runs_of_the_defaults():
    # 4 rates x 4 seeds; 4 methods x 24 trials x 2 seeds; 4 methods x (4 x 3 + 2 x 6) shortlisted; 10 candidates x 10
    assert planned_runs(StudySpec(name="x", tasks=("breast_cancer",))) == 16 + 192 + 96 + 100
