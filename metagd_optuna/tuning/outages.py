"""A storage that is away for a while: the study waits for it, and goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tuning.exclusive import Hold
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.storage import cause_of

LONGEST = 600.0  # seconds that a study waits for its storage
PAUSE = 1.0
MOST_IN_A_ROW = 3  # the storage answers every time, and fails again within two minutes
IN_A_ROW = 120.0


def through_outages(run: Callable[[], None], storage: RDBStorage, hold: Hold, progress: Progress) -> None:
    """Run what a server's outage may interrupt, and run it again once the server is back.

    What was being written is read anew, and what was stored is kept, as after any other interruption.

    Args:
        run: goes on wherever it was interrupted.
        storage: an SQLite file is not waited for: it fails because its disk is full, or is damaged.
        hold: on the study, which a server drops with the connection.
        progress: where to say that the study waits.

    Raises:
        MetaGDError: if another process took the study over meanwhile.
        SQLAlchemyError, StorageInternalError: if the storage stays away, or fails again and again.
    """
    failures: list[float] = []
    while True:
        try:
            run()
            return
        except (StorageInternalError, SQLAlchemyError) as error:
            now = time.monotonic()
            failures = [*(at for at in failures if now - at < IN_A_ROW), now]
            if storage.engine.dialect.name == "sqlite" or len(failures) > MOST_IN_A_ROW:
                raise
            progress.notice(f"the storage failed ({cause_of(error)}); waiting for it, up to {LONGEST / 60:.0f} minutes")
        regained(hold, LONGEST)
        progress.notice("the storage is back; going on")


def regained(hold: Hold, longest: float) -> None:
    """Wait until the study is ours again.

    A server that lost the network, and not its processes, holds the lock for the old connection until it finds out.

    Args:
        hold: on the study.
        longest: how long, in seconds.

    Raises:
        MetaGDError: if another process still runs it then.
        SQLAlchemyError: if the storage still does not answer then.
    """
    until = time.monotonic() + longest
    while True:
        try:
            hold.regain()
            return
        except (SQLAlchemyError, MetaGDError):
            if time.monotonic() > until:
                raise
        time.sleep(PAUSE)
