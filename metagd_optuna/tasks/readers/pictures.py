"""Image files of any size and kind made one array."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import counted, shortened
from metagd_optuna.tasks.finding import Finding
from metagd_optuna.tasks.memory import check_memory, fitting
from metagd_optuna.tasks.pixels import fitted
from metagd_optuna.tasks.readers import dicom_file, picture_cache, pillow_file
from metagd_optuna.tasks.readers.image_file import Header, UnreadableError
from metagd_optuna.tasks.validation import listed

ENDINGS = (*pillow_file.ENDINGS, *dicom_file.ENDINGS)
LARGEST_SIDE = 512
NO_PATIENTS = "none"
_DICOM_BITS = 16  # a window is spread over all of them
_BYTES = 4  # a value of a pixel takes as float32, which complexity and deep images need
_UNPACKING = 32  # bytes that a pixel takes while it is unpacked: four float64 at once, of a DICOM file


class Pictures(NamedTuple):
    """Images that were read.

    Args:
        images: uint8, or uint16 where files hold more than 8 bits; shape (n, h, w, c).
        kept: which of the files they are, rising; all, unless unreadable ones were skipped.
        bits: how many bits deep images span; None where the images themselves tell.
        told: what is to be told of them.
        findings: what is wrong with them.
    """

    images: npt.NDArray[Any]
    kept: npt.NDArray[np.int64]
    bits: int | None
    told: dict[str, Any]
    findings: tuple[Finding, ...]


def is_plain_file(path: Path) -> bool:
    """Return whether a path, which a stranger may have written, leads to a file, and not to a device or a pipe."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # names that no file system can hold
        return False


def is_picture(path: Path) -> bool:
    """Return whether a file is an image by its ending, or a DICOM file by its ending or its beginning."""
    if path.name.startswith(".") or not is_plain_file(path):
        return False
    return path.suffix.lower() in pillow_file.ENDINGS or dicom_file.is_dicom(path)


def read_pictures(
    files: Sequence[Path],
    where: str,
    *,
    image_size: int | None = None,
    window: tuple[float, float] | None = None,
    skip_unreadable: bool = False,
    log: Callable[[str], None] | None = None,
) -> Pictures:
    """Return image files as one array: grey if all are, else with three colours; of 8 bits if all are, else of 16.

    Args:
        files: PNG, JPEG, BMP and TIFF, or DICOM, of one picture each.
        where: what they are of, for errors.
        image_size: fits each into a square of that side, see ``pixels.fitted``; needed if sizes differ.
        window: of grey DICOM pictures: centre and width; by default each file's own.
        skip_unreadable: leaves out files that cannot be read, in place of an error.
        log: called with how much memory they will take, if that is much.

    Raises:
        MetaGDError: for files that cannot be read; sizes that differ; images that are too large; 8 and 16 bits in one
            set, or DICOM and other files; more than fits into memory.
    """
    dicom = _all_dicom(files, where)
    if dicom:
        dicom_file.check_installed(where)
    elif window is not None:
        raise MetaGDError(f"{where}: window is for DICOM files, and these are none; leave it out")

    def header(file: Path) -> Header | str:
        try:
            if not is_plain_file(file):  # what else a table may name would be waited for, or never end
                raise UnreadableError("there is no such file")
            return dicom_file.header(file) if dicom else pillow_file.header(file)
        except UnreadableError as error:
            return str(error)

    # What unpacks images does so outside Python's lock. It warns of much that breaks a standard; what matters is asked
    # for, and refused if it does not fit.
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        headers = list(pool.map(header, files))
        kept = _readable(files, headers, where, skip=skip_unreadable)
        found = [header for header in headers if isinstance(header, Header)]
        height, width = _size(found, where, image_size)
        wanted = Header(height, width, any(each.colour for each in found), any(each.deep for each in found))
        _check_depth(found, where)
        shape = (len(kept), height, width, 3 if wanted.colour else 1)
        check_memory(
            int(np.prod(shape, dtype=np.int64)) * _BYTES,
            f"{where}: {counted(len(kept), 'image')} of {height} x {width}",
            f"give a smaller image_size than {max(height, width)}, or leave images out",
            log,
        )
        there = [files[row] for row in kept]
        key = ""
        if picture_cache.most_bytes():
            how = [*wanted, image_size, window, dicom, version("pydicom" if dicom else "pillow")]
            key = picture_cache.key_of(pool.map(picture_cache.checksum, there), how)
        known = picture_cache.kept_under(key, shape) if key else None
        # Why others could not be read is known only to who tries.
        if known is None or not (skip_unreadable or len(known.kept) == len(kept)):
            largest = max(each.height * each.width for each in found)
            with ThreadPoolExecutor(fitting(os.cpu_count() or 1, largest * _UNPACKING)) as few:
                images, wrong = _unpacked(there, wanted, image_size, window, few, dicom=dicom)
            broken = [(there[place], reason) for place, reason in enumerate(wrong) if reason]
            if broken:
                _refuse_unreadable(broken, len(files), where, skip_unreadable)
            whole = np.array([place for place, reason in enumerate(wrong) if not reason], np.int64)
            known = picture_cache.Unpacked(images[whole] if broken else images, whole)
            if key:
                picture_cache.keep(key, known)
    images, kept = known.images, kept[known.kept]
    if not len(kept):
        raise MetaGDError(f"{where}: none of {counted(len(files), 'image')} could be read")
    told = {"skipped": len(files) - len(kept)} if len(kept) < len(files) else {}
    findings = tuple(_findings(headers, kept))
    return Pictures(images, kept, _DICOM_BITS if dicom and wanted.deep else None, told, findings)


