"""Anyone may add, enqueue and end trials in a storage: each is used, or left alone, and no search or report fails."""

import copy
import math
import shutil

import numpy as np
import optuna
import pytest
from killed_study import cut_off
from made_up import TASK, task_store, task_trainer
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from small_study import results_but_times, searched, store_of

from metagd_optuna.analysis import targets_up_to
from metagd_optuna.cli import main
from metagd_optuna.contracts import Curve, MetaGDError, RunRecord
from metagd_optuna.policy.parameters import middle, possible_params, suggest_params
from metagd_optuna.study import run_study
from metagd_optuna.training.plan import plan_run
from metagd_optuna.tuning.flow import to_the_end
from metagd_optuna.tuning.methods import methods_of
from metagd_optuna.tuning.own_trials import OwnView, finished_settings
from metagd_optuna.tuning.phases.search import Search as SearchPhase
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.record import winning_policy
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.settings import StudySpec
from metagd_optuna.tuning.shared_design import designed
from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.store import TaskStore
from metagd_optuna.tuning.stored_trials import REFUSED as WHY
from metagd_optuna.tuning.stored_trials import SUBJECT
from metagd_optuna.tuning.study_file import load_study
from metagd_optuna.tuning.suggest import distribution_of
from metagd_optuna.tuning.task_trainer import TaskTrainer
from metagd_optuna.tuning.tuner import Tuner

TARGETS = targets_up_to(0.5, 0.9)
PLAN = plan_run(train_examples=320, epochs=10, batch_size=32, evaluations=8, rate_updates_per_evaluation=1)
EPOCHS = PLAN.epochs(PLAN.evaluation_steps)
TRIALS = 8
PER_TASK = StudySpec(name="s", tasks=("breast_cancer",), baselines=("adam-constant",), trials=TRIALS, trials_at_once=3)
UNIVERSAL = StudySpec(
    **dict(PER_TASK) | {"tasks": ("breast_cancer", "breastmnist", "retinamnist"), "scope": "universal"}
)
RATE = {"adam-constant.lr0": 0.0123}
POLICY = {"optimizer": "adam", "g": "power", "g.power.lr0.adam": 0.0123}


class MadeUpEngine:
    """Scores by the number of a trial; ``before`` is called with the names that are about to train."""

    def __init__(self, before=lambda names: None):
        self.before = before

    def train(self, jobs, *, seed, test, watch):
        self.before([job.name for job in jobs])
        records = []
        for index, job in enumerate(jobs):
            speed = np.random.default_rng([seed, int(job.name.partition("#")[2])]).uniform(0.2, 1)
            scores = 0.5 + 0.45 * (1 - np.exp(-speed * EPOCHS))
            for evaluation in range(1, EPOCHS.size + 1):
                shown, steps = tuple(scores[:evaluation].tolist()), PLAN.evaluation_steps[:evaluation]
                curve = Curve(steps, shown, shown, shown, shown)
                if index in watch({index: curve}):
                    break
            records.append(RunRecord(job.name, seed, PLAN.steps, steps[-1], curve, None, (1,), (0.0,), (0.0,), (1e-3,)))
        return records


class PowerCut(BaseException):
    pass


class Search:
    """One method's search in a storage of its own, which can be cut off, disturbed and gone on with."""

    def __init__(self, spec=PER_TASK, method="adam-constant"):
        self.spec = spec
        self.store = task_store(spec)
        self.method = next(each for each in methods_of(spec) if each.name == method)
        self.study = self.store.open(method)

    def run(self, before=lambda names: None):
        trainer = task_trainer(MadeUpEngine(before).train, PLAN)
        seeds = phase_seeds(self.spec.seed, SearchPhase.first_seed, self.spec.seeds_per_trial)
        study = self.store.open(self.method.name)
        to_the_end(Tuner(self.store, study, self.method, self.spec, trainer, TARGETS, seeds).run(Progress()))
        return self

    def cut_off(self, calls):
        def before(names):
            nonlocal calls
            calls -= 1
            if calls < 0:
                raise PowerCut

        with pytest.raises(PowerCut):
            self.run(before)
        return self

    @property
    def own(self):
        return finished_settings(self.study.get_trials(), TRIALS)


def train_nothing(names):
    pytest.fail(f"{names} were trained again")


def enqueue(*settings):
    return lambda study: [study.enqueue_trial(dict(setting)) for setting in settings]


def add(**trial):
    return lambda study: study.add_trial(optuna.create_trial(**trial))


def add_copies(study):
    study.add_trials(copy.deepcopy(study.get_trials()))


def ask_as_another_program(study):
    study.ask({"their.own": FloatDistribution(0, 1)})


