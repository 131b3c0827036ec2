"""Data that are in memory already: arrays, DataFrames, and data sets of tf.data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.tasks.readers.frame import check_frame, is_numeric, plain_values
from metagd_optuna.tasks.readers.npz import arrays_data
from metagd_optuna.tasks.readers.reader import TaskData
from metagd_optuna.tasks.readers.table import named_columns, table_data
from metagd_optuna.tasks.validation import as_array

NAME = "data"
ARRAYS = ("target", "positive", "image_size")


def is_in_memory(data: object) -> bool:
    """Return whether data are given themselves, and not by a name or a path."""
    return isinstance(data, (tuple, Mapping)) or _is_frame(data) or _is_dataset(data)


def read_in_memory(data: Any, where: str, options: Mapping[str, Any]) -> TaskData:
    """Return data as a task's arrays, by the same rules as data from files.

    Args:
        data: ``(images, labels)``; a mapping of arrays, as in an ``.npz`` file; a pandas DataFrame, as a CSV file
            would hold it, with paths relative to the current folder; or a ``tf.data.Dataset`` of (image, label),
            batched or not.
        where: what they are, for errors.
        options: how they are read, by name; see ``entry.ReadOptions``.

    Raises:
        MetaGDError: if they make no task.
    """
    if _is_frame(data):
        return table_data(check_frame(data.copy(), where, named_columns(options)), Path(), where, **options)
    strange = [option for option in options if option not in ARRAYS]
    if strange:
        raise MetaGDError(f"{where}: {', '.join(strange)} cannot be given for arrays; allowed: {', '.join(ARRAYS)}")
    return arrays_data(_arrays(data, where), where, **options)


def _arrays(data: Any, where: str) -> dict[str, Any]:
    if isinstance(data, Mapping):
        return {str(name): _array(values, f"{where}: {name}") for name, values in data.items()}
    if not isinstance(data, tuple):
        data = _of_dataset(data, where)
    if len(data) != 2:
        raise MetaGDError(f"{where}: a tuple of {len(data)} was given; give (images, labels)")
    images, labels = (
        _array(values, f"{where}: {name}") for name, values in zip(("images", "labels"), data, strict=True)
    )
    return {"images": images, "labels": labels}


def _array(values: Any, where: str) -> npt.NDArray[Any]:
    """Return values as an array; of a column of pandas' what is missing is None, unless it is of NumPy's numbers."""
    if _is_of_pandas(values) and values.ndim == 1 and not is_numeric(values.dtype):
        column = plain_values(values, where)
        values = column if any(value is None for value in column) else values
    return as_array(values, where)


def _of_dataset(data: Any, where: str) -> tuple[Any, Any]:
    """Return the images and labels of a whole ``tf.data.Dataset``."""
    images, labels = [], []
    for element in data.as_numpy_iterator():
        if not isinstance(element, tuple) or len(element) != 2:
            raise MetaGDError(f"{where}: the data set holds {as_given(element)}; it has to hold (image, label)")
        images.append(element[0])
        labels.append(element[1])
    if not images:
        raise MetaGDError(f"{where}: the data set is empty")
    # In batches a label is an array that is as long as the images; alone it is a number or a one-hot row.
    batched = np.ndim(images[0]) == 4 or (
        np.ndim(images[0]) == 3 and np.ndim(labels[0]) > 0 and len(images[0]) == len(labels[0])
    )
    join = np.concatenate if batched else np.stack
    return join(images), join(labels)


def _is_frame(data: object) -> bool:
    return _is_of_pandas(data) and hasattr(data, "columns")


def _is_of_pandas(data: object) -> bool:
    return type(data).__module__.partition(".")[0] == "pandas"


def _is_dataset(data: object) -> bool:
    return hasattr(data, "as_numpy_iterator")
