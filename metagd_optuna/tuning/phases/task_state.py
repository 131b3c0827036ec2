"""One task on its way through the phases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import optuna

from metagd_optuna.analysis.convergence import targets_up_to
from metagd_optuna.contracts import FloatArray, MetaGDError, RunRecord
from metagd_optuna.policy import Candidate
from metagd_optuna.tuning.metadata import TaskMetadata
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.settings import StudySettings
from metagd_optuna.tuning.snapshots import Snapshots
from metagd_optuna.tuning.store import TaskStore
from metagd_optuna.tuning.task_trainer import TaskTrainer


@dataclass(frozen=True, slots=True)
class Selected:
    """What was fixed before the confirmation, by the shortlist or on other tasks.

    Args:
        settings: every method's candidate, by the method's name.
        trials: the trial that it came from.
        best_baseline: name of the best tuned baseline.
        target: of the verdict.
        traces: shortlist runs of the searched policy, in the order of the seeds.
        elsewhere: mean complexity of the tasks that it was chosen on; None if that is this task.
    """

    settings: Mapping[str, Candidate]
    trials: Mapping[str, int]
    best_baseline: str
    target: float
    traces: tuple[RunRecord, ...]
    elsewhere: float | None = None


@dataclass(slots=True)
class TaskState:
    """A task, what trains on it, and what the phases found so far.

    Args:
        store: where everything is kept.
        settings: of the study.
        metadata: what is known about the task before it trains.
        snapshots: files of searches.
        progress: where to say how it goes.
        trained_by: trains; None once the task is through, so that its data need not stay in memory.
        search_target: of the searches, set by the calibration.
        selected: set by the phase before the confirmation.
    """

    store: TaskStore
    settings: StudySettings
    metadata: TaskMetadata
    snapshots: Snapshots
    progress: Progress
    trained_by: TaskTrainer | None
    search_target: float | None = None
    selected: Selected | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.store.name

    @property
    def trainer(self) -> TaskTrainer:
        """What trains on the task."""
        assert self.trained_by is not None, "the task is through"
        return self.trained_by

    @property
    def targets(self) -> FloatArray:
        """Targets of the searches, shape (T,)."""
        assert self.search_target is not None, "the calibration comes first"
        return targets_up_to(self.metadata.chance, self.search_target)

    def open(self, part: str) -> optuna.Study:
        """Return the Optuna study of a part."""
        return self.store.open(part)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Log in an error which task it is about."""
        try:
            yield
        except MetaGDError as error:
            raise MetaGDError(f"task {self.name!r}: {error}") from error