ODD = {"their.own": 0.5}, {"their.own": FloatDistribution(0, 1)}
LEFT_ALONE = {
    "complete": add(value=0.0),
    "complete with parameters": add(value=-1e9, params=ODD[0], distributions=ODD[1]),
    "complete with our parameter": add(
        value=0.0, params=RATE, distributions={"adam-constant.lr0": FloatDistribution(1e-9, 1, log=True)}
    ),
    "complete with attributes that are alike": add(value=0.0, user_attrs={"steps": 3, "runs": [], "seconds": 1}),
    "complete with half of ours": add(value=0.0, user_attrs={"candidate": "adam-constant", "steps": 3}),
    "failed": add(state=TrialState.FAIL),
    "pruned": add(state=TrialState.PRUNED),
    "pruned with a value": add(state=TrialState.PRUNED, intermediate_values={1: 0.1}),
    "running elsewhere": ask_as_another_program,
    "all trials again": add_copies,
    "the best again": lambda study: [study.add_trial(t) for t in study.get_trials(states=(TrialState.COMPLETE,))[:1]],
}
REFUSED = {
    "an unknown name": enqueue({"optimiser": "adam"}),
    "out of range": enqueue({"adam-constant.lr0": 5.0}),
    "below the range": enqueue({"adam-constant.lr0": 0}),
    "no number": enqueue({"adam-constant.lr0": "fast"}),
    "nothing": enqueue({"adam-constant.lr0": None}),
    "not finite": enqueue({"adam-constant.lr0": math.nan}),
    "a list": enqueue({"adam-constant.lr0": [0.001]}),
    "three at once": enqueue({"a": 1}, {"b": 2}, {"adam-constant.lr0": True}),
}


@pytest.mark.parametrize("done", [1, 3, 100], ids=["first batch", "later", "through"])
@pytest.mark.parametrize("case", [*LEFT_ALONE, *REFUSED])
@pytest.mark.parametrize("spec", [PER_TASK, UNIVERSAL], ids=["per task", "universal"])
def test_what_is_not_the_searchs_own_changes_nothing_and_stops_nothing(spec, case, done, capsys):
    search = Search(spec)
    search.run() if done == 100 else search.cut_off(done)
    before = [trial.number for trial in search.own]
    {**LEFT_ALONE, **REFUSED}[case](search.study)
    theirs = {trial.number for trial in search.study.get_trials()} - set(before)
    asked_before = {t.number for t in search.study.get_trials() if SUBJECT in t.user_attrs}
    search.run()
    own = search.own
    assert len(own) == TRIALS
    assert not {trial.number for trial in own} & (theirs - asked_before)
    assert all(trial.value is None or trial.value > 0 for trial in own)
    if spec is UNIVERSAL:
        assert [trial.params for trial in own] == designed(search.method, spec.seed, TRIALS)
    said = capsys.readouterr().out
    if case in REFUSED and done != 100:
        refused = [trial for trial in search.study.get_trials() if trial.state == TrialState.FAIL]
        assert refused
        assert all(trial.user_attrs[WHY] and "cannot be trained" in said for trial in refused)
    count = len(search.study.get_trials())
    search.run(train_nothing)
    assert len(search.study.get_trials()) == count
    seen = finished_settings(OwnView(search.study, TRIALS).get_trials())
    assert [trial.number for trial in seen] == [trial.number for trial in own]


@pytest.mark.parametrize("done", [0, 1, 3])
@pytest.mark.parametrize(
    ("method", "setting"),
    [
        ("adam-constant", RATE),
        ("adam-constant", {}),
        ("meta-policy", POLICY),
        ("meta-policy", {"g.power.lr0.adam": 0.0123}),
        ("meta-policy", {"optimizer": "sgd-nesterov", "g.power.lr0.adam": 0.0123}),
    ],
)
def test_an_allowed_setting_is_one_of_the_trials(method, setting, done):
    search = Search(method=method).cut_off(done)
    enqueued = len(search.study.get_trials())
    search.study.enqueue_trial(setting)
    search.run()
    own = {trial.number: trial for trial in search.own}
    assert len(own) == TRIALS == len(search.study.get_trials())
    assert own[enqueued].params.items() >= {k: v for k, v in setting.items() if k in own[enqueued].params}.items()
    if setting == POLICY:
        assert own[enqueued].params["g.power.lr0.adam"] == 0.0123
    # What is known is still tried, all of it.
    fixed = [trial.system_attrs.get("fixed_params") for trial in own.values()]
    assert all(dict(known) in fixed for known in search.method.initial_points[: TRIALS - 1])


