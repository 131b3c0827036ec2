"""The readers that there are, and which of them reads a path."""

from __future__ import annotations

import os
from pathlib import Path

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.models import did_you_mean
from metagd_optuna.registry import Registry
from metagd_optuna.tasks.readers.cifar10 import CIFAR10
from metagd_optuna.tasks.readers.folder import FOLDER
from metagd_optuna.tasks.readers.npz import NPZ
from metagd_optuna.tasks.readers.reader import Reader
from metagd_optuna.tasks.readers.table import TABLE
from metagd_optuna.tasks.validation import listed


def _check_endings(reader: Reader, what: str) -> None:
    for other in READERS.values():
        taken = sorted({*reader.endings} & {*other.endings})
        if taken:
            raise MetaGDError(
                f"{what}: paths that end in {taken[0]} are read by the reader {other.name!r}; choose a longer ending, "
                f"such as .{reader.name}{taken[0]}"
            )


_OWN = {reader.name: reader for reader in (NPZ, CIFAR10, FOLDER, TABLE)}

READERS = Registry(Reader, "reader", "register_reader", _OWN, check=_check_endings)


def register_reader(reader: Reader) -> None:
    """Let tasks be read from one more kind of file or folder, for as long as this process lives.

    Args:
        reader: what it is called, which paths it recognises, and how it reads them; see docs/tasks.md.

    Raises:
        MetaGDError: if its name, or one of its endings, is taken.
    """
    if not isinstance(reader, Reader):
        raise MetaGDError(f"a reader is a metagd_optuna.tasks.Reader, but {as_given(reader)} was given")
    READERS.add(reader.name, reader)


def is_path(entry: str | os.PathLike[str]) -> bool:
    """Return whether an entry of ``tasks`` is a path, rather than a name of the catalogue.

    >>> is_path("breast_cancer"), is_path("mine.npz"), is_path("scans/")
    (False, True, True)
    """
    return not isinstance(entry, str) or any(mark in entry for mark in "./\\")


def as_entry(given: object) -> object:
    """Return a path object as the text that means it among ``tasks``; text, and whatever is wrong there, as it is.

    >>> as_entry(Path("mine.npz")), as_entry(Path("scans")), as_entry("breast_cancer")
    ('mine.npz', './scans', 'breast_cancer')
    """
    if not isinstance(given, os.PathLike):
        return given
    text = os.fspath(given)
    return text if is_path(text) else f"./{text}"


def task_name(entry: str | os.PathLike[str]) -> str:
    """Return what a task is called that an entry of ``tasks`` names: a path's last name, without its ending.

    >>> task_name("breast_cancer"), task_name("data/mine.v2.npz"), task_name("scans/")
    ('breast_cancer', 'mine.v2', 'scans')
    """
    if not is_path(entry):
        return os.fspath(entry)
    path = Path(entry)
    return _without(path.name, _ending(path.name)) or path.stem


def reader_of(path: Path) -> Reader:
    """Return the reader of a file or folder that is there.

    Raises:
        MetaGDError: if it is not there, with what is; or if no reader, or more than one, fits.
    """
    try:
        return _by_ending(path) if _ending(path.name) else _of_folder(path)
    except OSError as error:
        raise MetaGDError(
            f"{shortened(str(path))}: cannot be read ({error.strerror}); check its permissions"
        ) from error


def _by_ending(path: Path) -> Reader:
    if path.is_file() or path.is_dir():
        return next(reader for reader in READERS.values() if _ending(path.name) in reader.endings)
    shown, folder = shortened(str(path)), shortened(str(path.parent))
    if path.exists():
        raise MetaGDError(f"{shown} is neither a file nor a folder, but a pipe or a device; give a file")
    if not path.parent.is_dir():
        raise MetaGDError(f"there is no file {shown}; there is no folder {folder} either")
    beside = sorted(found.name for found in path.parent.iterdir() if _ending(found.name))
    there = f"files there: {listed(beside)}" if beside else f"the folder {folder} holds no such files"
    raise MetaGDError(f"there is no file {shown}{did_you_mean(path.name, beside)}; {there}")


def _of_folder(path: Path) -> Reader:
    is_folder = path.is_dir()
    fitting = [reader for reader in READERS.values() if is_folder and reader.reads_folder and reader.reads_folder(path)]
    # A registered reader knows more of its folders than that images are in them.
    fitting = [reader for reader in fitting if reader.name not in _OWN] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise MetaGDError(
            f"{shortened(str(path))}: the readers {', '.join(reader.name for reader in fitting)} all take this folder "
            "for theirs; divide it, so that each part is of one kind"
        )
    what = "cannot be read as a task" if path.exists() else "there is no such file or folder"
    kinds = [f"{' or '.join(reader.endings) or 'folders'} ({reader.reads})" for reader in READERS.values()]
    raise MetaGDError(
        f"{shortened(str(path))}: {what}; allowed are names of the catalogue, and paths that end in "
        f"{', '.join(kinds)}: convert the data, or register a reader for it (docs/tasks.md)"
    )


def _ending(name: str) -> str:
    """Return the longest ending of a reader that a file's name has, and that leaves some of the name; else ''."""
    fitting = [
        ending
        for reader in READERS.values()
        for ending in reader.endings
        if name.endswith(ending) and _without(name, ending)
    ]
    return max(fitting, key=len, default="")


def _without(name: str, ending: str) -> str:
    # An ending may be a whole name, such as cifar-10-binary.tar.gz: what stands before its first dot stays.
    return name.removesuffix(ending[ending.find(".") :]) if ending else ""
