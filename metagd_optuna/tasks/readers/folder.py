"""Reading a folder of images: a subfolder for each class, within a subfolder for each part where these are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import shortened
from metagd_optuna.tasks.cases import Cases
from metagd_optuna.tasks.readers.pictures import ENDINGS, is_picture, patients_of, read_pictures
from metagd_optuna.tasks.readers.reader import Reader, TaskData
from metagd_optuna.tasks.splitting import PART_NAMES
from metagd_optuna.tasks.validation import listed


def is_folder_of_images(path: Path) -> bool:
    """Return whether a subfolder, or a subfolder of one, holds an image."""
    return any(is_picture(file) for folder in _folders(path) for file in folder.rglob("*"))


def read_folder(
    path: Path,
    *,
    patient: str | None = None,
    positive: object = None,
    image_size: int | None = None,
    window: tuple[float, float] | None = None,
    skip_unreadable: bool = False,
    log: Callable[[str], None] | None = None,
) -> TaskData:
    """Return the images of a folder; the class of each is the name of the subfolder that it is in.

    Subfolders called train, val (or validation) and test are parts, which hold the classes; a part that is not there is
    split off. Images lie at any depth below their class.

    Args:
        path: the folder.
        patient: of DICOM files, the keyword of the tag that says whose a picture is; by default PatientID. ``none``
            takes every picture for a patient of its own.
        positive, image_size, window, skip_unreadable: see docs/tasks.md.
        log: called with how much memory the images will take, if that is much.

    Raises:
        MetaGDError: if there are no classes, or images cannot be read; see ``read_pictures`` and ``split_cases``.
    """
    by_class = {(part, folder.name): sorted(_pictures(folder)) for part, folder in _classes(path)}
    where = shortened(str(path))
    empty = sorted({name for (_, name), files in by_class.items() if not files})
    classes = {name for _, name in by_class}
    if empty and not any(by_class.values()):
        raise MetaGDError(f"{where}: no folder holds images; allowed are files that end in {', '.join(ENDINGS)}")
    if len(classes) < 2:
        raise MetaGDError(
            f"{where}: only the class {listed(sorted(classes))}; give a subfolder for each of two or more classes"
        )
    files = [file for found in by_class.values() for file in found]
    labels = [name for (_, name), found in by_class.items() for _ in found]
    parts = [part for (part, _), found in by_class.items() for _ in found]
    pictures = read_pictures(
        files, where, image_size=image_size, window=window, skip_unreadable=skip_unreadable, log=log
    )
    cases = Cases(
        images=pictures.images,
        bits=pictures.bits,
        patients=patients_of([files[row] for row in pictures.kept], where, patient),
        labels=[labels[row] for row in pictures.kept],
        parts=[parts[row] for row in pictures.kept] if all(parts) else None,
        source=pictures.told,
        numbers=pictures.kept + 1,
        names=[str(file.relative_to(path)) for file in files],
        findings=pictures.findings,
    )
    return cases.task_data(where, positive=positive)


def _classes(path: Path) -> Iterator[tuple[str, Path]]:
    """Return the part, or an empty text, and the folder of every class."""
    folders = _folders(path)
    parts = [folder for folder in folders if folder.name.lower() in PART_NAMES]
    if not parts:
        yield from (("", folder) for folder in folders)
        return
    others = [folder.name for folder in folders if folder not in parts]
    if others:
        raise MetaGDError(
            f"{shortened(str(path))}: {listed(folder.name for folder in parts)} are names of parts, and beside them "
            f"are {listed(others)}; give folders of parts or folders of classes, not both"
        )
    for part in parts:
        yield from ((PART_NAMES[part.name.lower()], folder) for folder in _folders(part))


def _folders(path: Path) -> list[Path]:
    return sorted(found for found in path.iterdir() if found.is_dir() and not found.name.startswith((".", "__")))


def _pictures(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if is_picture(file))


FOLDER = Reader(
    name="folder",
    reads="images in a subfolder for each class",
    read=read_folder,
    reads_folder=is_folder_of_images,
    tells=True,
    takes=("patient", "positive", "image_size", "window", "skip_unreadable"),
)
