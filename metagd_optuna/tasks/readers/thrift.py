"""Thrift's compact protocol, in which a Parquet file says what it holds: more strictly read than by others."""

from __future__ import annotations

from typing import Any, NamedTuple

_LEVELS = 16  # of structures in one another
_TRUE, _FALSE, _BYTE, _I16, I32, I64, _DOUBLE, BINARY, LIST, _SET, STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12
_BITS = {_I16: 16, I32: 32, I64: 64}
_WIDTHS = {_BYTE: 1, _DOUBLE: 8}

# By the number and the type of each field: for a reader, one of another type than it should have is not there.
Struct = dict[tuple[int, int], Any]


class TooManyError(ValueError):
    """A structure has more values in it than it may have."""


class ThriftList(NamedTuple):
    """A list, whose values are all of one type.

    Args:
        kind: of them, which another reader may not look at, because it knows what should be there.
        values: what there is.
    """

    kind: int
    values: list[Any]


class ThriftReader:
    """Reads structures one after another.

    Whatever readers may differ about is refused: a field that is there twice, a number that is too long for its type.

    Args:
        content: bytes that begin with one.
        most: how many values there may be in it.
    """

    def __init__(self, content: bytes, most: int) -> None:
        self._content = content
        self._left = most
        self.place = 0

    def struct(self, levels: int = _LEVELS) -> Struct:
        """Return the next structure: whole numbers as int, texts as bytes, ThriftList, and structures as this one.

        Args:
            levels: how many structures may be in one another.

        Raises:
            IndexError: if it goes on behind the bytes that there are.
            ValueError: if it is none.
        """
        if not levels:
            raise ValueError("structures in one another without end")
        found: Struct = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._signed(16)
            if number >= 2**15:
                raise ValueError(f"field {number}, of which there are 32,767")
            if (number, kind) in found:
                raise ValueError(f"field {number} is there twice")
            found[number, kind] = self._value(kind, levels)
        return found

    def _byte(self) -> int:
        self.place += 1
        return self._content[self.place - 1]

    def _unsigned(self, bits: int) -> int:
        """Read a number of seven bits a byte, the last one below 128."""
        found = shift = 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            shift += 7
            if found >> bits or shift > bits + 7:
                raise ValueError(f"a number of more than {bits} bits")
            if byte < 128:
                return found

    def _signed(self, bits: int) -> int:
        """Read a number whose sign is its last bit."""
        found = self._unsigned(bits)
        return found >> 1 ^ -(found & 1)

    def _value(self, kind: int, levels: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise TooManyError("more values than it may have")
        if kind in (_TRUE, _FALSE):  # which the type says already
            return None
        if kind in _BITS:
            return self._signed(_BITS[kind])
        if kind == STRUCT:
            return self.struct(levels - 1)
        if kind in (LIST, _SET):
            return self._list(levels - 1)
        if kind != BINARY and kind not in _WIDTHS:  # maps among them, which Parquet has none of
            raise ValueError(f"a value of type {kind}")
        length = self._unsigned(32) if kind == BINARY else _WIDTHS[kind]
        begin, self.place = self.place, self.place + length
        if self.place > len(self._content):
            raise IndexError(self.place)
        return self._content[begin : self.place]

    def _list(self, levels: int) -> ThriftList:
        head = self._byte()
        size, kind = head >> 4, head & 15
        kind = _BYTE if kind in (_TRUE, _FALSE) else kind  # in a list, a byte each
        return ThriftList(kind, [self._value(kind, levels) for _ in range(self._unsigned(32) if size == 15 else size)])
