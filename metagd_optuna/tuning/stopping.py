"""Stopping a study from outside: SIGTERM does what Ctrl-C does, and the process ends soon."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from metagd_optuna.tuning.runner import Interrupted

# How long to wait for lanes, which end at their next rate update. A cluster that takes a machine back kills what is
# left 30 s after SIGTERM on Slurm and Kubernetes, 10 s after it in a container that is stopped.
LONGEST_WAIT = 5.0


class Stop:
    """Which signal stopped a study, if one did."""

    signal = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """What a shell says of a process that this signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let SIGTERM stop what runs in the main thread as Ctrl-C does, for as long as the context lasts.

    A second SIGTERM changes nothing, so that it does not disturb whoever hands back trials after the first. Where the
    process was started to ignore SIGTERM, it does.

    Raises:
        Interrupted: where the study itself did not say how to go on, before its first trial or after its last.
    """
    stop = Stop()

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.signal = signal.Signals(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    # Python lets only the main thread handle signals; None is a handler that is not Python's.
    handled = before not in (signal.SIG_IGN, None) and threading.current_thread() is threading.main_thread()
    if handled:
        signal.signal(signal.SIGTERM, end)
    try:
        yield stop
    except KeyboardInterrupt:
        raise Interrupted("stopped; what was trained is kept. Go on with the same command") from None
    finally:
        if handled:
            signal.signal(signal.SIGTERM, before)


def leave(code: int) -> NoReturn:
    """End the process with an exit code, without waiting longer than a few seconds for lanes that still train.

    What they compute is lost either way, and they write nothing.
    """
    deadline = time.monotonic() + LONGEST_WAIT
    others = [each for each in threading.enumerate() if each is not threading.current_thread() and not each.daemon]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # Python would join them, and a step of a large network takes minutes
    sys.exit(code)
