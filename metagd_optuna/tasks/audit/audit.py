"""What is counted in the images and labels of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks.audit.duplicates import (
    Fingerprints,
    contradictions_across,
    contradictions_within,
    copies_across,
    copies_within,
    fingerprints,
)
from metagd_optuna.tasks.audit.findings import Places, findings_of
from metagd_optuna.tasks.audit.near_duplicates import MOST_BITS, nearest, perceptual_hashes
from metagd_optuna.tasks.audit.pictures import blank_images, constant_cases, cut_off_images
from metagd_optuna.tasks.audit.result import Audit
from metagd_optuna.tasks.reading import Reading, in_order
from metagd_optuna.tasks.task import Task
from metagd_optuna.tasks.validation import ONE_MAPPING, PARTS, as_array, check_labels, check_names, count_missing_values


def audit(task: Task) -> Audit:
    """Return the audit of a task.

    >>> audit(Task("tiny", *[np.zeros((2, 8, 8), np.uint8), np.array([0, 1])] * 3, ("healthy", "ill"))).duplicates
    {'train': 1, 'val': 1, 'test': 1, 'train-val': 2, 'train-test': 2, 'val-test': 2}
    """
    return _audit(task.name, task.arrays(), task.classes, task.source, task.reading)


def audit_arrays(
    arrays: Mapping[str, npt.ArrayLike], *, name: str = "arrays", classes: Sequence[str] | None = None
) -> Audit:
    """Return the audit of arrays that are not yet a task, missing values included.

    Args:
        arrays: ``{train,val,test}_images`` of shape (n, h, w) or (n, h, w, c), any real dtype, and
            ``{train,val,test}_labels`` of class indices, shape (n,) or (n, 1).
        name: what to call them.
        classes: class names; by default the labels themselves.

    Raises:
        MetaGDError: if an array is missing, labels are not indices of classes, or lengths differ.
    """
    check_names(arrays, name)
    checked: dict[str, npt.NDArray[Any]] = {}
    for part in PARTS:
        images = as_array(arrays[f"{part}_images"], f"{name}: {part}_images")
        labels = check_labels(arrays[f"{part}_labels"], f"{name}: {part}_labels")
        fits = images.ndim in (3, 4) and images.dtype.kind in "buif"
        if not fits or len(images) != len(labels) or images.size == 0:
            raise MetaGDError(
                f"{name}: {part}_images has shape {images.shape} and dtype {images.dtype}, with {len(labels)} labels; "
                "allowed are real numbers of shape (n, h, w) or (n, h, w, c), no side of length 0, one label per image"
            )
        images = images.astype(np.uint8) if images.dtype.kind == "b" else images
        checked[f"{part}_images"], checked[f"{part}_labels"] = images, labels
    largest = max(int(checked[f"{part}_labels"].max()) for part in PARTS)
    total = sum(len(checked[f"{part}_labels"]) for part in PARTS)
    if classes is None and largest >= total:
        raise MetaGDError(
            f"{name}: the largest label is {largest}, but there are only {total} labels, so classes would be empty; "
            f"{ONE_MAPPING}"
        )
    names = tuple(classes) if classes is not None else tuple(str(label) for label in range(largest + 1))
    if largest >= len(names):
        raise MetaGDError(f"{name}: the largest label is {largest}, but {len(names)} class names were given")
    return _audit(name, checked, names, {}, None)


Marks = npt.NDArray[np.bool_]
MarksByPlace = Mapping[str, Marks]


def _audit(
    name: str,
    arrays: Mapping[str, npt.NDArray[Any]],
    classes: tuple[str, ...],
    source: Mapping[str, Any],
    reading: Reading | None,
) -> Audit:
    images = {part: arrays[f"{part}_images"] for part in PARTS}
    labels = {part: arrays[f"{part}_labels"] for part in PARTS}
    reading = reading or in_order(arrays, PARTS)
    counts = {part: np.bincount(labels[part], minlength=len(classes)) for part in PARTS}
    train = counts["train"]
    marks = _marks(images, labels)
    found = {kind: {place: int(marked.sum()) for place, marked in each.items()} for kind, each in marks.items()}
    counted = Audit(
        task=name,
        sizes={part: len(labels[part]) for part in PARTS},
        classes=classes,
        class_counts={part: tuple(int(count) for count in counts[part]) for part in PARTS},
        pixels_are_floats=images["train"].dtype.kind == "f",
        pixel_range=_pixel_range(images["train"]),
        missing_values={part: count_missing_values(images[part]) for part in PARTS},
        constant_images=found["constant_images"],
        blank_images=found["blank_images"],
        cut_off_images=found["cut_off_images"],
        duplicates=found["duplicates"],
        near_duplicates=found["near_duplicates"],
        contradictions=found["contradictions"],
        imbalance=float(train.max() / train.min()) if train.min() else None,
        prevalence_shift={
            f"{first}-{second}": float(np.abs(_frequencies(counts[first]) - _frequencies(counts[second])).max())
            for first, second in combinations(PARTS, 2)
        },
        available={part: int(source.get(f"{part}_available", len(labels[part]))) for part in labels},
        dropped=dict(source.get("dropped", {})),
        note=str(source.get("note", "")),
        of_images=images["train"].ndim > 2,
    )
    places: Places = {kind: _places(each, reading) for kind, each in marks.items()}
    return replace(counted, findings=findings_of(counted, places, images, reading))


def _marks(
    images: Mapping[str, npt.NDArray[Any]], labels: Mapping[str, npt.NDArray[Any]]
) -> dict[str, dict[str, Marks]]:
    """Return which cases of a part, or of the second part of a pair, are what, by kind and place."""
    prints = {part: fingerprints(images[part], labels[part]) for part in PARTS}
    copies = _by_part_and_pair(prints, copies_within, copies_across)
    pixel_range, of_images = _pixel_range(images["train"]), images["train"].ndim > 2
    none = {part: np.zeros(len(labels[part]), bool) for part in PARTS}
    return {
        "constant_images": {part: constant_cases(images[part]) for part in PARTS} if of_images else none,
        "blank_images": {part: blank_images(images[part], pixel_range) for part in PARTS}
        if of_images and pixel_range
        else none,
        "cut_off_images": {part: cut_off_images(images[part]) for part in PARTS} if of_images else none,
        "duplicates": copies,
        "near_duplicates": dict(_near(images, copies)) if of_images else {},
        "contradictions": _by_part_and_pair(prints, contradictions_within, contradictions_across),
    }


def _near(images: Mapping[str, npt.NDArray[Any]], copies: MarksByPlace) -> Iterator[tuple[str, Marks]]:
    finite = {
        part: np.nan_to_num(found, posinf=0, neginf=0) if found.dtype.kind == "f" else found
        for part, found in images.items()
    }
    hashes = {part: perceptual_hashes(found) for part, found in finite.items()}
    for first, second in combinations(PARTS, 2):
        _, bits = nearest(hashes[first], hashes[second])
        yield f"{first}-{second}", (bits <= MOST_BITS) & ~copies[f"{first}-{second}"]


def _places(marks: MarksByPlace, reading: Reading) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the numbers of the marked cases, by place and then by their part."""
    parts = {place: place.rpartition("-")[2] for place in marks}
    return {
        place: {parts[place]: tuple(reading.rows[parts[place]][marked].tolist())}
        for place, marked in marks.items()
        if marked.any()
    }


def _by_part_and_pair(
    prints: Mapping[str, Fingerprints],
    within: Callable[[Fingerprints], Marks],
    across: Callable[[Fingerprints, Fingerprints], Marks],
) -> dict[str, Marks]:
    alone = {part: within(prints[part]) for part in PARTS}
    return alone | {
        f"{first}-{second}": across(prints[first], prints[second]) for first, second in combinations(PARTS, 2)
    }


def _pixel_range(images: npt.NDArray[Any]) -> tuple[float, float] | None:
    finite = images[np.isfinite(images)] if images.dtype.kind == "f" else images
    return (float(finite.min()), float(finite.max())) if finite.size else None


def _frequencies(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(counts / counts.sum(), dtype=np.float64)
