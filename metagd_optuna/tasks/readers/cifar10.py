"""Reading CIFAR-10's binary archive; its other archives are pickles and are never read."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks.readers.reader import Reader, TaskData
from metagd_optuna.tasks.stratify import stratified_part

RECORD = 1 + 3 * 32 * 32
TRAIN_MEMBERS = tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6))
TEST_MEMBER = "cifar-10-batches-bin/test_batch.bin"
MOST = 2**25  # bytes of a member; those of CIFAR-10 have 10,000 records
SPLIT_SEED = 0
VAL_FRACTION = 0.1


def read_cifar10(path: Path) -> TaskData:
    """Return CIFAR-10 from ``cifar-10-binary.tar.gz``, a tenth of its training images held out as validation.

    A record is one byte of label and 3072 bytes of pixels: channel, row, column. Nothing is unpacked to
    disk, and members other than the six that the format names are not looked at.

    Args:
        path: the archive.

    Returns:
        Arrays ``{train,val,test}_images`` uint8 of shape (n, 32, 32, 3), ``..._labels`` int32 of shape (n,).

    Raises:
        MetaGDError: if the archive is damaged or lacks one of its six members.
    """
    try:
        with _Bounded(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
            batches = [_records(archive, member, path) for member in TRAIN_MEMBERS]
            test = _records(archive, TEST_MEMBER, path)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise MetaGDError(f"{path}: cannot be read ({error}); the file is damaged: fetch it again") from error
    train = np.concatenate(batches)
    labels = train[:, 0].astype(np.int32)
    val_rows = stratified_part(labels, round(len(labels) * VAL_FRACTION), seed=SPLIT_SEED)
    train_rows = np.setdiff1d(np.arange(len(labels)), val_rows)
    images = _images(train)
    arrays: dict[str, npt.NDArray[Any]] = {
        "train_images": images[train_rows],
        "train_labels": labels[train_rows],
        "val_images": images[val_rows],
        "val_labels": labels[val_rows],
        "test_images": _images(test),
        "test_labels": test[:, 0].astype(np.int32),
    }
    return TaskData(arrays=arrays)


class _Bounded(gzip.GzipFile):
    """A gzip file that gives no more at once than a member may hold, whatever sizes a header promises."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MOST:
            raise OSError(f"a part of it has more than {MOST:,} bytes")
        return super().read(size)


def _records(archive: tarfile.TarFile, member: str, path: Path) -> npt.NDArray[np.uint8]:
    try:
        if archive.getmember(member).size > MOST:
            raise MetaGDError(f"{path}: the member {member} has more than {MOST:,} bytes; CIFAR-10's have fewer")
        stream = archive.extractfile(member)
    except KeyError as error:
        raise MetaGDError(f"{path}: the member {member} is missing; this is not CIFAR-10's binary version") from error
    if stream is None:
        raise MetaGDError(f"{path}: the member {member} is not a plain file")
    data = np.frombuffer(stream.read(), dtype=np.uint8)
    if data.size == 0 or data.size % RECORD:
        raise MetaGDError(f"{path}: the member {member} has {data.size} bytes, not a multiple of {RECORD}")
    return data.reshape(-1, RECORD)


def _images(records: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


CIFAR10 = Reader(
    name="cifar10", reads="CIFAR-10's binary archive", read=read_cifar10, endings=("cifar-10-binary.tar.gz",)
)
