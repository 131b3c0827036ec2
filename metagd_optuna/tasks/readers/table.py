"""Reading a table from a file: of paths of images and labels, or of numbers and categories to learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.tasks.readers.feature_table import read_feature_table
from metagd_optuna.tasks.readers.frame import Frame, column, path_columns, path_levels, read_frame
from metagd_optuna.tasks.readers.image_table import read_image_table
from metagd_optuna.tasks.readers.pictures import ENDINGS
from metagd_optuna.tasks.readers.reader import Reader, TaskData
from metagd_optuna.tasks.validation import listed
from metagd_optuna.tasks.values import MISSING

# Columns that need not be named if they are called so.
SPLIT, PATIENT, TARGETS = "split", "patient", ("label", "target", "class", "diagnosis", "outcome")
IMAGES, TABLE_OF_VALUES = "images", "table"


class TableOptions(TypedDict, total=False):
    """How a table is read; see ``table_data``."""

    target: str
    patient: str
    split: str
    positive: object
    kind: str
    image_size: int
    window: tuple[float, float]
    skip_unreadable: bool
    leave_out: tuple[str, ...]
    log: Callable[[str], None] | None


def read_table(path: Path, **how: Unpack[TableOptions]) -> TaskData:
    """Return what a CSV or Parquet file holds, paths of images relative to its folder; see ``table_data``."""
    return table_data(read_frame(path, named_columns(how)), path.parent, shortened(str(path)), **how)


def named_columns(how: Mapping[str, Any]) -> set[str]:
    """Return the columns that are no features, as options name them or by default."""
    given = {str(how[name]) for name in ("target", "patient", "split") if how.get(name) is not None}
    return {SPLIT, PATIENT, *(() if how.get("target") is not None else TARGETS), *given}


def table_data(
    frame: Frame,
    folder: Path,
    where: str,
    *,
    target: str | None = None,
    patient: str | None = None,
    split: str | None = None,
    positive: object = None,
    kind: str | None = None,
    image_size: int | None = None,
    window: tuple[float, float] | None = None,
    skip_unreadable: bool = False,
    leave_out: Sequence[str] = (),
    log: Callable[[str], None] | None = None,
) -> TaskData:
    """Return what a table holds, a case in each row.

    A table with a column of paths of images holds images. Any other is learnt from as it is.

    Args:
        frame: the table, its columns called by texts.
        folder: that paths of images are relative to.
        where: what it is, for errors.
        target: the column of labels; by default the one called label, target, class, diagnosis or outcome, or in a
            table of images the only one left.
        patient: the column that says whose a case is; by default the one called patient, if there is one.
        split: the column that says which part it is in; by default the one called split, if there is one.
        kind: ``images`` or ``table``, where the columns do not tell.
        leave_out: columns that are not learnt from.
        positive, image_size, window, skip_unreadable: see docs/tasks.md.
        log: called with how much memory images will take, if that is much.

    Raises:
        MetaGDError: if columns are missing, or the table cannot be read; see ``read_image_table`` and
            ``read_feature_table``.
    """
    for name in leave_out:
        column(frame, name, "leave_out", where)
    frame = frame.drop(columns=list(leave_out))
    paths = None if kind == TABLE_OF_VALUES else _paths(frame, where, kind)
    patient = _by_default(frame, patient, PATIENT)
    split = _by_default(frame, split, SPLIT)
    target = (
        target if target is not None else _target(frame, {paths, patient, split}, where, of_images=paths is not None)
    )
    labels = [None if _is_gap(label) else label for label in column(frame, target, "target", where)]
    patients = None if patient is None else list(column(frame, patient, "patient", where))
    parts = None if split is None else list(column(frame, split, "split", where))
    if paths is not None:
        return read_image_table(
            frame,
            folder,
            labels,
            where,
            paths=paths,
            patients=patients,
            parts=parts,
            positive=positive,
            image_size=image_size,
            window=window,
            skip_unreadable=skip_unreadable,
            log=log,
        )
    of_images = {"image_size": image_size, "window": window, "skip_unreadable": skip_unreadable or None}
    for option, given in of_images.items():
        if given is not None:
            raise MetaGDError(f"{where}: {option} is for images, and no column holds paths of any; leave it out")
    features = [name for name in frame.columns if name not in (target, patient, split)]
    return read_feature_table(
        frame, labels, where, features=features, patients=patients, parts=parts, positive=positive
    )


def _is_gap(label: object) -> bool:
    """Return whether a label is a text that says that there is none; "none" may be a class."""
    return isinstance(label, str) and label.strip().lower() in MISSING - {"none"}


def _paths(frame: Frame, where: str, kind: str | None) -> str | None:
    """Return the column of paths; None if there is none and none has to be."""
    found = path_columns(frame)
    if len(found) > 1:
        raise MetaGDError(
            f"{where}: {listed(map(as_given, found))} all hold paths of images; keep one of these columns"
        )
    if not found and path_levels(frame):
        raise MetaGDError(
            f"{where}: its index holds paths of images; make a column of them with reset_index(), or give kind as "
            f"{TABLE_OF_VALUES!r} to learn from the other columns"
        )
    if kind == IMAGES and not found:
        raise MetaGDError(
            f"{where}: no column holds paths of images, which end in {', '.join(ENDINGS)}; there are "
            f"{listed(frame.columns)}"
        )
    return found[0] if found else None


def _by_default(frame: Frame, given: str | None, usual: str) -> str | None:
    return usual if given is None and usual in frame.columns else given


def _target(frame: Frame, taken: set[str | None], where: str, *, of_images: bool) -> str:
    left = [name for name in frame.columns if name not in taken]
    usual = [name for name in TARGETS if name in left]
    if len(usual) == 1 or (of_images and len(left) == 1):
        return str((usual or left)[0])
    raise MetaGDError(
        f"{where}: which column holds the labels? There are {listed(left) or 'none left'}; name it: "
        f'tasks = [{{ path = "{Path(where).name}", target = "..." }}]'
    )


TABLE = Reader(
    name="table",
    reads="a table: of paths of images and labels, or of values to learn from",
    read=read_table,
    endings=(".csv", ".tsv", ".parquet"),
    tells=True,
    takes=("target", "patient", "split", "positive", "kind", "image_size", "window", "skip_unreadable", "leave_out"),
    refers=True,
)
