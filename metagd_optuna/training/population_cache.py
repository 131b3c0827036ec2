"""Where measured population sizes are kept: one small JSON file per user."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from metagd_optuna.files import cache_folder, make_private_folder

FILE_NAME = "population.json"
# Whoever tries out many networks keeps the latest answers only.
MOST_ENTRIES = 200


def cache_file() -> Path:
    """Return the path of the file with the measured sizes."""
    return cache_folder() / FILE_NAME


def read_sizes(file: Path) -> dict[str, int]:
    """Return the sizes by what they were measured for; none if there is no file yet.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not one that ``write_sizes`` wrote.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        sizes = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(sizes, dict) or not all(type(size) is int and size >= 1 for size in sizes.values()):
        raise ValueError("not a table of whole numbers from 1")
    return sizes


def write_sizes(file: Path, sizes: Mapping[str, int]) -> None:
    """Write the latest entries of ``sizes``; a process that is killed meanwhile leaves the old file.

    Raises:
        OSError: the folder cannot be written.
    """
    make_private_folder(file.parent)
    text = json.dumps(dict(list(sizes.items())[-MOST_ENTRIES:]), indent=1) + "\n"
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink()
        raise