def _unpacked(
    files: Sequence[Path],
    wanted: Header,
    image_size: int | None,
    window: tuple[float, float] | None,
    pool: Executor,
    *,
    dicom: bool,
) -> tuple[npt.NDArray[Any], list[str]]:
    """Return the images of files, and for each why it could not be unpacked, an empty text if it could."""
    shape = (len(files), wanted.height, wanted.width, 3 if wanted.colour else 1)
    images = np.zeros(shape, np.uint16 if wanted.deep else np.uint8)

    def read(place: int) -> str:
        file = files[place]
        try:
            image = dicom_file.pixels(file, wanted, window) if dicom else pillow_file.pixels(file, wanted)
            if image.ndim != 3 or (not image_size and image.shape != shape[1:]):
                raise UnreadableError("its pixels are not of the size that its header says")
        except UnreadableError as error:
            return str(error)
        images[place] = fitted(image, image_size) if image_size else image
        return ""

    return images, list(pool.map(read, range(len(files))))


def _findings(headers: Sequence[Header | str], kept: npt.NDArray[np.int64]) -> Iterator[Finding]:
    """Yield what is wrong with a set of files that were read: some were not, or they are of several kinds."""
    skipped = tuple((np.setdiff1d(np.arange(len(headers)), kept) + 1).tolist())
    if skipped:
        yield Finding(
            f"{counted(len(skipped), 'file')} of {len(headers):,} left out as unreadable",
            "mend or remove them",
            {"": skipped},
        )
    found = {int(place) + 1: header for place in kept if isinstance(header := headers[place], Header)}
    yield from _mixed("sizes", {number: f"{each.height} x {each.width}" for number, each in found.items()}, _RESIZED)
    yield from _mixed("kinds", {number: _kind(each) for number, each in found.items()}, _APART)


_RESIZED = "each was fitted into the same square; if a class has sizes of its own, its size gives it away"
_APART = "leave out what does not belong, or make a task of each kind"


def _kind(header: Header) -> str:
    kind = "colour" if header.colour else "grey"
    return f"{header.modality}, {kind}" if header.modality else kind


def _mixed(what: str, by_number: Mapping[int, str], remedy: str) -> Iterator[Finding]:
    """Yield that not all are alike, with the cases that differ from most."""
    counts = Counter(by_number.values())
    if len(counts) > 1:
        usual, _ = counts.most_common(1)[0]
        said = listed(f"{count:,} {value}" for value, count in counts.most_common())
        odd = tuple(number for number, value in by_number.items() if value != usual)
        yield Finding(f"images of {len(counts)} {what}: {said}", remedy, {"": odd})


