"""Searches that another machine has run: taken over, gone on with, or refused."""

import json
import shutil

import pytest
from killed_study import cut_off
from small_study import TASK, results_but_times, searched, stored_trials

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import run_study
from metagd_optuna.tuning.phases.calibrate import Calibrate
from metagd_optuna.tuning.seeds import phase_seeds
from metagd_optuna.tuning.task_trainer import TaskTrainer
from metagd_optuna.tuning.tuner import Tuner


@pytest.mark.parametrize("absent", [(), ("meta-policy",), ("adam-constant", "meta-policy")])
def test_searches_from_elsewhere_give_the_same_results(study_file, whole, tmp_path, monkeypatch, search_only, absent):
    """Another machine has run the searches, or the first of them; here the rest is left."""
    out, results = whole
    snapshot = json.loads((out / "snapshots" / f"{TASK}.json").read_text(encoding="utf-8"))
    assert list(snapshot["trials"]) == ["calibrate", "adam-constant", "meta-policy"]
    for method in absent:
        del snapshot["trials"][method]
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / f"{TASK}.json").write_text(json.dumps(snapshot), encoding="utf-8")
    tuned, train = [], Tuner._train

    def watched(tuner, *args):
        tuned.append(tuner._method.name)
        return train(tuner, *args)

    monkeypatch.setattr(Tuner, "_train", watched)
    if absent:
        search_only(tmp_path)
        assert searched(tmp_path) == searched(out)
    else:
        assert results_but_times(run_study(study_file, out=tmp_path)) == results
    assert tuple(dict.fromkeys(tuned)) == absent
    assert len(stored_trials(tmp_path, "calibrate")) == 8
    # What was trained here stands in the file in its turn.
    assert list(json.loads((tmp_path / "snapshots" / f"{TASK}.json").read_text(encoding="utf-8"))["trials"]) == [
        "calibrate",
        "adam-constant",
        "meta-policy",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda snapshot: snapshot["trials"]["adam-constant"].pop(),
            "adam-constant has 4 trials, .*; a search has 5",
        ),
        (lambda snapshot: snapshot["settings"].update(trials=6), r"other settings \(trials\); delete it"),
        # Which trials were stopped depends on it.
        (
            lambda snapshot: snapshot["settings"].update(shortlist_trials=1),
            r"other settings \(shortlist_trials\); delete it",
        ),
        (lambda snapshot: snapshot["metadata"].update(fingerprint="0"), "this snapshot is of other data"),
        (lambda snapshot: snapshot["trials"].pop("calibrate"), "runs of the calibration are missing; delete it"),
    ],
)
def test_searches_that_do_not_fit_are_refused_before_anything_trains(
    study_file, whole, tmp_path, monkeypatch, change, message
):
    snapshot = json.loads((whole[0] / "snapshots" / f"{TASK}.json").read_text(encoding="utf-8"))
    change(snapshot)
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / f"{TASK}.json").write_text(json.dumps(snapshot), encoding="utf-8")
    monkeypatch.setattr(TaskTrainer, "train", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(MetaGDError, match=message):
        run_study(study_file, out=tmp_path)


def test_searches_that_come_back_from_elsewhere_are_taken_over(whole, half_searched, search_only, monkeypatch, capsys):
    """This machine began, another went on with what it had found, and the file comes back: nothing in it is lost."""
    path = half_searched / "snapshots" / f"{TASK}.json"
    assert list(json.loads(path.read_text(encoding="utf-8"))["trials"]) == ["calibrate", "adam-constant"]
    shutil.copy(whole[0] / "snapshots" / path.name, path)
    monkeypatch.setattr(Tuner, "_train", lambda *_: pytest.fail("it searched"))
    search_only(half_searched)
    assert searched(half_searched) == searched(whole[0])
    assert f"task {TASK}: taken from {path}: meta-policy\n" in capsys.readouterr().out
    assert list(json.loads(path.read_text(encoding="utf-8"))["trials"]) == ["calibrate", "adam-constant", "meta-policy"]


def second_seed(*args, seed, **_):
    return seed == phase_seeds(0, Calibrate.first_seed, 2)[1]


@pytest.mark.parametrize(
    ("calibrated", "message"),
    [
        (False, "this study has begun itself is not through; delete the file"),
        (True, r"for the target 0\.75, and .* found 0\.\d+; delete the file"),
    ],
)
def test_searches_for_another_target_are_refused(
    study_file, whole, half_searched, search_only, tmp_path, monkeypatch, calibrated, message
):
    """Which trial is the better one depends on the target, so trials for two targets do not mix."""
    out = half_searched if calibrated else tmp_path / "begun"
    if not calibrated:
        cut_off(study_file, out, monkeypatch, TaskTrainer, "train", second_seed)
    snapshot = json.loads((whole[0] / "snapshots" / f"{TASK}.json").read_text(encoding="utf-8"))
    (out / "snapshots").mkdir(exist_ok=True)
    path = out / "snapshots" / f"{TASK}.json"
    path.write_text(json.dumps(snapshot | {"search_target": 0.75}), encoding="utf-8")
    with pytest.raises(MetaGDError, match=message):
        run_study(study_file, out=out)
    path.unlink()
    search_only(out)
    assert searched(out) == searched(whole[0])
