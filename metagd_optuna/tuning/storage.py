"""Open the Optuna storage of a study, or say in plain words why it cannot be opened."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import AGAIN, why
from metagd_optuna.given import as_given, as_path, shortened
from metagd_optuna.models import did_you_mean

DATABASE = "optuna.db"
SCHEMES = ("sqlite", "postgresql")
LOCK_TIMEOUT = 60.0
# For how long a server may say nothing: a network that lost a connection does not tell. In seconds, but for the last.
PATIENCE = {
    "connect_timeout": 15,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://")
_SQLITE_HEADER = b"SQLite format 3\x00"
_ALLOWED = "allowed: the path of an SQLite file, sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE"


def open_storage(url_or_path: str | Path, *, must_exist: bool, lock_timeout: float = LOCK_TIMEOUT) -> RDBStorage:
    """Open an Optuna storage that can be written to; its tables are made if they are missing.

    Args:
        url_or_path: the path of an SQLite file, or a URL of SQLite or PostgreSQL.
        must_exist: whether a missing SQLite file is an error; otherwise it and its folder are made.
        lock_timeout: seconds to wait for another process that is writing to the same SQLite file.

    Raises:
        MetaGDError: an unknown scheme; a file that is missing, no database, another program's, locked or
            read-only; a server whose driver is missing or that cannot be reached. No password is shown.
    """
    url = _parse(url_or_path)
    if url.get_backend_name() == "sqlite":
        _check_name(as_path(url.database, "the storage"))
        _check_sqlite(Path(str(url.database)), must_exist=must_exist, lock_timeout=lock_timeout)
        return _connect(url, shown(url_or_path), {"connect_args": {"timeout": lock_timeout}})
    # A server may restart during a study of days: pre-ping replaces connections that have died.
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_driver_name() in ("psycopg", "psycopg2"):
        engine["connect_args"] = {name: value for name, value in PATIENCE.items() if name not in url.query}
    return _connect(url, shown(url_or_path), engine)


@contextmanager
def opened_storage(url_or_path: str | Path, *, must_exist: bool) -> Iterator[RDBStorage]:
    """Open an Optuna storage as ``open_storage`` does, and end its connections at the end."""
    storage = open_storage(url_or_path, must_exist=must_exist)
    try:
        with plain_storage_errors(shown(url_or_path)):
            yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def plain_storage_errors(name: str) -> Iterator[None]:
    """Turn a storage's failure in the middle of the work into an error that says what to do.

    Args:
        name: of the storage, without secrets.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = driver_error(error)
        check = "the disk is full: free some space" if _is_full(cause) else "check its disk and connection"
        raise MetaGDError(
            f"{name}: the storage failed ({cause_of(error)}); {check}, then go on with the same command: what was "
            "stored before is kept"
        ) from error


def driver_error(error: Exception) -> Exception:
    """Return what the database's driver said, of what Optuna or SQLAlchemy made of it."""
    inner = error.__cause__ or error
    found = getattr(inner, "orig", None)
    return found if isinstance(found, Exception) else cast(Exception, inner)


def cause_of(error: Exception) -> str:
    """Return in one line why a storage failed."""
    return str(driver_error(error)).strip().partition("\n")[0]


