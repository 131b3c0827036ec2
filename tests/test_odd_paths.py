"""Every path names the file that it names, whatever characters are in it."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import urllib.parse
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from metagd_optuna.cli import main
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import in_python
from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.policy.stored import load_policy
from metagd_optuna.tasks import fetch, find_entry, load_task
from metagd_optuna.terminal import print_place
from metagd_optuna.tuning.dashboard import dashboard_server
from metagd_optuna.tuning.exclusive import own_study
from metagd_optuna.tuning.storage import artifact_folder, newest_database, open_storage, shown
from metagd_optuna.tuning.study_file import load_study
from metagd_optuna.tuning.write_ahead import file_system, write_ahead

POLICY = MetaPolicy("adam", "power", {"lr0": 0.003, "a": 0.5, "b": 1.5}, "mix", {"w": 0.25})
NAMES = [
    "a b",
    "a?b",
    "a?mode=ro",
    "a#b",
    "a%b",
    "a%20b",
    "a%3Fb",
    "it's",
    'a"b',
    "a:b",
    "a;b",
    "a&b=c",
    "a@b",
    "a\\b",
    "{x}[*]",
    "$HOME",
    "~x",
    "-x",
    " lead and trail ",
    "file:x",
    "北京",
    "القاهرة e\u0301\u0323",
]
EVERY_NAME = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


@EVERY_NAME
def test_a_policy_is_where_its_path_says(folder: Path, name: str, monkeypatch, capsys) -> None:
    file = folder / f"{name}.json"
    POLICY.save(file)
    assert list(folder.iterdir()) == [file]
    assert load_policy(file) == load_policy(str(file)) == POLICY
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        main(["policies", "show", "--", file.name])
    assert ended.value.code == 0
    assert "lr = 0.003 (1 - d)^0.5 (p + 0.01)^1.5" in capsys.readouterr().out
    assert Path(ast.literal_eval(in_python(file))) == file


@EVERY_NAME
def test_a_link_leads_to_the_file(folder: Path, name: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = folder / f"{name}.html"
    print_place("report: ", file)
    printed = capsys.readouterr().out
    assert str(file) in printed
    target = printed.partition("file://")[2].partition("\x1b")[0]
    assert urllib.parse.unquote(target) == str(file.resolve())


@EVERY_NAME
@pytest.mark.parametrize("form", ["path", "relative", "address"])
def test_a_storage_is_where_its_path_says(folder: Path, name: str, form: str, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    file = folder / f"{name}.db"
    places = {
        "path": file,
        "relative": file.name,
        "address": f"sqlite:///{urllib.parse.quote(str(file))}",
    }
    storage = open_storage(places[form], must_exist=False)
    write_ahead(storage)
    with own_study(storage, "mine"):
        optuna.create_study(storage=storage, study_name="mine")
        assert {found.name.removeprefix(file.name) for found in folder.iterdir()} <= {"", "-wal", "-shm", ".lock"}
        again = open_storage(file, must_exist=True)
        with pytest.raises(MetaGDError, match="another run"), own_study(again, "mine"):
            pass
    assert [study.study_name for study in again.get_all_studies()] == ["mine"]
    beside = artifact_folder(places[form])
    assert beside is not None
    assert beside.resolve() == folder.resolve() / "artifacts"
    assert shown(places[form]) == str(places[form])
    if form == "path":  # from here on it is the same storage, whatever named it
        dashboard_server(again, host="127.0.0.1", port=0, artifacts=beside).server_close()


@pytest.mark.parametrize(
    "address", ["sqlite:///a?b.db", "sqlite:////tmp/a?b/c.db", "sqlite:///a.db?mode=ro", "sqlite:///a?"]
)
def test_a_question_mark_in_an_address_is_told(address: str) -> None:
    with pytest.raises(MetaGDError, match=r"without sqlite:///.*%3F"):
        open_storage(address, must_exist=False)


def test_names_that_sqlite_would_take_for_something_else_are_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    optuna.create_study(storage=open_storage(":memory:", must_exist=False), study_name="kept")
    assert [s.study_name for s in open_storage(tmp_path / ":memory:", must_exist=True).get_all_studies()] == ["kept"]
    (tmp_path / "runs" / "a:").mkdir(parents=True)
    open_storage("./runs/a://x.db", must_exist=False)
    assert (tmp_path / "runs" / "a:" / "x.db").is_file()


def test_a_name_that_is_no_text_is_refused_for_a_storage_and_fine_for_a_policy(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    with pytest.raises(MetaGDError, match="UTF-8"):
        open_storage(folder / "optuna.db", must_exist=False)
    POLICY.save(folder / "p.json")
    assert load_policy(folder / "p.json") == POLICY
    assert ast.literal_eval(in_python(folder)) == str(folder)


@EVERY_NAME
def test_data_is_read_where_its_path_says(folder: Path, name: str, monkeypatch) -> None:
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = np.zeros((4, 8, 8), np.uint8)
        arrays[f"{part}_labels"] = np.array([0, 1, 0, 1])
    file = folder / f"{name}.npz"
    np.savez(file, **arrays)
    assert load_task(file).name == name
    assert load_task(str(file)).source["file"] == file.name
    entry = replace(find_entry("breastmnist"), md5=hashlib.md5(file.read_bytes()).hexdigest(), file_name=file.name)
    assert fetch(entry, folder) == fetch(entry, str(folder)) == file
    monkeypatch.setenv("METAGD_DATA_DIR", str(folder))
    assert fetch(entry) == file
    # A task of a study has a name that is safe, in a folder that may not be.
    shutil.copy(file, folder / "mine.npz")
    (folder / "study.toml").write_text('tasks = ["mine.npz"]\n', encoding="utf-8")
    assert load_study(folder / "study.toml").task_locations == {"mine": str(folder / "mine.npz")}


@EVERY_NAME
def test_a_mount_is_found_by_its_name(folder: Path, name: str, tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    octal = "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in str(folder.resolve()))
    table.write_text(f"dev / ext4 rw 0 0\ndev {octal} nfs4 rw 0 0\n", encoding="utf-8")
    assert file_system(folder / "optuna.db", table) == "nfs4"
    assert file_system(tmp_path / "optuna.db", table) == "ext4"


@pytest.mark.parametrize("name", ["a?b #c%20", 'it\'s "q" & [x];{y}', "北京 e\u0301"])
def test_a_study_lives_in_a_folder_of_any_name(finished_study, folder: Path, name: str, monkeypatch, capsys) -> None:
    study, out = folder / "small.toml", folder / "runs" / name
    shutil.copy(finished_study.file, study)
    shutil.copytree(finished_study.out, out)
    monkeypatch.chdir(folder)
    policy = f"{name}.json"
    for arguments in (
        ["run", str(study), "--out", str(out)],
        ["report", str(out)],
        ["export", "--study", "small", "--task", "breast_cancer", "-o", policy],
        ["export", "--storage", str(out / "optuna.db"), "--study", "small", "--task", "breast_cancer", "-o", policy],
        ["policies", "list"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        assert ended.value.code == 0, printed.err
        if arguments[0] == "run":
            called = printed.out.partition("load_policy(")[2].splitlines()[0].removesuffix(")")
            assert load_policy(ast.literal_eval(called)).provenance["study"] == "small"
            assert f"report: {out / 'report' / 'index.html'}" in printed.out
    assert newest_database(Path("runs")).resolve() == out.resolve() / "optuna.db"
    assert len(list((out / "artifacts").iterdir())) >= 1
    assert load_policy(policy).provenance["task"] == "breast_cancer"
