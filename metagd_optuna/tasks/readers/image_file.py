"""What is known of an image file before it is unpacked, and what is said of one that cannot be read."""

from __future__ import annotations

from typing import NamedTuple

# Beyond these an image is refused before it is unpacked: a header may promise anything.
MOST_PIXELS = 50_000_000


class Header(NamedTuple):
    """What an image file says of itself.

    Args:
        height, width: as it is looked at.
        colour: whether it has three colours, and not one grey.
        deep: whether it is grey of more than 8 bits.
        modality: with what it was taken, such as CT; empty where the file does not say.
    """

    height: int
    width: int
    colour: bool
    deep: bool
    modality: str = ""


class UnreadableError(Exception):
    """What is wrong with one file."""


def check_size(height: int, width: int) -> None:
    """Refuse an image of too many pixels.

    Raises:
        UnreadableError: for more than 50 million.
    """
    if height * width > MOST_PIXELS:
        raise UnreadableError(f"{height:,} x {width:,} pixels, more than {MOST_PIXELS:,}")
