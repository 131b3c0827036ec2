"""The cases of a task dealt into training, validation and test anew."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks.audit.duplicates import fingerprints
from metagd_optuna.tasks.reading import Rows, in_order
from metagd_optuna.tasks.stratify import stratified_part
from metagd_optuna.tasks.task import Task
from metagd_optuna.tasks.validation import PARTS

HELD_OUT = ("test", "val")
ATTEMPTS = 20


def resampled(task: Task, seed: int) -> Task:
    """Return a task with its cases dealt into the three parts anew, with the classes' frequencies.

    The parts keep their sizes. Where it is known whose each case is, all cases of a patient stay in one part, and
    copies always do; then the sizes of validation and test are kept as nearly as that allows, and training is cut to
    its size, or filled up with cases that it holds already. What is prepared by the training part, as the columns of a
    table are, is prepared anew.

    Args:
        task: which.
        seed: fixes who is dealt where.

    Raises:
        MetaGDError: if the cases cannot be dealt so, because a class has too few cases or patients.
    """
    reading, arrays = task.reading or in_order(task.arrays(), PARTS), task.arrays()
    dealt = dealt_rows(task, seed)
    labels = np.concatenate([arrays[f"{part}_labels"] for part in PARTS])
    if reading.prepared is None:
        images = np.concatenate([arrays[f"{part}_images"] for part in PARTS])
        new = {f"{part}_images": images[rows] for part, rows in dealt.items()}
    else:
        numbers = np.concatenate([reading.rows[part] for part in PARTS])
        new = dict(reading.prepared({part: numbers[rows] for part, rows in dealt.items()}))
    new |= {f"{part}_labels": labels[rows] for part, rows in dealt.items()}
    return Task(name=task.name, classes=task.classes, source=task.source, reading=None, **new)


def dealt_rows(task: Task, seed: int) -> dict[str, Rows]:
    """Return which cases are in each part, by their places in training, validation and test end to end.

    Copies stay together as the cases of a patient do. A draw that leaves a part without a class is drawn again, up to
    twenty times.

    Raises:
        MetaGDError: if no draw serves.
    """
    labels = np.concatenate([task.arrays()[f"{part}_labels"] for part in PARTS])
    owners, sizes = _owners(task), dict(zip(PARTS, task.sizes, strict=True))
    lacking = ""
    for attempt in range(ATTEMPTS):
        drawn = seed if attempt == 0 else _seed(seed, 100 + attempt)
        if owners is None:
            dealt = _dealt(labels, sizes, drawn)
        else:
            dealt = _dealt_by_owner(labels, owners, sizes, drawn, task.name)
        lacking = _lacking(labels, dealt, task)
        if not lacking:
            return dealt
    raise MetaGDError(
        f"task {task.name!r}: dealt anew, {lacking}; add cases, join classes, or leave resample_splits out"
    )


def _owners(task: Task) -> Rows | None:
    """Return a number for whose each case is, copies as if they were of one patient; None if each stands alone."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    arrays, patients = task.arrays(), task.reading.patients if task.reading else None
    prints = [fingerprints(arrays[f"{part}_images"], arrays[f"{part}_labels"]).keys for part in PARTS]
    copies = np.unique(np.array([key for found in prints for key in found]), return_inverse=True)[1]
    count = len(copies)
    if patients is None:
        return None if copies.max() + 1 == count else np.asarray(copies, np.int64)
    whose = np.concatenate([patients[part] for part in PARTS])
    # Cases, copies and patients are the nodes; what is connected stays together.
    ends = np.concatenate([count + copies, 2 * count + np.unique(whose, return_inverse=True)[1]])
    links = coo_array((np.ones(2 * count), (np.tile(np.arange(count), 2), ends)), shape=(3 * count, 3 * count))
    return np.asarray(connected_components(links, directed=False)[1][:count], np.int64)


def _dealt(labels: npt.NDArray[np.int32], sizes: Mapping[str, int], seed: int) -> dict[str, Rows]:
    left = np.arange(len(labels), dtype=np.int64)
    dealt: dict[str, Rows] = {}
    for place, part in enumerate(HELD_OUT):
        dealt[part] = left[stratified_part(labels[left], sizes[part], seed=_seed(seed, place))]
        left = np.setdiff1d(left, dealt[part])
    return {"train": left, **dealt}


def _dealt_by_owner(
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


def _lacking(labels: npt.NDArray[np.int32], dealt: Mapping[str, Rows], task: Task) -> str:
    """Return which part lacks which classes, in words, where no score could be measured; empty if all is well."""
    for part, rows in dealt.items():
        found: Any = np.unique(labels[rows])
        if len(found) < (len(task.classes) if part == "train" else 2):
            missing = [name for label, name in enumerate(task.classes) if label not in found]
            return f"its part {part} has no case of {', '.join(missing)}"
    return ""
