"""Image files of any size and kind made one array."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import counted, shortened
from metagd_optuna.tasks.memory import check_memory
from metagd_optuna.tasks.pixels import fitted
from metagd_optuna.tasks.validation import listed

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LARGEST_SIDE = 512
# Beyond these an image is refused before it is unpacked: a header may promise anything.
MOST_PIXELS = 50_000_000
# Pillow's modes. Palettes are taken as colours, and transparency is dropped: what lies under it is kept.
_GREY, _DEEP = frozenset({"1", "L", "LA", "La"}), frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
# The formats in which a camera says how it was held, the tag that says it, and from which value on it lay on its side.
_EXIF, _ORIENTATION, _LYING = frozenset({"JPEG", "MPO", "TIFF"}), 0x0112, 5
_BYTES = 4  # a value of a pixel takes as float32, which complexity and deep images need


class Header(NamedTuple):
    """What an image file says of itself before it is unpacked."""

    height: int
    width: int
    colour: bool
    deep: bool


class Pictures(NamedTuple):
    """Images that were read.

    Args:
        images: uint8, or uint16 where files hold more than 8 bits; shape (n, h, w, c).
        kept: which of the files they are, rising; all, unless unreadable ones were skipped.
        told: what is to be told of them.
    """

    images: npt.NDArray[Any]
    kept: npt.NDArray[np.int64]
    told: dict[str, Any]


class _UnreadableError(Exception):
    """What is wrong with one file."""


def is_picture(path: Path) -> bool:
    """Return whether a file's name ends as those of images do, and is not hidden."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def read_pictures(
    files: Sequence[Path], where: str, *, image_size: int | None = None, skip_unreadable: bool = False
) -> Pictures:
    """Return image files as one array: grey if all are, else with three colours; of 8 bits if all are, else of 16.

    Args:
        files: PNG, JPEG, BMP and TIFF, of one picture each.
        where: what they are of, for errors.
        image_size: fits each into a square of that side, see ``pixels.fitted``; needed if sizes differ.
        skip_unreadable: leaves out files that cannot be read, in place of an error.

    Raises:
        MetaGDError: for files that cannot be read; sizes that differ; images that are too large; 8 and 16 bits in one
            set; more than fits into memory.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow unpacks outside Python's lock
        headers = list(pool.map(_header, files))
        kept = _readable(files, headers, where, skip=skip_unreadable)
        found = [header for header in headers if isinstance(header, Header)]
        height, width = _size(found, where, image_size)
        colour, deep = any(header.colour for header in found), any(header.deep for header in found)
        if deep and not all(header.deep for header in found):
            raise MetaGDError(
                f"{where}: {sum(header.deep for header in found):,} of {counted(len(found), 'image')} have more than "
                "8 bits "
                "for a pixel, the others have 8; a number would mean two things: store all of them alike"
            )
        shape = (len(kept), height, width, 3 if colour else 1)
        check_memory(
            int(np.prod(shape, dtype=np.int64)) * _BYTES,
            f"{where}: {counted(len(kept), 'image')} of {height} x {width}",
            f"give a smaller image_size than {max(height, width)}, or leave images out",
        )
        images = np.zeros(shape, np.uint16 if deep else np.uint8)

        def read(place: int) -> str:
            try:
                images[place] = _pixels(files[kept[place]], colour, deep, image_size)
            except _UnreadableError as error:
                return str(error)
            return ""

        wrong = list(pool.map(read, range(len(kept))))
    broken = [place for place, reason in enumerate(wrong) if reason]
    if broken:
        _refuse_unreadable([(files[kept[place]], wrong[place]) for place in broken], len(files), where, skip_unreadable)
        whole = np.array([not reason for reason in wrong])
        images, kept = images[whole], kept[whole]
    if not len(kept):
        raise MetaGDError(f"{where}: none of {counted(len(files), 'image')} could be read")
    return Pictures(images, kept, {"skipped": len(files) - len(kept)} if len(kept) < len(files) else {})


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
            "give "
            "skip_unreadable = true to leave them out"
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
            "square "
            "of that side"
        )
    if max(height, width) > LARGEST_SIDE:
        raise MetaGDError(
            f"{where}: images of {height} x {width} pixels are larger than {LARGEST_SIDE} x {LARGEST_SIDE}; give "
            "image_size, "
            f"up to {LARGEST_SIDE}, to fit each into a square of that side"
        )
    return height, width


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open an image; whatever is wrong with it, then or inside, becomes ``_UnreadableError`` with the reason."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            width, height = image.size
            if height * width > MOST_PIXELS:
                raise _UnreadableError(f"{height:,} x {width:,} pixels, more than {MOST_PIXELS:,}")
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise _UnreadableError(f"{frames} pictures in one file; save each as a file")
            if image.mode not in _GREY | _DEEP | _COLOUR:
                raise _UnreadableError(f"pixels of the kind {image.mode!r}; store them as 8 or 16 bits")
            yield image
    except _UnreadableError:
        raise
    except UnidentifiedImageError:
        raise _UnreadableError("no image, or damaged at its beginning") from None
    except FileNotFoundError:
        raise _UnreadableError("there is no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _UnreadableError(f"more than {MOST_PIXELS:,} pixels") from None
    # What Pillow's plugins raise on damaged files is not documented, and differs from one to the next.
    except Exception as error:
        raise _UnreadableError(shortened(str(error)) or type(error).__name__) from error


def _header(file: Path) -> Header | str:
    """Return what a file says of itself, or what is wrong with it."""
    try:
        with _opened(file) as image:
            width, height = image.size
            if _is_turned(image):
                width, height = height, width
            return Header(height, width, image.mode in _COLOUR, image.mode in _DEEP)
    except _UnreadableError as error:
        return str(error)


def _is_turned(image: Any) -> bool:
    """Return whether a camera has stored an image lying on its side, and says so."""
    return image.format in _EXIF and image.getexif().get(_ORIENTATION, 1) >= _LYING


def _pixels(file: Path, colour: bool, deep: bool, image_size: int | None) -> npt.NDArray[Any]:
    """Return an image of shape (h, w, c), upright."""
    from PIL import ImageOps

    with _opened(file) as opened:
        image = ImageOps.exif_transpose(opened) if opened.format in _EXIF else opened
        if deep:
            pixels = np.asarray(image)
            if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
                raise _UnreadableError(f"pixels from {pixels.min()} to {pixels.max()}; 16 bits hold 0 to 65,535")
            pixels = pixels.astype(np.uint16)
        else:
            # A palette may hold transparent colours, which Pillow drops in two steps only.
            image = image.convert("RGBA") if image.mode in ("P", "PA") else image
            pixels = np.asarray(image.convert("RGB" if colour else "L"))
        pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
        return fitted(pixels, image_size) if image_size else pixels
