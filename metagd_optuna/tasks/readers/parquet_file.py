"""One Parquet file, and what it takes when it is unpacked, by the headers of its pages: its own account may lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened

# What a page takes unpacked and packed, as fields of its header are numbered.
_UNPACKED, _PACKED = 2, 3
_USUAL, _LONGEST = 2**12, 2**20  # bytes of a header
_LEVELS = 8  # of structures in one another
# Types of Thrift's compact protocol, in which headers are written.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12


@contextmanager
def opened_parquet(path: Path, where: str) -> Iterator[ParquetTable]:
    """Open a file.

    Args:
        path: which.
        where: what it is, for errors.

    Raises:
        MetaGDError: if pyarrow is not installed, or the file cannot be read.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MetaGDError(
            f"{where}: a Parquet file is read with pyarrow, which is not installed: pip install "
            "'metagd-optuna[parquet]', or save the table as CSV"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            yield ParquetTable(path, where, file)
    # Of odd values and types pyarrow and pandas raise what Python has.
    except (pyarrow.ArrowException, ValueError, OSError, TypeError, LookupError, ArithmeticError) as error:
        raise MetaGDError(f"{where}: no Parquet file, or damaged ({shortened(str(error))}); write it again") from None


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """A Parquet file that is open.

    Args:
        path: where it is.
        where: what it is, for errors.
        file: pyarrow's.
    """

    path: Path
    where: str
    file: Any

    @property
    def names(self) -> list[str]:
        """Of its columns."""
        return list(self.file.schema_arrow.names)

    def size(self, of_value: int) -> int:
        """Return how many bytes the table takes.

        Args:
            of_value: what a value takes, in bytes, or a text besides its characters.

        Raises:
            MetaGDError: for columns that may unpack to any size.
        """
        differences = self._encoded("DELTA_BYTE_ARRAY")
        if differences:
            raise MetaGDError(
                f"{self.where}: the column {as_given(min(differences))} holds texts as differences from one another "
                "(DELTA_BYTE_ARRAY), which may unpack to any size; write them in another encoding"
            )
        schema = self.file.schema_arrow
        width = sum(self._width(name, schema.field(name).type, of_value) for name in self.names)
        unpacked, left = 0, self.path.stat().st_size
        with self.path.open("rb") as stream:
            for header in (header for chunk in self._chunks() for header in _headers(stream, chunk)):
                left -= header.length + header.packed
                if left < 0:  # or a footer could lead to one page, or one long header, any number of times
                    raise ValueError("its columns share their pages")
                unpacked += header.length + header.unpacked
        return int(self.file.metadata.num_rows) * width + unpacked

    def read(self) -> Any:
        """Return it as a pandas DataFrame, in which a text that the file holds once is kept once.

        Raises:
            ValueError: for values that are none of their column's type.
        """
        import pyarrow
        from pyarrow import parquet

        # Of texts that are stored one after another, with their lengths before them, pyarrow makes no dictionary.
        lengths = self._encoded("DELTA_LENGTH_BYTE_ARRAY")
        schema = self.file.schema_arrow
        once = [name for name in self.names if _is_text(schema.field(name).type) and name not in lengths]
        table = parquet.read_table(self.path, read_dictionary=once)
        for name, values in zip(table.column_names, table.columns, strict=True):
            try:
                values.validate(full=True)
            except pyarrow.ArrowInvalid as error:
                raise ValueError(f"column {as_given(name)}: {error}") from None
        return table.to_pandas()

    def _chunks(self) -> Iterator[Any]:
        held = self.file.metadata
        for place in range(held.num_row_groups):
            group = held.row_group(place)
            yield from (group.column(column) for column in range(group.num_columns))

    def _encoded(self, encoding: str) -> set[str]:
        """Return the columns of which some values are encoded so."""
        return {chunk.path_in_schema for chunk in self._chunks() if encoding in chunk.encodings}

    def _width(self, name: str, kind: Any, of_value: int) -> int:
        from pyarrow import types

        while types.is_dictionary(kind):
            kind = kind.value_type
        inner = kind
        while types.is_dictionary(inner) or hasattr(inner, "storage_type"):
            inner = inner.value_type if types.is_dictionary(inner) else inner.storage_type
        parts = [inner]
        if inner is not kind and types.is_struct(inner):  # pandas' intervals
            parts = [inner.field(place).type for place in range(inner.num_fields)]
        # Of lists a few bytes make any number of values, and a text that is no column of its own is that of each row.
        texts = inner is not kind and any(map(_is_text, parts))
        if texts or any(types.is_nested(part) or "view" in str(part) for part in parts):
            raise MetaGDError(
                f"{self.where}: the column {as_given(name)} holds {shortened(str(kind))}; a case has one text or "
                "number in it, so write the table without lists"
            )
        return sum(max(of_value, part.byte_width if types.is_fixed_size_binary(part) else 0) for part in parts)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_one(kind) for is_one in kinds)


