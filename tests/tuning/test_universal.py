"""A real study of the universal scope: whole, put together from snapshots, and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
import pytest
from killed_study import Killed, cut_off, strike
from small_study import made_once, results_of, store_of

from metagd_optuna.analysis import best_elsewhere
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import load_policy
from metagd_optuna.report.results import Results, read_results
from metagd_optuna.study import run_study
from metagd_optuna.tuning.own_trials import objectives
from metagd_optuna.tuning.parts import held_tasks
from metagd_optuna.tuning.phases import PHASES, confirm, planned_runs
from metagd_optuna.tuning.pruning import HANDICAP
from metagd_optuna.tuning.record import winning_policy
from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.store import SEARCH_TARGET, StudyStore
from metagd_optuna.tuning.stored_trials import objective_of, steps_of
from metagd_optuna.tuning.task_trainer import TaskTrainer
from metagd_optuna.tuning.tuner import Tuner

STUDY_NAME = "one_for_all"
TASKS = ("breast_cancer", "stripes", "dots")
METHODS = ("adam-constant", "meta-policy")
STUDY = """
tasks = ["breast_cancer", "stripes.npz", "dots.npz"]
scope = "universal"
baselines = ["adam-constant"]
trials = 5
trials_at_once = 2
seeds_per_trial = 2
max_train = 60
max_eval = 40
batch_size = 16
examples_per_run = 240
evaluations = 6
rate_updates_per_evaluation = 1
calibration_seeds = 2
shortlist_trials = 2
shortlist_seeds = 2
confirmation_seeds = 2
optimizers = ["adam"]
population = 1
"""


def _set(path, seed, noise):
    """Bright squares whose place tells the class, in noise."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, size in (("train", 100), ("val", 40), ("test", 40)):
        labels = np.arange(size) % 2
        images = rng.integers(0, noise, (size, 18, 18))
        for image, label in zip(images, labels, strict=True):
            image[3 + 6 * label : 8 + 6 * label, 4:12] += 40
        arrays |= {f"{part}_images": images.astype(np.uint8), f"{part}_labels": labels.astype(np.uint8)[:, None]}
    np.savez(path, **arrays)


def but_times(results):
    return results.model_dump(mode="json", exclude={"timing"})


class Whole(NamedTuple):
    """A study that ran without interruption: its file, its folder, and what it found."""

    file: Path
    out: Path
    results: Results


@pytest.fixture(scope="session")
def whole(shared, tmp_path_factory):
    """The universal study, run by whichever worker comes first; each has a copy of its own."""

    def make(folder):
        _set(folder / "stripes.npz", 1, 100)
        _set(folder / "dots.npz", 2, 200)
        (folder / "one_for_all.toml").write_text(STUDY, encoding="utf-8")
        run_study(folder / "one_for_all.toml", out=folder / "out")

    own = shutil.copytree(made_once(shared / "universal", make), tmp_path_factory.mktemp("universal") / "copy")
    return Whole(own / "one_for_all.toml", own / "out", read_results(own / "out"))


@pytest.fixture(autouse=True)
def _unmeasured(whole, monkeypatch):
    """What a study will cost is tested elsewhere, and its measurement takes longest of all in one that is cut off."""
    monkeypatch.setattr(TaskTrainer, "measured_speed", lambda *_: 1000.0)


@pytest.fixture
def store(whole):
    return store_of(whole.out, STUDY_NAME)


def test_a_complete_study_is_about_the_data_that_it_trained_on(whole, tmp_path):
    """A clinic that corrects labels, or has a file of the same name elsewhere, does not get the old verdict."""
    study_file, out, before = whole
    copy = Path(shutil.copytree(study_file.parent, tmp_path / "copy"))
    file = copy / study_file.name
    with np.load(copy / "dots.npz") as data:
        arrays = dict(data)
    np.savez_compressed(copy / "dots.npz", **arrays)  # other bytes, the same data
    again = run_study(file, out=copy / out.name)
    assert but_times(results_of(again)) == but_times(before)
    assert again.policies == {name: copy / out.name / "policies" / f"{name}.json" for name in (*TASKS, "universal")}
    _set(copy / "dots.npz", 3, 200)
    with pytest.raises(MetaGDError, match=r"the data of task 'dots' changed since this study began"):
        run_study(file, out=copy / out.name)


