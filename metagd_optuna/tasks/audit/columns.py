"""What is wrong with the columns of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.given import as_given, counted
from metagd_optuna.tasks.finding import SHOWN, Finding
from metagd_optuna.tasks.validation import listed
from metagd_optuna.tasks.values import numbered

MISSING_SHARE = 0.05
MISSING_POINTS, MISSING_ERRORS = 0.1, 3.0  # between two classes
UNIQUE_SHARE, FEWEST_FOR_UNIQUE = 0.95, 20
GIVEAWAY_AUC, GIVEAWAY_ACCURACY, FEWEST_FOR_GIVEAWAY = 0.99, 0.98, 20
_MOST_BINS, _PER_BIN = 20, 10
_WHOSE = re.compile(r"(patient|subject|person|participant|case|study|mrn)s?[ _.-]?(id|no|nr|num|number|key|code|name)?")

Column = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]


def column_findings(
    numeric: Mapping[str, Column],
    categories: Mapping[str, Column],
    constant: Sequence[str],
    *,
    labels: Labels,
    classes: Sequence[str],
    train: npt.NDArray[np.int64],
    patients_known: bool,
) -> tuple[Finding, ...]:
    """Return what is wrong with the columns of a table.

    - **Missing**: from 5% of a column on, or where the shares of two classes differ by 10 points and three standard
      errors.
    - **Constant** in the training part.
    - **Like an identifier**: 95% of the values occur once, in a column of texts or of whole numbers that count cases
      (fewer than two numbers for each case, or in order).
    - **Whose a case is**: a column of such a name, though nothing was said of patients.
    - **The answer**: from this column alone one tells two classes of the training part apart with an area under the ROC
      curve of 0.99, or every class with a balanced accuracy of 0.98, from its value (numbers in up to 20 ranges of ten
      or more cases) and judging each case by the others.

    Args:
        numeric: columns of numbers, float64, NaN where a value is missing, by name.
        categories: columns of texts, empty where a value is missing, by name.
        constant: names of the columns that never change in the training part.
        labels: of all rows, shape (n,).
        classes: their names.
        train: rows of the training part.
        patients_known: whether it is said whose each case is.
    """
    columns = {**numeric, **categories}
    return (
        *_missing(columns, labels, classes),
        *_constant(constant),
        *_identifiers(numeric, categories),
        *([] if patients_known else _whose(columns)),
        *_giveaways(columns, labels[train], train),
    )


def _is_missing(values: Column) -> npt.NDArray[np.bool_]:
    return np.isnan(values) if values.dtype.kind == "f" else values == ""


def _missing(columns: Mapping[str, Column], labels: Labels, classes: Sequence[str]) -> Iterator[Finding]:
    sizes = np.bincount(labels, minlength=len(classes))
    found: list[tuple[float, bool, str]] = []
    for name, values in columns.items():
        absent = _is_missing(values)
        share = float(absent.mean())
        of_class = np.bincount(labels[absent], minlength=len(classes)) / sizes
        low, high = int(of_class.argmin()), int(of_class.argmax())
        points = float(of_class[high] - of_class[low])
        error = np.sqrt(share * (1 - share) * (1 / sizes[low] + 1 / sizes[high]))
        uneven = points >= MISSING_POINTS and points > MISSING_ERRORS * error
        if share >= MISSING_SHARE or uneven:
            each = ", ".join(f"{of_class[label]:.0%} of {classes[label]}" for label in (low, high))
            found.append((share, uneven, f"the column {as_given(name)} is empty in {share:.0%} of cases: {each}"))
    for uneven, remedy in (
        (True, "find out why: a gap that depends on the class may give it away"),
        (False, "a gap becomes the median of the training part, or a category of its own; fill what you know"),
    ):
        texts = [text for _, odd, text in sorted(found, key=lambda each: -each[0]) if odd == uneven]
        yield from (Finding(text, remedy) for text in texts[:SHOWN])
        if len(texts) > SHOWN:
            yield Finding(f"so are {counted(len(texts) - SHOWN, 'more column')}, in part", remedy)


def _constant(names: Sequence[str]) -> Iterator[Finding]:
    if names:
        text = f"{counted(len(names), 'column')} with one value throughout train: {listed(map(as_given, names))}"
        yield Finding(text, "left out; remove them")


def _identifiers(numeric: Mapping[str, Column], categories: Mapping[str, Column]) -> Iterator[Finding]:
    found = [name for name, values in categories.items() if _mostly_once(values[values != ""])]
    found += [
        name for name, values in numeric.items() if _mostly_once(there := values[~np.isnan(values)]) and _counts(there)
    ]
    if found:
        what = (
            f"{counted(len(found), 'column')} with another value in nearly every case: {listed(map(as_given, found))}"
        )
        yield Finding(what, "if they are identifiers, leave them out with leave_out: they cannot be learnt from")


def _mostly_once(values: Column) -> bool:
    if len(values) < FEWEST_FOR_UNIQUE:
        return False
    _, counts = np.unique(values, return_counts=True)
    return bool(np.sum(counts == 1) >= UNIQUE_SHARE * len(values))


def _counts(values: Column) -> bool:
    """Return whether numbers count cases: whole, and in order or close together."""
    if not np.all(values == np.rint(values)):
        return False
    steps = np.diff(values)
    return bool(np.all(steps > 0) or np.all(steps < 0) or np.ptp(values) < 2 * len(values))


def _whose(columns: Mapping[str, Column]) -> Iterator[Finding]:
    found = [name for name in columns if _WHOSE.fullmatch(name.strip().lower())]
    if found:
        name = as_given(found[0])
        yield Finding(
            f"the column {name} seems to say whose a case is, and is learnt from",
            f"give patient = {name}, so that no patient is in two parts, or leave it out with leave_out",
        )


def _giveaways(columns: Mapping[str, Column], labels: Labels, train: npt.NDArray[np.int64]) -> Iterator[Finding]:
    present = np.unique(labels, return_inverse=True)[1]
    if len(present) < FEWEST_FOR_GIVEAWAY:
        return
    for name, values in columns.items():
        found = _told_by(values[train], present)
        if found:
            yield Finding(
                f"the column {as_given(name)} alone tells the classes of train apart ({found})",
                "if it is known only after the diagnosis, leave it out with leave_out",
            )


def _told_by(values: Column, labels: npt.NDArray[np.int64]) -> str:
    """Return how well a column alone tells classes apart, in words; empty if not nearly perfectly."""
    absent = _is_missing(values)
    if values.dtype.kind == "f":
        if labels.max() == 1 and not absent.any() and (auc := _auc(values, labels)) >= GIVEAWAY_AUC:
            return f"AUC {auc:.3f}"
        there = values[~absent]
        bins = min(max(len(there) // _PER_BIN, 1), _MOST_BINS)
        edges = np.unique(np.quantile(there, np.linspace(0, 1, bins + 1)[1:-1]))
        groups = np.where(absent, len(edges) + 1, np.searchsorted(edges, np.where(absent, 0, values)))
    else:
        groups = numbered(values)
    accuracy = _accuracy(groups, labels)
    return f"balanced accuracy {accuracy:.3f}" if accuracy >= GIVEAWAY_ACCURACY else ""


def _auc(values: Column, labels: npt.NDArray[np.int64]) -> float:
    """Return the area under the ROC curve of a number, the way round in which it is larger."""
    from scipy.stats import rankdata

    ones = int(labels.sum())
    zeros = len(labels) - ones
    area = (rankdata(values)[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return float(max(area, 1 - area))


def _accuracy(groups: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float:
    """Return the balanced accuracy of saying the most frequent class of the other cases of the same group."""
    classes = int(labels.max()) + 1
    if (groups.max() + 1) * classes > 100 * len(labels):
        return 0.0  # nearly every case a group of its own: the others say nothing
    counts = np.zeros((int(groups.max()) + 1, classes), np.int64)
    np.add.at(counts, (groups, labels), 1)
    others = counts[groups]
    own = others[np.arange(len(labels)), labels] - 1
    others[np.arange(len(labels)), labels] = -1
    right = own > others.max(axis=1)
    return float(np.mean([right[labels == label].mean() for label in range(classes)]))