def _is_full(error: object) -> bool:
    """Return whether a driver's error says that the disk is full: SQLite's by name, PostgreSQL's by number."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(error, "sqlstate", "") == "53100"


@contextmanager
def plain_content_errors() -> Iterator[None]:
    """Turn what is raised on values that the package did not store into an error that says so: anyone may write there.

    What was raised stays its cause.
    """
    try:
        yield
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        AssertionError,
    ) as error:
        said = shortened(f"{type(error).__name__}: {error}".partition("\n")[0])
        raise MetaGDError(
            f"the storage holds values that this version did not write there ({said}); restore it from a copy, or "
            "start a new study in another storage"
        ) from error


def database_of(study: str, runs: Path) -> Path:
    """Return the SQLite file in a study's own folder under ``runs``, or else the one that was written last.

    Raises:
        MetaGDError: no study has left a database there.
    """
    own = as_path(runs / study / DATABASE, "the study's storage")
    return own if own.is_file() else newest_database(runs)


def newest_database(runs: Path) -> Path:
    """Return the SQLite file of the study folder under ``runs`` that was written last.

    Raises:
        MetaGDError: no study has left a database there.
    """
    found = sorted(runs.glob(f"*/{DATABASE}"), key=lambda path: (_last_written(path), path))
    if not found:
        raise MetaGDError(
            f"no storage was named and there is none at {runs / '*' / DATABASE}; name one with --storage, change to "
            "the folder that holds runs/, or run a study first: metagd run STUDY.toml"
        )
    return found[-1]


def _last_written(database: Path) -> int:
    written = [database.stat()]
    # A study that runs, or was killed, has its last trials in the journal beside the file. Reading makes an empty one.
    with suppress(FileNotFoundError):
        journal = database.with_name(f"{database.name}-wal").stat()
        written += [journal] if journal.st_size else []
    return max(found.st_mtime_ns for found in written)


def artifact_folder(url_or_path: str | Path) -> Path | None:
    """Return the folder ``artifacts`` beside an SQLite storage; None for a server, which has no folder."""
    url = _parse(url_or_path)
    return Path(str(url.database)).parent / "artifacts" if url.get_backend_name() == "sqlite" else None


def shown(url_or_path: str | Path) -> str:
    """Return a storage's address without user, password and options, for messages.

    >>> shown("postgresql://ann:secret@db.example:5432/metagd?sslmode=require")
    'postgresql://***@db.example:5432/metagd'
    """
    if not _is_url(url_or_path) or str(url_or_path).startswith("sqlite:///"):
        return str(url_or_path)  # a file's path has no secrets and is there to be copied
    return shortened(_without_secrets(str(url_or_path)))


def _without_secrets(url: str) -> str:
    scheme, _, rest = url.partition("://")
    place, _, options = rest.partition("?")
    # Passwords may hold unescaped "@" and "?"; where it is unclear what belongs to one, nothing is shown.
    if "@" in options:
        return f"{scheme}://***"
    _, at, address = place.rpartition("@")
    return f"{scheme}://***@{address}" if at else f"{scheme}://{place}"


def _is_url(url_or_path: str | Path) -> bool:
    return isinstance(url_or_path, str) and _SCHEME.match(url_or_path) is not None


def _parse(url_or_path: str | Path) -> URL:
    text = str(url_or_path)
    if not _is_url(url_or_path):
        # Absolute, because SQLite takes some relative names, such as :memory:, for something else.
        return URL.create("sqlite", database=str(Path(text).absolute()))
    scheme = text.partition("://")[0].partition("+")[0]
    if scheme not in SCHEMES:
        raise MetaGDError(
            f"{shown(text)}: a storage cannot be of the scheme {as_given(scheme)}{did_you_mean(scheme, SCHEMES)}; "
            f"{_ALLOWED}"
        )
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The cause may quote a piece of the password, so it is not chained.
        raise MetaGDError(
            f"{shown(text)}: this is not a well-formed address; {_ALLOWED}; write special characters of a password as "
            "%-codes, such as %40 for @"
        ) from None
    if scheme == "sqlite":
        if "?" in text or str(url.database).startswith("file:"):
            raise MetaGDError(
                f"{shown(text)}: options are not supported for SQLite; give the path of the file only, without "
                "sqlite:///, in which a ? or a % may stand for itself; in an address they are %3F and %25"
            )
        if url.host or url.database in (None, "", ":memory:"):
            raise MetaGDError(
                f"{shown(text)}: this names no file, and a study has to outlive its process; write sqlite:///FILE "
                "(three slashes, four before an absolute path)"
            )
    return url


def _connect(url: URL, name: str, engine: dict[str, Any]) -> RDBStorage:
    from alembic.util import CommandError  # which Optuna loads with the storage

    # Optuna formats the address as a template, in which braces have to be doubled.
    address = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    try:
        return RDBStorage(address, engine_kwargs=engine)
    except ImportError as error:
        raise MetaGDError(
            f"{name}: the Python driver for this database is not installed; for PostgreSQL: "
            'pip install "psycopg[binary]"'
        ) from error
    except RuntimeError as error:
        raise MetaGDError(
            f"{name}: written by another version of Optuna: {_cause(error, url)}; install that version, or upgrade "
            "a copy of the storage with: optuna storage upgrade --storage URL"
        ) from None
    except (StorageInternalError, SQLAlchemyError, CommandError, ValueError, TypeError) as error:
        cause = driver_error(error)
        if _is_full(cause):
            raise MetaGDError(
                f"{name}: the storage cannot be made ({_cause(error, url)}); the disk is full: free some space, then "
                f"{AGAIN}"
            ) from None
        if isinstance(cause, sqlite3.Error) and hasattr(cause, "sqlite_errorname"):
            raise MetaGDError(f"{name}: the storage cannot be used: {cause}; {_remedy(cause)}") from None
        raise MetaGDError(
            f"{name}: the storage cannot be opened: {_cause(error, url)}; check that the server runs, that the "
            "database exists and holds text as UTF-8, and that user and password are right"
        ) from None


def _cause(error: Exception, url: URL) -> str:
    """Return the first line of the driver's message, with every secret of the address blotted out."""
    text = cause_of(error)
    secrets = [str(url.password or ""), *(value for value in url.query.values() if isinstance(value, str))]
    # A password that holds an "@" ends for SQLAlchemy at the first one; the driver then quotes the rest as the host.
    secrets.append((url.host or "").rpartition("@")[0])
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text.rstrip(".")


