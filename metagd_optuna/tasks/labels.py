"""Labels as they are written in files and tables, made class indices with names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, counted, shortened
from metagd_optuna.models import did_you_mean
from metagd_optuna.tasks.validation import listed
from metagd_optuna.tasks.values import as_text

# More classes than that, and fewer than two cases for each: a number that was measured, or an identifier.
MANY_CLASSES, CASES_PER_CLASS = 20, 2


def encode_labels(
    labels: Sequence[object], where: str, *, positive: object = None
) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """Return class indices, shape (n,), and the class names in their order.

    Whole numbers are ordered as numbers, also where they are written as text, and everything else as text.

    Args:
        labels: one for each case: texts, whole numbers or truth values, shape (n,).
        where: what they are, for errors.
        positive: of two classes the one that gets the index 1; by default the later one.

    Raises:
        MetaGDError: for labels that are missing, that are no classes, or of one class only.

    >>> encode_labels(["ill", "healthy", "ill"], "label")
    (array([1, 0, 1], dtype=int32), ('healthy', 'ill'))
    >>> encode_labels(["10", "2", "2"], "grade")[1]
    ('2', '10')
    """
    texts = [_class_name(label, where) for label in labels]
    missing = [row for row, text in enumerate(texts) if not text]
    if missing:
        raise MetaGDError(
            f"{where}: {counted(len(missing), 'missing label')} in {len(texts):,} cases, the first in case "
            f"{missing[0] + 1}; leave those cases out, or give them a class of their own"
        )
    if not texts:
        raise MetaGDError(f"{where}: there is no case; give cases of at least two classes")
    counts = Counter(texts)
    if len(counts) > MANY_CLASSES and len(texts) < CASES_PER_CLASS * len(counts):
        raise MetaGDError(
            f"{where}: {len(counts):,} different labels in {len(texts):,} cases are no classes, but an identifier or a "
            "measured number; name another column, or sort the numbers into a few classes first"
        )
    if len(counts) < 2:
        raise MetaGDError(f"{where}: every case has the label {as_given(texts[0])}; at least two classes are needed")
    names = sorted(counts, key=_order(counts))
    if positive is not None:
        names = _positive_last(names, _class_name(positive, "positive"), where)
    index = {name: number for number, name in enumerate(names)}
    return np.array([index[text] for text in texts], np.int32), tuple(names)


def check_each_class(indices: npt.NDArray[np.int32], classes: Sequence[str], where: str, *, least: int) -> None:
    """Refuse a class of fewer cases than there are parts to hold them.

    Raises:
        MetaGDError: naming the classes and how many cases each has.
    """
    counts = np.bincount(indices, minlength=len(classes))
    few = [f"{shortened(name)} ({count})" for name, count in zip(classes, counts, strict=True) if count < least]
    if few:
        raise MetaGDError(
            f"{where}: too few cases to be split: {listed(few)}; a class needs at least {least}, one for each part "
            "that is split off: add cases, join classes, or say yourself which part a case belongs to"
        )


def _class_name(label: object, where: str) -> str:
    """Return what a class is called that is labelled so; empty where the label is missing."""
    if isinstance(label, (bool, np.bool_)):
        return str(bool(label)).lower()
    if isinstance(label, (float, np.floating)):
        if math.isnan(label):
            return ""
        if not float(label).is_integer():
            raise MetaGDError(
                f"{where}: {float(label):g} is no class but a measured number; name another column, or sort the "
                "numbers into a few classes first"
            )
        return str(int(label))
    return as_text(label, f"{where}: a label")


def _order(names: Iterable[str]) -> Callable[[str], Any]:
    return int if all(name.removeprefix("-").isdecimal() for name in names) else str


def _positive_last(names: list[str], positive: str, where: str) -> list[str]:
    if len(names) != 2:
        raise MetaGDError(
            f"{where}: positive is {as_given(positive)}, but there are {len(names)} classes; it is for two classes: "
            "leave it out"
        )
    if positive not in names:
        raise MetaGDError(
            f"{where}: positive is {as_given(positive)}{did_you_mean(positive, names)}; the classes are "
            f"{' and '.join(map(as_given, names))}"
        )
    return [*(name for name in names if name != positive), positive]
