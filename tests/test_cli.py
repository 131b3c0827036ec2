from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import optuna
import pytest
from click.testing import CliRunner

from metagd_optuna.cli import main, metagd
from metagd_optuna.contracts import StudyRecord
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.stored import load_policy
from metagd_optuna.search import publish, record, runner
from metagd_optuna.search.storage import open_storage
from metagd_optuna.search.study_file import StudySpec, with_defaults
from metagd_optuna.terminal import say

ROOT = Path(__file__).parents[1]
TASKS = 'tasks = ["breast_cancer"]\n'
POLICY = MetaPolicy("adam", "power", {"lr0": 0.003, "a": 0.5, "b": 1.5}, "mix", {"w": 0.25}, half_life=1.0)


@pytest.fixture(autouse=True)
def _verbosity() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def commands(group: click.Group = metagd, before: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Return every command with the words that call it."""
    found: dict[tuple[str, ...], click.Command] = {before: group}
    for name, command in group.commands.items():
        words = (*before, name)
        if isinstance(command, click.Group):
            found |= commands(command, words)
        else:
            found[words] = command
    return found


def metagd_process(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "metagd_optuna.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=120,
    )


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what the command line says about a mistake, having checked how it ends."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.err.startswith(("error: ", "Usage: "))
    assert "Traceback" not in printed.err
    return printed.err


def done(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what a successful command prints."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    assert caught.value.code == 0, printed.err
    return printed.out


def test_the_commands_are_these() -> None:
    assert sorted(" ".join(words) for words in commands() if words) == [
        "dashboard",
        "export",
        "policies",
        "policies list",
        "policies show",
        "recommend",
        "report",
        "run",
        "tasks",
        "tasks audit",
        "tasks list",
        "tasks show",
    ]


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words) or "metagd")
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(metagd, [*words, "--help"], prog_name="metagd")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"metagd {' '.join(words)}".rstrip() in result.output.partition("Example")[2]


@pytest.mark.parametrize(
    ("words", "command"), commands().items(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_command_fits_its_line_in_the_list_and_explains_its_options(
    words: tuple[str, ...], command: click.Command
) -> None:
    if words:
        assert not command.get_short_help_str(limit=60).endswith("...")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.show_default, parameter.name


def test_help_loads_neither_tensorflow_nor_optuna() -> None:
    code = (
        "import sys\n"
        "from metagd_optuna.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print([name for name in ('tensorflow', 'keras', 'optuna', 'sklearn', 'plotly') if name in sys.modules])"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "Usage: metagd" in output
    assert output.splitlines()[-1] == "[]"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "0.1.0" in done(capsys, "--version")


RUN_MISTAKES = [
    ("trails = 3", "did you mean 'trials'"),
    ('difficulty_forms = ["mixx"]', "did you mean 'mix'"),
    ("trials = nan", "not a finite number"),
    ("trials = [", "not valid TOML"),
]


@pytest.mark.parametrize(("line", "said"), RUN_MISTAKES)
def test_a_mistake_in_a_study_file_ends_with_status_2(tmp_path: Path, line: str, said: str) -> None:
    study = tmp_path / "demo.toml"
    study.write_text(TASKS + line)
    ended = metagd_process("run", "demo.toml", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: demo.toml: ")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["demo.toml"], "nothing is made before the file is right"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "missing.toml"], "does not exist"),
        (["run", "study.toml", "--workers", "4"], "--workers 4: one machine runs one worker"),
        (["run", "study.toml", "--workers", "0"], "allowed is 1"),
        (["run", "study.toml", "--data-dir", "nowhere"], "nowhere"),
        (["run"], "Missing argument"),
        (["rum"], "No such command 'rum'"),
        (["export", "--study", "s"], "Missing option '--task'"),
        (["export", "--study", "s", "--task", "t"], "no storage was named and there is none"),
        (["export", "--study", "s", "--task", "t", "--storage", "no.db"], "there is no such storage"),
        (["export", "--study", "s", "--task", "t", "--storage", "mysql://u:pw@h/d"], "scheme 'mysql'"),
        (["dashboard"], "no storage was named and there is none"),
        (["dashboard", "--storage", "text.txt"], "not an SQLite database"),
        (["dashboard", "--port", "70000"], "70000"),
        (["report", "nowhere"], "no results.json in nowhere"),
        (["report", "bad"], "is not valid JSON"),
        (["report", "other"], "schema 99 is unknown"),
        (["report", "damaged"], "the keys ['device', 'runs', 'study', 'tasks', 'timing', 'versions'] are missing"),
        (["report", "other", "bad"], "--out DIR"),
        (["tasks", "show", "brest_cancer"], "breast_cancer"),
        (["tasks", "show", "nowhere.npz"], "nowhere.npz"),
        (["tasks", "audit", "text.npz"], "text.npz"),
        (["tasks", "shwo"], "No such command"),
        (["policies", "show", "nowhere.json"], "nowhere.json"),
        (["policies", "show", "text.json"], "text.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_without_a_traceback(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(TASKS)
    for name in ("text.txt", "text.npz", "text.json"):
        (tmp_path / name).write_text("this is just a text, and not a short one")
    for name, text in (("bad", "{"), ("other", json.dumps({"schema": 99})), ("damaged", json.dumps({"schema": 1}))):
        (tmp_path / name / "report").mkdir(parents=True)
        (tmp_path / name / "report" / "results.json").write_text(text)
    assert said in failed(capsys, *arguments)


def test_the_tasks_are_listed_in_full_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    listed = done(capsys, "tasks")
    assert listed == done(capsys, "tasks", "list")
    assert listed.splitlines()[0].split()[:2] == ["name", "modality"]
    for name in ("breast_cancer", "breastmnist", "chestmnist", "cifar10", "tissuemnist"):
        assert any(line.startswith(f"{name} ") for line in listed.splitlines())
    assert "…" not in listed


def test_the_default_task_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    shown = done(capsys, "tasks", "show")
    for part in ("breast_cancer", "20 x 21 x 1", "341 / 114 / 114", "malignant", "complexity"):
        assert part in shown


def test_a_file_is_audited_and_its_name_is_not_taken_as_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = rng.integers(0, 256, (30, 8, 8), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(30, dtype=np.uint8)[:, None] % 2
    np.savez("[red]clean.npz", **arrays)
    assert "nothing was found" in done(capsys, "tasks", "audit", "[red]clean.npz")
    assert "[red]clean" in done(capsys, "tasks", "show", "[red]clean.npz")
    arrays["val_images"][3] = arrays["train_images"][5]
    np.savez("copies.npz", **arrays)
    assert "- " in done(capsys, "tasks", "audit", "copies.npz")


def test_policies_are_listed_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("runs", "demo", "policies", "breast_cancer.json")
    path.parent.mkdir(parents=True)
    POLICY.save(path)
    for listed in (done(capsys, "policies"), done(capsys, "policies", "list")):
        assert str(path) in listed
        assert POLICY.formula.splitlines()[0] in listed
    shown = done(capsys, "policies", "show", str(path))
    assert POLICY.formula in shown
    assert "At complexity c = 0.5: The rate is " in shown
    assert json.loads(shown[shown.index("{") :])["schema"] == 2


def test_a_broken_policy_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs", "demo", "policies")
    folder.mkdir(parents=True)
    POLICY.save(folder / "good.json")
    (folder / "empty.json").write_text("", encoding="utf-8")
    table = POLICY.to_dict() | {"optimizer": "x" * 500}
    (folder / "long.json").write_text(json.dumps(table), encoding="utf-8")
    lines = {line.split()[0]: line for line in done(capsys, "policies", "list").splitlines()}
    assert POLICY.formula.splitlines()[0] in lines[str(folder / "good.json")]
    assert "error: this is not JSON" in lines[str(folder / "empty.json")]
    assert "error: " in lines[str(folder / "long.json")]
    assert len(lines[str(folder / "long.json")].rstrip()) < 250


def test_without_policies_the_list_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from metagd_optuna.policy import stored

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stored, "stored_policies", lambda: ())
    assert "metagd run" in done(capsys, "policies")


def test_a_stored_policy_is_recommended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from metagd_optuna.search import recommend

    factors = {"a": 1.0, "b": 2.0, "c": 4.0}
    regrets = {"nearest": factors, "universal": factors, "neighbours": {}, "better": "universal"}
    cells = {"complexity": 0.2, "classes": 2, "train_images": 1000, "balance": 1.0}
    searched = {task: cells | {"complexity": complexity} for task, complexity in (("a", 0.1), ("b", 0.8), ("c", 0.9))}
    measure = {"complexity": "knn", "max_train": 341}
    universal = {"regrets": regrets, "measure": measure, "properties": searched}
    held = {
        "universal": replace(POLICY, provenance=universal),
        "cells": replace(POLICY, provenance={"league": "per-task", "properties": cells}),
    }
    monkeypatch.setattr(recommend, "package_policies", lambda: held)
    said = done(capsys, "recommend", "breast_cancer")
    assert said.startswith(f"universal: {POLICY.formula}\nThe rate ")  # in words, at this task's complexity
    assert "3 tasks took 2.00 times as long with the universal rule" in said
    assert re.search(r"^cells +0\.20 ", said, re.M)  # |0.130 - 0.2| in standard deviations of 0.2, 0.1, 0.8, 0.9
    assert "2 classes, 341 training images, the most that are looked at, balance 0.95" in said
    assert said.splitlines()[-1] == 'for your own training: load_policy("universal")'


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_the_dashboard_opens_on_a_brand_new_storage_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "metagd_optuna.cli", "dashboard", "--storage", "new/optuna.db", "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"dashboard of new/optuna.db: http://127.0.0.1:{port}/\n"
        assert "no login" in process.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=20) as answer:
            assert json.load(answer)["study_summaries"] == []
        busy = metagd_process("dashboard", "--storage", "new/optuna.db", "--port", str(port), cwd=tmp_path)
        assert busy.returncode == 2
        assert f"port {port}" in busy.stderr
        assert "Traceback" not in busy.stderr
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_the_newest_run_is_exported_where_no_storage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    def winner(storage: optuna.storages.BaseStorage, study: str, task: str) -> MetaPolicy:
        asked.append((optuna.get_all_study_names(storage), study, task))
        return POLICY

    monkeypatch.setattr(record, "winning_policy", winner)
    for age, name in ((50, "older"), (10, "newer")):
        path = Path("runs", name, "optuna.db")
        optuna.create_study(storage=open_storage(path, must_exist=False), study_name=name)
        os.utime(path, (time.time() - age, time.time() - age))
    assert "written: policy.json" in done(capsys, "export", "--study", "newer", "--task", "t")
    assert load_policy("policy.json").to_dict() == POLICY.to_dict()
    arguments = ["--storage", "runs/older/optuna.db", "--study", "o", "--task", "t", "-o", "best.json"]
    assert POLICY.formula in done(capsys, "export", *arguments)
    assert Path("best.json").read_bytes() == Path("policy.json").read_bytes()
    done(capsys, "export", "--study", "older", "--task", "t")
    assert asked == [(["newer"], "newer", "t"), (["older"], "o", "t"), (["older"], "older", "t")]


def test_a_study_that_is_not_there_is_missed_in_a_storage_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    open_storage(Path("runs/quickstart/optuna.db"), must_exist=False)
    said = failed(capsys, "export", "--study", "quickstar", "--task", "t")
    assert "runs/quickstart/optuna.db: the storage holds no study 'quickstar'" in said


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A folder with a study file, where running a study returns a made-up record at once; what it was asked."""
    made_up = importlib.util.spec_from_file_location("made_up", ROOT / "tests" / "report" / "conftest.py")
    assert made_up is not None
    assert made_up.loader is not None
    module = importlib.util.module_from_spec(made_up)
    made_up.loader.exec_module(module)
    asked: list[dict[str, Any]] = []

    def run_study(spec: StudySpec, **how: Any) -> StudyRecord:
        asked.append({"spec": spec, **how})
        open_storage(how["storage_url"] or how["out"] / "optuna.db", must_exist=False)
        tasks = [module.make_task(task, league=spec.league) for task in spec.tasks]
        study: StudyRecord = module.make_study(*tasks, name=spec.name)
        return replace(study, settings=with_defaults(study.settings))

    def published(storage: optuna.storages.BaseStorage, study: str, task: str, **what: Any) -> MetaPolicy:
        asked[-1]["published"] = {"study": study, "task": task, **what}
        (what["out"] / "policies").mkdir(exist_ok=True)
        POLICY.save(what["out"] / "policies" / f"{task}.json")
        return POLICY

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "run_study", run_study)
    monkeypatch.setattr(publish, "publish", published)
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
    assert "breast_cancer" in told["note"]
    assert told["figures"]
    assert (finished[0]["out"], finished[0]["storage_url"], finished[0]["data_dir"]) == (Path("runs/demo"), None, None)


