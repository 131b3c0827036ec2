"""Reading arrays from one .npz file, never a pickle: MedMNIST's six, or what people save instead of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.tasks.archive import ABOUT, CLASSES, PATIENTS, about_of
from metagd_optuna.tasks.cases import Cases
from metagd_optuna.tasks.pixels import fitted
from metagd_optuna.tasks.readers.npz_file import Array, read_arrays
from metagd_optuna.tasks.readers.reader import Reader, TaskData
from metagd_optuna.tasks.validation import PARTS, check_names, listed

# One set that is not divided yet: images and labels, and whose and in which part each is, if that is known.
UNDIVIDED = ("images", "labels", "patients", "split")
CHANNELS = (1, 3, 4)


def read_npz(
    path: Path,
    *,
    target: str | None = None,
    positive: object = None,
    image_size: int | None = None,
    log: Callable[[str], None] | None = None,
) -> TaskData:
    """Return the arrays of a .npz file as a task's.

    Args:
        path: a file with ``{train,val,test}_images`` and ``{train,val,test}_labels``; a part other than train may be
            absent, and is split off. Or with ``images`` and ``labels``, and ``patients`` and ``split`` if they are
            known. Either may hold ``classes``, the names of the labels 0 to K-1, and the former ``{part}_patients``.
            Images are uint8, uint16, float16, float32 or float64, (n, h, w), (n, h, w, c) or (n, c, h, w) with
            c 1, 3 or 4. Labels are whole numbers, texts or truth values, (n,) or (n, 1), or one-hot rows (n, K).
        target: of labels (n, K) that are several for each image: the column that is the label, 0 to K-1.
        positive, image_size: see docs/tasks.md.
        log: called with how much memory the arrays will take, if that is much.

    Raises:
        MetaGDError: if the file cannot be read, lacks an array, needs pickle, does not fit into memory, or makes no
            task.
    """
    return arrays_data(_arrays(path, log), str(path), target=target, positive=positive, image_size=image_size)


def arrays_data(
    arrays: Mapping[str, Array],
    where: str,
    *,
    target: str | None = None,
    positive: object = None,
    image_size: int | None = None,
) -> TaskData:
    """Return arrays by their names as a task's; see ``read_npz``, also for what they may be.

    Args:
        arrays: by name.
        where: what they are of, for errors.
        target, positive, image_size: see there.

    Raises:
        MetaGDError: if they make no task.
    """
    data = _data(arrays, where, target=target, positive=positive, image_size=image_size)
    named = CLASSES in arrays and np.size(data.arrays["train_labels"]) > 0
    classes = _named(data.class_names(), arrays[CLASSES], where) if named else data.classes
    return replace(data, classes=classes, source={**data.source, **about_of(arrays, where)})


def _data(
    arrays: Mapping[str, Array], where: str, *, target: str | None, positive: object, image_size: int | None
) -> TaskData:
    if {"images", "labels"} <= arrays.keys() and "train_images" not in arrays:
        images, labels = _images(arrays["images"]), _labels(arrays["labels"], f"{where}: labels", target)
        _check_lengths({key: arrays[key] for key in UNDIVIDED if key in arrays}, where)
        divided = None if "split" not in arrays else arrays["split"].tolist()
        patients = None if "patients" not in arrays else arrays["patients"].tolist()
        cases = Cases(
            images=_sized(images, image_size), labels=labels.reshape(-1).tolist(), parts=divided, patients=patients
        )
        return cases.task_data(where, positive=positive)
    parts = [part for part in PARTS if f"{part}_images" in arrays or f"{part}_labels" in arrays]
    check_names([*arrays, *(f"{part}_{kind}" for part in PARTS[1:] if part not in parts for kind in _KINDS)], where)
    found = {part: _images(arrays[f"{part}_images"]) for part in parts}
    labels_of = {part: _labels(arrays[f"{part}_labels"], f"{where}: {part}_labels", target) for part in parts}
    whose = {part: arrays[f"{part}_patients"] for part in parts if f"{part}_patients" in arrays}
    if whose and len(whose) < len(parts):
        absent = listed(f"{part}_patients" for part in parts if part not in whose)
        raise MetaGDError(f"{where}: {absent} missing; give whose each case is in every part, or in none")
    plain = len(parts) == len(PARTS) and positive is None and image_size is None and _are_indices(labels_of["train"])
    if plain and not whose and all(found[part].dtype != np.uint16 for part in parts):
        images_of = {f"{part}_images": found[part] for part in parts}
        return TaskData(arrays=images_of | {f"{part}_labels": labels_of[part] for part in parts})
    for part in parts:
        given = {f"{part}_images": found[part], f"{part}_labels": labels_of[part]}
        _check_lengths(given | ({f"{part}_patients": whose[part]} if whose else {}), where)
        _check_alike(found[part], found["train"], f"{where}: {part}_images")
    cases = Cases(
        images=_sized(np.concatenate([found[part] for part in parts]), image_size),
        labels=[label for part in parts for label in labels_of[part].reshape(-1).tolist()],
        parts=[part for part in parts for _ in range(len(found[part]))],
        patients=[patient for part in parts for patient in whose[part].tolist()] if whose else None,
        numbers=np.concatenate([np.arange(1, len(found[part]) + 1) for part in parts]),
    )
    return cases.task_data(where, positive=positive)


def _named(numbers: Sequence[str], names: Array, where: str) -> tuple[str, ...]:
    """Return the names of the classes, which a file holds in the order of their numbers."""
    texts = [str(name) for name in names.reshape(-1).tolist()]
    if (
        len(texts) != len(numbers)
        or sorted(numbers) != sorted(map(str, range(len(texts))))
        or len({*texts}) < len(texts)
    ):
        raise MetaGDError(
            f"{where}: {CLASSES} holds {listed(map(as_given, texts)) or 'no names'}, and the labels are "
            f"{listed(numbers)}; give one name for each label from 0 on, all different, or leave {CLASSES} out"
        )
    return tuple(texts[int(number)] for number in numbers)


_KINDS = ("images", "labels")


def _arrays(path: Path, log: Callable[[str], None] | None) -> dict[str, Array]:
    """Return the arrays of a file that are known by their names, if they fit into memory."""
    known = {*UNDIVIDED, *(f"{part}_{kind}" for part in PARTS for kind in _KINDS), *PATIENTS, CLASSES, ABOUT}

    def check(names: list[str]) -> None:
        if {"images", "labels"} <= {*names}:
            return
        parts = [p for p in PARTS if p == "train" or f"{p}_images" in names or f"{p}_labels" in names]
        absent = (f"{part}_{kind}" for part in PARTS if part not in parts for kind in _KINDS)
        check_names([*names, *absent], str(path))

    return read_arrays(path, known, check=check, log=log)


def _images(images: Array) -> Array:
    """Return images with channels last, without transparency, and half precision as float32; checked later."""
    if images.dtype == np.float16:
        images = images.astype(np.float32)
    if images.ndim == 4 and images.shape[3] not in CHANNELS and images.shape[1] in CHANNELS:
        images = np.moveaxis(images, 1, 3)
    return images[..., :3] if images.ndim == 4 and images.shape[3] == 4 else images


def _labels(labels: Array, where: str, target: str | None) -> Array:
    """Return one label for each image, shape (n,) or (n, 1), or as they are if they are wrong in another way."""
    if labels.ndim != 2 or labels.shape[1] == 1:
        if target is not None:
            raise MetaGDError(
                f"{where} holds one label for each image, so there is no target to be named; leave it out"
            )
        return labels
    if target is not None:
        if not target.isdecimal() or int(target) >= labels.shape[1]:
            raise MetaGDError(
                f"{where}: target is {as_given(target)}; there are {labels.shape[1]} labels for each image, so it is a "
                f"number from 0 to {labels.shape[1] - 1}"
            )
        return labels[:, int(target)]
    if labels.dtype.kind in "biuf" and np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all():
        return np.asarray(labels.argmax(axis=1))
    raise MetaGDError(
        f"{where} has shape {labels.shape}: several labels per image (multi-label); this package trains with exactly "
        f'one class per image: take one label at a time, target = "0" to "{labels.shape[1] - 1}"'
    )


def _are_indices(labels: Array) -> bool:
    """Return whether labels are class indices already, or wrong in a way of which the rules for indices tell best."""
    flat = labels.reshape(-1)
    if labels.ndim not in (1, 2):
        return True
    if flat.dtype.kind not in "iu" or flat.size == 0:
        return flat.dtype.kind not in "UbfSO"
    found = np.unique(flat)
    return bool(found[0] == 0 and found[-1] == len(found) - 1)


def _sized(images: Array, image_size: int | None) -> Array:
    if image_size is None:
        return images
    pixels = images[..., np.newaxis] if images.ndim == 3 else images
    if pixels.ndim != 4 or not pixels.size:  # wrong in a way of which the rules for images tell
        return images
    return np.stack([fitted(image, image_size) for image in pixels])


def _check_lengths(arrays: Mapping[str, Array], where: str) -> None:
    lengths = {name: len(np.atleast_1d(array)) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = " and ".join(f"{name} has {length}" for name, length in lengths.items())
        raise MetaGDError(f"{where}: {said} entries; there must be exactly one label per image")


def _check_alike(images: Array, train: Array, where: str) -> None:
    if images.shape[1:] != train.shape[1:] or images.dtype != train.dtype:
        raise MetaGDError(
            f"{where} holds images of shape {images.shape[1:]} and dtype {images.dtype}, train_images of shape "
            f"{train.shape[1:]} and dtype {train.dtype}; all parts must be alike"
        )


NPZ = Reader(
    name="npz",
    reads="arrays of images and labels, in MedMNIST's layout or undivided",
    read=read_npz,
    endings=(".npz",),
    tells=True,
    takes=("target", "positive", "image_size"),
)