@pytest.mark.parametrize("method", METHODS)
def test_every_task_has_the_same_settings(store, method):
    found = [[trial.params for trial in store.task(task).trials(method)] for task in TASKS]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 5


def test_planned_runs_are_those_that_are_stored(store):
    _, search, elsewhere, confirmation = PHASES["universal"]
    for task in map(store.task, TASKS):
        assert search.planned_runs(store.settings) == 2 * sum(len(task.trials(method)) for method in METHODS)
        assert elsewhere.planned_runs(store.settings) == len(task.trials("shortlist"))
        assert confirmation.planned_runs(store.settings) == len(task.trials("confirm"))
        assert planned_runs(store.settings) == 8 + 2 * 2 * 5 + 2 + len(task.trials("confirm"))


def _values(store, task, method):
    """The objectives of all settings, infinite where they were stopped, read from the trials themselves."""
    found = store.task(task).trials(method)
    return np.array([t.value if t.state.name == "COMPLETE" else np.inf for t in found])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_confirmed_was_chosen_on_the_other_tasks(store, task, method):
    others = np.log([_values(store, other, method) for other in TASKS if other != task]).mean(axis=0)
    chosen = store.task(task).outcome.chosen_trials[method]
    assert np.isfinite(others[chosen])
    assert others[chosen] == others.min()


def test_a_fold_differs_from_the_choice_on_all_tasks(store):
    """Else the test above could not tell a leak."""
    found = {task: objectives(store.task(task), METHODS) for task in TASKS}
    on_all = best_elsewhere(found, None, ["adam-constant"]).settings
    assert any(dict(store.task(task).outcome.chosen_trials) != on_all for task in TASKS)


def test_the_target_follows_from_the_calibration(whole):
    for task in whole.results.tasks.values():
        assert task.target == pytest.approx(task.chance + 0.95 * (task.search_target - task.chance))
        assert task.scope == "universal"


def test_a_pruned_setting_counts_with_the_best_it_could_have_had(store):
    pruned = 0
    for task in TASKS:
        for method in METHODS:
            trials = store.task(task).trials(method)
            best = min(trial.value for trial in trials if trial.state.name == "COMPLETE")
            for trial in trials:
                if trial.state.name == "PRUNED":
                    pruned += 1
                    assert objective_of(trial) > HANDICAP * best
    assert pruned  # else nothing of this was tested


def test_what_is_held_is_known_without_reading_a_trial(store, monkeypatch):
    """A finished study that is run again looks hundreds of times, and trials are many."""

    def read(*args, **kwargs):
        raise AssertionError("trials were read")

    monkeypatch.setattr(type(store.storage), "get_all_trials", read)
    assert held_tasks(store.storage) == {STUDY_NAME: sorted(TASKS)}
    found = StudyStore.find(store.storage, STUDY_NAME)
    assert found.settings.universal
    assert found.task("dots").metadata.classes == 2
    assert found.task("dots").is_complete
    assert found.task("dots").is_published


def test_the_report_says_what_complexity_was_worth(whole):
    results = whole.results
    for task in results.tasks.values():
        names = [row.name for row in task.candidates]
        assert names[-3:] == ["replay", "frozen", "constant-complexity"]
        assert task.verdict.complexity_evidence is not None
        assert task.verdict.complexity_evidence.pairs > 0
    assert results.across.over_keras_adam.speedup > 0


