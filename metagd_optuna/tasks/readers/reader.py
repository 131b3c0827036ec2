"""What a reader of data is, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.registry import check_name
from metagd_optuna.tasks.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskData:
    """The images and labels that a reader found, not yet checked.

    Args:
        arrays: ``{train,val,test}_images`` and ``{train,val,test}_labels``, as ``Task`` takes them.
        classes: class names, in the order of the labels; by default the labels themselves.
        source: where the data came from, JSON-able; the name of the file or folder, and a file's MD5, are added.
        reading: which cases of what was read they are; by default they are numbered in every part.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    classes: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    reading: Reading | None = field(default=None, repr=False)

    def class_names(self) -> tuple[str, ...]:
        """Return the class names, or else a number for every label up to the largest of the training part."""
        return self.classes or tuple(str(label) for label in range(int(np.max(self.arrays["train_labels"])) + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One kind of file or folder that a task can be read from.

    Args:
        name: short name, unique among the readers: small letters and digits, words joined by hyphens.
        reads: what it reads, in words, for errors.
        read: takes a path that exists and returns its ``TaskData``; raises ``MetaGDError`` for one that it cannot read.
        endings: how the names of its files or folders end, such as ``(".npz",)``; of several readers that fit, the
            one with the longest ending reads.
        reads_folder: whether a folder, of any name, is one that it reads; by default none is.
        takes: names of the options that ``read`` takes as keywords, such as ``("target",)``; see ``entry.ReadOptions``.
        tells: whether ``read`` takes ``log`` as well, a function of a line of text or None.
        refers: whether its files name others that hold the data, so that they may change while it stays the same.

    Raises:
        MetaGDError: if there is neither an ending nor ``reads_folder``, or a value is of another type.
    """

    name: str
    reads: str
    read: Callable[..., TaskData]
    endings: tuple[str, ...] = ()
    reads_folder: Callable[[Path], bool] | None = None
    takes: tuple[str, ...] = ()
    tells: bool = False
    refers: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, "reader")
        if not isinstance(self.reads, str) or not self.reads:
            raise MetaGDError(f"reader {self.name!r}: reads is {as_given(self.reads)}; give a text that is not empty")
        for key in ("read", "reads_folder"):
            given = getattr(self, key)
            if not callable(given) and (key == "read" or given is not None):
                raise MetaGDError(f"reader {self.name!r}: {key} is {as_given(given)}; give a function of a path")
        texts = isinstance(self.endings, tuple) and all(isinstance(ending, str) for ending in self.endings)
        if not texts or not all(ending.rpartition(".")[2] and "." in ending for ending in self.endings):
            raise MetaGDError(
                f"reader {self.name!r}: endings is {as_given(self.endings)}; give a tuple of texts with a dot, such as "
                '(".json",)'
            )
        if not self.endings and self.reads_folder is None:
            raise MetaGDError(
                f'reader {self.name!r} recognises no path; give it endings, such as (".json",), or reads_folder'
            )
