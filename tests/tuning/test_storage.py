from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy.exc
from hypothesis import given, settings
from hypothesis import strategies as st
from own_forms import READER, forget_afterwards
from rich.console import Console

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import register_reader
from metagd_optuna.tuning import storage as storage_module
from metagd_optuna.tuning.dashboard import dashboard_server
from metagd_optuna.tuning.exclusive import UNSHARED, own_study
from metagd_optuna.tuning.parts import held_tasks
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.runner import Interrupted, requeueing, train_study, versions
from metagd_optuna.tuning.storage import artifact_folder, newest_database, open_storage, opened_storage, shown
from metagd_optuna.tuning.store import Identity, StudyStore
from metagd_optuna.tuning.study_file import StudySpec

NOBODY = 65534
SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def add_study(storage: optuna.storages.BaseStorage, name: str = "s") -> None:
    optuna.create_study(storage=storage, study_name=name)


@pytest.mark.parametrize("folder", ["plain", "with space", "é%41?#", "{brace}"])
@pytest.mark.parametrize("form", ["path", "text"])
def test_a_path_makes_a_database_that_keeps_what_is_stored(tmp_path: Path, folder: str, form: str) -> None:
    path = tmp_path / folder / "deep" / "optuna.db"
    place = path if form == "path" else str(path)
    add_study(open_storage(place, must_exist=False))
    assert path.is_file()
    assert optuna.get_all_study_names(open_storage(place, must_exist=True)) == ["s"]


def test_a_url_and_a_relative_path_name_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    add_study(open_storage("sqlite:///here.db", must_exist=False))
    for place in ("here.db", Path("here.db"), f"sqlite:///{tmp_path}/here.db"):
        assert optuna.get_all_study_names(open_storage(place, must_exist=True)) == ["s"]


def test_a_missing_file_is_an_error_where_it_must_exist(tmp_path: Path) -> None:
    with pytest.raises(MetaGDError, match=r"no.db: there is no such storage.*metagd run"):
        open_storage(tmp_path / "no.db", must_exist=True)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_and_half_made_tables_are_completed(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    add_study(open_storage(tmp_path / "empty.db", must_exist=True))
    open_storage(tmp_path / "half.db", must_exist=False)
    with closing(sqlite3.connect(tmp_path / "half.db")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if table not in ("studies", "version_info"):
                connection.execute(f"DROP TABLE {table}")
    add_study(open_storage(tmp_path / "half.db", must_exist=True))


def test_opening_changes_nothing_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    add_study(open_storage(path, must_exist=False))
    before = path.read_bytes()
    open_storage(path, must_exist=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["x", "dear diary, this is not a database at all"])
def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(MetaGDError, match=r"notes.txt: this file is not an SQLite database; allowed"):
        open_storage(path, must_exist=False)
    assert path.read_text() == content


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    add_study(open_storage(path, must_exist=False))
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000)
    with pytest.raises(MetaGDError, match=r"optuna.db: the storage cannot be used: .*damaged"):
        open_storage(path, must_exist=True)


def test_whichever_page_is_damaged_the_error_says_so(tmp_path: Path) -> None:
    """Optuna's own error for what it reads while it opens a storage is not SQLAlchemy's."""
    path, size, said = tmp_path / "optuna.db", 4096, []
    add_study(open_storage(path, must_exist=False))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    whole = path.read_bytes()
    for page in range(len(whole) // size):
        path.write_bytes(whole[: page * size] + b"\xff" * size + whole[(page + 1) * size :])
        try:
            with opened_storage(path, must_exist=True) as storage:
                optuna.get_all_study_summaries(storage)
        except MetaGDError as error:
            said.append(str(error))
    assert any("the storage cannot be used: database disk image is malformed; the file is damaged" in x for x in said)
    assert any("the storage failed (database disk image is malformed)" in x for x in said)


def test_a_damaged_table_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    """Python cannot read what SQLite says of it; found by `make fuzz FUZZ="--target storage"`."""
    path = tmp_path / "optuna.db"
    add_study(open_storage(path, must_exist=False))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET name = CAST(x'61f8' AS TEXT), sql = '' WHERE name = 'trials'")
    with pytest.raises(MetaGDError, match=r"optuna.db: the storage cannot be used: a name in it is no text; .*damaged"):
        open_storage(path, must_exist=True)


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "clinic.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE patients (name)")
    before = path.read_bytes()
    with pytest.raises(MetaGDError, match=r"belongs to another program \(its tables: patients\)"):
        open_storage(path, must_exist=True)
    assert path.read_bytes() == before


def test_a_folder_is_refused_with_the_file_to_name(tmp_path: Path) -> None:
    with pytest.raises(MetaGDError, match=r"this is a folder.*optuna.db"):
        open_storage(tmp_path, must_exist=True)


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MetaGDError, match=r"optuna.db: the storage cannot be opened: .*can be written to"):
        open_storage(tmp_path / "file" / "optuna.db", must_exist=False)


