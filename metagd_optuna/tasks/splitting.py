"""Cases dealt into training, validation and test, so that no patient is in two of them."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, counted
from metagd_optuna.tasks.labels import check_each_class
from metagd_optuna.tasks.stratify import stratified_part
from metagd_optuna.tasks.validation import PARTS, listed
from metagd_optuna.tasks.values import MISSING, as_text, numbered

SEED = 0
HELD_OUT = 5  # one case of so many for each part that is split off
# What people call the parts, in folders and in columns.
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}

Rows = npt.NDArray[np.int64]


class Split(NamedTuple):
    """Which cases are in each part, and how it came about.

    Args:
        rows: of every part, each rising.
        text: in words.
        patients: of every part, a number for whose each case is; None where that is not known.
    """

    rows: dict[str, Rows]
    text: str
    patients: dict[str, Rows] | None = None


def split_cases(
    labels: npt.NDArray[np.int32],
    classes: Sequence[str],
    where: str,
    *,
    patients: Sequence[object] | None = None,
    parts: Sequence[str] | None = None,
) -> Split:
    """Return the three parts: those that were given, and the rest split off the training part.

    A fifth of all cases becomes the test part, another fifth the validation part, each with the classes' frequencies.
    With patients, all cases of one are in one part, so that sizes and frequencies are kept as nearly as that allows
    (scikit-learn's StratifiedGroupKFold). The same cases are always split alike.

    Args:
        labels: class indices, shape (n,).
        classes: their names.
        where: what they are of, for errors.
        patients: whose each case is, shape (n,); none if each is a patient's only one.
        parts: the part of each case, shape (n,), a key of ``PART_NAMES``; without ``val`` or ``test``, these are split
            off.

    Raises:
        MetaGDError: for another name of a part, a patient in two of the given parts, or too few cases.
    """
    given = None if parts is None else [_part_of(part, where) for part in parts]
    owners = None if patients is None else _numbered(patients, where)
    held = {part: np.flatnonzero(np.array(given) == part) for part in PARTS} if given else {}
    if held and not len(held["train"]):
        raise MetaGDError(f"{where}: no case is of the part train; there must be some to train on")
    if owners is not None and given is not None:
        _refuse_leaks(owners, given, where)
    rows: dict[str, Rows] = {"train": held.get("train", np.arange(len(labels), dtype=np.int64))}
    missing = [part for part in ("test", "val") if not len(held.get(part, ()))]
    if missing:
        check_each_class(labels[rows["train"]], classes, where, least=1 + len(missing))
    for place, part in enumerate(missing):
        rows["train"], rows[part] = _split_off(rows["train"], HELD_OUT - place, labels, owners, where)
    for part in PARTS[1:]:
        rows.setdefault(part, held.get(part, np.array([], np.int64)))
    _check_train_has_all(labels[rows["train"]], classes, where, by_patient=owners is not None)
    rows = {part: rows[part] for part in PARTS}
    whose = None if owners is None else {part: owners[found] for part, found in rows.items()}
    return Split(rows, _in_words(missing, by_patient=owners is not None), whose)


def _part_of(given: object, where: str) -> str:
    found = PART_NAMES.get(as_text(given, f"{where}: a part").lower())
    if found is None:
        raise MetaGDError(
            f"{where}: {as_given(given)} is no part; allowed are train, val (or validation) and test, for every case"
        )
    return found


def _numbered(patients: Sequence[object], where: str) -> npt.NDArray[np.int64]:
    """Return a number for every patient: whose a case is matters, not what they are called."""
    texts = [as_text(patient, f"{where}: a patient") for patient in patients]
    missing = [row for row, text in enumerate(texts) if text.lower() in MISSING]
    if missing:
        raise MetaGDError(
            f"{where}: {counted(len(missing), 'case')} without a patient, the first is case {missing[0] + 1}; give "
            "whose they are, or leave them out: two cases of one patient must not be in two parts"
        )
    # Of tables that were put together, one may have written numbers as floats.
    return numbered(re.sub(r"^(\d+)\.0+$", r"\1", text) for text in texts)


def _refuse_leaks(owners: npt.NDArray[np.int64], parts: Sequence[str], where: str) -> None:
    seen: defaultdict[int, set[str]] = defaultdict(set)
    for owner, part in zip(owners.tolist(), parts, strict=True):
        seen[owner].add(part)
    leaking = {owner for owner, found in seen.items() if len(found) > 1}
    if leaking:
        rows = [row + 1 for row, owner in enumerate(owners.tolist()) if owner in leaking]
        raise MetaGDError(
            f"{where}: {counted(len(leaking), 'patient')} of {len(seen):,} in more than one part, in the cases "
            f"{listed(rows)}; a score would then be of patients that the network has seen: put all cases of a patient "
            "into one part, or leave the split out"
        )


def _split_off(
    rows: Rows, folds: int, labels: npt.NDArray[np.int32], owners: npt.NDArray[np.int64] | None, where: str
) -> tuple[Rows, Rows]:
    """Return the rows that stay, and one in ``folds`` of them."""
    if owners is None:
        size = max(round(len(rows) / folds), len(np.unique(labels[rows])))
        taken = rows[stratified_part(labels[rows], size, seed=SEED)]
        return np.setdiff1d(rows, taken), taken
    from sklearn.model_selection import StratifiedGroupKFold

    patients = len(np.unique(owners[rows]))
    if patients < folds:
        raise MetaGDError(
            f"{where}: {counted(patients, 'patient')} cannot be split; at least {folds} are needed, or a split of "
            "your own"
        )
    with warnings.catch_warnings():
        # That a class has fewer members than folds: one fold is taken, and whether it serves is checked below.
        warnings.simplefilter("ignore", UserWarning)
        try:
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=SEED)
            stay, taken = next(splitter.split(rows, labels[rows], owners[rows]))
        except ValueError as error:
            raise MetaGDError(
                f"{where}: the cases cannot be split by patient ({error}); give a split of your own"
            ) from None
    return rows[stay], rows[taken]


def _check_train_has_all(
    labels: npt.NDArray[np.int32], classes: Sequence[str], where: str, *, by_patient: bool
) -> None:
    lacking = [name for number, name in enumerate(classes) if number not in labels]
    if lacking:
        remedy = "give a split of your own, in which it has" if by_patient else "put some there, or leave the class out"
        raise MetaGDError(f"{where}: the training part has no case of {listed(lacking)}; {remedy}")


def _in_words(missing: Sequence[str], *, by_patient: bool) -> str:
    if not missing:
        return "as given"
    how = "by patient" if by_patient else "by class"
    if len(missing) == 2:
        return f"60% train, 20% validation, 20% test, {how}, drawn with seed {SEED}"
    name = {"val": "validation", "test": "test"}[missing[0]]
    return f"{name} split off the training part, a fifth of it, {how}, drawn with seed {SEED}"
