"""What a study says while it runs: phase, trials, best so far, examples per second, time left."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol

import optuna
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from tqdm import tqdm

from metagd_optuna.contracts import printable
from metagd_optuna.given import counted

MOST_SHOWN = 8  # workers in the terminal's one line


def quieten_optuna() -> None:
    """Keep Optuna from printing more than warnings."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class Throughput(Protocol):
    """What has been trained so far."""

    @property
    def examples(self) -> int:
        """Training examples of all runs."""

    @property
    def seconds(self) -> float:
        """Wall-clock."""


class Progress:
    """Shows a study's progress on a terminal, or as plain lines where there is none.

    Args:
        console: where to print, by default standard output; a bar is drawn only if it is a terminal.
    """

    unprinted: Sequence[str] = ()

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console()
        self._console = console
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("runs"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[workers]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, speed="", workers="")
        self._phase = ""
        self._done = 0
        self._total = 0

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def log(self, line: str) -> None:
        """Print one line, above the bar if there is one."""
        self._console.print(self._printable(line), highlight=False, markup=False, soft_wrap=True)

    def notice(self, line: str) -> None:
        """Print a line that has to be seen before training goes on."""
        self.log(line)

    def plan(self, runs: int) -> None:
        """Log how many runs the whole study has, before the first of them is counted."""
        self._total, self._done = runs, 0
        self._bar.update(self._task, total=runs, completed=0)

    def phase(self, task: str, name: str) -> None:
        """Begin a phase of a task."""
        self._phase = self._printable(f"{task} · {name}")
        self._bar.update(self._task, description=self._phase)
        if not self._console.is_terminal:
            self.log(f"{self._phase} ({self._done}/{self._total} runs)")

    def trials(self, task: str, method: str, done: int, total: int, best: float) -> None:
        """Log how far a method's search is; ``best`` is its best objective in epochs, inf if there is none."""
        shown = f"best {best:.3f} epochs" if math.isfinite(best) else "no trial finished yet"
        search = f"{task} · tune {method}"
        self._bar.update(self._task, description=self._printable(f"{search} · {done}/{total} trials · {shown}"))
        if done == total:
            self.log(f"  {search}: {total} trials, {shown}")

    def runs(self, count: int, throughput: Throughput | None) -> None:
        """Count runs as done; without ``throughput`` they were found in the storage."""
        self._done += count
        speed = f"{throughput.examples / throughput.seconds:,.0f} examples/s" if throughput else ""
        self._bar.update(self._task, completed=self._done, speed=speed)

    def workers(self, jobs: Mapping[str, int]) -> None:
        """Show how many jobs every worker has, by its name."""
        shown = " ".join(f"{name.split(' ')[0]}:{count}" for name, count in list(jobs.items())[:MOST_SHOWN])
        more = " ..." if len(jobs) > MOST_SHOWN else ""
        self._bar.update(self._task, workers=self._printable(f"{counted(len(jobs), 'worker')} ({shown}{more} jobs)"))

    def _printable(self, text: str) -> str:
        """Return a text with every character replaced that the console's encoding lacks, or takes for an order."""
        encoding = self._console.encoding
        return printable(text).encode(encoding, "replace").decode(encoding)


class QuietProgress(Progress):
    """Shows a study's progress as one bar on standard error, in notebooks too, and prints nothing else.

    ``unprinted`` keeps the lines that would have been printed.
    """

    def __init__(self) -> None:
        self.unprinted: list[str] = []
        self._line: tqdm | None = None
        self._phase = ""

    def __enter__(self) -> QuietProgress:
        self._line = tqdm(unit="run", leave=True, mininterval=0.5, bar_format=_BAR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.close()

    def log(self, line: str) -> None:
        """Keep one line."""
        self.unprinted.append(line)

    def notice(self, line: str) -> None:
        """Print a line above the bar, and keep it."""
        self.log(line)
        tqdm.write(line, file=sys.stderr)

    def plan(self, runs: int) -> None:
        """Set how many runs the whole study has, before the first of them is counted."""
        if self._line is not None:
            self._line.reset(total=runs)

    def phase(self, task: str, name: str) -> None:
        """Show which phase of which task it is."""
        self._phase = f"{task} · {name}"
        self._describe(self._phase)

    def trials(self, task: str, method: str, done: int, total: int, best: float) -> None:
        """Show how far a method's search is."""
        self._describe(f"{task} · tune {method} · {done}/{total} trials")

    def runs(self, count: int, throughput: Throughput | None) -> None:
        """Count runs as done."""
        if self._line is not None:
            self._line.update(count)

    def workers(self, jobs: Mapping[str, int]) -> None:
        """Show how many workers there are."""
        if self._line is not None:
            self._line.set_postfix_str(counted(len(jobs), "worker"), refresh=False)

    def _describe(self, text: str) -> None:
        if self._line is not None:
            self._line.set_description_str(text, refresh=False)


_BAR = "{desc}: {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} runs, {remaining} left{postfix}"
