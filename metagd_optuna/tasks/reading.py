"""What a reader knows of the cases of a task beside their arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.tasks.finding import Finding

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """Which cases of what was read are in every part, and what else only the reader could see.

    It stays in memory: names of files and of patients are in no result, no storage and no log.

    Args:
        rows: of every part, the number of each of its cases in what was read, from 1: of a table its rows, of a folder
            its files in their order, of arrays in parts their places in the part.
        names: what every case that was read is called, such as its file, the first at 0; empty where there are none.
        patients: of every part, a number for whose each case is; None where that is not known.
        columns: of a table, the names of its features; empty where there are none.
        findings: what is wrong with it that the arrays do not show.
        prepared: takes the numbers of the cases of every part and returns ``{part}_images``, for data that are prepared
            by their training part; None where images are what they are, whoever trains on them.
    """

    rows: Mapping[str, Rows]
    names: Sequence[str] = ()
    patients: Mapping[str, Rows] | None = None
    columns: Sequence[str] = ()
    findings: tuple[Finding, ...] = ()
    prepared: Callable[[Mapping[str, Rows]], Mapping[str, npt.NDArray[Any]]] | None = field(default=None, repr=False)

    def with_rows(self, part: str, kept: Rows) -> Reading:
        """Return the same of some cases of a part.

        Args:
            part: which.
            kept: their places in it, from 0.
        """
        rows = {**self.rows, part: self.rows[part][kept]}
        patients = None if self.patients is None else {**self.patients, part: self.patients[part][kept]}
        return replace(self, rows=rows, patients=patients)


def in_order(arrays: Mapping[str, npt.NDArray[Any]], parts: Sequence[str]) -> Reading:
    """Return what is known of arrays in parts: that their cases are numbered from 1."""
    return Reading(rows={part: np.arange(1, len(arrays[f"{part}_labels"]) + 1) for part in parts})
