"""What a whole study on real data stores, results in and publishes."""

import json
import re
import shutil

import optuna
import pytest
from small_study import PARTS, TASK, results_but_times, results_of, store_of, stored_trials

from metagd_optuna.cli import main
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import load_policy
from metagd_optuna.report.notes import task_figures, task_note
from metagd_optuna.study import run_study
from metagd_optuna.tuning.phases import PHASES, planned_runs
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.publish import publish
from metagd_optuna.tuning.record import universal_policy, winning_policy
from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.store import StudyStore
from metagd_optuna.tuning.stored_trials import runs_of


def test_every_part_is_in_the_storage(whole):
    out, _ = whole
    counts = {part: len(stored_trials(out, part)) for part in PARTS}
    # shortlist, of each method: three on one seed, then two on two
    # confirm: policy, baseline, two defaults, two articles, two controls, on two seeds
    assert counts == {"calibrate": 8, "adam-constant": 5, "meta-policy": 5, "shortlist": 14, "confirm": 16}
    for part in PARTS:
        assert {t.state.name for t in stored_trials(out, part)} <= {"COMPLETE", "PRUNED"}


def test_planned_runs_are_those_that_are_stored(whole):
    """Seeds that a stopped trial was spared count as run."""
    store = store_of(whole[0])
    settings, task = store.settings, store.task(TASK)
    stored = {part: len(task.trials(part)) for part in ("calibrate", "shortlist", "confirm")}
    stored["search"] = settings.seeds_per_trial * sum(len(task.trials(m)) for m in ("adam-constant", "meta-policy"))
    phases = zip(("calibrate", "search", "shortlist", "confirm"), PHASES["per-task"], strict=True)
    assert {name: phase.planned_runs(settings) for name, phase in phases} == stored
    assert planned_runs(settings) == sum(stored.values())


def test_trials_carry_their_evidence(whole):
    out, _ = whole
    for trial in stored_trials(out, "meta-policy"):
        assert trial.user_attrs["candidate"]["settings"]["schema"] == 2
        assert runs_of(trial)[0]["validation"]["auc"]
        assert trial.user_attrs["device"]
        assert trial.user_attrs["versions"]["tensorflow"]
        if trial.state.name == "COMPLETE":
            objectives = trial.user_attrs["objectives"]
            assert trial.value == pytest.approx(sum(objectives) / 2)
        else:  # a bound is no value
            assert trial.value is None
        assert trial.intermediate_values == {}


def test_search_stops_where_the_objective_is_known(whole):
    out, _ = whole
    runs = [run for trial in stored_trials(out, "adam-constant") for run in runs_of(trial)]
    assert any(run["steps"] < run["budget"] for run in runs)


def test_confirmation_keeps_test_curves_and_search_has_none(whole):
    out, _ = whole
    assert all(runs_of(t)[0]["test"]["auc"] for t in stored_trials(out, "confirm"))
    for part in ("calibrate", "adam-constant", "meta-policy", "shortlist"):
        assert all(run["test"] is None for t in stored_trials(out, part) for run in runs_of(t))


def test_phases_use_disjoint_seeds(whole):
    out, _ = whole
    seeds = [{run["seed"] for t in stored_trials(out, part) for run in runs_of(t)} for part in PARTS]
    assert seeds[1] == seeds[2]  # the same search seeds for every method
    assert len(set().union(*seeds)) == sum(len(s) for s in [seeds[0], *seeds[2:]])


def test_results_say_what_was_luck(whole):
    out, results = whole
    rows = json.loads(results)["tasks"][TASK]["optimism"]
    assert [row["method"] for row in rows] == ["adam-constant", "meta-policy"]
    for row in rows:
        searched = {t.number: t.value for t in stored_trials(out, row["method"], (optuna.trial.TrialState.COMPLETE,))}
        name = f"{row['method']}#{row['trial']}"
        again = [t.value for t in stored_trials(out, "shortlist") if t.params["candidate"] == name]
        assert row["best"] == pytest.approx(min(searched.values()))
        assert row["search"] == pytest.approx(searched[row["trial"]])
        assert len(again) == 3
        assert row["shortlist"] == pytest.approx(sum(again) / 3)
        assert row["confirmation"] > 0


def test_results_are_the_storage_alone(whole):
    out, results = whole
    assert results_but_times(store_of(out)) == results


def test_exported_policy_loads_and_tells_where_it_is_from(whole, tmp_path):
    out, _ = whole
    policy = winning_policy(store_of(out), TASK)
    policy.save(tmp_path / "p.json")
    loaded = load_policy(str(tmp_path / "p.json"))
    assert loaded == policy
    assert loaded.provenance["task"] == TASK
    assert loaded.provenance["rate_updates"] == 8  # one per evaluation


@pytest.fixture
def found(finished_study):
    """What Python is told about the study, which is complete."""
    return run_study(finished_study.file, out=finished_study.out)


def written(out):
    folders = (out / "report", out / "policies")
    return {path.relative_to(out).as_posix(): path.read_bytes() for folder in folders for path in folder.iterdir()}


