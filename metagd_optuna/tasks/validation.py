"""The rules for images and labels, with errors that say how to fix them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened

PARTS = ("train", "val", "test")
ARRAY_NAMES = tuple(f"{part}_{kind}" for part in PARTS for kind in ("images", "labels"))
SMALLEST_SIDE = 8

# Numbering every part by itself would give one class several numbers, as soon as a part lacks a class.
ONE_MAPPING = (
    "number the labels of all parts by one mapping: classes = np.unique(np.concatenate([train_labels, val_labels, "
    "test_labels])), then np.searchsorted(classes, labels) for each part"
)


def validate_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], *, where: str, class_count: int | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return the six arrays of a task in their canonical form.

    Args:
        arrays: ``{train,val,test}_{images,labels}``; other names are ignored.
        where: what the arrays belong to (a file, a task), for the error texts.
        class_count: number of classes K; by default the training labels tell.

    Returns:
        Images as uint8 or float32 of shape (n, h, w, c); labels as int32 of shape (n,).

    Raises:
        MetaGDError: naming ``where``, the array, what was found and what is allowed.
    """
    check_names(arrays, where)
    checked: dict[str, npt.NDArray[Any]] = {}
    for part in PARTS:
        images = check_images(arrays[f"{part}_images"], f"{where}: {part}_images")
        labels = check_labels(arrays[f"{part}_labels"], f"{where}: {part}_labels")
        if len(images) != len(labels):
            raise MetaGDError(
                f"{where}: {part}_images has {len(images)} entries and {part}_labels has {len(labels)}; "
                "there must be exactly one label per image"
            )
        checked[f"{part}_images"], checked[f"{part}_labels"] = images, labels
    _check_alike(checked, where)
    _check_classes({part: checked[f"{part}_labels"] for part in PARTS}, where, class_count)
    return checked


def check_names(found: Iterable[str], where: str) -> None:
    """Refuse a collection of arrays that lacks one of the six."""
    found = sorted(found)
    missing = [name for name in ARRAY_NAMES if name not in found]
    if missing:
        raise MetaGDError(
            f"{where}: missing arrays: {listed(missing)}; found: {listed(found) or 'none'}; MedMNIST's layout has "
            f"{listed(ARRAY_NAMES)}"
        )


def as_array(given: Any, where: str) -> npt.NDArray[Any]:
    """Return what was given as an array, or raise an error that quotes it."""
    if isinstance(given, np.ma.MaskedArray) and (masked := int(np.count_nonzero(np.ma.getmaskarray(given)))):
        raise MetaGDError(f"{where}: {masked:,} values are masked; leave those cases out, or fill them")
    try:
        return np.asarray(given)
    # Ragged lists raise ValueError, and what only looks like an array may raise anything.
    except Exception as error:
        raise MetaGDError(
            f"{where}: {as_given(given)} cannot be made an array ({as_given(error)}); give one NumPy array, with "
            "images all of one size"
        ) from error


def check_images(images: Any, where: str) -> npt.NDArray[Any]:
    """Return images as uint8 or float32 of shape (n, h, w, c), rows of features as float32 (n, F); floats stay."""
    pixels = as_array(images, where)
    if pixels.dtype not in (np.uint8, np.float32, np.float64):
        raise MetaGDError(
            f"{where} has dtype {pixels.dtype}; allowed are uint8 (0 to 255), float32 and float64 (used as they are)"
        )
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
    is_table = pixels.ndim == 2 and pixels.dtype != np.uint8 and pixels.shape[1] > 0
    if not is_table and (pixels.ndim != 4 or pixels.shape[3] not in (1, 3)):
        raise MetaGDError(
            f"{where} has shape {pixels.shape}; allowed are (n, h, w), (n, h, w, 1) and (n, h, w, 3), channels last, "
            "and floats (n, features)"
        )
    if len(pixels) == 0:
        raise MetaGDError(f"{where} is empty; every part needs images of at least two classes")
    height, width = pixels.shape[1:3] if not is_table else (SMALLEST_SIDE, SMALLEST_SIDE)
    if min(height, width) < SMALLEST_SIDE:
        raise MetaGDError(
            f"{where} holds images of {height} x {width} pixels; the network needs at least {SMALLEST_SIDE} x "
            f"{SMALLEST_SIDE}: enlarge them, for example by repetition"
        )
    if pixels.dtype == np.uint8:
        return pixels
    with np.errstate(over="ignore"):
        pixels = pixels.astype(np.float32, copy=False)
    _refuse_missing_values(pixels, where)
    return pixels


def check_labels(labels: Any, where: str) -> npt.NDArray[np.int32]:
    """Return labels as int32 of shape (n,)."""
    indices = as_array(labels, where)
    if indices.ndim == 2 and indices.shape[1] > 1:
        raise MetaGDError(
            f"{where} has shape {indices.shape}: several labels per image (multi-label or one-hot); this package "
            "trains with exactly one class per image, shape (n,) or (n, 1). One-hot rows become class indices "
            "with argmax(axis=1)"
        )
    if not (indices.ndim == 1 or (indices.ndim == 2 and indices.shape[1] == 1)):
        raise MetaGDError(f"{where} has shape {indices.shape}; allowed are (n,) and (n, 1): give labels as an array")
    indices = indices.reshape(-1)
    if indices.dtype.kind == "f" and np.isnan(indices).any():
        raise MetaGDError(
            f"{where} holds {int(np.isnan(indices).sum())} missing labels (NaN); leave those images out, then "
            f"{ONE_MAPPING}"
        )
    if indices.dtype.kind not in "iu":
        raise MetaGDError(
            f"{where} has dtype {indices.dtype}; labels are integer class indices 0, 1, ..., K-1: {ONE_MAPPING}"
        )
    if len(indices) == 0:
        raise MetaGDError(f"{where} is empty; every part needs images of at least two classes")
    if indices.min() < 0:
        raise MetaGDError(f"{where} holds the negative label {indices.min()}; labels are 0, 1, ..., K-1: {ONE_MAPPING}")
    if indices.max() > np.iinfo(np.int32).max:
        raise MetaGDError(f"{where} holds the label {indices.max()}; labels are 0, 1, ..., K-1: {ONE_MAPPING}")
    return indices.astype(np.int32, copy=False)


