"""What the benchmarks train on: real sets where their files are, the embedded task otherwise."""

from __future__ import annotations

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
