"""Reading a table of paths of images and labels, with the patient and the part of each where they are known."""

from __future__ import annotations

from pathlib import Path

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.tasks.cases import Cases
from metagd_optuna.tasks.readers.frame import Frame, column, read_frame
from metagd_optuna.tasks.readers.pictures import ENDINGS, read_pictures
from metagd_optuna.tasks.readers.reader import Reader, TaskData
from metagd_optuna.tasks.validation import listed

# Columns that need not be named if they are called so.
SPLIT, PATIENT, TARGETS = "split", "patient", ("label", "target", "class", "diagnosis")
LOOKED_AT = 100  # rows by which a column of paths is known


def path_columns(frame: Frame) -> list[str]:
    """Return the columns that hold paths of images, as far as their first hundred rows tell."""
    head = frame.head(LOOKED_AT)
    return [
        name
        for name in frame.columns
        if all(isinstance(value, str) and value.lower().strip().endswith(ENDINGS) for value in head[name])
    ]


def read_image_table(
    path: Path,
    *,
    target: str | None = None,
    patient: str | None = None,
    split: str | None = None,
    positive: object = None,
    image_size: int | None = None,
    skip_unreadable: bool = False,
) -> TaskData:
    """Return the images that a table lists, a row for each.

    Paths are relative to the table's folder.

    Args:
        path: a CSV or Parquet file with one column of paths that end as images do.
        target: the column of labels; by default the one called label, target, class or diagnosis, or the only one left.
        patient: the column that says whose an image is; by default the one called patient, if there is one.
        split: the column that says which part it is in; by default the one called split, if there is one.
        positive, image_size, skip_unreadable: see docs/tasks.md.

    Raises:
        MetaGDError: if columns are missing, or images cannot be read; see ``read_pictures`` and ``split_cases``.
    """
    frame, where = read_frame(path), shortened(str(path))
    paths = _paths(frame, where)
    patient = _by_default(frame, patient, PATIENT)
    split = _by_default(frame, split, SPLIT)
    target = target if target is not None else _target(frame, {paths, patient, split}, where)
    labels = list(column(frame, target, "target", where))
    owners = None if patient is None else list(column(frame, patient, "patient", where))
    parts = None if split is None else list(column(frame, split, "split", where))
    files = [path.parent / name.strip() for name in frame[paths]]
    pictures = read_pictures(files, where, image_size=image_size, skip_unreadable=skip_unreadable)
    cases = Cases(
        images=pictures.images,
        labels=[labels[row] for row in pictures.kept],
        patients=None if owners is None else [owners[row] for row in pictures.kept],
        parts=None if parts is None else [parts[row] for row in pictures.kept],
        source=pictures.told,
    )
    return cases.task_data(where, positive=positive)


def _paths(frame: Frame, where: str) -> str:
    found = path_columns(frame)
    if len(found) == 1:
        return found[0]
    if found:
        raise MetaGDError(
            f"{where}: {listed(map(as_given, found))} all hold paths of images; keep one of these columns"
        )
    raise MetaGDError(
        f"{where}: no column holds paths of images, which end in {', '.join(ENDINGS)}; there are "
        f"{listed(frame.columns)}"
    )


def _by_default(frame: Frame, given: str | None, usual: str) -> str | None:
    return usual if given is None and usual in frame.columns else given


def _target(frame: Frame, taken: set[str | None], where: str) -> str:
    left = [name for name in frame.columns if name not in taken]
    usual = [name for name in TARGETS if name in left]
    if len(usual) == 1 or len(left) == 1:
        return str((usual or left)[0])
    raise MetaGDError(
        f"{where}: which column holds the labels? There are {listed(left) or 'none left'}; name it: "
        f'tasks = [{{ path = "{Path(where).name}", target = "..." }}]'
    )


IMAGE_TABLE = Reader(
    name="image-table",
    reads="a table of paths of images, and labels",
    read=read_image_table,
    endings=(".csv", ".tsv", ".parquet"),
    takes=("target", "patient", "split", "positive", "image_size", "skip_unreadable"),
    refers=True,
)
