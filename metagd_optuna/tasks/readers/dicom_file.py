"""One DICOM file that pydicom reads: its picture as it is meant to be looked at, and whose it is."""

from __future__ import annotations

import codecs
import itertools
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.tasks.readers.image_file import Header, UnreadableError, check_size
from metagd_optuna.tasks.readers.pillow_file import jpeg_size

ENDINGS = (".dcm", ".dicom")
PATIENT = "PatientID"
_MAGIC, _MAGIC_AT = b"DICM", 128
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("Red", "Green", "Blue", "Alpha")
# Python's own, of which some take a time quadratic in a text; no program writes them.
_OF_PYTHON = {"idna", "mbcs", "oem", "palmos", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
_NOTHING = 128  # the byte that begins no run
_FULL = np.iinfo(np.uint16).max

Window = tuple[float, float]
Dataset = Any  # pydicom's, which is typed by its tags only


def is_dicom(file: Path) -> bool:
    """Return whether a file is called as DICOM files are, or begins as they do: many have no ending."""
    if file.suffix.lower() in ENDINGS:
        return True
    with file.open("rb") as stream:
        return stream.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


def check_installed(where: str) -> None:
    """Refuse DICOM files where pydicom is not installed.

    Raises:
        MetaGDError: with what to install.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise MetaGDError(
            f"{where}: DICOM files are read with pydicom, which is not installed: pip install 'metagd-optuna[dicom]'"
        ) from None


def header(file: Path) -> Header:
    """Return what a file says of itself.

    Raises:
        UnreadableError: if it cannot be read, holds no picture or several, or is compressed in a way that nothing
            installed unpacks.
    """
    with _readable():
        _refuse_deflated(file)
    found = _read(file, pixels=False)
    with _readable():
        return _header(found)


def _refuse_deflated(file: Path) -> None:
    """Refuse a file that is packed as a whole: pydicom would unpack it all to read its first line, to any size."""
    from pydicom.filereader import read_file_meta_info

    syntax = read_file_meta_info(file).get("TransferSyntaxUID")
    if syntax is not None and syntax.is_transfer_syntax and syntax.is_deflated:
        raise UnreadableError("packed as a whole (deflated); store it without, or with its pixels compressed alone")


def _header(found: Dataset) -> Header:
    from pydicom.pixels import get_decoder

    if "Rows" not in found or "Columns" not in found:
        raise UnreadableError("a DICOM file without pixels")
    if any(f"Segmented{colour}PaletteColorLookupTableData" in found for colour in _COLOURS):
        raise UnreadableError("a palette in segments, which few bytes can make endless; store its colours as they are")
    frames = int(found.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UnreadableError(f"{frames} frames in one file; save each frame that counts as a file of its own")
    check_size(int(found.Rows), int(found.Columns))
    syntax = found.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise UnreadableError("it does not say how its pixels are stored (TransferSyntaxUID)")
    if syntax.is_compressed and syntax.is_encapsulated:
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:
            raise UnreadableError(f"compressed as {syntax.name}, which pydicom does not unpack") from None
        if not decoder.is_available:
            needed = "; or ".join(decoder.missing_dependencies)
            raise UnreadableError(f"compressed as {syntax.name}, for which one of these has to be installed: {needed}")
    grey = found.get("PhotometricInterpretation") in _GREY
    return Header(int(found.Rows), int(found.Columns), not grey, grey, str(found.get("Modality") or ""))


def pixels(file: Path, wanted: Header, window: Window | None) -> npt.NDArray[Any]:
    """Return a picture of shape (h, w, c): grey as uint16 that spans its window, colours as uint8.

    Grey values are rescaled (slope and intercept, or modality LUT). Then those of the window are spread over 0 to
    65,535: the window that is given, in rescaled units; else the file's own; else all that its bits can hold.
    MONOCHROME1 is inverted, so that larger is brighter.

    Args:
        file: which.
        wanted: whether it has to be colours.
        window: centre and width.

    Raises:
        UnreadableError: if it cannot be read.
    """
    from pydicom import pixels as unpack

    before, found = header(file), _read(file, pixels=True)
    with _readable():
        if _header(found) != before:
            raise UnreadableError("tags behind its pixels say something else than those before")
        if found.file_meta.TransferSyntaxUID.is_encapsulated:
            _check_packed(found)
        raw = unpack.pixel_array(found, index=0)
        if found.PhotometricInterpretation in _GREY:
            shares = _windowed(np.asarray(unpack.apply_modality_lut(raw, found), np.float64), found, window)
            shares = 1 - shares if found.PhotometricInterpretation == "MONOCHROME1" else shares
            if not np.isfinite(shares).all():
                raise UnreadableError("its window, slope or intercept makes no numbers of its pixels")
            return np.asarray(np.rint(shares * _FULL), np.uint16)[..., np.newaxis]
        if found.PhotometricInterpretation == "PALETTE COLOR":
            raw = unpack.apply_color_lut(raw, found)
            bits = 8 * raw.dtype.itemsize
        else:
            bits = int(found.BitsStored)
        return np.asarray(raw[..., :3] >> max(bits - 8, 0)).astype(np.uint8)


def _check_packed(found: Dataset) -> None:
    """Refuse a compressed picture that unpacks to more than the file's header says, and leave no other in the file."""
    from pydicom.encaps import encapsulate, generate_frames, parse_basic_offsets
    from pydicom.uid import RLELossless

    for tag in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):  # of one picture they could only mislead
        if tag in found:
            del found[tag]
    packed = len(parse_basic_offsets(found.PixelData))
    if packed > 1:
        raise UnreadableError(f"{packed:,} frames are packed, and its header says one")
    frame = next(generate_frames(found.PixelData, number_of_frames=1))
    found.PixelData = encapsulate([frame])  # pydicom unpacks whatever else it finds
    rows, columns = int(found.Rows), int(found.Columns)
    if found.file_meta.TransferSyntaxUID == RLELossless:
        _check_runs(frame, rows * columns)
        return
    height, width = jpeg_size(frame) or (rows, columns)
    if (height, width) != (rows, columns):
        raise UnreadableError(f"its header says {rows:,} x {columns:,} pixels, and {height:,} x {width:,} are packed")