def _headers(stream: BinaryIO, chunk: Any) -> Iterator[_Header]:
    """Yield the headers of a column's pages.

    Raises:
        ValueError: if one of them has no header.
    """
    place = int(chunk.data_page_offset)
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < place:
        place = int(chunk.dictionary_page_offset)
    end = place + int(chunk.total_compressed_size)
    while place < end:
        stream.seek(place)
        content = stream.read(_USUAL)
        try:
            header = _Header(content)
        except IndexError:
            header = _Header(content + stream.read(_LONGEST))
        if min(header.packed, header.unpacked) < 0:
            raise ValueError("a page of less than no bytes")
        place += header.length + header.packed
        yield header


class _Header:
    """The header of a page, read as far as it tells sizes, and as pyarrow reads it: numbers are cut off at their width,
    and one of another type than it should have is none.

    Args:
        content: bytes that begin with it.

    Raises:
        IndexError: if it goes on behind them.
        ValueError: if it is none.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = 0
        fields = self._struct(_LEVELS)
        if not {_UNPACKED, _PACKED} <= fields.keys():
            raise ValueError("a page whose header does not say how large it is")
        self.unpacked, self.packed = fields[_UNPACKED], fields[_PACKED]

    def _byte(self) -> int:
        self.length += 1
        return self._content[self.length - 1]

    def _number(self) -> int:
        """Read a number of seven bits a byte, the last one below 128."""
        found = 0
        for place in count(0, 7):
            byte = self._byte()
            found |= (byte & 127) << place
            if byte < 128:
                return found
            if place > 63:
                raise ValueError("a number of too many bytes in the header of a page")
        return found

    def _struct(self, levels: int) -> dict[int, int]:
        """Read a structure, and return those of its fields that are numbers of 32 bits."""
        fields, field = {}, 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            field = field + step if step else _signed(self._number(), 32)
            field = (field + 2**15) % 2**16 - 2**15  # of 16 bits
            value = self._value(kind, levels)
            if kind == _I32 and value is not None:
                fields[field] = value
        return fields

    def _value(self, kind: int, levels: int) -> int | None:
        """Read a value, and return it if it is a whole number."""
        if not levels:
            raise ValueError("the header of a page holds structures in one another without end")
        if kind in (_TRUE, _FALSE):  # which the type says already
            return None
        if kind in (_I16, _I32, _I64):
            return _signed(self._number(), 64 if kind == _I64 else 32)
        if kind == _STRUCT:
            self._struct(levels - 1)
        elif kind in (_LIST, _SET):
            self._list(levels - 1)
        else:
            width = self._width(kind)
            self.length += width
            if self.length > len(self._content):
                raise IndexError(self.length)
        return None

    def _width(self, kind: int) -> int:
        widths = {_BYTE: 1, _DOUBLE: 8}
        if kind == _BINARY:
            return self._number()
        if kind not in widths:  # maps among them, which no page has
            raise ValueError("the header of a page is none")
        return widths[kind]

    def _list(self, levels: int) -> None:
        head = self._byte()
        size = head >> 4
        for _ in range(self._number() if size == 15 else size):
            if head & 15 in (_TRUE, _FALSE):
                self._byte()
            else:
                self._value(head & 15, levels)


def _signed(number: int, bits: int) -> int:
    """Return a number whose sign is its last bit."""
    kept: int = number & (2**bits - 1)
    return kept >> 1 ^ -(kept & 1)
