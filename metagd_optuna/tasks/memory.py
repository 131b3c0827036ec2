"""Whether data fit into memory, asked and said before any is taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from metagd_optuna.contracts import MetaGDError

SHARE = 0.7  # of the memory that is free; reading, complexity and training need some beside
SAID_FROM = 2**28  # bytes; less is nobody's concern


def available_memory() -> int | None:
    """Return the bytes that this machine, or the container that it runs in, has free; None where it does not say."""
    found = [value for value in (_of_machine(), _of_container()) if value is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_container() -> int | None:
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if not limit.is_file() or not used.is_file():
        return None
    most = limit.read_text(encoding="utf-8").strip()
    return None if most == "max" else max(int(most) - int(used.read_text(encoding="utf-8")), 0)


def check_memory(needed: int, where: str, remedy: str, log: Callable[[str], None] | None = None) -> None:
    """Refuse data that do not fit into memory, and say what others of some size will take.

    Args:
        needed: bytes.
        where: what they are of, for the error.
        remedy: what to do about it.
        log: called with a line on data of 256 MiB and more.

    Raises:
        MetaGDError: naming what is needed and what there is.
    """
    free = available_memory()
    if free is not None and needed > SHARE * free:
        raise MetaGDError(f"{where} would take {in_words(needed)} of memory, and {in_words(free)} are free; {remedy}")
    if log is not None and needed >= SAID_FROM:
        of = "" if free is None else f" of {in_words(free)} that are free"
        log(f"{where} will take {in_words(needed)} of memory{of}")


def fitting(most: int, each: int) -> int:
    """Return how many pieces of work may go on at once, at least one, to take a third of what is free together.

    Args:
        most: as many as are of use.
        each: bytes that one takes.
    """
    free = available_memory()
    return most if free is None else max(1, min(most, free // 3 // max(each, 1)))


def in_words(size: int) -> str:
    """Return a number of bytes as one says it.

    >>> in_words(1_288_490_189), in_words(900_000)
    ('1.2 GiB', '0.9 MiB')
    """
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
