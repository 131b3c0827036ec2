"""The Wisconsin diagnostic breast cancer set as small images; comes with scikit-learn, needs no network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.tasks.readers.reader import TaskData
from metagd_optuna.tasks.stratify import stratified_part

SPLIT_SEED = 0
TENTHS_HELD_OUT = 2
REPEAT_ROWS, REPEAT_COLUMNS = 2, 7


def read_breast_cancer() -> TaskData:
    """Return 569 fine-needle aspirates as one-channel images of 20 x 21 pixels, in three stratified parts.

    A case is 10 measurements of its cell nuclei x 3 statistics (mean, standard error, worst). They are
    standardised, z = (x - mean) / standard deviation, with mean and deviation of the training part, laid
    out as 10 rows x 3 columns, and enlarged by repetition (x2, x7) to what the network needs at least.

    Returns:
        Arrays ``{train,val,test}_images`` float32 of shape (n, 20, 21, 1), ``..._labels`` int32 of shape (n,);
        n = 341, 114, 114; label 0 is malignant, 1 is benign.
    """
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    values = np.asarray(bunch.data, dtype=np.float64)
    labels = np.asarray(bunch.target, dtype=np.int32)
    parts = _split(labels)
    train = values[parts["train"]]
    standardised = (values - train.mean(axis=0)) / train.std(axis=0)
    # scikit-learn lists the ten means, then the ten errors, then the ten worst values
    grid = standardised.reshape(-1, 3, 10).transpose(0, 2, 1)
    images = grid.repeat(REPEAT_ROWS, axis=1).repeat(REPEAT_COLUMNS, axis=2)[..., np.newaxis].astype(np.float32)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for part, rows in parts.items():
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = images[rows], labels[rows]
    return TaskData(arrays=arrays)


def _split(labels: npt.NDArray[np.int32]) -> dict[str, npt.NDArray[np.int64]]:
    held_out = round(len(labels) * TENTHS_HELD_OUT / 10)
    rows = np.arange(len(labels), dtype=np.int64)
    test = stratified_part(labels, held_out, seed=SPLIT_SEED)
    rest = np.setdiff1d(rows, test)
    val = rest[stratified_part(labels[rest], held_out, seed=SPLIT_SEED + 1)]
    return {"train": np.setdiff1d(rest, val), "val": val, "test": test}
