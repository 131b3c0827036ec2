"""The arrays of one .npz file: what their headers promise is checked before any of them is unpacked; never a pickle."""

from __future__ import annotations

import lzma
import math
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.archives import check_members
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import shortened
from metagd_optuna.tasks.memory import check_memory

ENDING = ".npy"
# What zipfile, zlib and NumPy raise on damaged content; RuntimeError is an encrypted member, a TypeError odd headers.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    TypeError,
    RuntimeError,
    RecursionError,
    MemoryError,
    OverflowError,
    SyntaxError,
    LookupError,
    AttributeError,
    tokenize.TokenError,
)
_LONGEST_HEADER = 2**20
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

Array = npt.NDArray[Any]


def read_arrays(
    path: Path,
    known: Container[str],
    *,
    check: Callable[[list[str]], None] | None = None,
    log: Callable[[str], None] | None = None,
) -> dict[str, Array]:
    """Return the arrays of a file that are known by their names.

    Args:
        path: the file.
        known: names; other arrays are not looked at.
        check: called with the names that the file holds, before anything of them is read.
        log: called with how much memory they will take, if that is much.

    Raises:
        MetaGDError: if the file cannot be read, needs pickle, is not what its headers say, is packed more tightly than
            data are, or does not fit into memory; nothing has been unpacked then.
    """
    where = shortened(str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(ENDING): info for info in archive.infolist()}
            if check is not None:
                check(list(members))
            read = {name: member for name, member in members.items() if name in known}
            check_members(read.values())
            size = sum(member.file_size for member in read.values())
            check_memory(size, where, "save smaller images in it, or fewer", log)
            for member in read.values():
                _check_header(archive, member, where)
            return {name: _array(archive, member, where) for name, member in read.items()}
    except OSError as error:
        raise MetaGDError(f"{where}: cannot be read ({shortened(str(error))})") from error
    except DAMAGE as error:
        raise MetaGDError(
            f"{where}: not a .npz archive, or cut off or damaged ({shortened(str(error))}); fetch it again, or write "
            "it with numpy.savez_compressed"
        ) from error


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> None:
    """Refuse an array of objects, and one of another size than its file has."""
    try:
        with archive.open(member) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that Python 2 wrote
            version = np.lib.format.read_magic(stream)
            if version not in _READ_HEADER:
                raise ValueError(f"a header of version {version}, which only fields with odd names need")
            length = int.from_bytes(stream.read(2 * version[0]), "little")
            if length > _LONGEST_HEADER:
                raise ValueError(f"a header of {length:,} bytes")
            stream.seek(-2 * version[0], os.SEEK_CUR)
            shape, _, dtype = _READ_HEADER[version](stream)
            held = member.file_size - stream.tell()
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        # One of no bytes may still have any number of rows, or of empty texts.
        most = math.prod(shape) if not dtype.itemsize else shape[0] if shape else 0
        fits = math.prod(shape) * dtype.itemsize == held and most <= member.file_size
        if min(shape, default=0) < 0 or not fits:
            raise ValueError(f"its header promises {dtype} of shape {shape}, and there are {held:,} bytes")
    except (*DAMAGE, OSError) as error:
        raise _refused(where, member, error) from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> Array:
    try:
        with archive.open(member) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except (*DAMAGE, OSError) as error:
        raise _refused(where, member, error) from error


def _refused(where: str, member: zipfile.ZipInfo, error: Exception) -> MetaGDError:
    remedy = (
        "arrays of objects would have to be unpickled, which can run code and is never done; save plain numbers"
        if "object" in str(error).lower()
        else "the file is damaged: fetch or write it again"
    )
    said = shortened(str(error)) or type(error).__name__
    return MetaGDError(f"{where}: the array {shortened(member.filename)} cannot be read ({said}); {remedy}")
