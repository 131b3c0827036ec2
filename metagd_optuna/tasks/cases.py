"""Cases that a reader found, labels as they were written, made the six arrays of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.tasks.finding import Finding
from metagd_optuna.tasks.labels import encode_labels
from metagd_optuna.tasks.pixels import depth_of, scaled
from metagd_optuna.tasks.readers.reader import TaskData
from metagd_optuna.tasks.reading import Reading
from metagd_optuna.tasks.splitting import split_cases


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cases:
    """Images with what was written of each.

    Args:
        images: uint8, or uint16 with any depth up to 16 bits, shape (n, h, w, c).
        labels: of each, shape (n,): texts, whole numbers or truth values.
        bits: how many bits uint16 spans; by default as many as the largest value of the training part needs.
        patients: whose each is, shape (n,); none if that is not known.
        parts: the part of each, shape (n,), as ``splitting.PART_NAMES``; none if all are to be split.
        source: what else is to be told of them, JSON-able.
        numbers: of each in what was read, from 1, shape (n,); by default in their order.
        names: of every case that was read, the first at 0; none if they have none.
        findings: what is wrong with them that the images do not show.
    """

    images: npt.NDArray[Any]
    labels: Sequence[object]
    bits: int | None = None
    patients: Sequence[object] | None = None
    parts: Sequence[str] | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    numbers: npt.NDArray[np.int64] | None = None
    names: Sequence[str] = ()
    findings: tuple[Finding, ...] = ()

    def task_data(self, where: str, *, positive: object = None) -> TaskData:
        """Return the cases as a task's arrays: classes numbered, parts split, deep pixels scaled.

        Args:
            where: what they are of, for errors.
            positive: of two classes the one that gets the index 1.

        Raises:
            MetaGDError: if they make no task; see ``encode_labels`` and ``split_cases``.
        """
        labels, classes = encode_labels(self.labels, where, positive=positive)
        split = split_cases(labels, classes, where, patients=self.patients, parts=self.parts)
        told: dict[str, Any] = {"split": split.text}
        images = {part: self.images[rows] for part, rows in split.rows.items()}
        if self.images.dtype == np.uint16:
            bits = self.bits or depth_of(images["train"])
            images = {part: scaled(found, bits) for part, found in images.items()}
            told["pixels"] = f"{bits} bits, divided by {2**bits - 1}"
        arrays: dict[str, npt.NDArray[Any]] = {}
        for part, rows in split.rows.items():
            arrays[f"{part}_images"], arrays[f"{part}_labels"] = images[part], labels[rows]
        numbers = np.arange(1, len(labels) + 1) if self.numbers is None else self.numbers
        reading = Reading(
            rows={part: numbers[rows] for part, rows in split.rows.items()},
            names=self.names,
            patients=split.patients,
            findings=self.findings,
        )
        return TaskData(arrays=arrays, classes=classes, source={**self.source, **told}, reading=reading)