def test_a_universal_run_ends_with_one_rule_for_all_tasks(
    finished: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def published(storage: optuna.storages.BaseStorage, study: str, *, out: Path) -> Path:
        return out / "policies" / f"{study}.json"

    monkeypatch.setattr(publish, "publish_universal", published)
    Path("all.toml").write_text('tasks = ["breast_cancer", "breastmnist", "retinamnist"]\nleague = "universal"\n')
    said = done(capsys, "run", "all.toml")
    assert said.count("meta-policy converges") == 3
    assert "Over all 3 tasks" in said
    assert "Over Keras' own Adam it is" in said
    assert said.count("load_policy(") == 1
    assert 'the rule chosen on all tasks, for your own training: load_policy("runs/all/policies/all.json")' in said


def test_a_run_passes_its_options_on(finished: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    done(capsys, "run", "demo.toml", "--out", "here", "--storage", "sqlite:///kept.db", "--data-dir", ".")
    assert (finished[0]["out"], finished[0]["storage_url"]) == (Path("here"), "sqlite:///kept.db")
    assert finished[0]["data_dir"] == Path()
    # Where the dashboard of that storage looks for files.
    assert finished[0]["published"]["artifacts"] == Path("artifacts")
    assert sorted(path.name for path in Path("here").iterdir()) == ["policies", "report"]


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
    assert "On breast_cancer" in merged
    assert "On retinamnist" in merged
    assert merged.startswith("Over all 2 tasks")
    assert list(json.loads(Path("both/results.json").read_text())["tasks"]) == ["breast_cancer", "retinamnist"]
    assert "two runs are called 'demo'" in failed(capsys, "report", "runs/demo", "runs/demo", "--out", "both")
    # What an older version did not know had its default, and is no difference to a study that says so.
    older = json.loads(Path("runs/other/report/results.json").read_text(encoding="utf-8"))
    [run] = older["runs"].values()
    assert run["settings"].pop("median_pruning") is False
    Path("runs/other/report/results.json").write_text(json.dumps(older), encoding="utf-8")
    done(capsys, "report", "runs/demo", "runs/other", "--out", "both")
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
        raise runner.Interrupted("stopped; go on with the same command")

    monkeypatch.setattr(runner, "run_study", stop)
    with pytest.raises(SystemExit) as caught:
        main(["run", "demo.toml"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "stopped; go on with the same command\n"


def test_the_makefile_and_ci_know_their_chores() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for chore in ("study", "test", "clean"):
        assert f"\n{chore}:" in makefile
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    assert "make test" in ci.read_text(encoding="utf-8")


def test_the_constraints_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(line.count("==") == 1 and not set("@/: ") & set(line) for line in lines)
    names = {line.partition("==")[0].lower() for line in lines}
    assert {"optuna", "tensorflow", "keras", "numpy", "pytest", "ruff", "mypy"} <= names
    assert not {"metagd-optuna", "metagd_optuna", "torch", "medmnist"} & names


def test_half_a_character_in_a_name_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON can hold it, and no terminal can show it."""
    say("br\ud800east")
    assert capsys.readouterr().out == "br?east\n"