@pytest.mark.parametrize("done", [0, 1, 100])
def test_settings_without_a_place_wait_and_are_told_once(done, capsys):
    search = Search()
    search.run() if done == 100 else search.cut_off(done)
    enqueue(*[RATE] * (TRIALS + 3))(search.study)
    capsys.readouterr()
    search.run()
    assert len(search.own) == TRIALS
    waiting = search.study.get_trials(states=(TrialState.WAITING,))
    assert len(waiting) == len(search.study.get_trials()) - TRIALS > 0
    assert capsys.readouterr().out.count(f"{len(waiting)} of them; they are left alone") == 1


def test_finished_trials_of_others_are_not_learnt_from():
    """Their values would lead the sampler to wherever they are."""
    alone, disturbed = Search().cut_off(3), Search().cut_off(3)
    own_view = OwnView(disturbed.study)
    for _ in range(20):
        add(value=-1.0, params=RATE, distributions={"adam-constant.lr0": FloatDistribution(1e-5, 3e-2, log=True)})(
            disturbed.study
        )
    assert [t.params for t in own_view.get_trials()] == [t.params for t in alone.study.get_trials()]
    assert disturbed.study.best_trial.params == RATE


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.COMPLETE])
@pytest.mark.parametrize("spec", [PER_TASK, UNIVERSAL], ids=["per task", "universal"])
def test_a_trial_that_somebody_ends_while_it_trains_is_replaced(spec, state, capsys):
    search = Search(spec)
    ended = []

    def before(names):
        if not ended and len(names) == 3:
            ended.append(int(names[1].partition("#")[2]))
            search.study.tell(ended[0], None if state == TrialState.FAIL else 0.0, state)

    search.run(before)
    assert "was ended by somebody else" in capsys.readouterr().out
    assert len(search.own) == TRIALS
    assert ended[0] not in [trial.number for trial in search.own]
    if spec is UNIVERSAL:
        assert [trial.params for trial in search.own] == designed(search.method, spec.seed, TRIALS)


@pytest.mark.parametrize("spec", [PER_TASK, UNIVERSAL], ids=["per task", "universal"])
def test_a_setting_that_is_enqueued_while_a_batch_is_asked_for(spec, monkeypatch):
    search = Search(spec)
    ask, calls = optuna.Study.ask, []

    def asked(study, *arguments):
        calls.append(study)
        if len(calls) in (2, 5):
            study.enqueue_trial(RATE)
            study.enqueue_trial({"nonsense": 1})
        return ask(study, *arguments)

    monkeypatch.setattr(optuna.Study, "ask", asked)
    search.run()
    assert len(search.own) == TRIALS
    rates = [trial.params["adam-constant.lr0"] for trial in search.own]
    if spec is UNIVERSAL:
        assert [trial.params for trial in search.own] == designed(search.method, spec.seed, TRIALS)
    else:
        assert rates.count(RATE["adam-constant.lr0"]) == 2


def test_a_range_that_keeps_ours_from_being_stored_is_told():
    search = Search(method="meta-policy")
    choices = CategoricalDistribution(("adam", "lamb"))
    add(value=1.0, params={"optimizer": "lamb"}, distributions={"optimizer": choices})(search.study)
    with pytest.raises(
        MetaGDError, match=r"trial 0 of 's/t/meta-policy' was added by somebody else.*'optimizer'.*delete"
    ):
        search.run()


@pytest.mark.parametrize("options", [{}, {"direction": "maximize"}, {"directions": ["minimize", "minimize"]}])
def test_a_study_of_somebody_elses_under_our_name_is_not_taken_over(options):
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=f"s/{TASK}/meta-policy", **options)
    if not options:
        study.enqueue_trial({"x": 1})
    with pytest.raises(MetaGDError, match=r"'s/t/meta-policy' .*not one of metagd's"):
        task_store(PER_TASK, storage).open("meta-policy")
    assert study.user_attrs == {}


@pytest.mark.parametrize("signal", ["train-loss", "improvement"])
@pytest.mark.parametrize("sizes", [(), (32, 16)])
def test_the_space_of_a_method_is_all_that_it_may_ask_for(signal, sizes):
    """The slow way: ask with random choices, many times."""
    rng = np.random.default_rng(0)
    spec = StudySpec(name="s", tasks=("breast_cancer",))
    choices = (spec.difficulty_forms, spec.rate_forms, spec.optimizers, signal, sizes)
    asked = {}

    def suggest(name, wanted):
        asked[name] = wanted
        return rng.choice(wanted.choices).item() if hasattr(wanted, "choices") else middle(wanted)

    for _ in range(300):
        suggest_params(
            suggest,
            difficulty_forms=choices[0],
            rate_forms=choices[1],
            optimizers=choices[2],
            signal=signal,
            batch_sizes=sizes,
        )
    assert possible_params(*choices) == asked


