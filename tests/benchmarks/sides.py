"""The two sides of a comparison, each in a process of its own, sampled in turn."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any


def _serve(pipe: Connection, make: Callable[..., Callable[..., Any]], ours: bool, options: dict[str, Any]) -> None:
    if ours:
        from metagd_optuna.training.startup import load_tensorflow

        load_tensorflow()
    sample = make(**options)
    pipe.send("ready")
    while (arguments := pipe.recv()) is not None:
        pipe.send(sample(**arguments))


class Side:
    """A process that is set up once and then sampled; TensorFlow's threads are set per process, so sides need one each.

    Args:
        make: called in the process with ``options``; answers with the function that takes one sample.
        ours: whether TensorFlow is loaded as the package loads it; a peer imports it, as its user would.
    """

    def __init__(self, make: Callable[..., Callable[..., Any]], *, ours: bool = True, **options: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, ours, options), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def sample(self, **arguments: Any) -> Any:
        """Take one sample; the other sides wait."""
        self._pipe.send(arguments)
        return self._pipe.recv()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.send(None)
        self._process.join()


def seconds(call: Callable[[], Any]) -> float:
    """Return how long a call took."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def summary(samples: list[float]) -> dict[str, Any]:
    """Return median, smallest and largest of samples, and all of them."""
    ordered = sorted(samples)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return {"median": median, "min": ordered[0], "max": ordered[-1], "samples": samples}