def _check_name(path: Path) -> None:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise MetaGDError(
            f"{as_given(str(path))}: the name of a storage has to be text in UTF-8; rename the file or its folder"
        ) from error


def _check_sqlite(path: Path, *, must_exist: bool, lock_timeout: float) -> None:
    try:
        if path.is_dir():
            raise MetaGDError(f"{path}: this is a folder; give the path of a file in it, such as {path / DATABASE}")
        if not path.exists():
            if must_exist:
                raise MetaGDError(
                    f"{path}: there is no such storage; a study makes one: metagd run STUDY.toml, by default at "
                    f"runs/STUDY/{DATABASE}"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
        elif path.stat().st_size:
            with path.open("rb") as file:  # SQLite takes a file of a few bytes for an empty database
                if file.read(len(_SQLITE_HEADER)) != _SQLITE_HEADER:
                    raise MetaGDError(f"{path}: this file is not an SQLite database; {_ALLOWED}")
        _probe(path, lock_timeout)
    except OSError as error:
        raise MetaGDError(
            f"{path}: the storage cannot be opened: {why(error)}; choose a place that can be written to"
        ) from error
    except sqlite3.Error as error:
        raise MetaGDError(f"{path}: the storage cannot be used: {error}; {_remedy(error)}") from error
    except UnicodeDecodeError as error:  # what SQLite says of a damaged table holds its name
        raise MetaGDError(f"{path}: the storage cannot be used: a name in it is no text; {_DAMAGED}") from error


_DAMAGED = "the file is damaged: restore it from a copy, or choose another"
# What runs when a table is read or written: a view may have rows without end, and a virtual table is made otherwise. A
# default is that of every row which lacks the column.
_COMPUTED = """
    SELECT lower(type), name FROM sqlite_master
    WHERE lower(type) NOT IN ('table', 'index') OR (lower(type) = 'table' AND sql NOT LIKE 'CREATE TABLE %')
    UNION ALL
    SELECT 'column', found.name FROM sqlite_master AS held, pragma_table_xinfo(held.name) AS found
    WHERE lower(held.type) = 'table' AND (found.hidden != 0 OR length(found.dflt_value) > 100)
    LIMIT 1
"""


def _probe(path: Path, lock_timeout: float) -> None:
    """Take the write lock and write a page into the journal, then undo it: says what reading would not."""
    with closing(sqlite3.connect(path, timeout=lock_timeout, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        foreign = connection.execute(_COMPUTED).fetchone()
        columns = {row[1] for row in connection.execute("PRAGMA table_info(studies)")}
        connection.execute("CREATE TABLE metagd_probe (x)")
        connection.execute("ROLLBACK")
    if foreign is not None:
        raise MetaGDError(
            f"{path}: this SQLite database computes what it holds (the {foreign[0]} {as_given(foreign[1])}), as "
            "none of Optuna's does, and reading it could take for ever; choose another file"
        )
    # A process killed while Optuna made its tables leaves some of them behind, and may go on.
    if tables and "version_info" not in tables and "study_name" not in columns:
        raise MetaGDError(
            f"{path}: this SQLite database belongs to another program (its tables: {', '.join(sorted(tables)[:5])}); "
            "choose another file, so that its content stays as it is"
        )


def _remedy(error: sqlite3.Error) -> str:
    remedies = {
        "SQLITE_BUSY": "another process is writing to it: wait until it is done, or stop it",
        "SQLITE_READONLY": "make the file and its folder writable, or copy it to a place that is",
        "SQLITE_CANTOPEN": "check that its folder exists and can be written to",
        "SQLITE_FULL": f"the disk is full: free some space, then {AGAIN}",
        "SQLITE_NOTADB": "the file is damaged or not a database: choose another",
        "SQLITE_CORRUPT": _DAMAGED,
    }
    code = getattr(error, "sqlite_errorname", "")
    return next((remedy for name, remedy in remedies.items() if code.startswith(name)), "choose another place for it")
