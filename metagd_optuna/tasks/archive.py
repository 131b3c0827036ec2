"""A task in one file: its arrays, the names of its classes, how they were read, and a checksum."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import write_bytes
from metagd_optuna.given import as_path, finite_number
from metagd_optuna.tasks.task import Task, fingerprint, fingerprint_of
from metagd_optuna.tasks.validation import ARRAY_NAMES, PARTS

ENDING = ".npz"
# What a file holds beside the six arrays; a number for whose each case is where that is known.
CLASSES, ABOUT = "classes", "about"
PATIENTS = tuple(f"{part}_patients" for part in PARTS)


def save_task(task: Task, path: str | os.PathLike[str]) -> None:
    """Write a task to a file that ``load_task`` reads.

    Args:
        task: which.
        path: of an ``.npz`` file; one that is there is replaced.

    Raises:
        MetaGDError: if the path ends in something else, or cannot be written.
    """
    file = as_path(path, "the file to write", home=True)
    if file.suffix != ENDING:
        raise MetaGDError(f"{file}: a task is written to a file that ends in {ENDING}; call it {file.name}{ENDING}")
    arrays: dict[str, Any] = {**task.arrays(), CLASSES: np.array(task.classes)}
    if task.reading is not None and task.reading.patients is not None:
        arrays |= {f"{part}_patients": numbers for part, numbers in task.reading.patients.items()}
    about = {"task": task.name, "source": dict(task.source), "fingerprint": fingerprint(task)}
    arrays[ABOUT] = np.array(json.dumps(about, ensure_ascii=False))
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_bytes(packed.getvalue(), file)


def about_of(arrays: Mapping[str, npt.NDArray[Any]], where: str) -> dict[str, Any]:
    """Return what a file of ``save_task`` says of its task; nothing if it is another file.

    Raises:
        MetaGDError: if its arrays are not those that were written.
    """
    if ABOUT not in arrays:
        return {}
    try:
        about = json.loads(str(arrays[ABOUT]), parse_constant=_no_number, parse_float=finite_number)
        known, source = str(about["fingerprint"]), dict(about["source"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MetaGDError(
            f"{where}: the array {ABOUT} does not say what the file holds; leave it out, or write the file with "
            "metagd tasks import"
        ) from None
    if fingerprint_of({name: arrays[name] for name in ARRAY_NAMES if name in arrays}) != known:
        raise MetaGDError(
            f"{where}: its arrays have changed since it was written; import them again, or leave the array {ABOUT} out"
        )
    return {"imported": {"task": str(about.get("task", "")), **source, "fingerprint": known}}


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
