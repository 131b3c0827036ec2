"""Threads that train side by side, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


class Halted(Exception):  # noqa: N818 - no error: somebody else's error, or the user's wish
    """A training that is to end, because another one failed or the user stopped the study."""


@contextmanager
def open_lanes(count: int) -> Iterator[ThreadPoolExecutor]:
    """Open threads, and wait for them at the end.

    After an error what waits does not begin. Nor does whoever stops a study wait for what runs: a lane may be in the
    middle of steps that take minutes on a large network.
    """
    lanes = ThreadPoolExecutor(count, thread_name_prefix="lane")
    try:
        yield lanes
    except BaseException as error:
        lanes.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        raise
    lanes.shutdown()
