"""What the benchmarks train on: real sets where their files are, the embedded task otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Task, load_task


def load(name: str) -> Task:
    """Return a MedMNIST set from METAGD_DATA_DIR or the cache; where there is none, the embedded task in its place.

    breast_cancer then stands in, enlarged to 28 x 28 and repeated to PneumoniaMNIST's numbers, so that speed and
    memory can be measured; what it says about time to quality is another task's.
    """
    try:
        return load_task(name)
    except MetaGDError as missing:
        print(f"note: {name} is not to be had ({str(missing).splitlines()[0]}); breast_cancer stands in", flush=True)
        return _enlarged(load_task("breast_cancer"))


def open_pneumonia(batch_size: int, epochs: int) -> Any:
    """Return what trains on PneumoniaMNIST, with an evaluation per epoch and 24 rate updates between two."""
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.tuning.settings import StudySpec
    from metagd_optuna.tuning.task_trainer import open_task_trainer

    device = prepare_device()
    task = load("pneumoniamnist")
    spec = StudySpec(
        name="bench",
        tasks=("pneumoniamnist",),
        batch_size=batch_size,
        examples_per_run=epochs * len(task.train_labels),
        evaluations=epochs,
        rate_updates_per_evaluation=24,
    )
    return open_task_trainer(task, spec, device, complexity=0.5)


def pneumonia_for_fit() -> tuple[Any, Any, int]:
    """Return PneumoniaMNIST as ``fit`` wants it: train and validation, each images in [0, 1] and labels; and K."""
    task = load("pneumoniamnist")
    train = (task.train_images.astype("float32") / 255, task.train_labels.astype("int32"))
    validation = (task.val_images.astype("float32") / 255, task.val_labels.astype("int32"))
    return train, validation, len(task.classes)


def _enlarged(task: Task) -> Task:
    from dataclasses import replace

    sizes = {"train": 4708, "val": 524, "test": 624}
    changes = {}
    for part, size in sizes.items():
        images, labels = getattr(task, f"{part}_images"), getattr(task, f"{part}_labels")
        rows, columns = (np.arange(28) * side // 28 for side in images.shape[1:3])
        chosen = np.arange(size) % len(labels)
        changes[f"{part}_images"] = images[chosen][:, rows][:, :, columns]
        changes[f"{part}_labels"] = labels[chosen]
    return replace(task, **changes)
