"""Work that waits for trainings: many parts of a study side by side, in one thread.

A flow is a generator that yields the futures that it waits for, and is resumed once one of them is done. So phases read
as if they trained themselves, and whatever decides or writes still runs in one place, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

Result = TypeVar("Result")
Pending = Collection["Future[Any]"]
Flow = Generator[Pending, None, Result]


def all_done(futures: Iterable[Future[Any]]) -> Flow[None]:
    """Wait for all of some futures."""
    waiting = set(futures)
    while waiting := {future for future in waiting if not future.done()}:
        yield waiting


def side_by_side(flows: Iterable[Flow[Any]]) -> Flow[None]:
    """Take flows to their ends, each as far as its trainings let it; their results are dropped.

    An error of one ends all of them. The first flow begins first, and goes on first where several can.
    """
    waiting: dict[Flow[Any], Pending] = {}

    def resume(flow: Flow[Any]) -> None:
        try:
            waiting[flow] = next(flow)
        except StopIteration:
            waiting.pop(flow, None)

    flows = list(flows)
    try:
        for flow in flows:
            resume(flow)
        while waiting:
            yield {future for pending in waiting.values() for future in pending}
            for flow in [flow for flow, pending in waiting.items() if any(future.done() for future in pending)]:
                resume(flow)
    finally:
        for flow in flows:
            flow.close()


def to_the_end(flow: Flow[Result], look: Callable[[], None] | None = None) -> Result:
    """Run a flow in this thread until it ends, and return its result.

    Args:
        flow: what is run.
        look: called about every second, for whatever has to be looked after while trainings go on.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> def power(pool, base):
    ...     future = pool.submit(pow, base, 2)
    ...     yield from all_done([future])
    ...     return future.result()
    >>> with ThreadPoolExecutor() as pool:
    ...     to_the_end(power(pool, 7))
    49
    """
    while True:
        try:
            pending = next(flow)
        except StopIteration as end:
            result: Result = end.value
            return result
        done = False
        while not done:
            done = bool(wait(pending, timeout=None if look is None else 1.0, return_when=FIRST_COMPLETED).done)
            if look is not None:
                look()
