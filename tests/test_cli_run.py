"""metagd run and metagd report, with a made-up study that ends at once."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import POLICY, TASKS, done, failed

from metagd_optuna import study as application
from metagd_optuna.cli import main
from metagd_optuna.policy.stored import load_policy
from metagd_optuna.records import StudyRecord
from metagd_optuna.tuning.publish import SavedPolicies
from metagd_optuna.tuning.settings import StudySettings, StudySpec
from metagd_optuna.tuning.store import Identity, StudyStore, TaskStore

ROOT = Path(__file__).parents[1]


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A folder with study files, whose training takes no time and finds a made-up record; what it was asked."""
    made_up = importlib.util.spec_from_file_location("made_up", ROOT / "tests" / "report" / "conftest.py")
    assert made_up is not None
    assert made_up.loader is not None
    module = importlib.util.module_from_spec(made_up)
    made_up.loader.exec_module(module)
    asked: list[dict[str, Any]] = []

    def train_study(spec: StudySpec, storage: optuna.storages.RDBStorage, **how: Any) -> StudyStore:
        asked.append({"spec": spec, "storage": storage, **how})
        return StudyStore(storage, Identity(spec.name, spec.to_dict(), {}, "made up", tuple(spec.task_locations)))

    def load_record(store: StudyStore) -> StudyRecord:
        tasks = [module.make_task(task, scope=store.settings.scope) for task in store.settings.tasks]
        study: StudyRecord = module.make_study(*tasks, name=store.name)
        return replace(study, settings=StudySettings(**study.settings).to_dict())

    def publish(store: TaskStore, **what: Any) -> SavedPolicies:
        asked[-1]["published"] = {"study": store.study.name, "task": store.name, **what}
        return saved(what["out"], store.name)

    def save_universal_policies(store: StudyStore, out: Path, *, searched_is_faster: bool) -> SavedPolicies:
        asked[-1]["universal"] = searched_is_faster
        return saved(out, "universal")

    def saved(out: Path, name: str) -> SavedPolicies:
        (out / "policies").mkdir(exist_ok=True)
        paths = SavedPolicies(out / "policies" / f"{name}.json", out / "policies" / f"{name}.meta-policy.json")
        for path in paths:
            POLICY.save(path)
        return paths

    def show_summary(store: StudyStore, verdicts: dict[str, str], figures: dict[str, Any]) -> None:
        asked[-1]["summary"] = verdicts
        assert figures.keys() == verdicts.keys()

    def note_verdicts(store: StudyStore, verdicts: dict[str, dict[str, Any]]) -> None:
        asked[-1]["noted"] = verdicts

    monkeypatch.chdir(tmp_path)
    for made in (train_study, load_record, note_verdicts, publish, save_universal_policies, show_summary):
        monkeypatch.setattr(application, made.__name__, made)
    Path("demo.toml").write_text(TASKS)
    Path("other.toml").write_text('tasks = ["retinamnist"]')
    return asked


def test_a_run_ends_with_a_verdict_a_report_and_a_policy(
    finished: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    said = done(capsys, "run", "demo.toml")
    assert "On breast_cancer, meta-policy converges" in said
    assert 'load_policy("runs/demo/policies/breast_cancer.json")' in said
    assert said.splitlines()[-1] == "the study is complete; report: runs/demo/report/index.html"
    assert load_policy("runs/demo/policies/breast_cancer.json").formula == POLICY.formula
    results = json.loads(Path("runs/demo/report/results.json").read_text())
    assert (results["study"], list(results["tasks"])) == ("demo", ["breast_cancer"])
    told = finished[0]["published"]
    assert (told["study"], told["task"], told["verdict"]["label"]) == ("demo", "breast_cancer", "faster")
    assert finished[0]["noted"] == {"breast_cancer": told["verdict"]}
    assert "breast_cancer" in told["note"]
    assert told["figures"]
    assert all(part in said for part in finished[0]["summary"]["breast_cancer"].split(" Use "))
    assert (finished[0]["out"], finished[0]["data_dir"]) == (Path("runs/demo"), None)
    assert Path("runs/demo/optuna.db").is_file()


def test_a_universal_run_ends_with_one_rule_for_all_tasks(
    finished: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("all.toml").write_text('tasks = ["breast_cancer", "breastmnist", "retinamnist"]\nscope = "universal"\n')
    said = done(capsys, "run", "all.toml")
    assert said.count("meta-policy converges") == 3
    assert "Over all 3 tasks" in said
    assert "Over Keras' own Adam it is" in said
    assert said.count("load_policy(") == 1
    assert 'the rule to use on all tasks, in your own training: load_policy("runs/all/policies/universal.json")' in said


def test_a_run_passes_its_options_on(finished: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    done(capsys, "run", "demo.toml", "--out", "here", "--storage", "sqlite:///kept.db", "--data-dir", ".")
    assert (finished[0]["out"], finished[0]["data_dir"]) == (Path("here"), Path())
    assert Path("kept.db").is_file()
    # Where the dashboard of that storage looks for files.
    assert finished[0]["published"]["artifacts"] == Path("artifacts")
    assert sorted(path.name for path in Path("here").iterdir()) == [".lock", "policies", "report"]


def test_reports_are_written_again_and_merged(
    finished: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    done(capsys, "run", "demo.toml")
    done(capsys, "run", "other.toml")
    before = Path("runs/demo/report/results.json").read_bytes()
    Path("runs/demo/report/index.html").unlink()
    assert "runs/demo/report/index.html" in done(capsys, "report", "runs/demo")
    assert Path("runs/demo/report/index.html").is_file()
    assert Path("runs/demo/report/results.json").read_bytes() == before
    merged = done(capsys, "report", "runs/demo", "runs/other", "--out", "both")
    opening = [line.partition(",")[0] for line in merged.splitlines() if line]
    assert opening[:3] == ["On breast_cancer", "On retinamnist", "Over all 2 tasks"]
    assert list(json.loads(Path("both/results.json").read_text())["tasks"]) == ["breast_cancer", "retinamnist"]
    assert "two runs are called 'demo'" in failed(capsys, "report", "runs/demo", "runs/demo", "--out", "both")
    assert not json.loads(Path("both/results.json").read_text(encoding="utf-8"))["across"]["settings_that_differ"]
    # Without --out, the report that was read is written anew, whichever way it was named.
    for place in ("both", "both/results.json"):
        Path("both/index.html").unlink()
        assert "both/index.html" in done(capsys, "report", place)
        assert Path("both/index.html").is_file()


def test_a_stopped_run_ends_with_status_130_and_says_how_to_go_on(
    finished: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(application, "train_study", stop)
    with pytest.raises(SystemExit) as caught:
        main(["run", "demo.toml"])
    assert caught.value.code == 130
    said = "stopped; what was trained is kept, and 0 trials wait for their turn. Go on with the same command\n"
    assert capsys.readouterr().err == said
