"""One coordinator per study: locks that die with the process that holds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Protocol

import sqlalchemy
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import why

CHECK_EVERY = 1.0  # seconds


@contextmanager
def own_file(path: Path, what: str) -> Iterator[None]:
    """Hold a lock on ``path``, which is made if it is not there.

    Args:
        path: the lock file.
        what: what is locked, for the error.

    Raises:
        MetaGDError: if another process holds it, or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise MetaGDError(
            f"{path.parent}: cannot write there ({why(error)}); choose another folder with --out"
        ) from error
    # A soft lock, which filelock would take where there is no flock, outlives a process that is killed.
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise MetaGDError(
            f"{what}: another run is going on there; wait for it, give it more workers instead (dask worker, where it "
            "was started with --cluster), or choose another folder with --out (and another --storage)"
        ) from error
    except OSError as error:
        raise MetaGDError(
            f"{path}: cannot be locked ({error.strerror}), so nothing would keep a second run out; choose a folder "
            "on a file system that has locks, such as a local disk, with --out (and --storage)"
        ) from error
    try:
        yield
    finally:
        lock.release()


class Hold(Protocol):
    """A study that this process alone may run."""

    def check(self, *, now: bool = False) -> None:
        """Make sure that it is still held.

        Args:
            now: even if it was looked after a moment ago.

        Raises:
            SQLAlchemyError: if the connection that holds it is gone.
        """

    def regain(self) -> None:
        """Hold it again if it was lost, as when the storage was away.

        Raises:
            MetaGDError: if another process runs it now.
            SQLAlchemyError: if the storage still does not answer.
        """


class _FileHold:
    """A lock on a file stays where it is."""

    def check(self, *, now: bool = False) -> None:
        """There is nothing to do."""

    def regain(self) -> None:
        """There is nothing to do."""


UNSHARED: Hold = _FileHold()  # of a storage that nobody else uses


class _ServerHold:
    """An advisory lock of PostgreSQL, which belongs to a connection; a server lets go of it when that ends."""

    def __init__(self, engine: sqlalchemy.Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._connection: sqlalchemy.Connection | None = None
        self._checked = 0.0
        self._taking = False
        self._one = RLock()  # thread at a time uses the connection
        # A server that restarts drops the lock, and the pool replaces its connections without an error; or it drops the
        # one that idles while others are used. So before any of them is used, the lock is looked after.
        self._listening: dict[str, Callable[..., None]] = {"connect": self._on_connect, "checkout": self._on_checkout}
        for event, listener in self._listening.items():
            sqlalchemy.event.listen(engine, event, listener)

    def _on_connect(self, connection: object, record: object) -> None:
        self._before_use(now=True)

    def _on_checkout(self, connection: object, record: object, proxy: object) -> None:
        self._before_use(now=False)

    def _before_use(self, *, now: bool) -> None:
        with self._one:
            if not self._taking:  # by a connection of its own
                self.check(now=now)

    def check(self, *, now: bool = False) -> None:
        """Make sure that it is still held; asked again and again, it asks the server now and then."""
        with self._one:
            held, asked_lately = self._connection, time.monotonic() - self._checked <= CHECK_EVERY
            # Whoever was told first may have kept it to themselves, and another process may hold it now.
            if held is None or held.invalidated:
                raise sqlalchemy.exc.InvalidRequestError("the connection that held the study was lost")
            if asked_lately and not now:
                return
            self._checked = time.monotonic()
            try:
                held.execute(sqlalchemy.text("SELECT 1"))
                held.commit()
            except sqlalchemy.exc.SQLAlchemyError:  # of an interrupted one SQLAlchemy lets go itself
                self._drop()
                raise

    def _drop(self) -> None:
        held, self._connection = self._connection, None
        if held is not None:
            held.invalidate()

    def take(self) -> None:
        """Hold it.

        Raises:
            MetaGDError: if another process does.
        """
        with self._one:
            self._taking = True
            try:
                connection = self._engine.connect()
            finally:
                self._taking = False
            try:
                query = sqlalchemy.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
                taken = connection.execute(query, {"name": f"metagd/{self._name}"}).scalar()
                connection.commit()
            except BaseException:  # the lock may be the connection's already, which would keep it in the pool
                connection.invalidate()
                raise
            if not taken:
                connection.close()
                raise MetaGDError(
                    f"study {self._name!r} is being run by another process on this storage; wait for it, give it more "
                    "workers instead (dask worker, where it was started with --cluster), or name the study file "
                    "differently"
                )
            self._connection, self._checked = connection, time.monotonic()

    def regain(self) -> None:
        """Hold it again, by a connection of now if it was lost."""
        try:
            self.check(now=True)
        except sqlalchemy.exc.SQLAlchemyError:
            self._drop()
            self.take()

    def release(self) -> None:
        """Let go of it."""
        for event, listener in self._listening.items():
            sqlalchemy.event.remove(self._engine, event, listener)
        connection, self._connection = self._connection, None
        if connection is None:  # the storage went away, and the lock with it
            return
        try:
            # A server notices a closed connection a little later, and whoever goes on at once would find it locked. One
            # that has lost the connection has let go of the lock.
            with suppress(sqlalchemy.exc.SQLAlchemyError):
                unlock = sqlalchemy.text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))")
                connection.execute(unlock, {"name": f"metagd/{self._name}"})
        finally:
            connection.invalidate()  # closing would only give the connection back to the pool


@contextmanager
def own_study(storage: RDBStorage, name: str) -> Iterator[Hold]:
    """Keep every other process from running the study ``name`` in this storage.

    Raises:
        MetaGDError: if another process is running it.
    """
    engine = storage.engine
    if engine.dialect.name == "sqlite":
        database = Path(str(engine.url.database)).resolve()  # a link is another name of the same file
        with own_file(database.with_name(f"{database.name}.lock"), str(database)):
            yield _FileHold()
        return
    hold = _ServerHold(engine, name)
    try:
        hold.take()
        yield hold
    finally:
        hold.release()
