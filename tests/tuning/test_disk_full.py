"""A disk that runs full: an error that names the file, nothing lost or left over, and the same command goes on."""

import errno
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
import sqlalchemy
from killed_study import cut_off
from small_study import PARTS, made_once, results_but_times, searched, store_of, stored_trials

import metagd_optuna.study as application
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import run_study
from metagd_optuna.tuning.storage import open_storage

AGAIN = "give the same command again"


@pytest.fixture
def trained(study_file, shared, tmp_path):
    """The folder of a study of which only the report is missing, and what follows it."""

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            cut_off(study_file, folder, patch, application, "write_report", lambda *_: True)

    return shutil.copytree(made_once(shared / "trained", make), tmp_path / "out")


@pytest.fixture
def full(monkeypatch):
    """Let the disk be full once a file of a name, or in a folder, has been written in part; returns what to undo."""

    def fill(wanted):
        places = {}
        kept = tempfile.mkstemp

        def mkstemp(*given, **named):
            handle, name = kept(*given, **named)
            places[handle] = name
            return handle, name

        def fsync(handle):
            place = Path(places[handle])
            if wanted in (place.parent.name, place.name[1:].rpartition(".")[0]):
                os.ftruncate(handle, 3)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
        monkeypatch.setattr(os, "fsync", fsync)

    yield fill
    monkeypatch.undo()


def files_of(out):
    """Return every file of a study's folder with its content, but for the database and locks."""
    return {
        path.relative_to(out): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and not path.name.startswith("optuna.db") and path.suffix != ".lock" and path.name != ".lock"
    }


def check_artifacts(out):
    """Every file that the dashboard would show is there, whole."""
    storage = store_of(out).storage
    held = [storage.get_study_system_attrs(study._study_id) for study in storage.get_all_studies()]
    held += [
        trial.system_attrs for study in storage.get_all_studies() for trial in storage.get_all_trials(study._study_id)
    ]
    names = [key.partition(":")[2] for attributes in held for key in attributes if key.startswith("artifacts:")]
    assert len(names) == len(set(names)) > len(PARTS)
    for name in names:
        assert (out / "artifacts" / name).read_bytes().rstrip()[-1:] in (b">", b"}")


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ("results.json", "report/results.json"),
        ("report.md", "report/report.md"),
        ("index.html", "report/index.html"),
        ("breast_cancer.json", "policies/breast_cancer.json"),
        ("breast_cancer.meta-policy.json", "policies/breast_cancer.meta-policy.json"),
        ("artifacts", "artifacts/"),
    ],
)
def test_at_the_end_of_a_study(study_file, whole, trained, full, monkeypatch, wanted, named):
    for name in ("results.json", "report.md", "index.html"):  # of an earlier look
        (trained / "report").mkdir(exist_ok=True)
        (trained / "report" / name).write_text("old", encoding="utf-8")
    before = files_of(trained)
    full(wanted)
    with pytest.raises(MetaGDError, match=r"\(No space left on device: the disk is full\)") as error:
        run_study(study_file, out=trained)
    assert str(error.value).startswith(str(trained / named))
    assert str(error.value).endswith(AGAIN)
    after = files_of(trained)
    assert not [path for path in after if path.name.startswith(".")]
    written = {path for path in after if after[path] != before.get(path)}
    if "report" in named:
        assert not written
    assert before.keys() <= after.keys()
    monkeypatch.undo()
    assert results_but_times(run_study(study_file, out=trained)) == whole[1]
    check_artifacts(trained)


@pytest.mark.parametrize(("wanted", "named"), [("artifacts", "artifacts/"), ("breast_cancer.json", "snapshots/")])
def test_in_a_search(study_file, whole, half_searched, search_only, full, monkeypatch, wanted, named):
    before = files_of(half_searched)
    full(wanted)
    with pytest.raises(MetaGDError, match=r"\(No space left on device: the disk is full\)") as error:
        run_study(study_file, out=half_searched)
    assert str(error.value).startswith(str(half_searched / named))
    after = files_of(half_searched)
    assert {path: after[path] for path in before} == before
    assert not [path for path in after if path.name.startswith(".")]
    monkeypatch.undo()
    search_only(half_searched)
    assert searched(half_searched) == searched(whole[0])
    check_artifacts(half_searched)


@pytest.fixture
def pages():
    """Let SQLite files have at most so many pages, with which SQLite says what it says where a disk is full."""
    listeners = []

    def allow(most):
        def limit(connection, _):
            connection.execute(f"PRAGMA max_page_count = {most}")

        sqlalchemy.event.listen(sqlalchemy.Engine, "connect", limit)
        listeners.append(limit)

    def forget():
        while listeners:
            sqlalchemy.event.remove(sqlalchemy.Engine, "connect", listeners.pop())

    yield allow, forget
    forget()


def pages_of(database):
    with sqlite3.connect(database) as connection:
        return connection.execute("PRAGMA page_count").fetchone()[0]


def test_in_the_database(study_file, whole, tmp_path, pages):
    """Where its tables are made, before the first trial, in the trainings, and where the verdict is published."""
    allow, forget = pages
    database = tmp_path / "optuna.db"
    most = pages_of(whole[0] / "optuna.db")
    trials = []
    for share in (0.05, 0.25, 0.32, 0.4, 0.55, 0.9):
        allow(int(share * most))
        with pytest.raises(MetaGDError, match="the disk is full: free some space") as error:
            run_study(study_file, out=tmp_path)
        forget()
        assert str(error.value).startswith(f"{database}: the storage")
        assert "database or disk is full" in str(error.value)
        assert "same command" in str(error.value)
        with sqlite3.connect(database) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            trials.append(connection.execute("SELECT count(*) FROM trials").fetchone()[0] if "trials" in tables else 0)
    assert trials == sorted(trials)
    assert len(set(trials)) >= 4
    assert results_but_times(run_study(study_file, out=tmp_path)) == whole[1]
    for part in PARTS:
        assert len(stored_trials(tmp_path, part)) == len(stored_trials(whole[0], part))
    check_artifacts(tmp_path)


def test_before_the_database_is_there(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(MetaGDError, match=r"the storage cannot be opened: No space left on device: the disk is full"):
        open_storage(tmp_path / "new" / "optuna.db", must_exist=False)