def check_contiguous(labels: npt.NDArray[np.int32], where: str, first: str = "") -> int:
    """Return the number of classes K if every label from 0 to K-1 occurs and K >= 2.

    Args:
        labels: class indices, shape (n,).
        where: what they are, for the error.
        first: what to do instead of new numbers, which would not help yet.
    """
    found = np.unique(labels)
    if len(found) == 1:
        raise MetaGDError(f"{where} holds one class only (label {found[0]}); at least two are needed")
    if found[-1] != len(found) - 1:
        absent = sorted(set(range(min(int(found[-1]), 1000))) - set(found.tolist()))
        mapping = listed(f"{label} to {place}" for place, label in enumerate(found))
        raise MetaGDError(
            f"{where} holds {len(found)} classes between {found[0]} and {found[-1]}, but not {listed(absent)}; labels "
            f"must be 0, 1, ..., K-1 without gaps: {first or f'{mapping}: {ONE_MAPPING}'}"
        )
    return len(found)


def count_missing_values(images: npt.NDArray[Any]) -> int:
    """Return how many pixels are NaN or infinite.

    >>> count_missing_values(np.array([[0.5, np.nan, np.inf]]))
    2
    """
    if not np.issubdtype(images.dtype, np.floating):
        return 0
    return int(np.size(images) - np.count_nonzero(np.isfinite(images)))


def _refuse_missing_values(images: npt.NDArray[Any], where: str) -> None:
    missing = count_missing_values(images)
    if not missing:
        return
    affected = np.flatnonzero(~np.isfinite(images.reshape(len(images), -1)).all(axis=1))
    nans = int(np.count_nonzero(np.isnan(images)))
    raise MetaGDError(
        f"{where} has {missing} missing values ({nans} NaN, {missing - nans} infinite as float32) in "
        f"{len(affected)} of {len(images)} images, the first in image {affected[0]}; pixels must be finite: "
        "fill the gaps or leave those images out before saving the file"
    )


def _check_alike(checked: Mapping[str, npt.NDArray[Any]], where: str) -> None:
    train = checked["train_images"]
    for part in PARTS[1:]:
        images = checked[f"{part}_images"]
        if images.shape[1:] != train.shape[1:]:
            raise MetaGDError(
                f"{where}: {part}_images holds images of shape {images.shape[1:]} and train_images of shape "
                f"{train.shape[1:]} (h, w, c); all parts must have the same"
            )
        if images.dtype != train.dtype:
            raise MetaGDError(
                f"{where}: {part}_images is {images.dtype} and train_images is {train.dtype}; all parts must be "
                "scaled alike, so store them with the same dtype"
            )


def _check_classes(labels: Mapping[str, npt.NDArray[np.int32]], where: str, class_count: int | None) -> None:
    if class_count is not None:
        for part in PARTS:
            if labels[part].max() >= class_count:
                raise MetaGDError(
                    f"{where}: {part}_labels holds the label {labels[part].max()}; with {class_count} classes "
                    f"the labels are 0 to {class_count - 1}: {ONE_MAPPING}"
                )
    strange = {part: _strange(labels["train"], labels[part]) for part in PARTS[1:]}
    # A class that the training part lacks may be what its numbers leave out, and then no new numbers would help.
    lacking = [f"{part}_labels holds the classes {listed(found)}" for part, found in strange.items() if found]
    remedy = f"{', '.join(lacking)}, which train lacks; move images there, or leave those classes out"
    known = set(range(check_contiguous(labels["train"], f"{where}: train_labels", remedy if lacking else "")))
    if class_count is not None and len(known) < class_count:
        raise MetaGDError(
            f"{where}: train_labels holds {len(known)} of {class_count} classes; the classes "
            f"{listed(sorted(set(range(class_count)) - known))} have no training image"
        )
    for part in PARTS[1:]:
        if strange[part]:
            raise MetaGDError(
                f"{where}: {part}_labels holds the classes {listed(strange[part])}, which never occur in train_labels "
                f"(0 to {len(known) - 1}); nothing can be learnt about them: move images to the training part, or "
                "leave the class out"
            )
        found = set(np.unique(labels[part]).tolist())
        if len(found) == 1:
            raise MetaGDError(
                f"{where}: {part}_labels holds one class only (label {found.pop()}); at least two are needed, "
                "or no score can tell classes apart"
            )


def _strange(train: npt.NDArray[np.int32], others: npt.NDArray[np.int32]) -> list[int]:
    """Return the classes of a part that the training part lacks."""
    return sorted(set(np.unique(others).tolist()) - set(np.unique(train).tolist()))


def listed(items: Iterable[Any]) -> str:
    """Return the first ten items, very long ones shortened, and how many more there are.

    >>> listed(range(12))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
    """
    words = [shortened(str(item)) for item in items]
    return ", ".join(words[:10]) + (f" and {len(words) - 10} more" if len(words) > 10 else "")