def test_the_report_says_what_a_setting_for_each_task_could_have_won(whole, store):
    """The choice of the others beside the best, by the trials themselves."""
    for task, results in whole.results.tasks.items():
        finished = objectives(store.task(task), METHODS)
        known = objectives(store.task(task), METHODS, stopped_counts=True)
        chosen = store.task(task).outcome.chosen_trials
        assert [row.method for row in results.regrets] == list(METHODS)
        for row in results.regrets:
            method = row.method
            assert row.trial == chosen[method]
            assert row.chosen == pytest.approx(known[method][chosen[method]])
            assert row.stopped == np.isinf(finished[method][chosen[method]])
            assert row.best == pytest.approx(min(finished[method]))
            assert row.best_trial == int(np.argmin(finished[method]))
            assert row.chosen >= row.best


def test_the_rule_for_all_tasks_tells_where_it_is_from(whole, store):
    policy = load_policy(whole.out / "policies" / "universal.meta-policy.json")
    found = {task: objectives(store.task(task), METHODS) for task in TASKS}
    number = best_elsewhere(found, None, ["adam-constant"]).settings["meta-policy"]
    assert policy.provenance["trial"] == number
    assert policy.provenance["scope"] == "universal"
    assert policy.provenance["rate_updates"] == max(store.task(task).metadata.rate_updates for task in TASKS)
    verdicts = {task: found.verdict.model_dump(mode="json") for task, found in whole.results.tasks.items()}
    assert policy.provenance["results"] == verdicts
    assert winning_policy(store, "universal") == policy
    assert winning_policy(store, "dots").provenance["scope"] == "universal"


def cut_off_while_taken(whole, tmp_path, finished):
    """Kill a study after so many of the 8 + 5 + 5 trials of its first snapshot; after 18, before its target is kept."""
    file, out, _ = whole
    shutil.copytree(out / "snapshots", tmp_path / "snapshots")
    with pytest.MonkeyPatch.context() as patch:
        added, keep = optuna.Study.add_trial, optuna.Study.set_user_attr
        count = iter(range(finished + 1))

        def add(study, trial):
            if next(count) == finished:
                raise Killed
            added(study, trial)

        def set_attr(study, key, value):
            if key == SEARCH_TARGET:
                raise Killed
            keep(study, key, value)

        patch.setattr(optuna.Study, "add_trial", add)
        patch.setattr(optuna.Study, "set_user_attr", set_attr)
        with pytest.raises(Killed):
            run_study(file, out=tmp_path)


@pytest.mark.parametrize("finished", [1, 8, 11])
def test_a_snapshot_that_was_cut_off_while_it_was_taken_is_gone_on_with(whole, tmp_path, monkeypatch, finished):
    cut_off_while_taken(whole, tmp_path, finished)
    file, out, _ = whole
    monkeypatch.setattr(Tuner, "_train", lambda *_: pytest.fail("it trained the design"))
    cut_off(file, tmp_path, monkeypatch, confirm.Confirm, "run", lambda *_: True)
    assert design_of(tmp_path) == design_of(out)


def test_a_calibration_that_was_cut_off_while_it_was_taken_runs_without_its_file(whole, tmp_path, monkeypatch):
    cut_off_while_taken(whole, tmp_path, 5)
    shutil.rmtree(tmp_path / "snapshots")
    cut_off(whole.file, tmp_path, monkeypatch, Tuner, "run", lambda *_: True)
    again, first = (store_of(out, STUDY_NAME).task(TASKS[0]).search_target for out in (tmp_path, whole.out))
    assert again == first


def test_snapshots_from_elsewhere_give_the_same_results(whole, tmp_path, monkeypatch):
    """Another machine has trained the design; here only the confirmation is left, even if taking it was cut off."""
    cut_off_while_taken(whole, tmp_path, 18)
    file, _, found = whole
    monkeypatch.setattr(Tuner, "_train", lambda *_: pytest.fail("it trained the design"))
    assert but_times(results_of(run_study(file, out=tmp_path))) == but_times(found)
    assert but_times(results_of(store_of(tmp_path, STUDY_NAME))) == but_times(found)


