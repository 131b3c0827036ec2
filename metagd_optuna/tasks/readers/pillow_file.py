"""One image file that Pillow reads: PNG, JPEG, BMP or TIFF."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.given import shortened
from metagd_optuna.tasks.readers.image_file import MOST_PIXELS, Header, UnreadableError, check_size

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# Pillow would try all that it knows, whatever a file is called, and have Ghostscript run the PostScript in it.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")  # with JPEG come the pairs of MPO
# Pillow's modes. Palettes are taken as colours, and transparency is dropped: what lies under it is kept.
_GREY, _DEEP = frozenset({"1", "L", "LA", "La"}), frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
# The formats in which a camera says how it was held, the tag that says it, and from which value on it lay on its side.
_EXIF, _ORIENTATION, _LYING = frozenset({"JPEG", "MPO", "TIFF"}), 0x0112, 5
_TILE = (323, 322)  # TileLength and TileWidth


def header(file: Path) -> Header:
    """Return what a file says of itself.

    Raises:
        UnreadableError: if it cannot be read.
    """
    with _opened(file) as image:
        width, height = image.size
        if _is_turned(image):
            width, height = height, width
        return Header(height, width, image.mode in _COLOUR, image.mode in _DEEP)


def pixels(file: Path, wanted: Header) -> npt.NDArray[Any]:
    """Return an image of shape (h, w, c), upright: three colours if they are wanted, else grey; uint16 if deep.

    Raises:
        UnreadableError: if it cannot be read.
    """
    from PIL import ImageOps

    with _opened(file) as opened:
        image = ImageOps.exif_transpose(opened) if opened.format in _EXIF else opened
        if wanted.deep:
            found = np.asarray(image)
            if found.min() < 0 or found.max() > np.iinfo(np.uint16).max:
                raise UnreadableError(f"pixels from {found.min()} to {found.max()}; 16 bits hold 0 to 65,535")
            return found.astype(np.uint16)[..., np.newaxis]
        # A palette may hold transparent colours, which Pillow drops in two steps only.
        image = image.convert("RGBA") if image.mode in ("P", "PA") else image
        found = np.asarray(image.convert("RGB" if wanted.colour else "L"))
        return found if found.ndim == 3 else found[..., np.newaxis]


def jpeg_size(packed: bytes) -> tuple[int, int] | None:
    """Return height and width of JPEG or JPEG 2000; None of a kind that Pillow does not unpack, such as JPEG-LS."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(packed), formats=("JPEG", "JPEG2000")) as image:
            return image.height, image.width
    except UnidentifiedImageError:
        return None


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open an image; whatever is wrong with it, then or inside, becomes ``UnreadableError`` with the reason."""
    from PIL import Image, UnidentifiedImageError
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        with Image.open(file, formats=_FORMATS) as image:
            width, height = image.size
            check_size(height, width)
            if isinstance(image, TiffImageFile):  # a tile is unpacked whole, however little of it is of the image
                check_size(*(int(image.tag_v2.get(tag, 0)) for tag in _TILE))
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise UnreadableError(f"{frames} pictures in one file; save each as a file")
            if image.mode not in _GREY | _DEEP | _COLOUR:
                raise UnreadableError(f"pixels of the kind {image.mode!r}; store them as 8 or 16 bits")
            yield image
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("no PNG, JPEG, BMP or TIFF image, or damaged at its beginning") from None
    except FileNotFoundError:
        raise UnreadableError("there is no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(f"more than {MOST_PIXELS:,} pixels") from None
    # What Pillow's plugins raise on damaged files is not documented, and differs from one to the next.
    except Exception as error:
        raise UnreadableError(shortened(str(error)) or type(error).__name__) from error


def _is_turned(image: Any) -> bool:
    """Return whether a camera has stored an image lying on its side, and says so."""
    return image.format in _EXIF and image.getexif().get(_ORIENTATION, 1) >= _LYING