def test_ranges_are_stored_as_they_are_asked_for():
    for name in ("adam-constant", "meta-policy"):
        search = Search(method=name).run()
        for trial in search.own:
            for parameter, stored in trial.distributions.items():
                assert distribution_of(search.method.ranges[parameter]) == stored


def disturb(storage):
    """Do in every part of every study what a user may do there."""
    for name in [study.study_name for study in storage.get_all_studies()]:
        study = optuna.load_study(storage=storage, study_name=name)
        # What is failed and complete at first comes between a search's own trials.
        add(state=TrialState.FAIL)(study)
        add(value=-1.0)(study)
        add(value=2.0, user_attrs={"candidate": {"name": "meta-policy"}, "runs": [], "seconds": "x"})(study)
        add(state=TrialState.PRUNED, intermediate_values={3: 0.1})(study)
        enqueue({"nonsense": 1}, {"optimizer": "lamb"}, {"candidate": "adam", "seed": 1}, {})(study)
        add_copies(study)
    for name in ("small", "small/notes", "small/breast_cancer/notes", "small/breast_cancer", "a/b/c/d"):
        add(value=1.0)(optuna.create_study(storage=storage, study_name=name))
    for name in ("small/old/meta-policy", "small/breast_cancer/meta-policy-copy", "mine/breast_cancer/confirm"):
        optuna.copy_study(
            from_study_name="small/breast_cancer/calibrate",
            from_storage=storage,
            to_storage=storage,
            to_study_name=name,
        )


def test_a_finished_study_is_what_it_was_and_can_be_exported_and_reported(
    finished_study, tmp_path, monkeypatch, capsys
):
    out = shutil.copytree(finished_study.out, tmp_path / "small")
    before = winning_policy(store_of(out), "breast_cancer")
    disturb(open_storage(out / "optuna.db", must_exist=True))
    assert results_but_times(run_study(finished_study.file, out=out)) == finished_study.results
    assert results_but_times(store_of(out)) == finished_study.results
    assert winning_policy(store_of(out), "breast_cancer") == before
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["run", str(finished_study.file), "--out", str(out)],
        ["export", "--storage", str(out / "optuna.db"), "--study", "small", "--task", "breast_cancer", "-o", "p.json"],
        ["report", str(out)],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0, capsys.readouterr().err
    with pytest.raises(MetaGDError, match="'mine' has not finished task 'breast_cancer'"):
        winning_policy(store_of(out, "mine"), "breast_cancer")


@pytest.mark.parametrize("calls", [4])
def test_a_study_goes_on_and_ends_whatever_was_added_to_all_its_parts(finished_study, tmp_path, monkeypatch, calls):
    train = TaskTrainer.train

    def cut(*arguments, **settings):
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise PowerCut
        return train(*arguments, **settings)

    least = {"trials": 4, "shortlist_trials": 2, "examples_per_run": 240, "evaluations": 6}
    spec, out = StudySpec(**dict(load_study(finished_study.file)) | least), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(TaskTrainer, "train", cut)
        with pytest.raises(PowerCut):
            run_study(spec, out=out)
    disturb(open_storage(out / "optuna.db", must_exist=True))
    results = results_but_times(run_study(spec, out=out))
    for method in ("adam-constant", "meta-policy"):
        own = finished_settings(store_of(out).task("breast_cancer").trials(method), spec.trials)
        assert len(own) == spec.trials
    assert results_but_times(run_study(spec, out=out)) == results


def test_runs_that_cannot_stand_beside_somebody_elses_are_told(finished_study, tmp_path, monkeypatch):
    calibrate = TaskStore.open_calibration

    def opened(store):
        study = calibrate(store)
        if not study.get_trials():
            add(value=1.0, params={"candidate": "x"}, distributions={"candidate": CategoricalDistribution(("x", "y"))})(
                study
            )
        return study

    with monkeypatch.context() as patch:
        patch.setattr(TaskStore, "open_calibration", opened)
        with pytest.raises(MetaGDError, match=r"breast_cancer/calibrate: a run cannot be stored.*delete that study"):
            run_study(finished_study.file, out=tmp_path)
    storage = open_storage(tmp_path / "optuna.db", must_exist=True)
    optuna.delete_study(study_name="small/breast_cancer/calibrate", storage=storage)
    cut_off(finished_study.file, tmp_path, monkeypatch, Tuner, "run", lambda *_: True)
    assert searched(tmp_path, ("calibrate",)) == searched(finished_study.out, ("calibrate",))