def design_of(out):
    """What a universal study knows of its design: the targets of its searches, every trial's settings and outcome."""
    stores = [store_of(out, STUDY_NAME).task(task) for task in TASKS]
    trials = {
        (store.name, part): [(trial.state, trial.params, steps_of(trial)) for trial in store.trials(part)]
        for store in stores
        for part in ("calibrate", *METHODS)
    }
    targets = [store.search_target for store in stores]
    return targets, trials, [objectives(store, METHODS, stopped_counts=True) for store in stores]


def test_killed_in_the_design_and_in_the_confirmation_it_ends_with_the_same_results(whole, tmp_path):
    """SIGKILL while the second task's design trains, and while the first task is confirmed; then to the end."""
    for when, count in [("tell meta-policy", 8), ("add confirm", 3)]:
        process = strike(whole.file, tmp_path, when, count, "SIGKILL")
        assert process.returncode == -signal.SIGKILL, (when, process.stderr[-2000:])
    assert but_times(results_of(run_study(whole.file, out=tmp_path))) == but_times(whole.results)


def test_a_winner_that_diverges_on_a_new_task_has_no_frozen_control(whole, tmp_path, monkeypatch):
    file, out, _ = whole
    shutil.copytree(out / "snapshots", tmp_path / "snapshots")
    monkeypatch.setattr(confirm, "mean_state", lambda *_: None)
    results = results_of(run_study(file, out=tmp_path))
    for task in results.tasks.values():
        assert [row.name for row in task.candidates][-2:] == ["replay", "constant-complexity"]
        assert task.verdict.feedback in ("open-loop", "feedback did not matter", "not shown")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda snapshot: snapshot.pop("search_target"),
            "dots.json: the key 'search_target' is missing; it holds a number; delete it",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"].pop(),
            "meta-policy has 4 trials, . of them complete; a search has 5",
        ),
        (lambda snapshot: snapshot["trials"].pop("adam-constant"), "adam-constant has 0 trials"),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0].pop(),
            r"the key 'trials.meta-policy\[0\]\[4\]' is missing",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][0][4].pop("g"),
            "dots.json: meta-policy: The value of the parameter 'g' is not found",
        ),
        (
            lambda snapshot: snapshot["trials"]["meta-policy"][1][4].update(half_life=1.25),
            r"settings of meta-policy are not those that this version's design has",
        ),
        (lambda snapshot: snapshot["settings"].update(seed=7), r"other settings \(seed\); delete it"),
        (lambda snapshot: snapshot["versions"].update({"metagd-optuna": "0"}), r"other settings \(metagd-optuna\)"),
        (lambda snapshot: snapshot.update(schema=3), "dots.json: schema is 3; allowed is 2; delete it"),
        (lambda snapshot: snapshot["metadata"].update(fingerprint="0"), "dots.json: this snapshot is of other data"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused_before_anything_trains(whole, tmp_path, monkeypatch, change, message):
    file, out, _ = whole
    import metagd_optuna.training.engine as engine

    snapshot = json.loads((out / "snapshots" / "dots.json").read_text(encoding="utf-8"))
    change(snapshot)
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "dots.json").write_text(json.dumps(snapshot), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(engine.Engine, "train", lambda *a, **k: pytest.fail("it trained"))
        with pytest.raises(MetaGDError, match=message):
            run_study(file, out=tmp_path)
    held = open_storage(tmp_path / "optuna.db", must_exist=True)
    assert not [
        t for s in optuna.get_all_study_names(held) for t in optuna.load_study(study_name=s, storage=held).trials
    ]


def test_text_that_is_no_snapshot_is_refused(whole, tmp_path):
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "breast_cancer.json").write_text("{", encoding="utf-8")
    with pytest.raises(MetaGDError, match=r"breast_cancer.json: no snapshot of a study"):
        run_study(whole.file, out=tmp_path)
