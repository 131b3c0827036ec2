"""Rows of numbers and categories made features: gaps filled, categories encoded, numbers standardised."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, counted
from metagd_optuna.tasks.audit.columns import column_findings
from metagd_optuna.tasks.labels import encode_labels
from metagd_optuna.tasks.readers.frame import Frame
from metagd_optuna.tasks.readers.reader import TaskData
from metagd_optuna.tasks.reading import Reading
from metagd_optuna.tasks.splitting import split_cases
from metagd_optuna.tasks.validation import PARTS, listed
from metagd_optuna.tasks.values import MISSING, as_text

# From this share of numbers on a column is one of numbers, and what is none in it an error.
MOSTLY = 0.8
MOST_CATEGORIES = 20
# Of a number: features are float32, and what is far beyond cannot be standardised.
LARGEST = float(np.finfo(np.float32).max)
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( .*)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

_OF = "\0"

Column = npt.NDArray[Any]


def read_feature_table(
    frame: Frame,
    labels: Sequence[object],
    where: str,
    *,
    features: Sequence[str],
    patients: Sequence[object] | None,
    parts: Sequence[str] | None,
    positive: object,
) -> TaskData:
    """Return a table as a task whose images are rows of features, float32 of shape (n, F).

    A column of which at least 80% of the values are numbers is numeric; every other one is of categories. Numbers: a
    gap becomes the median, beside a column that says where gaps were, and all are standardised. Categories: one-hot,
    the 20 most frequent, all others as one, and a gap as a category of its own. All of it is fitted on the training
    part alone, by a scikit-learn pipeline.

    Args:
        frame: one row for each case.
        labels: of each.
        where: what it is of, for errors.
        features: the columns to learn from.
        patients, parts: see ``split_cases``.
        positive: of two classes the one that gets the index 1.

    Raises:
        MetaGDError: for a column of dates, or one of numbers with texts in it; or if there is no column left.
    """
    indices, classes = encode_labels(labels, where, positive=positive)
    split = split_cases(indices, classes, where, patients=patients, parts=parts)
    train = split.rows["train"]
    numeric: dict[str, Column] = {}
    categories: dict[str, Column] = {}
    left_out = []
    for name in features:
        values = _texts(frame[name], name, where)
        if len(np.unique(values[train])) < 2:
            left_out.append(name)
        elif (numbers := _numbers(values, name, where)) is None:
            categories[name] = values
        else:
            numeric[name] = numbers
    if not numeric and not categories:
        raise MetaGDError(
            f"{where}: no column is left to learn from; with one value throughout train: {listed(left_out) or 'none'}"
        )
    rows, names = _encoded(numeric, categories, train)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for part in PARTS:
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = rows[split.rows[part]], indices[split.rows[part]]
    gaps = sum(int(np.isnan(values).sum()) for values in numeric.values())
    gaps += sum(int((values == "").sum()) for values in categories.values())
    told = {
        "split": split.text,
        "columns": f"{len(numeric)} of numbers, {len(categories)} of categories; {rows.shape[1]} features",
        **({"gaps": f"{gaps:,} of {len(rows) * (len(numeric) + len(categories)):,} values"} if gaps else {}),
        **({"left_out": f"{counted(len(left_out), 'column')} with one value throughout train"} if left_out else {}),
    }
    reading = Reading(
        rows={part: found + 1 for part, found in split.rows.items()},
        patients=split.patients,
        columns=names,
        prepared=partial(_prepared, numeric, categories),
        findings=column_findings(
            numeric,
            categories,
            left_out,
            labels=indices,
            classes=classes,
            train=train,
            patients_known=patients is not None,
        ),
    )
    return TaskData(arrays=arrays, classes=classes, source=told, reading=reading)


def _prepared(
    numeric: dict[str, Column], categories: dict[str, Column], numbers: Mapping[str, npt.NDArray[np.int64]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the features of cases in other parts, whose numbers count from 1; see ``Reading.prepared``."""
    rows = _encoded(numeric, categories, numbers["train"] - 1)[0]
    return {f"{part}_images": rows[found - 1] for part, found in numbers.items()}


def _texts(column: Frame, name: str, where: str) -> Column:
    """Return a column as text, empty where a value is missing."""
    texts = (as_text(value, f"{where}: a value of the column {as_given(name)}") for value in column)
    return np.array(["" if text.lower() in MISSING else text for text in texts], object)


def _numbers(values: Column, name: str, where: str) -> Column | None:
    """Return a column as float64, NaN where a value is missing; None if it is one of categories."""
    there = values[values != ""]
    dates = sum(_DATE.fullmatch(text) is not None for text in there)
    if dates >= MOSTLY * len(there):
        raise MetaGDError(
            f"{where}: the column {as_given(name)} holds dates; make numbers of them, such as days since the first, or "
            "leave the column out"
        )
    found = np.array([_number(text) for text in values])
    strange = np.flatnonzero(np.isnan(found) & (values != ""))
    if len(strange) > (1 - MOSTLY) * len(there):
        return None
    large = np.flatnonzero(np.abs(found) > LARGEST)
    if len(strange) or len(large):
        none, strange = ("none", strange) if len(strange) else (f"beyond {LARGEST:.3g}", large)
        logarithm = ", or take the logarithm of the column" if none != "none" else ""
        row = int(strange[0])
        raise MetaGDError(
            f"{where}: the column {as_given(name)} is one of numbers, but {counted(len(strange), 'value')} of "
            f"{len(there):,} are {none}, the first in row {row + 1}: {as_given(str(values[row]))}; "
            f"correct or empty it{logarithm}"
        )
    return found


def _number(text: str) -> float:
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text) if text else np.nan
    except ValueError:
        return np.nan


def _encoded(
    numeric: dict[str, Column], categories: dict[str, Column], train: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Return features of all rows, shape (n, F), by a pipeline that has seen the training rows only, and names."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = [*numeric.values(), *categories.values()]
    table = np.empty((len(columns[0]), len(columns)), object)
    for place, values in enumerate(columns):
        table[:, place] = values
    fill = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    encode = OneHotEncoder(
        max_categories=MOST_CATEGORIES,
        handle_unknown="infrequent_if_exist",
        sparse_output=False,
        feature_name_combiner=lambda column, value: f"{column}{_OF}{value}",
    )
    numbers = list(range(len(numeric)))
    pipeline = ColumnTransformer(
        [("numbers", fill, numbers), ("categories", encode, list(range(len(numeric), len(columns))))],
        verbose_feature_names_out=False,
    )
    pipeline.fit(table[train])
    names = pipeline.get_feature_names_out([*numeric, *categories])
    # What stands in a column may be a name; which column it is, is told, and what stands in it is not.
    return np.asarray(pipeline.transform(table), np.float32), tuple(str(name).partition(_OF)[0] for name in names)