def _check_runs(frame: bytes, most: int) -> None:
    """Refuse a picture in runs (DICOM PS3.5, annex G) of which a segment unpacks to more than its pixels.

    Args:
        frame: 64 bytes that say where its segments begin, and those.
        most: how many bytes a segment holds.
    """
    most = 2 * most + 1024  # a segment may be filled up, and what is too much of it is cut off
    count, *begins = struct.unpack("<16L", frame[:64])
    begins = [*begins[: min(count, len(begins))], len(frame)]
    if begins != sorted(begins):  # each run would be read again and again
        raise UnreadableError("its segments are in no order")
    for begin, end in itertools.pairwise(begins):
        place, length = begin, 0
        while place < end and length <= most:
            run = frame[place]
            length += run + 1 if run < _NOTHING else 257 - run if run > _NOTHING else 0
            place += run + 2 if run < _NOTHING else 2 if run > _NOTHING else 1
        if length > most:
            raise UnreadableError("more pixels are packed than its header says")


@contextmanager
def _readable() -> Iterator[None]:
    """Turn whatever is wrong with a file into ``UnreadableError`` with the reason."""
    from pydicom.errors import InvalidDicomError

    try:
        yield
    except UnreadableError:
        raise
    except InvalidDicomError:
        raise UnreadableError("no DICOM file, or damaged at its beginning") from None
    except FileNotFoundError:
        raise UnreadableError("there is no such file") from None
    # What pydicom and its plugins raise on damaged files is not documented, and differs from one to the next.
    except Exception as error:
        raise UnreadableError(shortened(str(error).splitlines()[0] if str(error) else type(error).__name__)) from error


