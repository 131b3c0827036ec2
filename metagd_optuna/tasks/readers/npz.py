"""Reading a file in MedMNIST's layout: six arrays in one .npz, never a pickle."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks.readers.reader import Reader, TaskData
from metagd_optuna.tasks.validation import ARRAY_NAMES, check_names

# what zipfile, zlib and numpy raise on damaged content; RuntimeError is an encrypted member
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError, MemoryError)


def read_npz(path: Path) -> TaskData:
    """Return the six arrays of a file in MedMNIST's layout.

    Args:
        path: a .npz file with ``{train,val,test}_images`` (uint8, float32 or float64; (n, h, w),
            (n, h, w, 1) or (n, h, w, 3)) and ``{train,val,test}_labels`` (integers; (n,) or (n, 1)).

    Raises:
        MetaGDError: if the file cannot be read, lacks an array or needs pickle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            check_names(members, str(path))
            return TaskData(arrays={name: _read_array(archive, members[name], path) for name in ARRAY_NAMES})
    except OSError as error:
        raise MetaGDError(f"{path}: cannot be read ({error})") from error
    except DAMAGE as error:
        raise MetaGDError(
            f"{path}: not a .npz archive, or cut off or damaged ({error}); fetch it again, or write it with "
            "numpy.savez_compressed"
        ) from error


def _read_array(archive: zipfile.ZipFile, member: str, path: Path) -> npt.NDArray[Any]:
    try:
        with archive.open(member) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except (*DAMAGE, OSError) as error:
        remedy = (
            "arrays of objects would have to be unpickled, which can run code and is never done; save plain numbers"
            if "object" in str(error).lower()
            else "the file is damaged: fetch or write it again"
        )
        raise MetaGDError(f"{path}: the array {member} cannot be read ({error}); {remedy}") from error


NPZ = Reader(name="npz", reads="six arrays in MedMNIST's layout", read=read_npz, endings=(".npz",))
