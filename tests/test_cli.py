"""Help, mistakes, and the commands that run no study."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from command_line import POLICY, TASKS, done, failed

from metagd_optuna import study as application
from metagd_optuna.cli import metagd
from metagd_optuna.policy.baselines import BASELINES
from metagd_optuna.policy.difficulty import DIFFICULTY_FORMS
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.signal import SIGNALS
from metagd_optuna.policy.stored import load_policy
from metagd_optuna.terminal import print_line
from metagd_optuna.tuning.parts import held_tasks
from metagd_optuna.tuning.settings import METRICS, StudySettings
from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.store import Identity, StudyStore


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
        "schema",
        "suite",
        "suite list",
        "suite run",
        "suite search",
        "suite signals",
        "tasks",
        "tasks audit",
        "tasks import",
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
    ("trials = nan", "trials is NaN; allowed is a whole number from 4 to 10,000"),
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
        (["run", "study.toml", "--workers", "-1"], "workers is -1; give 0 to train in this process"),
        (["run", "study.toml", "--workers", "2", "--cluster", "a.json"], "workers and cluster are given"),
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
        (["report", "damaged"], "the key 'study' is missing"),
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
        assert re.search(rf"^{re.escape(str(path))} +not measured *$", listed, re.M)
        assert re.search(r"^universal +tie on 15 of 15 tasks *$", listed, re.M)
        assert max(map(len, listed.splitlines())) <= 80
    shown = done(capsys, "policies", "show", str(path))
    assert max(map(len, shown.splitlines())) <= 80
    for part in (*POLICY.formula.split("; "), f'load_policy("{path}")', "MetaPolicyCallback(", "no result"):
        assert part in shown
    assert "At complexity c = 0.5: The rate is " in " ".join(shown.split())
    assert json.loads(done(capsys, "policies", "show", str(path), "--json")) == POLICY.to_dict()


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
    assert "not measured" in lines[str(folder / "good.json")]
    assert "error: this is not JSON" in lines[str(folder / "empty.json")]
    assert "error: " in lines[str(folder / "long.json")]
    assert max(map(len, lines.values())) <= 80


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
    from metagd_optuna.tuning import recommend

    monkeypatch.chdir(tmp_path)
    measured = {"regrets": {"a": 1.0, "b": 2.0, "c": 4.0}, "measure": {"complexity": "knn", "max_train": 341}}
    held = {"universal": replace(POLICY, provenance=measured), "cells": POLICY}
    monkeypatch.setattr(recommend, "package_policies", lambda: held)
    said = done(capsys, "recommend", "breast_cancer")
    assert said.startswith("no finished study in runs/ was run on these data\n")
    assert f"\nuniversal: {POLICY.formula}\nThe rate " in said  # in words, at this task's complexity
    assert "chosen on 3 tasks together" in said
    assert "took 2.00 times as long" in said
    assert re.search(r"^cells +lr = |^cells +d = ", said, re.M)
    assert "2 classes, 341 training images, the most that are looked at, balance 0.95" in said
    assert said.splitlines()[-1] == 'for your own training: load_policy("universal")'


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.slow
def test_the_dashboard_opens_on_a_brand_new_storage_and_stops_on_ctrl_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
        storage = str(tmp_path / "new" / "optuna.db")
        assert f"port {port}" in failed(capsys, "dashboard", "--storage", storage, "--port", str(port))
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_the_newest_run_is_exported_where_no_storage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    def confirmed(store: StudyStore, task: str, method: str) -> MetaPolicy:
        asked.append((sorted(held_tasks(store.storage)), store.name, task, method))
        return POLICY

    monkeypatch.setattr(application, "confirmed_policy", confirmed)
    monkeypatch.setattr(application, "method_to_use", lambda store: f"of {store.name}")
    for age, folder, names in ((50, "older", ("older", "o")), (10, "newer", ("newer",))):
        path = Path("runs", folder, "optuna.db")
        storage = open_storage(path, must_exist=False)
        for name in names:
            begin(storage, name)
        os.utime(path, (time.time() - age, time.time() - age))
    task = ("--task", "breast_cancer")
    assert "written: policy.json" in done(capsys, "export", "--study", "newer", *task)
    assert load_policy("policy.json").to_dict() == POLICY.to_dict()
    arguments = ["--storage", "runs/older/optuna.db", "--study", "o", *task, "-o", "best.json"]
    assert POLICY.formula in done(capsys, "export", *arguments)
    assert Path("best.json").read_bytes() == Path("policy.json").read_bytes()
    done(capsys, "export", "--study", "older", *task, "--method", "replay")
    assert asked == [
        (["newer"], "newer", "breast_cancer", "of breast_cancer"),
        (["o", "older"], "o", "breast_cancer", "of breast_cancer"),
        (["o", "older"], "older", "breast_cancer", "replay"),
    ]


def begin(storage: optuna.storages.BaseStorage, name: str) -> None:
    """Store that a study of the default task was begun."""
    settings = StudySettings(tasks=("breast_cancer",)).to_dict()
    identity = Identity(name, settings, {}, "made up", ("breast_cancer",))
    StudyStore(storage, identity).task("breast_cancer").open_calibration()


def test_an_export_of_what_is_not_there_is_told_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    begin(open_storage("kept.db", must_exist=False), "mine")
    for study, task, said in (
        ("mien", "breast_cancer", "no study 'mien' (did you mean 'mine'?); it holds: mine"),
        (
            "mine",
            "breast_cancr",
            "no task of study 'mine' 'breast_cancr' (did you mean 'breast_cancer'?); it holds: breast_cancer",
        ),
        ("mine", "breast_cancer", "study 'mine' has not finished task 'breast_cancer' yet"),
        ("mine", "universal", "study 'mine' searched a rule for each of its tasks, not one for all; name a task of it"),
    ):
        found = failed(capsys, "export", "--storage", "kept.db", "--study", study, "--task", task)
        assert found.startswith("error: kept.db: ")
        assert said in found


def test_the_schema_of_a_study_file_has_every_key_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads(done(capsys, "schema", "study"))
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["tasks"], False)
    keys = schema["properties"]
    assert list(keys) == list(StudySettings.model_fields)
    kinds = {"array": list, "boolean": bool, "integer": int, "number": float, "string": str}
    default = StudySettings(tasks=("breast_cancer",)).to_dict()
    for key, entry in keys.items():
        assert len(entry["description"]) > 20
        kind = entry if "type" in entry else entry["anyOf"][1]
        assert isinstance(default[key], kinds[kind["type"]])
        if key == "tasks":
            assert "default" not in entry
        else:
            assert entry["default"] == default[key]
        if kind["type"] == "integer":
            assert kind is not entry or kind["minimum"] <= entry["default"] <= kind["maximum"]
        assert entry.get("uniqueItems", False) is (kind["type"] == "array")
    for key in ("max_train", "max_eval"):
        assert keys[key]["anyOf"] == [{"const": 0}, {"type": "integer", "minimum": 2, "maximum": 10**9}]
        assert not keys[key].keys() & {"type", "minimum", "maximum"}
    assert keys["metric"]["enum"] == list(METRICS)
    assert keys["scope"]["enum"] == ["per-task", "universal"]
    lists = {"baselines": BASELINES, "difficulty_forms": DIFFICULTY_FORMS, "rate_forms": RATE_FORMS}
    for key, registered in lists.items():
        assert keys[key]["items"] == {"type": "string", "enum": list(registered)}
        assert keys[key]["minItems"] == 1
        assert set(keys[key]["default"]) <= set(registered)
    assert keys["signal"]["enum"] == list(SIGNALS)
    assert "enum" not in keys["network"]  # it may be a path
    assert "enum" not in keys["tasks"]["items"]


def test_the_schema_of_nothing_that_there_is_names_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'study', 'policy', 'results'" in failed(capsys, "schema", "policies")


def test_a_study_that_is_not_there_is_missed_in_a_storage_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    open_storage(Path("runs/quickstart/optuna.db"), must_exist=False)
    said = failed(capsys, "export", "--study", "quickstar", "--task", "t")
    assert "runs/quickstart/optuna.db: the storage holds no study 'quickstar'" in said


def test_half_a_character_in_a_name_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON can hold it, and no terminal can show it."""
    print_line("br\ud800east")
    assert capsys.readouterr().out == "br?east\n"
