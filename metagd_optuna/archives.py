"""Zip archives from strangers: what their directory says is checked before anything is unpacked."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable

# NumPy and Keras write these; the others unpack without a bound.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# As Keras refuses them: data of any use are not packed that tightly.
MOST_EXPANSION, BOMB_FROM = 100, 2**28


def check_members(members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse members that say little and would take much.

    What is unpacked of one is never more than it declares, because zipfile reads no further.

    Args:
        members: all that will be read.

    Raises:
        BadZipFile: if one is packed in an unusual way, or if those that would grow more than a hundredfold would take
            more than 256 MiB together.
    """
    grown = 0
    for member in members:
        if member.compress_type not in _METHODS:
            raise zipfile.BadZipFile("packed by another method than NumPy's and Keras' own")
        if member.file_size > MOST_EXPANSION * member.compress_size:
            grown += member.file_size
    if grown > BOMB_FROM:
        raise zipfile.BadZipFile(
            f"{grown / 2**20:,.0f} MiB packed more than {MOST_EXPANSION} times, as no images or weights are"
        )
