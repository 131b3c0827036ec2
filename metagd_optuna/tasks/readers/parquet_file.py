"""One Parquet file, read with pyarrow once it is known what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.tasks.readers.parquet_pages import BOUNDLESS, contents, pages, read_footer
from metagd_optuna.tasks.readers.thrift import Struct


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
        footer = read_footer(path)  # before pyarrow does
        with parquet.ParquetFile(path) as file:
            yield ParquetTable(path, where, footer, file)
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
        footer: of the file.
        file: pyarrow's.
    """

    path: Path
    where: str
    footer: Struct
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
            ValueError: if the file tells one thing here and another there.
        """
        schema = self.file.schema_arrow
        owners = [(name, part) for name in self.names for part in self._parts(name, schema.field(name).type)]
        width = sum(self._width(place, *owner, of_value) for place, owner in enumerate(owners))
        held = contents(self.footer, len(owners))
        size = held.rows * width
        for chunk, page in pages(self.path, held.chunks):
            name, part = owners[chunk.column]
            size += page.unpacked + page.entries * of_value * _is_text(part)
            for encoding in page.encodings & BOUNDLESS.keys():
                raise self._refused(
                    name,
                    f"values that may unpack to any size ({BOUNDLESS[encoding]}); write them in another encoding, in "
                    "DuckDB with PARQUET_VERSION v1",
                )
        return size

    def read(self) -> Any:
        """Return it as a table of pyarrow's, in which a text that the file holds once is kept once.

        Raises:
            ValueError: for values that are none of their column's type.
        """
        import pyarrow
        from pyarrow import parquet

        schema = self.file.schema_arrow
        texts = [name for name in self.names if _is_text(schema.field(name).type)]
        table = parquet.read_table(self.path, read_dictionary=texts)
        for name, values in zip(table.column_names, table.columns, strict=True):
            try:
                values.validate(full=True)
            except pyarrow.ArrowInvalid as error:
                raise ValueError(f"column {as_given(name)}: {error}") from None
        return table

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