def _all_dicom(files: Sequence[Path], where: str) -> bool:
    others = [file for file in files if file.suffix.lower() in pillow_file.ENDINGS]
    if others and len(others) < len(files):
        raise MetaGDError(
            f"{where}: {len(files) - len(others):,} of {counted(len(files), 'image')} are DICOM files, and the others "
            "are not; a grey value would mean two things: make all of one kind"
        )
    return not others


def _check_depth(headers: Sequence[Header], where: str) -> None:
    deep = sum(header.deep for header in headers)
    if 0 < deep < len(headers):
        raise MetaGDError(
            f"{where}: {deep:,} of {counted(len(headers), 'image')} have more than 8 bits of grey, the others have 8 "
            "or colours; a number would mean two things: store all of them alike"
        )


def _readable(
    files: Sequence[Path], headers: Sequence[Header | str], where: str, *, skip: bool
) -> npt.NDArray[np.int64]:
    wrong = [(file, header) for file, header in zip(files, headers, strict=True) if isinstance(header, str)]
    if wrong:
        _refuse_unreadable(wrong, len(files), where, skip)
    if len(wrong) == len(files):
        raise MetaGDError(f"{where}: none of {counted(len(files), 'image')} could be read")
    return np.array([place for place, header in enumerate(headers) if isinstance(header, Header)], np.int64)


def _refuse_unreadable(wrong: Sequence[tuple[Path, str]], of: int, where: str, skip: bool) -> None:
    if not skip:
        said = "; ".join(f"{shortened(str(file))} ({reason})" for file, reason in wrong[:3])
        more = f" and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""
        raise MetaGDError(
            f"{where}: {counted(len(wrong), 'image')} of {of:,} cannot be read: {said}{more}; mend or remove them, or "
            "give skip_unreadable = true to leave them out"
        )


def _size(headers: Sequence[Header], where: str, image_size: int | None) -> tuple[int, int]:
    if image_size is not None:
        return image_size, image_size
    sizes = Counter((header.height, header.width) for header in headers)
    (height, width), _ = sizes.most_common(1)[0]
    if len(sizes) > 1:
        said = listed(f"{count:,} of {tall} x {wide}" for (tall, wide), count in sizes.most_common())
        raise MetaGDError(
            f"{where}: images differ in size: {said}; give image_size, such as image_size = 64, to fit each into a "
            "square of that side"
        )
    if max(height, width) > LARGEST_SIDE:
        raise MetaGDError(
            f"{where}: images of {height} x {width} pixels are larger than {LARGEST_SIDE} x {LARGEST_SIDE}; give "
            f"image_size, up to {LARGEST_SIDE}, to fit each into a square of that side"
        )
    return height, width


def patients_of(files: Sequence[Path], where: str, keyword: str | None = None) -> list[str] | None:
    """Return whose picture each DICOM file is; None for other files, or if no file says.

    Args:
        files: all DICOM, or none.
        where: what they are of, for errors.
        keyword: of the tag that says it, by default PatientID; ``none`` for a patient to each file.

    Raises:
        MetaGDError: if files are no DICOM and a keyword is given, or if some files say and others do not.
    """
    if files and files[0].suffix.lower() in pillow_file.ENDINGS:
        if keyword is not None:
            raise MetaGDError(
                f"{where}: patient is for DICOM files and tables, and these files name none; leave it out"
            )
        return None
    if keyword == NO_PATIENTS:
        return None
    with warnings.catch_warnings():  # as above
        warnings.simplefilter("ignore")
        found = [dicom_file.patient_of(file, keyword or dicom_file.PATIENT, where) for file in files]
    unknown = found.count("")
    if 0 < unknown < len(found):
        raise MetaGDError(
            f"{where}: {unknown:,} of {counted(len(found), 'DICOM file')} do not say whose they are "
            f'({keyword or dicom_file.PATIENT}); name another tag with patient, or patient = "{NO_PATIENTS}" to take '
            "every picture for a patient of its own"
        )
    return None if unknown else found
