"""Searches that another machine has run: taken over, gone on with, or refused."""

import json
import shutil

import pytest
from killed_study import cut_off
from metagd_optuna.search.workshop import Workshop
from small_study import TASK, results_but_times, searched, stored_trials

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.search.runner import run_study
from metagd_optuna.search.seeds import phase_seeds
from metagd_optuna.search.study_file import load_study
from metagd_optuna.search.tuning import Tuner


@pytest.mark.parametrize("absent", [(), ("meta-policy",), ("adam-constant", "meta-policy")])
def test_searches_from_elsewhere_give_the_same_results(study_file, whole, tmp_path, monkeypatch, search_only, absent):
    """Another machine has run the searches, or the first of them; here the rest is left."""
    out, results = whole
    column = json.loads((out / "columns" / f"{TASK}.json").read_text(encoding="utf-8"))
    assert list(column["trials"]) == ["calibrate", "adam-constant", "meta-policy"]
    for method in absent:
        del column["trials"][method]
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / f"{TASK}.json").write_text(json.dumps(column), encoding="utf-8")
    tuned, train = [], Tuner._train

    def watched(tuner, *args):
        tuned.append(tuner._method.name)
        train(tuner, *args)

    monkeypatch.setattr(Tuner, "_train", watched)
    if absent:
        search_only(tmp_path)
        assert searched(tmp_path) == searched(out)
    else:
        assert results_but_times(run_study(load_study(study_file), out=tmp_path)) == results
    assert tuple(dict.fromkeys(tuned)) == absent
    assert len(stored_trials(tmp_path, "calibrate")) == 8
    # What was trained here stands in the file in its turn.
    assert list(json.loads((tmp_path / "columns" / f"{TASK}.json").read_text(encoding="utf-8"))["trials"]) == [
        "calibrate",
        "adam-constant",
        "meta-policy",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda column: column["trials"]["adam-constant"].pop(), "lacks trials; delete it"),
        (lambda column: column["settings"].update(trials=6), r"other settings \(trials\); delete it"),
        # Which trials were stopped depends on it.
        (
            lambda column: column["settings"].update(shortlist_trials=1),
            r"other settings \(shortlist_trials\); delete it",
        ),
        (lambda column: column["facts"].update(fingerprint="0"), "this column is of other data"),
        (lambda column: column["trials"].pop("calibrate"), "no column of a study, or a damaged one"),
    ],
)
def test_searches_that_do_not_fit_are_refused_before_anything_trains(
    study_file, whole, tmp_path, monkeypatch, change, message
):
    column = json.loads((whole[0] / "columns" / f"{TASK}.json").read_text(encoding="utf-8"))
    change(column)
    (tmp_path / "columns").mkdir()
    (tmp_path / "columns" / f"{TASK}.json").write_text(json.dumps(column), encoding="utf-8")
    monkeypatch.setattr(Workshop, "train", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(MetaGDError, match=message):
        run_study(load_study(study_file), out=tmp_path)


def test_searches_that_come_back_from_elsewhere_are_taken_over(whole, half_searched, search_only, monkeypatch, capsys):
    """This machine began, another went on with what it had found, and the file comes back: nothing in it is lost."""
    path = half_searched / "columns" / f"{TASK}.json"
    assert list(json.loads(path.read_text(encoding="utf-8"))["trials"]) == ["calibrate", "adam-constant"]
    shutil.copy(whole[0] / "columns" / path.name, path)
    monkeypatch.setattr(Tuner, "_train", lambda *_: pytest.fail("it searched"))
    search_only(half_searched)
    assert searched(half_searched) == searched(whole[0])
    assert f"task {TASK}: taken from {path}: meta-policy\n" in capsys.readouterr().out
    assert list(json.loads(path.read_text(encoding="utf-8"))["trials"]) == ["calibrate", "adam-constant", "meta-policy"]


def second_seed(*args, seed, **_):
    return seed == phase_seeds(0, "calibrate", 2)[1]


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
        cut_off(study_file, out, monkeypatch, Workshop, "train", second_seed)
    column = json.loads((whole[0] / "columns" / f"{TASK}.json").read_text(encoding="utf-8"))
    (out / "columns").mkdir(exist_ok=True)
    path = out / "columns" / f"{TASK}.json"
    path.write_text(json.dumps(column | {"t_search": 0.75}), encoding="utf-8")
    with pytest.raises(MetaGDError, match=message):
        run_study(load_study(study_file), out=out)
    path.unlink()
    search_only(out)
    assert searched(out) == searched(whole[0])