def test_a_locked_database_says_who_has_to_wait(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    open_storage(path, must_exist=False)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(MetaGDError, match="database is locked; another process is writing to it"):
            open_storage(path, must_exist=True, lock_timeout=0.05)
        other.execute("ROLLBACK")
    open_storage(path, must_exist=True, lock_timeout=0.05)


@contextmanager
def _unprivileged() -> Iterator[None]:
    """Root may write everywhere, so a test of permissions gives that up for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("locked", ["file", "folder", "folder of a new file"])
def test_a_place_that_cannot_be_written_to_is_refused(locked: str) -> None:
    # pytest's own temporary folders are private to root, who is given up below.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        path = folder / "optuna.db"
        if locked != "folder of a new file":
            open_storage(path, must_exist=False)
            path.chmod(0o666 if locked == "folder" else 0o444)
        folder.chmod(0o555 if "folder" in locked else 0o777)
        with _unprivileged(), pytest.raises(MetaGDError, match=r"optuna.db: the storage cannot be used") as caught:
            open_storage(path, must_exist=False)
        folder.chmod(stat.S_IRWXU)
    assert "writ" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:s3cr3t@h/db", "scheme 'mysql'"),
        ("postgres://u:s3cr3t@h/db", "did you mean 'postgresql'"),
        ("sqlit:///x.db", "did you mean 'sqlite'"),
        ("redis://u:s3cr3t@h", "scheme 'redis'"),
        ("http://h/x?token=s3cr3t", "scheme 'http'"),
        ("postgresql://u:s3cr3t@h:port/db", "not a well-formed address"),
        ("postgresql://u:a@s3cr3t@h:port/db?b=c@d", "not a well-formed address"),
        ("postgresql+nodriver://u:s3cr3t@h/db", "nodriver"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://host/x.db", "names no file"),
        ("sqlite:///x.db?mode=ro", "options are not supported"),
        ("sqlite:///file:x.db", "options are not supported"),
    ],
)
def test_a_bad_address_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(MetaGDError) as caught:
        open_storage(url, must_exist=False)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or SECRET not in repr(caught.value.__context__)


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules is how Python is told that a module cannot be imported.
    monkeypatch.setitem(__import__("sys").modules, "psycopg2", None)
    with pytest.raises(MetaGDError, match=r"postgresql\+psycopg2://\*\*\*@h/db: .*not installed.*psycopg\[binary\]"):
        open_storage(f"postgresql+psycopg2://u:{SECRET}@h/db", must_exist=True)


@pytest.mark.parametrize("password", [SECRET, "p@ss/word", "{x}"])
def test_a_server_that_cannot_be_reached_is_named_without_the_password(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    from urllib.parse import quote

    asked: list[str] = []

    def refuse(url: str, **_: object) -> None:
        asked.append(url.format(SCHEMA_VERSION=1))
        cause = ConnectionError(f'connection to "h" failed: refused for password {password}\nmore lines')
        raise sqlalchemy.exc.OperationalError("SELECT 1", {}, cause)

    monkeypatch.setattr(storage_module, "RDBStorage", refuse)
    with pytest.raises(MetaGDError) as caught:
        open_storage(f"postgresql://u:{quote(password, safe='')}@h:5432/db", must_exist=True)
    text = str(caught.value)
    assert text.startswith("postgresql://***@h:5432/db: the storage cannot be opened")
    assert "check that the server runs" in text
    assert password not in text
    assert "more lines" not in text
    assert sqlalchemy.make_url(asked[0]).password == password


def test_a_storage_of_another_optuna_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    open_storage(path, must_exist=False)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE version_info SET schema_version = 3")
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
        connection.commit()
    with pytest.raises(MetaGDError, match="another version of Optuna"):
        open_storage(path, must_exist=True)


@settings(deadline=None, max_examples=80)
@given(before=st.text("xy/:@?", max_size=4), after=st.text("xy/:@?", max_size=4), options=st.sampled_from(["", "?a=b"]))
def test_no_password_is_ever_shown(before: str, after: str, options: str) -> None:
    password = f"{before}HIDDEN{after}"
    assert "HIDDEN" not in shown(f"postgresql://user:{password}@host/db{options}")
    assert "HIDDEN" not in shown(f"postgresql://host/db?password={password}")


def test_the_newest_database_is_found(tmp_path: Path) -> None:
    with pytest.raises(MetaGDError, match="no storage was named and there is none"):
        newest_database(tmp_path)
    for age, name in ((300, "old"), (100, "new"), (200, "middle")):
        path = tmp_path / name / "optuna.db"
        path.parent.mkdir()
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    assert newest_database(tmp_path) == tmp_path / "new" / "optuna.db"
    # What a running study stores is in the journal at first; one that is only looked at has an empty one.
    journal = tmp_path / "old" / "optuna.db-wal"
    journal.touch()
    assert newest_database(tmp_path) == tmp_path / "new" / "optuna.db"
    journal.write_bytes(b"trials")
    assert newest_database(tmp_path) == tmp_path / "old" / "optuna.db"


def test_a_link_is_another_name_of_the_same_database(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "optuna.db")
    first = open_storage(tmp_path / "optuna.db", must_exist=False)
    second = open_storage(tmp_path / "link.db", must_exist=True)
    with (
        own_study(first, "mine"),
        pytest.raises(MetaGDError, match="another run is going on"),
        own_study(second, "mine"),
    ):
        pass


def test_artifacts_lie_beside_a_file_and_a_server_has_none(tmp_path: Path) -> None:
    assert artifact_folder(tmp_path / "optuna.db") == tmp_path / "artifacts"
    assert artifact_folder(f"sqlite:///{tmp_path}/optuna.db") == tmp_path / "artifacts"
    assert artifact_folder("postgresql://h/db") is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["brand-new", "finished", "running"])
def test_the_dashboard_serves(tmp_path: Path, kind: str) -> None:
    storage = open_storage(tmp_path / "optuna.db", must_exist=False)
    if kind != "brand-new":
        study = optuna.create_study(storage=storage, study_name="demo/breast_cancer/meta-policy")
        trial = study.ask()
        if kind == "finished":
            study.tell(trial, 1.0)
    server = dashboard_server(storage, host="127.0.0.1", port=0, artifacts=tmp_path / "artifacts")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{address}/dashboard", timeout=20) as page:
            assert b"<html" in page.read().lower()
        with urllib.request.urlopen(f"{address}/api/studies", timeout=20) as answer:
            assert (b"demo/breast_cancer/meta-policy" in answer.read()) == (kind != "brand-new")
        with pytest.raises(MetaGDError, match=rf"port {server.server_port}: .*in use.*--port"):
            dashboard_server(storage, host="127.0.0.1", port=server.server_port, artifacts=None)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_study_is_found_where_its_reader_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_afterwards(monkeypatch)
    (tmp_path / "clinic.cells.npz").touch()
    storage = optuna.storages.InMemoryStorage()
    study = {"name": "demo", "file": tmp_path / "demo.toml", "tasks": ("clinic.cells.npz",)}
    with monkeypatch.context() as here:
        forget_afterwards(here)
        register_reader(READER)
        spec = StudySpec(**study)
        begun = Identity(spec.name, spec.to_dict(), versions(), "made up", tuple(spec.task_locations))
        StudyStore(storage, begun).task("clinic").open_calibration()
    assert held_tasks(storage) == {"demo": ["clinic"]}
    found = StudyStore.load(storage, "demo", "clinic")
    assert found.tasks == ["clinic"]
    assert found.settings.tasks == ("clinic.cells.npz",)
    with pytest.raises(MetaGDError, match=r"names of its tasks, by the readers .*: were clinic, now clinic\.cells\. "):
        train_study(
            StudySpec(**study),
            storage,
            out=tmp_path,
            data_dir=None,
            progress=Progress(Console(quiet=True)),
            build_network=None,
        )


@pytest.mark.parametrize(
    ("running", "said"),
    [(0, "0 trials wait for their turn"), (1, "1 trial waits for its turn"), (2, "2 trials wait for their turn")],
)
def test_what_waits_after_a_stop_is_counted(running: int, said: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    spec = StudySpec(name="demo", tasks=("breast_cancer",))
    begun = Identity(spec.name, spec.to_dict(), versions(), "made up", tuple(spec.task_locations))
    study = StudyStore(storage, begun).task("breast_cancer").open("meta-policy")
    for _ in range(running):
        study.ask()
    with pytest.raises(Interrupted, match=f"{said}. Go on"), requeueing(storage, "demo", UNSHARED):
        raise KeyboardInterrupt
    assert [trial.state.name for trial in study.trials] == ["WAITING"] * running


@pytest.mark.parametrize("name", ["colscope", "a/b/c"])
def test_somebody_elses_study_with_settings_is_not_ours(name: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=name)
    study.set_user_attr("settings", {"lr": 1})
    assert held_tasks(storage) == {}
    study.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(MetaGDError, match="not one of metagd's"):
        StudyStore.find(storage, name.split("/")[0])
