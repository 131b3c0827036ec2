"""A real study of the universal league: whole, put together from columns, and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import optuna
import pytest
from killed_study import strike
from small_study import results_but_times

from metagd_optuna.analysis import best_elsewhere
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import load_policy
from metagd_optuna.report.results import build_results
from metagd_optuna.search import trial_store
from metagd_optuna.search.phases import TaskPhases
from metagd_optuna.search.pruning import HANDICAP
from metagd_optuna.search.publish import publish_universal
from metagd_optuna.search.record import column_of, is_complete, load_record, winning_policy
from metagd_optuna.search.runner import run_study
from metagd_optuna.search.storage import open_storage
from metagd_optuna.search.study_file import load_study
from metagd_optuna.search.tuning import Tuner

TASKS = ("breast_cancer", "stripes", "dots")
METHODS = ("adam-constant", "meta-policy")
STUDY = """
tasks = ["breast_cancer", "stripes.npz", "dots.npz"]
league = "universal"
baselines = ["adam-constant"]
trials = 5
trials_at_once = 2
seeds_per_trial = 2
max_train = 100
examples_per_run = 400
evaluations = 8
ticks_per_evaluation = 2
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study file, its folder after a whole run, and the record."""
    folder = tmp_path_factory.mktemp("universal")
    _set(folder / "stripes.npz", 1, 100)
    _set(folder / "dots.npz", 2, 200)
    file = folder / "one_for_all.toml"
    file.write_text(STUDY, encoding="utf-8")
    record = run_study(load_study(file), out=folder / "out")
    return file, folder / "out", record


@pytest.fixture
def storage(whole):
    return open_storage(whole[1] / "optuna.db", must_exist=True)


def test_a_complete_study_is_about_the_data_that_it_trained_on(whole, tmp_path):
    """A clinic that corrects labels, or has a file of the same name elsewhere, does not get the old verdict."""
    study_file, out, record = whole
    copy = Path(shutil.copytree(study_file.parent, tmp_path / "copy"))
    spec = load_study(copy / study_file.name)
    with np.load(copy / "dots.npz") as file:
        arrays = dict(file)
    np.savez_compressed(copy / "dots.npz", **arrays)  # other bytes, the same data
    found = run_study(spec, out=copy / out.name)
    assert [task.contenders for task in found.tasks] == [task.contenders for task in record.tasks]
    _set(copy / "dots.npz", 3, 200)
    with pytest.raises(MetaGDError, match=r"the data of task 'dots' changed since this study began"):
        run_study(spec, out=copy / out.name)


def _outcome(storage, task):
    return trial_store.load_part(storage, "one_for_all", task, "confirm").user_attrs[trial_store.OUTCOME]


@pytest.mark.parametrize("method", METHODS)
def test_every_task_has_the_same_settings(storage, method):
    found = [
        [t.params for t in trial_store.load_part(storage, "one_for_all", task, method).get_trials()] for task in TASKS
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 5


def _values(storage, task, method):
    """The objectives of all settings, infinite where they were stopped, read from the trials themselves."""
    found = trial_store.load_part(storage, "one_for_all", task, method).get_trials()
    return np.array([t.value if t.state.name == "COMPLETE" else np.inf for t in found])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_confirmed_was_chosen_on_the_other_tasks(storage, task, method):
    others = np.log([_values(storage, other, method) for other in TASKS if other != task]).mean(axis=0)
    chosen = _outcome(storage, task)["chosen_trials"][method]
    assert np.isfinite(others[chosen])
    assert others[chosen] == others.min()


def test_a_fold_differs_from_the_choice_on_all_tasks(storage):
    """Else the test above could not tell a leak."""
    columns = {task: column_of(storage, "one_for_all", task, METHODS) for task in TASKS}
    on_all = best_elsewhere(columns, None, ["adam-constant"]).settings
    assert any(_outcome(storage, task)["chosen_trials"] != on_all for task in TASKS)


def test_the_target_follows_from_the_calibration(whole):
    for task in whole[2].tasks:
        assert task.target == pytest.approx(task.chance + 0.95 * (task.t_search - task.chance))
        assert task.league == "universal"


def test_a_pruned_setting_counts_with_the_best_it_could_have_had(storage):
    pruned = 0
    for task in TASKS:
        for method in METHODS:
            trials = trial_store.load_part(storage, "one_for_all", task, method).get_trials()
            best = min(trial.value for trial in trials if trial.state.name == "COMPLETE")
            for trial in trials:
                if trial.state.name == "PRUNED":
                    pruned += 1
                    assert trial_store.objective_of(trial) > HANDICAP * best
    assert pruned  # else nothing of this was tested


def test_what_is_held_is_known_without_reading_a_trial(storage, monkeypatch):
    """A finished study that is run again looks hundreds of times, and trials are many."""

    def read(*args, **kwargs):
        raise AssertionError("trials were read")

    monkeypatch.setattr(type(storage), "get_all_trials", read)
    assert trial_store.held_tasks(storage) == {"one_for_all": sorted(TASKS)}
    assert trial_store.stored_identity(storage, "one_for_all").settings["league"] == "universal"
    assert trial_store.stored_facts(storage, "one_for_all", "dots")["classes"] == 2
    assert is_complete(storage, "one_for_all", "dots")


def test_the_report_says_what_complexity_was_worth(whole):
    results = build_results(whole[2])
    for task in results.tasks.values():
        names = [row.name for row in task.contenders]
        assert names[-3:] == ["replay", "frozen", "constant-complexity"]
        assert task.verdict.complexity_evidence.pairs <= len(task.seeds)
    assert results.across.over_keras_adam.speedup > 0


def test_the_report_says_what_a_setting_for_each_task_could_have_won(whole, storage):
    """The choice of the others beside the best, by the trials themselves."""
    for task, results in build_results(whole[2]).tasks.items():
        finished = column_of(storage, "one_for_all", task, METHODS)
        known = column_of(storage, "one_for_all", task, METHODS, stopped_counts=True)
        chosen = _outcome(storage, task)["chosen_trials"]
        assert [row.method for row in results.regrets] == list(METHODS)
        for row in results.regrets:
            method = row.method
            assert row.trial == chosen[method]
            assert row.chosen == pytest.approx(known[method][chosen[method]])
            assert row.stopped == np.isinf(finished[method][chosen[method]])
            assert row.best == pytest.approx(min(finished[method]))
            assert row.best_trial == int(np.argmin(finished[method]))
            assert row.chosen >= row.best


def test_the_rule_for_all_tasks_tells_where_it_is_from(whole, storage, tmp_path):
    for task in TASKS:
        trial_store.note_verdict(trial_store.load_part(storage, "one_for_all", task, "confirm"), {"label": "tie"})
    (tmp_path / "policies").mkdir()
    policy = load_policy(publish_universal(storage, "one_for_all", out=tmp_path))
    columns = {task: column_of(storage, "one_for_all", task, METHODS) for task in TASKS}
    number = best_elsewhere(columns, None, ["adam-constant"]).settings["meta-policy"]
    assert policy.provenance["trial"] == number
    assert policy.provenance["league"] == "universal"
    assert policy.provenance["ticks"] == max(
        trial_store.facts_of(trial_store.load_part(storage, "one_for_all", task, "calibrate").user_attrs)["ticks"]
        for task in TASKS
    )
    assert policy.provenance["results"] == {task: {"label": "tie"} for task in TASKS}
    assert winning_policy(storage, "one_for_all", "universal") == policy
    assert winning_policy(storage, "one_for_all", "dots").provenance["league"] == "universal"


class Killed(Exception):  # noqa: N818 - no error of the program
    """A process that ends there."""


def cut_off_while_taken(whole, tmp_path, settled):
    """Kill a study after so many of the 8 + 5 + 5 trials of its first column; after 18, before its target is kept."""
    file, out, _ = whole
    shutil.copytree(out / "columns", tmp_path / "columns")
    import metagd_optuna.search.columns as columns

    with pytest.MonkeyPatch.context() as patch:
        added, keep = optuna.Study.add_trial, optuna.Study.set_user_attr
        count = iter(range(settled + 1))

        def add(study, trial):
            if next(count) == settled:
                raise Killed
            added(study, trial)

        def set_attr(study, key, value):
            if key == trial_store.T_SEARCH:
                raise Killed
            keep(study, key, value)

        patch.setattr(columns.optuna.Study, "add_trial", add)
        patch.setattr(columns.optuna.Study, "set_user_attr", set_attr)
        with pytest.raises(Killed):
            run_study(load_study(file), out=tmp_path)


@pytest.mark.parametrize("settled", [1, 8, 11])
def test_a_column_that_was_cut_off_while_it_was_taken_is_gone_on_with(whole, tmp_path, monkeypatch, settled):
    cut_off_while_taken(whole, tmp_path, settled)
    file, out, _ = whole

    def judge(phases, choice, elsewhere, targets):
        raise Killed

    monkeypatch.setattr(TaskPhases, "judge", judge)
    monkeypatch.setattr(Tuner, "_train", lambda *_: pytest.fail("it trained the design"))
    with pytest.raises(Killed):
        run_study(load_study(file), out=tmp_path)
    assert design_of(tmp_path) == design_of(out)


def test_a_calibration_that_was_cut_off_while_it_was_taken_runs_without_its_file(whole, tmp_path, monkeypatch):
    cut_off_while_taken(whole, tmp_path, 5)
    shutil.rmtree(tmp_path / "columns")

    def tune(phases, method, targets):
        raise Killed

    monkeypatch.setattr(TaskPhases, "_tune", tune)
    with pytest.raises(Killed):
        run_study(load_study(whole[0]), out=tmp_path)
    storage, task = open_storage(tmp_path / "optuna.db", must_exist=True), TASKS[0]
    again, first = (
        trial_store.load_part(held, "one_for_all", task, "calibrate").user_attrs[trial_store.T_SEARCH]
        for held in (storage, open_storage(whole[1] / "optuna.db", must_exist=True))
    )
    assert again == first


def test_columns_from_elsewhere_give_the_same_results(whole, tmp_path, monkeypatch):
    """Another machine has trained the design; here only the confirmation is left, even if taking it was cut off."""
    cut_off_while_taken(whole, tmp_path, 18)
    file, _, record = whole
    monkeypatch.setattr(Tuner, "_train", lambda *_: pytest.fail("it trained the design"))
    again = run_study(load_study(file), out=tmp_path)
    assert results_but_times(again) == results_but_times(record)
    held = open_storage(tmp_path / "optuna.db", must_exist=True)
    assert results_but_times(load_record(held, "one_for_all", TASKS)) == results_but_times(record)


def design_of(out):
    """What a universal study knows of its design: the targets of its searches, every trial's settings and outcome."""
    storage = open_storage(out / "optuna.db", must_exist=True)
    parts = {
        (task, part): trial_store.load_part(storage, "one_for_all", task, part)
        for task in TASKS
        for part in ("calibrate", *METHODS)
    }
    trials = {
        at: [(trial.state, trial.params, trial_store.steps_of(trial)) for trial in part.get_trials()]
        for at, part in parts.items()
    }
    targets = [parts[task, "calibrate"].user_attrs[trial_store.T_SEARCH] for task in TASKS]
    return targets, trials, [column_of(storage, "one_for_all", t, METHODS, stopped_counts=True) for t in TASKS]


