"""A task as a study file names it: a name, a path, or a table of a path and of how it is to be read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, Strict, field_validator, model_serializer

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.models import Model, Pair, Row, checked
from metagd_optuna.tasks.readers.pictures import LARGEST_SIDE
from metagd_optuna.tasks.readers.reader import Reader
from metagd_optuna.tasks.readers.registry import as_entry as path_as_entry
from metagd_optuna.tasks.readers.registry import is_path, task_name
from metagd_optuna.tasks.validation import SMALLEST_SIDE


class ReadOptions(Model):
    """How data are to be read; which of it a reader takes is said by its row, see ``Reader.takes``.

    Args:
        target: the column that holds the labels.
        patient: the column that says whose a case is, so that no patient is in two parts.
        split: the column that says which part a case is in.
        positive: of two classes the one that counts as positive, and gets the index 1.
        kind: ``images`` or ``table``: what a table holds, where its columns do not tell.
        image_size: fits every image into a square of that side.
        window: of grey DICOM pictures: centre and width of the values that are spread from black to white.
        skip_unreadable: leaves out files that cannot be read, in place of an error.
        leave_out: columns of a table that are not learnt from.
    """

    target: str | None = Field(None, min_length=1)
    patient: str | None = Field(None, min_length=1)
    split: str | None = Field(None, min_length=1)
    positive: str | int | None = None
    kind: Literal["images", "table"] | None = None
    image_size: int | None = Field(None, ge=SMALLEST_SIDE, le=LARGEST_SIDE)
    window: Pair[Annotated[float, Strict(False)]] | None = None
    skip_unreadable: bool = False
    leave_out: Row[str] = ()

    @field_validator("window")
    @classmethod
    def _has_a_width(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and window[1] <= 0:
            raise ValueError(f"window is {list(window)}; allowed is a pair of centre and width, the width above 0")
        return window

    @property
    def given(self) -> dict[str, Any]:
        """Those that were given, by name."""
        own = {name: getattr(self, name) for name in ReadOptions.model_fields}
        return {name: value for name, value in own.items() if value not in (None, False, (), [])}


class TaskEntry(ReadOptions):
    """A task of a study with how it is read, as a table of a study file.

    Args:
        path: of a file or folder.
        name: what the task is called; by default like its path, without the ending.

    The other arguments are those of ``ReadOptions``.
    """

    path: str = Field(min_length=1)
    name: str | None = Field(None, min_length=1)

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value not in (None, False, (), [])}


def as_entry(given: object) -> object:
    """Return an entry of ``tasks`` as a text or a ``TaskEntry``, whatever of it was given.

    Raises:
        ValueError: in words, as pydantic wants it, for what is neither, or for a table that does not fit.

    >>> as_entry("breast_cancer"), as_entry({"path": "labs.csv", "target": "outcome"}).given
    ('breast_cancer', {'target': 'outcome'})
    """
    if isinstance(given, (str, os.PathLike)):
        return path_as_entry(given)
    if isinstance(given, TaskEntry):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{as_given(given)} is no task; allowed is a name or a path as text, or a table such as "
            '{ path = "images.csv", target = "label" }'
        )
    try:
        return checked(TaskEntry, dict(given), as_given(given.get("path", "a table")))
    except MetaGDError as error:
        raise ValueError(str(error)) from None


def location_of(entry: str | TaskEntry) -> str:
    """Return the name of the catalogue that an entry gives, or the path.

    >>> location_of("breast_cancer"), location_of(TaskEntry(path="scans"))
    ('breast_cancer', './scans')
    """
    if isinstance(entry, str):
        return entry
    return entry.path if is_path(entry.path) else f"./{entry.path}"


def name_of(entry: str | TaskEntry) -> str:
    """Return what the task of an entry is called."""
    own = entry.name if isinstance(entry, TaskEntry) else None
    return own or task_name(location_of(entry))


def options_of(entry: str | TaskEntry) -> dict[str, Any]:
    """Return how an entry is to be read, by option."""
    return entry.given if isinstance(entry, TaskEntry) else {}


def check_options(options: Iterable[str], reader: Reader, where: str) -> None:
    """Refuse options that a reader does not take.

    Raises:
        MetaGDError: naming them and those that it takes.
    """
    strange = [option for option in options if option not in reader.takes]
    if strange:
        allowed = f"allowed: {', '.join(reader.takes)}" if reader.takes else "it takes no options"
        raise MetaGDError(
            f"{where}: {', '.join(strange)} cannot be given for what the reader {reader.name!r} reads "
            f"({reader.reads}); {allowed}"
        )
