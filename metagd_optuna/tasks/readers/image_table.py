"""A table of paths of images: which column holds them, and the images that it lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from metagd_optuna.tasks.cases import Cases
from metagd_optuna.tasks.readers.frame import Frame
from metagd_optuna.tasks.readers.pictures import patients_of, read_pictures
from metagd_optuna.tasks.readers.reader import TaskData


def read_image_table(
    frame: Frame,
    folder: Path,
    labels: Sequence[object],
    where: str,
    *,
    paths: str,
    patients: Sequence[object] | None,
    parts: Sequence[str] | None,
    positive: object,
    image_size: int | None,
    window: tuple[float, float] | None,
    skip_unreadable: bool,
    log: Callable[[str], None] | None,
) -> TaskData:
    """Return the images that a table lists, a row for each.

    Args:
        frame: the table.
        folder: that its paths are relative to.
        labels: of each image.
        where: what it is of, for errors.
        paths: the column of paths.
        patients: see ``split_cases``; those of DICOM files are asked for in the files if they are not given.
        parts: see ``split_cases``.
        positive, image_size, window, skip_unreadable: see docs/tasks.md.
        log: called with how much memory the images will take, if that is much.

    Raises:
        MetaGDError: if images cannot be read; see ``read_pictures`` and ``split_cases``.
    """
    files = [folder / str(name).strip() for name in frame[paths]]
    pictures = read_pictures(
        files, where, image_size=image_size, window=window, skip_unreadable=skip_unreadable, log=log
    )
    kept = pictures.kept.tolist()
    cases = Cases(
        images=pictures.images,
        bits=pictures.bits,
        labels=[labels[row] for row in kept],
        patients=(
            patients_of([files[row] for row in kept], where) if patients is None else [patients[row] for row in kept]
        ),
        parts=None if parts is None else [parts[row] for row in kept],
        source=pictures.told,
        numbers=pictures.kept + 1,
        names=[str(name).strip() for name in frame[paths]],
        findings=pictures.findings,
    )
    return cases.task_data(where, positive=positive)
