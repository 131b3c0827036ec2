"""A real study of the universal league: whole, put together from columns, and what it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_study import results_but_times

from metagd_optuna.analysis import best_elsewhere
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import load_policy
from metagd_optuna.report.results import build_results
from metagd_optuna.search import trial_store
from metagd_optuna.search.pruning import HANDICAP
from metagd_optuna.search.publish import publish_universal
from metagd_optuna.search.record import column_of, load_record, universal_policy, winning_policy
from metagd_optuna.search.runner import run_study
from metagd_optuna.search.storage import open_storage
from metagd_optuna.search.study_file import load_study

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


def _outcome(storage, task):
    return trial_store.load_part(storage, "one_for_all", task, "confirm").user_attrs[trial_store.OUTCOME]


@pytest.mark.parametrize("method", METHODS)
def test_every_task_has_the_same_settings(storage, method):
    found = [
        [t.params for t in trial_store.load_part(storage, "one_for_all", task, method).get_trials()] for task in TASKS
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 5


def test_what_is_confirmed_was_chosen_on_the_other_tasks(storage):
    columns = {task: column_of(storage, "one_for_all", task, METHODS) for task in TASKS}
    for task in TASKS:
        assert _outcome(storage, task)["chosen_trials"] == best_elsewhere(columns, task, ["adam-constant"]).settings


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


def test_the_report_says_what_complexity_was_worth(whole):
    results = build_results(whole[2])
    for task in results["tasks"].values():
        names = [row["name"] for row in task["contenders"]]
        assert names[-3:] == ["replay", "frozen", "constant-complexity"]
        assert set(task["verdict"]["complexity_evidence"]) == {"speedup", "ci95", "p_value"}
    assert results["across"]["over_keras_adam"]["speedup"] > 0


def test_the_rule_for_all_tasks_tells_where_it_is_from(whole, storage, tmp_path):
    for task in TASKS:
        trial_store.note_verdict(trial_store.load_part(storage, "one_for_all", task, "confirm"), {"label": "tie"})
    (tmp_path / "policies").mkdir()
    policy = load_policy(publish_universal(storage, "one_for_all", out=tmp_path))
    columns = {task: column_of(storage, "one_for_all", task, METHODS) for task in TASKS}
    number = best_elsewhere(columns, None, ["adam-constant"]).settings["meta-policy"]
    assert policy.provenance["trial"] == number
    assert policy.provenance["league"] == "universal"
    assert policy.provenance["results"] == {task: {"label": "tie"} for task in TASKS}
    assert winning_policy(storage, "one_for_all", "universal") == policy
    assert winning_policy(storage, "one_for_all", "dots").provenance["league"] == "universal"


def test_columns_from_elsewhere_give_the_same_results(whole, tmp_path, monkeypatch):
    """Another machine has trained the design; here only the confirmation is left."""
    file, out, record = whole
    shutil.copytree(out / "columns", tmp_path / "columns")
    import metagd_optuna.search.tuning as tuning

    monkeypatch.setattr(tuning.Tuner, "_train", lambda *_: pytest.fail("it trained the design"))
    again = run_study(load_study(file), out=tmp_path)
    assert results_but_times(again) == results_but_times(record)
    held = open_storage(tmp_path / "optuna.db", must_exist=True)
    assert results_but_times(load_record(held, "one_for_all", TASKS)) == results_but_times(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda column: column.pop("t_search"), "the column is damaged; delete it"),
        (lambda column: column["methods"]["meta-policy"].pop(), "the column is damaged; delete it"),
        (lambda column: column["methods"].pop("adam-constant"), r"no column of a universal study \(KeyError"),
        (lambda column: column["settings"].update(seed=7), r"other settings \(seed\); delete it"),
        (lambda column: column["versions"].update({"metagd-optuna": "0"}), r"other settings \(metagd-optuna\)"),
        (lambda column: column.update(schema=2), "the column is damaged; delete it"),
        (lambda column: column["facts"].update(fingerprint="0"), "the data of task 'breast_cancer' changed"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(whole, tmp_path, change, message):
    file, out, _ = whole
    column = json.loads((out / "columns" / "breast_cancer.json").read_text(encoding="utf-8"))
    change(column)
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / "breast_cancer.json").write_text(json.dumps(column), encoding="utf-8")
    with pytest.raises(MetaGDError, match=message):
        run_study(load_study(file), out=tmp_path)


def test_text_that_is_no_column_is_refused(whole, tmp_path):
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / "breast_cancer.json").write_text("{", encoding="utf-8")
    with pytest.raises(MetaGDError, match=r"breast_cancer.json: no column of a universal study"):
        run_study(load_study(whole[0]), out=tmp_path)


def test_a_study_of_the_other_league_has_no_rule_for_all(finished_study):
    held = open_storage(finished_study.out / "optuna.db", must_exist=True)
    with pytest.raises(MetaGDError, match="for each of its tasks, not one for all"):
        universal_policy(held, "small")
