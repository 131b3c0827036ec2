"""Load a task by name or path; drop copies and take stratified parts on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, as_path
from metagd_optuna.models import checked
from metagd_optuna.tasks.audit.duplicates import contradictory_rows, duplicate_rows, fingerprints
from metagd_optuna.tasks.catalogue import CatalogueEntry, entry_of_file, find_entry
from metagd_optuna.tasks.download import fetch, md5_of
from metagd_optuna.tasks.entry import ReadOptions, check_options
from metagd_optuna.tasks.readers.breast_cancer import read_breast_cancer
from metagd_optuna.tasks.readers.gbsg2 import read_gbsg2
from metagd_optuna.tasks.readers.in_memory import NAME, is_in_memory, read_in_memory
from metagd_optuna.tasks.readers.reader import TaskData
from metagd_optuna.tasks.readers.registry import is_path, reader_of, task_name
from metagd_optuna.tasks.reading import in_order
from metagd_optuna.tasks.stratify import stratified_part
from metagd_optuna.tasks.task import Task
from metagd_optuna.tasks.validation import PARTS, validate_arrays

PART_SEED = 0
WITH_PACKAGES = {"breast_cancer": read_breast_cancer, "gbsg2": read_gbsg2}


def load_task(
    name_or_path: str | os.PathLike[str] | Any,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    max_train: int | None = None,
    max_eval: int | None = None,
    drop_duplicates: bool = False,
    drop_contradictions: bool = False,
    name: str | None = None,
    target: str | None = None,
    patient: str | None = None,
    split: str | None = None,
    positive: str | int | None = None,
    kind: str | None = None,
    image_size: int | None = None,
    window: tuple[float, float] | None = None,
    skip_unreadable: bool = False,
    leave_out: Sequence[str] = (),
    log: Callable[[str], None] | None = None,
) -> Task:
    """Return a task of the catalogue, or one from a file or folder that a reader recognises.

    What is dropped is dropped from the training part only. Contradictions go first, then duplicates, then
    stratified parts are taken. The same arguments always give the same task.

    Args:
        name_or_path: a name that ``list_tasks`` shows, or the path of a file or folder that a reader recognises; the
            task is then called like it, without the ending. Or the data themselves: ``(images, labels)``, a mapping of
            arrays by the names of an ``.npz`` file, a pandas DataFrame, or a ``tf.data.Dataset``. How such data are
            read is in docs/tasks.md.
        data_dir: folder to look in before the cache and the network; by default METAGD_DATA_DIR.
        max_train: use a stratified part of that many training images, with at least one of every class.
        max_eval: the same for validation images, and for test images; a run is evaluated many times, and a
            thousand images give precise scores.
        drop_duplicates: drop training images that copy, with the same label, an earlier training image
            or an image of the other parts.
        drop_contradictions: drop training images that have a copy with another label in any part.
        name: what the task is called; by default its name, or like its file or folder, or "data".
        target, patient, split: columns of a table: of the labels, of whose a case is, and of the part that it is in.
            Of a folder of DICOM files ``patient`` is the keyword of a tag, by default PatientID.
        positive: of two classes the one that counts as positive, and gets the index 1.
        kind: what a table holds, ``images`` or ``table``, where its columns do not tell.
        image_size: fits every image into a square of that side, from 8 to 512 pixels.
        window: of grey DICOM pictures: centre and width of the values that are spread from black to white.
        skip_unreadable: leaves out files that cannot be read, in place of an error.
        leave_out: columns of a table that are not learnt from.
        log: called with one line at a time, of a download, or of how much memory large data will take.

    Raises:
        MetaGDError: for an unknown name, a file that is absent or breaks the layout, or a training part
            that loses a class.

    >>> load_task("breast_cancer").sizes
    Sizes(train=341, val=114, test=114)
    """
    for option, most in (("max_train", max_train), ("max_eval", max_eval)):
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 2):
            raise MetaGDError(f"{option}={as_given(most)}; allowed is a whole number of at least 2, or None for all")
    for option, chosen in (("drop_duplicates", drop_duplicates), ("drop_contradictions", drop_contradictions)):
        if not isinstance(chosen, bool):
            raise MetaGDError(f"{option}={as_given(chosen)}; allowed is True or False")
    if log is not None and not callable(log):
        raise MetaGDError(f"log={as_given(log)}; allowed is a function that takes a line of text, or None")
    given: dict[str, object] = {
        "target": target,
        "patient": patient,
        "split": split,
        "positive": positive,
        "kind": kind,
    }
    given |= {"image_size": image_size, "window": window, "skip_unreadable": skip_unreadable}
    given["leave_out"] = leave_out
    options = checked(ReadOptions, given, "load_task")
    if is_in_memory(name_or_path):
        own, data = name or NAME, _from_memory(name_or_path, name or NAME, options)
    else:
        path = as_path(name_or_path, "the task", home=True)
        own, data = name or task_name(path), _from_place(str(name_or_path), path, options, data_dir, log)
    task = Task(name=own, classes=data.classes, source=data.source, reading=data.reading, **data.arrays)
    return _reduced(task, max_train, max_eval, drop_duplicates, drop_contradictions)


def _reduced(
    task: Task, max_train: int | None, max_eval: int | None, drop_duplicates: bool, drop_contradictions: bool
) -> Task:
    """Return a task without what was asked to be left out."""
    if drop_duplicates or drop_contradictions:
        task = _drop(task, drop_duplicates, drop_contradictions)
    for part, option, most in (
        ("train", "max_train", max_train),
        ("val", "max_eval", max_eval),
        ("test", "max_eval", max_eval),
    ):
        if most is not None and most < getattr(task.sizes, part):
            task = _subsample(task, part, option, most)
    return task


def _from_memory(given: Any, where: str, options: ReadOptions) -> TaskData:
    data = read_in_memory(given, where, options.given)
    data = replace(data, arrays=validate_arrays(data.arrays, where=where, class_count=len(data.classes) or None))
    return replace(data, classes=data.class_names(), source={"given": "in memory", **data.source})


def _from_place(
    entry: str,
    path: Path,
    options: ReadOptions,
    data_dir: str | os.PathLike[str] | None,
    log: Callable[[str], None] | None,
) -> TaskData:
    if is_path(entry):
        return _from_path(path, options, log)
    if options.given:
        raise MetaGDError(
            f"{as_given(entry)} is a task of the catalogue, which is read in one way only; leave out "
            f"{', '.join(options.given)}, or name a path"
        )
    return _from_catalogue(find_entry(entry), data_dir, log)


def _from_path(path: Path, options: ReadOptions, log: Callable[[str], None] | None) -> TaskData:
    reader = reader_of(path)
    check_options(options.given, reader, str(path))
    data = reader.read(path, **options.given, **({"log": log} if reader.tells else {}))
    if not isinstance(data, TaskData):
        raise MetaGDError(
            f"{path}: the reader {reader.name!r} returned {as_given(data)}; its read has to return a TaskData"
        )
    arrays = validate_arrays(data.arrays, where=str(path), class_count=len(data.classes) or None)
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in options.given.items()}
    told = {"read_with": given} if given else {}
    data = replace(data, arrays=arrays, source={**data.source, **told})
    if path.is_dir() or reader.refers:
        kind = "folder" if path.is_dir() else "file"
        return replace(data, classes=data.class_names(), source={kind: path.name, **data.source})
    md5 = md5_of(path)
    official = entry_of_file(md5)
    if official is not None and not options.given:
        return replace(data, classes=official.classes, source=_source(official))
    return replace(data, classes=data.class_names(), source={"file": path.name, "md5": md5, **data.source})


def _from_catalogue(
    entry: CatalogueEntry, data_dir: str | os.PathLike[str] | None, log: Callable[[str], None] | None
) -> TaskData:
    if entry.refusal:
        raise MetaGDError(f"task {entry.name!r} cannot be used: {entry.refusal}")
    if entry.file_name is None:
        data = WITH_PACKAGES[entry.name]()
    else:
        path = fetch(entry, data_dir, log=log)
        data = reader_of(path).read(path)
    return replace(data, classes=entry.classes, source=_source(entry))


def _source(entry: CatalogueEntry) -> dict[str, Any]:
    metadata = {
        "title": entry.title,
        "modality": entry.modality,
        "licence": entry.licence,
        "citation": entry.citation,
        "file": entry.file_name,
        "url": entry.url,
        "md5": entry.md5,
        "note": entry.note,
    }
    return {key: value for key, value in metadata.items() if value}


def _drop(task: Task, duplicates: bool, contradictions: bool) -> Task:
    train = fingerprints(task.train_images, task.train_labels)
    others = [fingerprints(task.val_images, task.val_labels), fingerprints(task.test_images, task.test_labels)]
    contradictory = contradictory_rows(train, others) & contradictions
    duplicate = duplicate_rows(train, others) & duplicates & ~contradictory
    dropped = {
        reason: int(marked.sum())
        for reason, marked, asked in (
            ("duplicates", duplicate, duplicates),
            ("contradictions", contradictory, contradictions),
        )
        if asked
    }
    rows = np.flatnonzero(~(duplicate | contradictory))
    lost = sorted(set(range(len(task.classes))) - set(np.unique(task.train_labels[rows]).tolist()))
    if lost:
        raise MetaGDError(
            f"task {task.name!r}: dropping {' and '.join(f'{count} {reason}' for reason, count in dropped.items())} "
            f"leaves no training image of {', '.join(task.classes[label] for label in lost)}; turn drop_duplicates or "
            "drop_contradictions off, or correct the data"
        )
    return _with_rows(task, "train", rows, {"dropped": dropped})


def _subsample(task: Task, part: str, option: str, most: int) -> Task:
    if most < len(task.classes):
        raise MetaGDError(
            f"task {task.name!r}: {option}={most} is fewer than its {len(task.classes)} classes; every class keeps at "
            "least one image of each part"
        )
    rows = stratified_part(task.arrays()[f"{part}_labels"], most, seed=PART_SEED)
    return _with_rows(task, part, rows, {f"{part}_available": getattr(task.sizes, part)})


def _with_rows(task: Task, part: str, rows: npt.NDArray[np.int64], metadata: dict[str, Any]) -> Task:
    """Return a task with some rows of one part."""
    arrays = task.arrays()
    for kind in ("images", "labels"):
        arrays[f"{part}_{kind}"] = arrays[f"{part}_{kind}"][rows]
    reading = (task.reading or in_order(task.arrays(), PARTS)).with_rows(part, rows)
    return Task(name=task.name, classes=task.classes, source={**task.source, **metadata}, reading=reading, **arrays)
