"""Commits to an SQLite storage that do not wait for the disk.

Optuna commits every parameter and attribute by itself, some thirty times a trial, and each commit waits until the
disk has it: 13 ms apiece on a disk of a virtual machine, more than a small network trains in. With a write-ahead log
and synchronous=NORMAL a commit only appends. What was committed survives the process, however it ends; if the
machine itself loses power, the last commits may be missing, but the file stays whole, and the study goes on from
there (https://www.sqlite.org/wal.html).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import event

# A write-ahead log needs memory that all its processes share, which network file systems do not give.
LOCAL_FILE_SYSTEMS = frozenset(("apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"))


def write_ahead(storage: RDBStorage) -> bool:
    """Switch an SQLite storage on a local disk to a write-ahead log; return whether it has one now.

    Elsewhere (another database, a network file system, one that cannot be told) nothing changes.
    """
    url = storage.engine.url
    if url.get_backend_name() != "sqlite" or file_system(Path(str(url.database))) not in LOCAL_FILE_SYSTEMS:
        return False

    def configure(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(storage.engine, "connect", configure)
    storage.engine.dispose()  # connections made before it are not configured
    with storage.engine.connect() as connection:
        return bool(connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar() == "wal")


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system that holds a path, "" where the operating system does not say.

    >>> file_system(Path("/nowhere"), mounts=Path("/no/such/table"))
    ''
    """
    if not mounts.is_file():
        return ""
    place = path.resolve()
    found, kind = -1, ""
    for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
        if not line:
            continue
        _, mount, name, *_ = line.split(" ")
        # Spaces, tabs, line ends, backslashes and # are written as three octal digits.
        folder = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mount))
        # The deepest mount holds it; of two at one place, the later hides the earlier.
        if place.is_relative_to(folder) and len(folder.parts) >= found:
            found, kind = len(folder.parts), name
    return kind
