"""Parquet files written byte by byte, so that they can say anything."""

import struct


class I32(int):
    """A number that is written as one of 32 bits; any other is one of 64."""


I64 = int


def unsigned(number):
    """A number of seven bits a byte, the last one below 128."""
    return bytes([number & 127 | 128, *unsigned(number >> 7)]) if number > 127 else bytes([number])


def signed(number):
    """A number whose sign is its last bit."""
    return unsigned(2 * number if number >= 0 else -2 * number - 1)


def _kind(value):
    kinds = {bool: 1 if value else 2, I32: 5, I64: 6, bytes: 8, list: 9, dict: 12}
    return kinds[type(value)]


def _content(value):
    if isinstance(value, bool):
        return b""
    if isinstance(value, int):
        return signed(value)
    if isinstance(value, bytes):
        return unsigned(len(value)) + value
    if isinstance(value, dict):
        return structure(value)
    kind = _kind(value[0]) if value else 5
    head = bytes([len(value) << 4 | kind]) if len(value) < 15 else bytes([0xF0 | kind]) + unsigned(len(value))
    return head + b"".join(map(_content, value))


def structure(fields):
    """A structure of Thrift's compact protocol, whose fields come in the order of the dict."""
    written, last = b"", 0
    for number, value in fields.items():
        step, kind, last = number - last, _kind(value), number
        written += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + signed(number)
        written += _content(value)
    return written + b"\0"


def column(name, kind=2, **more):
    """A column of the schema that has a value in each row; kind 2 is whole numbers of 64 bits, 6 texts."""
    return {1: I32(kind), 3: I32(0), 4: name, **{int(number[1:]): value for number, value in more.items()}}


def page(values, content, encoding=0, unpacked=None, **more):
    """A page of values; encoding 0 is one after another, 8 by a dictionary."""
    about = {1: I32(values), 2: I32(encoding), 3: I32(3), 4: I32(3)}
    size = len(content) if unpacked is None else unpacked
    fields = {1: I32(0), 2: I32(size), 3: I32(len(content)), 5: about}
    return structure(fields | {int(number[1:]): value for number, value in more.items()}) + content


def dictionary_page(values, content, unpacked=None):
    """The page that others refer to."""
    size = len(content) if unpacked is None else unpacked
    return structure({1: I32(2), 2: I32(size), 3: I32(len(content)), 7: {1: I32(values), 2: I32(0)}}) + content


def chunk(name, begin, size, values, *, kind=2, encodings=(0,), codec=0, dictionary=None):
    """Where the values of a column lie; codec 0 is none, 6 zstd."""
    about = {1: I32(kind), 2: [I32(each) for each in encodings], 3: [name], 4: I32(codec), 5: values}
    about |= {6: size, 7: size, 9: begin} | ({} if dictionary is None else {11: dictionary})
    return {2: 0, 3: about}


def file_of(pages, columns, rows, groups, **more):
    """A whole file.

    Args:
        pages: bytes that begin at 4.
        columns: of its schema.
        rows: how many the footer says there are.
        groups: chunks of each row group, and how many rows it says it has.
        more: other fields of the footer, ``_6`` for field 6.
    """
    root = {4: b"schema", 5: I32(len(columns))}
    written = [{1: chunks, 2: 100, 3: here} for chunks, here in groups]
    fields = {1: I32(2), 2: [root, *columns], 3: rows, 4: written}
    footer = structure(fields | {int(number[1:]): value for number, value in more.items()})
    return b"PAR1" + pages + footer + struct.pack("<I", len(footer)) + b"PAR1"
