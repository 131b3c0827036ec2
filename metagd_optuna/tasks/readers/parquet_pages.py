"""What a Parquet file takes when it is unpacked, by its footer and the headers of its pages: each may lie.

pyarrow is not asked, because some footers end the process in which it says what a column of theirs holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from metagd_optuna.tasks.readers.thrift import BINARY, I32, I64, LIST, STRUCT, Struct, ThriftReader, TooManyError

# Encodings by which a few bytes may make any number of texts, or texts of any length, as the format numbers them.
BOUNDLESS = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}
_MAGIC = b"PAR1"
_MOST_VALUES = 4_000_000  # of a footer: forty for each column of each row group, as pyarrow writes it
_USUAL, _LONGEST = 2**12, 2**20  # bytes of the header of a page
_MOST_OF_HEADER = 100  # values; twenty are usual
# The lists of each structure. Of one whose values are said to be of another type, pyarrow reads these nevertheless, and
# from there on something else than is read here.
_OF_FOOTER = {2: STRUCT, 4: STRUCT, 5: STRUCT, 7: STRUCT}
_OF_GROUP = {1: STRUCT, 4: STRUCT}
_OF_COLUMN = {2: I32, 3: BINARY, 8: STRUCT, 13: STRUCT}
_OF_SIZES, _OF_PLACES = {2: I64, 3: I64}, {2: I32}
# Behind a column of older ones, pyarrow looks for a hundred bytes more.
_KNOWN_PARQUET_MR = re.compile(rb"parquet-mr version (1\.([3-9]|[1-9]\d)|[2-9])\.")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where the values of one column in one row group lie.

    Args:
        column: its number, among the columns that hold values.
        begin, end: in bytes from the file's begin.
    """

    column: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a chunk.

    Args:
        packed, unpacked: how many bytes it takes, with its header.
        encodings: of its values.
        entries: of a dictionary, if it is one.
    """

    packed: int
    unpacked: int
    encodings: frozenset[int]
    entries: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What the footer of a file says, as far as it is believed.

    Args:
        rows: how many there are.
        chunks: of all row groups that have rows.
    """

    rows: int
    chunks: Sequence[Chunk]


def read_footer(path: Path) -> Struct:
    """Return the footer of a file.

    Args:
        path: of the file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if there is none, or it has too much in it.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 8))
        tail = stream.read()
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or length > size - 12:
            raise ValueError("no footer")
        stream.seek(size - 8 - length)
        footer = stream.read(length)
    try:
        return ThriftReader(footer, _MOST_VALUES).struct()
    except IndexError:
        raise ValueError("its footer is cut off") from None
    except TooManyError:
        raise ValueError(f"its footer has more than {_MOST_VALUES:,} values, as that of too many row groups") from None


def contents(fields: Struct, columns: int) -> Contents:
    """Return what the footer of a file says.

    Args:
        fields: of it.
        columns: how many of them hold values.

    Raises:
        ValueError: if it tells one thing here and another there.
    """
    writer = fields.get((6, BINARY), b"")
    if b"parquet-mr" in writer.lower() and not _KNOWN_PARQUET_MR.match(writer):
        raise ValueError("written by parquet-mr before 1.3")
    _check_lists(fields, _OF_FOOTER)
    rows, chunks = 0, []
    for group in _field(fields, 4, LIST).values:
        _check_lists(group, _OF_GROUP)
        here, held = _field(group, 3, I64), _field(group, 1, LIST).values
        if here < 0 or len(held) != columns:
            raise ValueError("a row group of less than no rows, or without a column")
        rows += here
        for number, column in enumerate(held):
            if (8, STRUCT) in column:
                raise ValueError("an encrypted column")
            about = _field(column, 3, STRUCT)
            for inner, lists in (
                (about, _OF_COLUMN),
                (about.get((16, STRUCT)), _OF_SIZES),
                (about.get((17, STRUCT)), _OF_PLACES),
            ):
                _check_lists(inner or {}, lists)
            if _field(about, 5, I64) != here:
                raise ValueError("a column with more or fewer values than rows")
            if here:  # of a column without values nothing is read
                chunks.append(_chunk(number, about))
    if _field(fields, 3, I64) != rows:
        raise ValueError("more or fewer rows than its row groups have")
    return Contents(rows, chunks)


def pages(path: Path, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Page]]:
    """Yield the pages of columns, each with its column.

    Args:
        path: of the file.
        chunks: that ``contents`` found in its footer.

    Raises:
        ValueError: if one of them has no header, or they take more bytes than the file has.
    """
    with path.open("rb") as stream:
        left = stream.seek(0, 2)
        for chunk in chunks:
            place = chunk.begin
            while place < chunk.end:
                page = _page(stream, place)
                place, left = place + page.packed, left - page.packed
                if left < 0:  # or a footer could lead to one page, or one long header, any number of times
                    raise ValueError("its columns share their pages")
                yield chunk, page


def _chunk(number: int, about: Struct) -> Chunk:
    """Return where the values of a column lie, as pyarrow finds them."""
    begin = _field(about, 9, I64)
    dictionary = about.get((11, I64), 0)
    begin = dictionary if 0 < dictionary < begin else begin
    end = begin + _field(about, 7, I64)
    if not 0 <= begin <= end:
        raise ValueError("a column of less than no bytes")
    return Chunk(number, begin, end)


def _page(stream: BinaryIO, place: int) -> Page:
    stream.seek(place)
    content = stream.read(_USUAL)
    reader = ThriftReader(content, _MOST_OF_HEADER)
    try:
        try:
            fields = reader.struct()
        except IndexError:
            reader = ThriftReader(content + stream.read(_LONGEST), _MOST_OF_HEADER)
            fields = reader.struct()
    except IndexError:
        raise ValueError("the header of a page is cut off") from None
    unpacked, packed = (_field(fields, number, I32) for number in (2, 3))
    if min(unpacked, packed) < 0:
        raise ValueError("a page of less than no bytes")
    # Of pages of either version, and of one that says that it is both.
    values = (fields.get((version, STRUCT), {}).get((number, I32)) for version, number in ((5, 2), (8, 4)))
    encodings = frozenset(encoding for encoding in values if encoding is not None)
    entries = fields.get((7, STRUCT), {}).get((1, I32), 0)
    return Page(reader.place + packed, reader.place + unpacked, encodings, max(0, entries))


def _field(fields: Struct, number: int, kind: int) -> Any:
    if (number, kind) not in fields:
        raise ValueError(f"field {number} is missing, or of another type, in its footer or the header of a page")
    return fields[number, kind]


def _check_lists(fields: Struct, kinds: Mapping[int, int]) -> None:
    for number, kind in kinds.items():
        found = fields.get((number, LIST))
        if found is not None and found.values and found.kind != kind:
            raise ValueError(f"a list of other things than it should have in field {number} of its footer")