def test_python_writes_what_the_command_line_writes(finished_study, found, tmp_path, capsys):
    out = finished_study.out
    copy = shutil.copytree(out, tmp_path / "copy", ignore=shutil.ignore_patterns("report", "policies"))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(finished_study.file), "--out", str(copy)])
    assert ended.value.code == 0
    assert written(copy) == written(out)
    assert sorted(written(out)) == [
        f"policies/{TASK}.json",
        f"policies/{TASK}.meta-policy.json",
        "report/index.html",
        "report/report.md",
        "report/results.json",
    ]
    [sentence] = found.sentences
    assert sentence in capsys.readouterr().out


def test_what_python_returns_is_short_to_look_at(finished_study, found):
    lines = repr(found).splitlines()
    assert lines[0] == "study small"
    assert lines[1].startswith(f"  <{TASK}: {found.verdict.label}, ")
    assert lines[2:] == [f"  report: {finished_study.out / 'report' / 'index.html'}"]
    assert len(found.sentences) == len(found.advice()) == 1
    assert found.sentences[0].startswith(f"On {TASK}, ")
    assert "meta-policy" in found.sentences[0]
    assert len(repr(found)) < 1000
    for part in (found.results, found.results.tasks[TASK], found[TASK], found.best, found.searched):
        assert len(repr(part)) < 500
    folder = finished_study.out / "policies"
    assert found.report.is_file()
    assert found.policies == {TASK: folder / f"{TASK}.json"}
    assert found.searched == {TASK: folder / f"{TASK}.meta-policy.json"}
    html = found._repr_html_()
    assert found.advice()[0] in html
    assert "load_policy(" in html


def test_same_file_in_a_fresh_folder_gives_the_same_results(study_file, whole, tmp_path, capsys):
    assert results_but_times(run_study(study_file, out=tmp_path, progress=Progress())) == whole[1]
    said = capsys.readouterr().out
    assert re.search(r"^  \d+ lanes? x 1 member per program \(so that results do not depend", said, re.M)
    # 8 runs of the calibration, 20 of the searches, 14 of the shortlist, 16 of the confirmation; 192 examples each
    assert re.search(
        r"^to train: 58 runs, 11,136 examples, about \d+ s at the speed measured here, less what pruning saves$",
        said,
        re.M,
    )


def test_population_is_stored_with_the_task(whole):
    out, results = whole
    store = store_of(out)
    assert store.task(TASK).metadata.population == json.loads(results)["tasks"][TASK]["population"] >= 1
    assert store.task("other").metadata is None


@pytest.mark.parametrize(
    ("study", "task", "text"),
    [
        ("smal", TASK, r"holds no study 'smal' \(did you mean 'small'\?\); it holds: small$"),
        (
            "small",
            "breast_cancr",
            r"no task of study 'small' 'breast_cancr' \(did you mean 'breast_cancer'\?\); it holds",
        ),
    ],
)
def test_unknown_study_or_task_is_named_with_what_there_is(whole, study, task, text):
    storage = open_storage(whole[0] / "optuna.db", must_exist=True)
    with pytest.raises(MetaGDError, match=text):
        StudyStore.load(storage, study, task)


def test_a_study_of_the_per_task_scope_has_no_rule_for_all(whole):
    with pytest.raises(MetaGDError, match="for each of its tasks, not one for all"):
        universal_policy(store_of(whole[0]))


def test_publishing_that_failed_is_done_again(whole, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(whole[0], out, ignore=shutil.ignore_patterns("artifacts", "policies"))
    store = store_of(out).task(TASK)
    options = {
        "out": out,
        "artifacts": None,
        "verdict": {"label": "tie", "speedup": 1.5},
        "note": "# note",
        "figures": {},
    }
    (out / "policies").write_text("in the way", encoding="utf-8")
    with pytest.raises(MetaGDError, match="policies"):
        publish(store, **options)
    assert not store.is_published
    (out / "policies").unlink()
    publish(store, **options)
    assert store.is_published
    assert not (out / "artifacts").exists()  # a storage without such a folder, whose dashboard would not find the file
    assert load_policy(out / "policies" / f"{TASK}.meta-policy.json").provenance["result"]["speedup"] == 1.5


def test_publish_writes_policy_note_and_figures_once(finished_study, found):
    out, store = finished_study.out, store_of(finished_study.out)
    results = results_of(found)
    paths = publish(
        store.task(TASK),
        out=out,
        artifacts=out / "artifacts",
        verdict=results.tasks[TASK].verdict.model_dump(mode="json"),
        note=task_note(results, TASK),
        figures=task_figures(results, TASK),
    )
    assert paths == (found.policies[TASK], found.searched[TASK])
    assert load_policy(paths.searched).provenance["result"]["label"] in ("faster", "tie", "slower")
    files = [path.read_bytes() for path in (out / "artifacts").iterdir()]
    assert sum(file.startswith(b"{") for file in files) == 1  # the run has published it before
    # A picture of every trial, and one of the confirmation.
    assert sum(file.startswith(b"<svg") for file in files) == 1 + sum(len(stored_trials(out, part)) for part in PARTS)
    assert [held.study_name for held in store.storage.get_all_studies()][-1] == "small: begin here"
    confirm = store.task(TASK).load("confirm")
    stored = store.storage.get_study_system_attrs(confirm._study_id)
    assert any("note" in key for key in stored)
    assert any("graph_objects" in key or "plot" in key for key in stored), sorted(stored)
