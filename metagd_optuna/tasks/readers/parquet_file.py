"""One Parquet file, read with pyarrow once it is known what it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.tasks.readers.parquet_pages import DICTIONARY, DIFFERENCES, LENGTHS, contents, pages

_UNNAMED = "__index_level_"  # a level of an index that has no name, in pandas' own files


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
        from pyarrow import parquet
    except ImportError:
        raise MetaGDError(
            f"{where}: a Parquet file is read with pyarrow, which is not installed: pip install "
            "'metagd-optuna[parquet]', or save the table as CSV"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            yield ParquetTable(path, where, file)
    except MetaGDError:
        raise
    except Exception as error:  # of odd values and types pyarrow and pandas raise whatever Python has
        raise MetaGDError(f"{where}: no Parquet file, or damaged ({shortened(str(error))}); write it again") from error


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

    def measured(self, of_value: int) -> tuple[int, list[str]]:
        """Return how many bytes the table takes, and which columns of texts keep a text once that the file holds once.

        Args:
            of_value: what a value takes, in bytes, or a text besides its characters.

        Raises:
            MetaGDError: for columns that may unpack to any size.
            ValueError: if the file tells one thing here and another there.
        """
        schema = self.file.schema_arrow
        owners = [(name, part) for name in self.names for part in self._parts(name, schema.field(name).type)]
        width = sum(self._width(place, *owner, of_value) for place, owner in enumerate(owners))
        held = contents(self.path, len(owners))
        unpacked, encodings = 0, dict.fromkeys(self.names, frozenset[int]())
        for chunk, page in pages(self.path, held.chunks):
            unpacked += page.unpacked
            encodings[owners[chunk.column][0]] |= page.encodings
        for name, found in encodings.items():
            if DIFFERENCES in found:
                raise self._refused(
                    name,
                    "texts as differences from one another (DELTA_BYTE_ARRAY), which may unpack to any size; write "
                    "them in another encoding",
                )
            if LENGTHS in found and found & DICTIONARY:
                raise self._refused(
                    name,
                    "texts with their lengths before them (DELTA_LENGTH_BYTE_ARRAY) and others in a dictionary, which "
                    "may unpack to any size; write all of them in one encoding",
                )
        # Of texts that are stored one after another, with their lengths before them, pyarrow makes no dictionary.
        once = [name for name in self.names if _is_text(schema.field(name).type) and LENGTHS not in encodings[name]]
        return held.rows * width + unpacked, once

    def read(self, once: Sequence[str]) -> Any:
        """Return it as a pandas DataFrame.

        Args:
            once: columns of texts in which a text that the file holds once is kept once.

        Raises:
            ValueError: for values that are none of their column's type, or an index that is none.
        """
        import pandas as pd
        import pyarrow
        from pyarrow import parquet

        table = parquet.read_table(self.path, read_dictionary=list(once))
        for name, values in zip(table.column_names, table.columns, strict=True):
            try:
                values.validate(full=True)
            except pyarrow.ArrowInvalid as error:
                raise ValueError(f"column {as_given(name)}: {error}") from None
        found = {name: _series(values) for name, values in zip(table.column_names, table.columns, strict=True)}
        levels = _levels((table.schema.metadata or {}).get(b"pandas"), found, table.num_rows)
        columns = {name: values for name, values in found.items() if name not in levels}
        frame = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
        if len(levels) > 1:
            return frame.set_axis(pd.MultiIndex.from_arrays(list(levels.values())))
        return frame.set_axis(*levels.values()) if levels else frame

    def _refused(self, name: str, what: str) -> MetaGDError:
        return MetaGDError(f"{self.where}: the column {as_given(name)} holds {what}")

    def _parts(self, name: str, kind: Any) -> list[Any]:
        """Return the types of which the file holds values for a column: two for pandas' intervals, else one."""
        from pyarrow import types

        while types.is_dictionary(kind):
            kind = kind.value_type
        inner = kind
        while types.is_dictionary(inner) or hasattr(inner, "storage_type"):
            inner = inner.value_type if types.is_dictionary(inner) else inner.storage_type
        parts = [inner]
        if inner is not kind and types.is_struct(inner):
            parts = [inner.field(place).type for place in range(inner.num_fields)]
        # Of lists a few bytes make any number of values, and a text that is no column of its own is that of each row.
        texts = inner is not kind and any(map(_is_text, parts))
        if texts or any(types.is_nested(part) or "view" in str(part) for part in parts):
            raise self._refused(
                name, f"{shortened(str(kind))}; a case has one text or number in it, so write the table without lists"
            )
        return parts

    def _width(self, place: int, name: str, part: Any, of_value: int) -> int:
        """Return how many bytes a value takes."""
        stored = self.file.schema.column(place)
        if stored.physical_type == "BYTE_ARRAY" and not _is_text(part):
            raise self._refused(name, f"{shortened(str(part))} of any length; write it with a fixed length")
        return max(of_value, stored.length or 0)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_one(kind) for is_one in kinds)


def _series(values: Any) -> Any:
    """Return a column as a pandas Series, in which whole numbers beside missing ones are still whole."""
    import pandas as pd
    from pyarrow import types

    if not (types.is_integer(values.type) and values.null_count):
        return values.to_pandas()
    return values.to_pandas(
        types_mapper=lambda _: pd.Int64Dtype() if types.is_signed_integer(values.type) else pd.UInt64Dtype()
    )


def _levels(account: bytes | None, columns: Mapping[str, Any], rows: int) -> dict[str | int, Any]:
    """Return the levels of the index that a table had in pandas: which columns those are, and what they are called.

    Nothing else of pandas' own account is believed, by which any dtype could be asked for.
    """
    import pandas as pd

    told = {} if account is None else json.loads(account)
    names = {each.get("field_name", each.get("name")): each.get("name") for each in told.get("columns", [])}
    levels: dict[str | int, Any] = {}
    for place, level in enumerate(told.get("index_columns", [])):
        if not isinstance(level, str):
            numbers = range(level["start"], level["stop"], level["step"])
            name, values = level["name"], pd.RangeIndex(numbers) if len(numbers) == rows else None
        else:
            name, values = names.get(level, level), columns.get(level)
            name = None if name == level and level.startswith(_UNNAMED) else name
        if values is not None:
            called = None if name is None else str(name)
            levels[level if isinstance(level, str) else place] = pd.Index(values).rename(called)
    return levels
