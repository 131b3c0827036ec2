"""A task without data: what the phases of a study are given when its trainings are made up."""

import optuna
from rich.console import Console

from metagd_optuna.contracts import RunPlan
from metagd_optuna.tuning.metadata import NetworkMetadata, TaskMetadata
from metagd_optuna.tuning.phases import TaskState
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.snapshots import Snapshots
from metagd_optuna.tuning.store import Identity, StudyStore
from metagd_optuna.tuning.task_trainer import TaskTrainer

TASK = "t"
METADATA = TaskMetadata(
    fingerprint="0",
    audit={},
    source={},
    complexity=0.5,
    classes=2,
    class_names=("a", "b"),
    class_frequencies=(0.5, 0.5),
    chance=0.5,
    train_examples=320,
    val_examples=80,
    test_examples=80,
    steps=100,
    steps_per_epoch=10.0,
    budget_epochs=10.0,
    evaluations=8,
    rate_updates=8,
    population=1,
    network=NetworkMetadata(text="made up, 1 weights", fingerprint="0"),
)


class MadeUpTrainer:
    """Trains nothing: ``train(jobs, *, seed, test, watch)`` makes the records up.

    Args:
        train: makes them up.
        plan: the timetable that they keep to.
    """

    population, weights, fingerprint = 1, 1, "0"

    def __init__(self, train, plan: RunPlan) -> None:
        self.train = train
        self.plan = plan


def task_trainer(train, plan):
    """Return what trains on the task, in the units of a search."""
    return TaskTrainer(
        MadeUpTrainer(train, plan), "auc", METADATA.chance, METADATA.complexity, METADATA.class_frequencies
    )


def task_store(spec, storage=None):
    """Return what a study keeps of the task, in a storage of its own unless one is given."""
    identity = Identity(spec.name, spec.to_dict(), {}, "made up", tuple(spec.task_locations))
    return StudyStore(storage or optuna.storages.InMemoryStorage(), identity).task(TASK)


def task_state(spec, trainer, folder, storage=None, search_target=None):
    """Return the task before its phases, or with a target that its searches had.

    Args:
        folder: of the snapshots; nothing is written there before a search is through.
    """
    progress = Progress(Console(quiet=True))
    snapshots = Snapshots(folder, spec, progress.log)
    return TaskState(task_store(spec, storage), spec, METADATA, snapshots, progress, trainer, search_target)
