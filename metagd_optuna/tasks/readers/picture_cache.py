"""What was unpacked of image files, kept for the next time: pixels alone, by the checksums of the files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import cache_folder, make_private_folder
from metagd_optuna.given import as_given

VARIABLE, DEFAULT_GIB = "METAGD_IMAGE_CACHE_GIB", 4.0
MOST_GIB = 1e6
FOLDER, ENDING = "images", ".npz"
# Changes whenever the same files would be read as other pixels.
FORMAT = 1
# What zipfile and NumPy raise on content that is not what was written.
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)
_CHUNK, _DAY = 1 << 20, 86_400


class Unpacked(NamedTuple):
    """Images that were unpacked, and which of the files could not be.

    Args:
        images: uint8 or uint16, shape (n, h, w, c).
        kept: which of the files they are, rising.
    """

    images: npt.NDArray[Any]
    kept: npt.NDArray[np.int64]


def most_bytes() -> int:
    """Return how much may be kept: METAGD_IMAGE_CACHE_GIB, by default 4 GiB; 0 keeps nothing.

    Raises:
        MetaGDError: if the variable is no number of at least 0.
    """
    given = os.environ.get(VARIABLE, "").strip()
    try:
        size = float(given) if given else DEFAULT_GIB
    except ValueError:
        size = -1.0
    if not 0 <= size <= MOST_GIB:
        raise MetaGDError(f"{VARIABLE} is {as_given(given)}; allowed is a number of GiB, and 0 keeps nothing")
    return int(size * 2**30)


def checksum(file: Path) -> bytes:
    """Return a checksum of a file's content; empty if it cannot be read, which its reader will say."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return b""
    return digest.digest()


def key_of(checksums: Iterable[bytes], how: object) -> str:
    """Return under what some files are kept: what is in them, in their order, and how they are read; no names.

    Args:
        checksums: of the files.
        how: what else decides the pixels, JSON-able.
    """
    digest = hashlib.blake2b(json.dumps([FORMAT, how]).encode(), digest_size=20)
    for each in checksums:
        digest.update(each or b"unreadable")
    return digest.hexdigest()


def kept_under(key: str, shape: tuple[int, ...]) -> Unpacked | None:
    """Return what is kept under a key; None if there is nothing, or if it is damaged, which is then dropped.

    Args:
        key: of the files.
        shape: (files, h, w, c), as it would be if all of them could be unpacked.
    """
    file = _file(key)
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            found = Unpacked(arrays["images"], arrays["kept"])
        rows, places = found.kept, np.arange(shape[0])
        if found.images.shape != (len(rows), *shape[1:]) or not np.array_equal(places[np.isin(places, rows)], rows):
            raise ValueError("not what was kept for these files")
        os.utime(file)  # what was used longest ago is dropped first
    except DAMAGE:  # or there is no such file
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
        return None
    return found


def keep(key: str, unpacked: Unpacked) -> None:
    """Keep some images, and drop those that were used longest ago where there are too many.

    The folder is for its owner alone (mode 0700), and a process that is killed leaves no half of a file. A cache that
    cannot be written costs the next reading its time and nothing else, so that is no error.
    """
    most = most_bytes()
    if unpacked.images.nbytes > most:
        return
    file = _file(key)
    with contextlib.suppress(OSError):
        make_private_folder(file.parent)
        file.parent.chmod(0o700)
        handle, name = tempfile.mkstemp(prefix="tmp", dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez(stream, images=unpacked.images, kept=unpacked.kept)
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
        _drop_oldest(file.parent, most)


def _drop_oldest(folder: Path, most: int) -> None:
    for unfinished in folder.glob("tmp*"):  # of a process that was killed
        if time.time() - unfinished.stat().st_mtime > _DAY:
            unfinished.unlink(missing_ok=True)
    files = sorted(folder.glob(f"*{ENDING}"), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > most:
            file.unlink(missing_ok=True)


def _file(key: str) -> Path:
    return cache_folder() / FOLDER / f"{key}{ENDING}"
