"""The cases of a task dealt into training, validation and test anew."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks.reading import Rows, in_order
from metagd_optuna.tasks.stratify import stratified_part
from metagd_optuna.tasks.task import Task
from metagd_optuna.tasks.validation import PARTS

HELD_OUT = ("test", "val")


def resampled(task: Task, seed: int) -> Task:
    """Return a task with its cases dealt into the three parts anew, with the classes' frequencies.

    The parts keep their sizes. Where it is known whose each case is, all cases of a patient stay in one part, so the
    sizes of validation and test are kept as nearly as that allows; training is then cut to its size, or filled up with
    cases that it holds already. What is prepared by the training part, as the columns of a table are, is prepared anew.

    Args:
        task: which.
        seed: fixes who is dealt where.

    Raises:
        MetaGDError: if the cases cannot be dealt so, because a class has too few cases or patients.
    """
    reading = task.reading or in_order(task.arrays(), PARTS)
    arrays = task.arrays()
    labels = np.concatenate([arrays[f"{part}_labels"] for part in PARTS])
    sizes = dict(zip(PARTS, task.sizes, strict=True))
    owners = None if reading.patients is None else np.concatenate([reading.patients[part] for part in PARTS])
    dealt = _dealt(labels, sizes, seed) if owners is None else _dealt_by_patient(labels, owners, sizes, seed, task.name)
    _check_classes(labels, dealt, task)
    if reading.prepared is None:
        images = np.concatenate([arrays[f"{part}_images"] for part in PARTS])
        new = {f"{part}_images": images[rows] for part, rows in dealt.items()}
    else:
        numbers = np.concatenate([reading.rows[part] for part in PARTS])
        new = dict(reading.prepared({part: numbers[rows] for part, rows in dealt.items()}))
    new |= {f"{part}_labels": labels[rows] for part, rows in dealt.items()}
    return Task(name=task.name, classes=task.classes, source=task.source, reading=None, **new)


def _dealt(labels: npt.NDArray[np.int32], sizes: Mapping[str, int], seed: int) -> dict[str, Rows]:
    left = np.arange(len(labels), dtype=np.int64)
    dealt: dict[str, Rows] = {}
    for place, part in enumerate(HELD_OUT):
        dealt[part] = left[stratified_part(labels[left], sizes[part], seed=_seed(seed, place))]
        left = np.setdiff1d(left, dealt[part])
    return {"train": left, **dealt}


def _dealt_by_patient(
    labels: npt.NDArray[np.int32], owners: Rows, sizes: Mapping[str, int], seed: int, name: str
) -> dict[str, Rows]:
    from sklearn.model_selection import StratifiedGroupKFold

    left = np.arange(len(labels), dtype=np.int64)
    dealt: dict[str, Rows] = {}
    for place, part in enumerate(HELD_OUT):
        folds = max(round(len(left) / sizes[part]), 2)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=_seed(seed, place))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a class is rare; that each part has it is checked
            try:
                stay, taken = next(splitter.split(left, labels[left], owners[left]))
            except ValueError as error:
                raise MetaGDError(
                    f"task {name!r}: its patients cannot be dealt into parts anew ({error}); leave resample_splits out"
                ) from None
        dealt[part], left = left[taken], left[stay]
    rng = np.random.default_rng((seed, len(HELD_OUT)))
    if len(left) > sizes["train"]:
        left = left[stratified_part(labels[left], sizes["train"], seed=_seed(seed, len(HELD_OUT)))]
    more = rng.choice(left, sizes["train"] - len(left))
    return {"train": np.sort(np.concatenate([left, more])), **dealt}


def _seed(seed: int, place: int) -> int:
    return int(np.random.SeedSequence((seed, place)).generate_state(1)[0])


def _check_classes(labels: npt.NDArray[np.int32], dealt: Mapping[str, Rows], task: Task) -> None:
    """Refuse parts that no score could be measured on."""
    for part, rows in dealt.items():
        found: Any = np.unique(labels[rows])
        if len(found) < (len(task.classes) if part == "train" else 2):
            missing = [name for label, name in enumerate(task.classes) if label not in found]
            raise MetaGDError(
                f"task {task.name!r}: dealt anew, its part {part} has no case of {', '.join(missing)}; add cases, join "
                "classes, or leave resample_splits out"
            )