def patient_of(file: Path, keyword: str, where: str) -> str:
    """Return whose picture it is, by a tag's keyword such as PatientID; empty if the file does not say.

    Raises:
        MetaGDError: for a keyword that DICOM does not have, or a file that says it in no readable way.
    """
    from pydicom.datadict import tag_for_keyword

    if tag_for_keyword(keyword) is None:
        raise MetaGDError(
            f"{where}: patient is {as_given(keyword)}, which is no keyword of DICOM; the usual one is {PATIENT}, and "
            "none takes every picture for a patient of its own"
        )
    try:
        with _readable():
            return str(_read(file, pixels=False).get(keyword) or "").strip()
    except UnreadableError as error:
        raise MetaGDError(f"{where}: {shortened(str(file))}: {keyword} cannot be read ({error}); mend it") from None


def _read(file: Path, *, pixels: bool) -> Dataset:
    import pydicom

    with _readable():
        found = pydicom.dcmread(file, stop_before_pixels=not pixels)
        _check_character_set(found)
        _complete_rescaling(found)
    if pixels and "PixelData" not in found:
        raise UnreadableError("a DICOM file without pixels")
    return found


def _complete_rescaling(found: Dataset) -> None:
    """Give slope or intercept what it means where it is empty or absent: pydicom takes both or none."""
    neutral = {"RescaleSlope": 1, "RescaleIntercept": 0}
    empty = [keyword for keyword in neutral if _empty(found.get(keyword))]
    for keyword in empty:
        if len(empty) == 1:
            setattr(found, keyword, neutral[keyword])
        elif keyword in found:
            del found[keyword]


def _check_character_set(found: Dataset) -> None:
    """Refuse texts in an encoding that is Python's own: pydicom would take any, however slow."""
    from pydicom.charset import convert_encodings

    given = found.get("SpecificCharacterSet") or ()
    named = [given] if isinstance(given, str) else list(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are misspelt, which pydicom mends
        meant = [codecs.lookup(name) for name in convert_encodings(named)]
    if not all(each._is_text_encoding and each.name.replace("_", "-") not in _OF_PYTHON for each in meant):
        raise UnreadableError(f"its texts are in {shortened(str(given))}, which is no character set of DICOM")


def _windowed(values: npt.NDArray[np.float64], found: Dataset, window: Window | None) -> npt.NDArray[np.float64]:
    """Return values as shares of their window, in [0, 1] (DICOM PS3.3, C.11.2)."""
    from pydicom.pixels import apply_voi

    if window is None and found.get("VOILUTSequence"):
        bits = int(found.VOILUTSequence[0].LUTDescriptor[2])
        if bits not in range(1, 17):
            raise UnreadableError(f"the table of its window is of {bits} bits; 1 to 16 are allowed")
        largest = 2**bits - 1
        return np.asarray(apply_voi(np.rint(values).astype(np.int64), found) / largest, np.float64)
    function = "LINEAR"
    if window is None and not any(_empty(found.get(keyword)) for keyword in ("WindowCenter", "WindowWidth")):
        window = _first(found.WindowCenter), _first(found.WindowWidth)
        function = str(found.get("VOILUTFunction") or function)
    if window is None:
        low, high = _range(found)
        return np.asarray(np.clip((values - low) / (high - low), 0, 1))
    centre, width = window
    if function == "SIGMOID":
        from scipy.special import expit

        return np.asarray(expit(4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return np.asarray(np.clip((values - centre) / width + 0.5, 0, 1))
    return np.asarray(np.clip((values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5, 0, 1))


def _empty(value: Any) -> bool:
    """Return whether a number is absent, or left empty, as in files whose patients were removed."""
    return value is None or value == "" or (not isinstance(value, (int, float, str)) and len(value) == 0)


def _first(value: Any) -> float:
    """Return the first of the windows that a file offers."""
    return float(value if isinstance(value, (int, float, str)) else value[0])


def _range(found: Dataset) -> tuple[float, float]:
    """Return the smallest and the largest rescaled value that the file's bits can hold."""
    bits, signed = int(found.BitsStored), bool(found.get("PixelRepresentation"))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = float(found.get("RescaleSlope", 1)), float(found.get("RescaleIntercept", 0))
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return ends[0], ends[1]
