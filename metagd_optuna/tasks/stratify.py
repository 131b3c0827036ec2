"""Stratified parts of a set of labels, reproducible on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError


def stratified_part(labels: npt.NDArray[np.int32], size: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Return the indices of ``size`` labels that keep the class frequencies, with at least one of every class.

    Every class gets its quota size * n_k / n, rounded by largest remainders.

    Args:
        labels: class indices, shape (n,).
        size: how many to take; n or more takes all.
        seed: fixes which members of a class are taken.

    Returns:
        Sorted indices, shape (min(size, n),).

    Raises:
        MetaGDError: if ``size`` is smaller than the number of classes.

    >>> stratified_part(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0).tolist()
    [0, 2, 5]
    """
    if size >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    classes, counts = np.unique(labels, return_counts=True)
    if size < len(classes):
        raise MetaGDError(f"{size} images cannot hold one of each of {len(classes)} classes; ask for more")
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(labels == value))[:count]
        for value, count in zip(classes, _apportion(counts, size), strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _apportion(counts: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    quota = counts * (size / counts.sum())
    part: npt.NDArray[np.int64] = np.maximum(np.floor(quota).astype(np.int64), 1)
    while part.sum() < size:
        part[np.argmax(np.where(part < counts, quota - part, -np.inf))] += 1
    while part.sum() > size:
        part[np.argmax(np.where(part > 1, part - quota, -np.inf))] -= 1
    return part
