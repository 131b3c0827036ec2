"""The suite's runs: trained in batches, each stored as soon as it is through, in one file per workload.

A line of a file is one run, as JSON. A suite that was stopped goes on with what is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metagd_optuna.contracts import Curve, MetaGDError, RunRecord, TrainingJob
from metagd_optuna.files import AGAIN, make_folder, read_text, why, write_text
from metagd_optuna.given import shortened
from metagd_optuna.models import Model, Row, checked
from metagd_optuna.suite.opened import METRIC, Opened

DIGITS = 5


class SuiteRun(Model):
    """One training of one candidate on one workload.

    Args:
        candidate: its name.
        seed: fixes initial weights and mini-batch order.
        epochs: passes over the training part at each evaluation.
        scores: validation AUC there; fewer than evaluations planned if the run diverged.
        test_scores: the same on the test part; empty where that was not measured.
        budget: passes that the run was given.
        batch_norm, normalised: of the network, see ``Opened``.
        batch_size: examples per step.
        chance: of the metric.
    """

    candidate: str
    seed: int
    epochs: Row[float]
    scores: Row[float]
    test_scores: Row[float] = ()
    budget: float
    batch_norm: bool
    normalised: bool
    batch_size: int
    chance: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Candidates that train together on one seed.

    Args:
        jobs: what trains.
        seed: fixes initial weights and mini-batch order.
        test: whether to measure the test part as well.
    """

    jobs: tuple[TrainingJob, ...]
    seed: int
    test: bool = False


def runs_file(out: Path, workload: str) -> Path:
    """Return where the runs of a workload are kept."""
    return out / "runs" / f"{workload}.jsonl"


def read_runs(file: Path) -> list[SuiteRun]:
    """Return the runs of a file; none if it is not there. A last line that was cut off is dropped from the file.

    Raises:
        MetaGDError: if it cannot be read, or for a line that is no run.
    """
    if not file.is_file():
        return []
    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise MetaGDError(f"{file}: cannot be read as runs of the suite ({shortened(str(error))})") from None
    whole, _, cut = text.rpartition("\n")
    if cut:
        write_text(f"{whole}\n" if whole else "", file)
    return [_run(line, f"{file}, line {number}") for number, line in enumerate(whole.split("\n"), 1) if whole]


def _run(line: str, source: str) -> SuiteRun:
    try:
        table = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MetaGDError(f"{source}: no run ({shortened(str(error))}); remove the line, to train it anew") from None
    return checked(SuiteRun, table, source)


def missing(batches: Iterable[Batch], stored: Sequence[SuiteRun]) -> list[Batch]:
    """Return what is not stored yet of the batches; it does not matter who trains beside whom."""
    there = {(run.candidate, run.seed) for run in stored}

    def lacks(batch: Batch) -> Batch:
        return replace(batch, jobs=tuple(job for job in batch.jobs if (job.name, batch.seed) not in there))

    left = map(lacks, batches)
    return [batch for batch in left if batch.jobs]


def train_missing(opened: Opened, batches: Sequence[Batch], out: Path, log: Callable[[str], None]) -> None:
    """Train what is not stored of some batches, and store it batch by batch."""
    file = runs_file(out, opened.workload.name)
    left = missing(batches, read_runs(file))
    make_folder(file.parent)
    for number, batch in enumerate(left, 1):
        began = time.perf_counter()
        records = opened.engine.train(batch.jobs, seed=batch.seed, test=batch.test)
        append("".join(_line(opened, record) for record in records), file)
        log(
            f"  {opened.workload.name}: batch {number} of {len(left)}, {len(batch.jobs)} runs in "
            f"{time.perf_counter() - began:.0f} s"
        )


def append(text: str, file: Path) -> None:
    """Add lines to a file; one of which only a part could be written is dropped by whoever reads the file next.

    Raises:
        MetaGDError: naming the file, if it cannot be written.
    """
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise MetaGDError(
            f"{file}: cannot be written ({why(error)}); the runs before are kept: free some space, and {AGAIN}"
        ) from error


def _line(opened: Opened, record: RunRecord) -> str:
    plan = opened.engine.plan

    def rounded(numbers: Iterable[float]) -> tuple[float, ...]:
        return tuple(round(float(number), DIGITS) for number in numbers)

    def scores(curve: Curve | None) -> tuple[float, ...]:
        return () if curve is None else rounded(curve.metric(METRIC))

    run = SuiteRun(
        candidate=record.candidate,
        seed=record.seed,
        epochs=rounded(plan.epochs(record.validation.steps)),
        scores=scores(record.validation),
        test_scores=scores(record.test),
        budget=round(plan.budget_epochs, DIGITS),
        batch_norm=opened.batch_norm,
        normalised=opened.normalised,
        batch_size=opened.workload.batch_size,
        chance=opened.chance,
    )
    return run.model_dump_json() + "\n"


def measured_speed(opened: Opened, jobs: Sequence[TrainingJob]) -> float:
    """Return examples per second up to the first evaluation; trained twice, because programs are built first."""
    for _ in range(2):
        began = time.perf_counter()
        records = opened.engine.train(jobs, seed=0, watch=list)
        seconds = time.perf_counter() - began
    return sum(record.steps for record in records) * opened.engine.plan.batch_size / seconds
