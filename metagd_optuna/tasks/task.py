"""A task: images and labels in three parts, always valid once it exists."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks.reading import Reading
from metagd_optuna.tasks.validation import validate_arrays


class Sizes(NamedTuple):
    """Number of images in each part of a task."""

    train: int
    val: int
    test: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Task:
    """A data set with a training, a validation and a test part, checked when it is made.

    The arrays are read-only views, so nothing that trains on a task can change it.

    Args:
        name: short name, unique within a study.
        train_images, val_images, test_images: uint8 in [0, 255], or float32 that is used as it is;
            shape (n, h, w, c) with h, w >= 8 and c 1 or 3; (n, h, w) is taken as c = 1. Or rows of a table: features,
            float32 of shape (n, F).
        train_labels, val_labels, test_labels: class indices, shape (n,) or (n, 1); stored as int32 (n,).
        classes: one name per class, at least two; every class occurs among the training labels.
        source: where the data came from (licence, citation, checksum, what was dropped), JSON-able.
        reading: which cases of what was read these are, for the audit; None where that is not known.

    Raises:
        MetaGDError: if any array breaks these rules; the text names the array and the rule.

    >>> images = np.zeros((4, 8, 8), np.uint8)
    >>> labels = np.array([0, 1, 0, 1])
    >>> task = Task("tiny", images, labels, images, labels, images, labels, ("healthy", "ill"))
    >>> task.input_shape, task.class_frequencies, task.sizes
    ((8, 8, 1), (0.5, 0.5), Sizes(train=4, val=4, test=4))
    """

    name: str
    train_images: npt.NDArray[Any]
    train_labels: npt.NDArray[np.int32]
    val_images: npt.NDArray[Any]
    val_labels: npt.NDArray[np.int32]
    test_images: npt.NDArray[Any]
    test_labels: npt.NDArray[np.int32]
    classes: tuple[str, ...]
    source: Mapping[str, Any] = field(default_factory=dict)
    reading: Reading | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise MetaGDError("a task needs a name, but an empty text was given")
        object.__setattr__(self, "classes", tuple(self.classes))
        checked = validate_arrays(self.arrays(), where=f"task {self.name!r}", class_count=len(self.classes))
        for key, array in checked.items():
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(self, key, view)

    def __repr__(self) -> str:
        shape, parts = " x ".join(map(str, self.input_shape)), " / ".join(map(str, self.sizes))
        return f"<task {self.name}: {parts} cases of {shape}, {len(self.classes)} classes>"

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the six arrays under the names that MedMNIST's files use."""
        return {
            "train_images": self.train_images,
            "train_labels": self.train_labels,
            "val_images": self.val_images,
            "val_labels": self.val_labels,
            "test_images": self.test_images,
            "test_labels": self.test_labels,
        }

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (h, w, c) of one image, or (F,) of one row of features."""
        return tuple(int(size) for size in self.train_images.shape[1:])

    @property
    def class_frequencies(self) -> tuple[float, ...]:
        """Share of every class among the training labels, shape (K,), summing to 1."""
        counts = np.bincount(self.train_labels, minlength=len(self.classes))
        return tuple(float(count) / len(self.train_labels) for count in counts)

    @property
    def sizes(self) -> Sizes:
        """Number of images in each part."""
        return Sizes(len(self.train_labels), len(self.val_labels), len(self.test_labels))


def fingerprint(task: Task) -> str:
    """Return the SHA-256 of everything that a task trains and measures on, as 64 hexadecimal digits.

    It covers dtype, shape and content of the six arrays; how the file that they came from was packed does not count.
    """
    return fingerprint_of(task.arrays())


def fingerprint_of(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return the fingerprint of the six arrays of a task, in the order of ``Task.arrays``."""
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