def test_killed_in_the_design_and_in_the_confirmation_it_ends_with_the_same_results(whole, tmp_path):
    """SIGKILL while the second task's design trains, and while the first task is confirmed; then to the end."""
    for when, count in [("tell meta-policy", 8), ("add confirm", 3)]:
        process = strike(whole[0], tmp_path, when, count, "SIGKILL")
        assert process.returncode == -signal.SIGKILL, (when, process.stderr[-2000:])
    assert results_but_times(run_study(load_study(whole[0]), out=tmp_path)) == results_but_times(whole[2])


def test_a_winner_that_diverges_on_a_new_task_has_no_frozen_control(whole, tmp_path, monkeypatch):
    file, out, _ = whole
    shutil.copytree(out / "columns", tmp_path / "columns")
    import metagd_optuna.search.phases as phases

    monkeypatch.setattr(phases, "mean_state", lambda *_: None)
    results = build_results(run_study(load_study(file), out=tmp_path))
    for task in results.tasks.values():
        assert [row.name for row in task.contenders][-2:] == ["replay", "constant-complexity"]
        assert task.verdict.feedback in ("open-loop", "feedback did not matter", "not shown")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda column: column.pop("t_search"), "no column of a study, or a damaged one"),
        (lambda column: column["trials"]["meta-policy"].pop(), "lacks trials; delete it"),
        (lambda column: column["trials"].pop("adam-constant"), r"a damaged one \(KeyError"),
        (lambda column: column["trials"]["meta-policy"][0].pop(), "or a damaged one"),
        (lambda column: column["trials"]["meta-policy"][0][4].pop("g"), "or a damaged one"),
        (
            lambda column: column["trials"]["meta-policy"][1][4].update(half_life=1.25),
            r"settings of meta-policy are not those that this version's design has",
        ),
        (lambda column: column["settings"].update(seed=7), r"other settings \(seed\); delete it"),
        (lambda column: column["versions"].update({"metagd-optuna": "0"}), r"other settings \(metagd-optuna\)"),
        (lambda column: column.update(schema=2), "another schema or lacks trials; delete it"),
        (lambda column: column["facts"].update(fingerprint="0"), "dots.json: this column is of other data"),
    ],
)
def test_a_column_that_does_not_fit_is_refused_before_anything_trains(whole, tmp_path, monkeypatch, change, message):
    file, out, _ = whole
    import metagd_optuna.training.engine as engine

    column = json.loads((out / "columns" / "dots.json").read_text(encoding="utf-8"))
    change(column)
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / "dots.json").write_text(json.dumps(column), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(engine.Engine, "train", lambda *a, **k: pytest.fail("it trained"))
        with pytest.raises(MetaGDError, match=message):
            run_study(load_study(file), out=tmp_path)
    held = open_storage(tmp_path / "optuna.db", must_exist=True)
    assert not [
        t for s in optuna.get_all_study_names(held) for t in optuna.load_study(study_name=s, storage=held).trials
    ]


def test_text_that_is_no_column_is_refused(whole, tmp_path):
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / "breast_cancer.json").write_text("{", encoding="utf-8")
    with pytest.raises(MetaGDError, match=r"breast_cancer.json: no column of a study"):
        run_study(load_study(whole[0]), out=tmp_path)
