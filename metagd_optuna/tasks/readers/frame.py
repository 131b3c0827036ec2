"""A table read from a file: CSV in UTF-8 with any of four separators, or Parquet."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.models import did_you_mean
from metagd_optuna.tasks.memory import check_memory
from metagd_optuna.tasks.readers.parquet_file import opened_parquet
from metagd_optuna.tasks.readers.pictures import ENDINGS
from metagd_optuna.tasks.validation import listed
from metagd_optuna.tasks.values import as_text

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MOST_COLUMNS = 10_000
LONGEST_LINE = 2**20  # of column names, in characters
LOOKED_AT = 100  # rows by which a column of paths is known
_CHUNK = 2**20
_WHOLE = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}  # pyarrow's types
_UNNAMED = "__index_level_"  # a level of an index that has no name, in pandas' own files
# What a value takes as text, as a number and among the features; measured on columns of digits, floats and numbers of
# rows (108 to 151).
BYTES_OF_VALUE = 160

Frame = Any  # pandas ships no types


def read_frame(path: Path, wanted: Container[str] = ()) -> Frame:
    """Return a table: CSV as text, empty where a value is missing, and Parquet as ``check_frame`` does.

    Args:
        path: ``.csv`` or ``.tsv`` in UTF-8, separated by what its first line has most of: comma, semicolon, tab or bar;
            or ``.parquet``.
        wanted: see ``check_frame``.

    Raises:
        MetaGDError: if it cannot be read, or its columns are no columns.
    """
    where = shortened(str(path))
    if path.suffix.lower() == ".parquet":
        return check_frame(_parquet(path, where), where, wanted)
    return _named(_csv(path), where)


def check_frame(frame: Frame, where: str, wanted: Container[str] = ()) -> Frame:
    """Return a table with its columns called by texts, their values numbers of NumPy's or as ``plain_values`` does.

    Args:
        frame: the table.
        where: what it is, for errors.
        wanted: which levels of its index are columns, too; any other is a number or a name that nothing is learnt from.

    Raises:
        MetaGDError: if it has no rows, two columns of one name, more than 10,000 columns, values that are none, or an
            index that says other things than a column.
    """
    import pandas as pd

    frame = _named(frame, where)
    # Made anew, because to replace 10,000 columns one by one takes pandas ten seconds.
    columns = {name: frame[name] for name in frame.columns}
    levels: dict[str, Frame] = {}
    for level, name in enumerate(frame.index.names):
        values = pd.Series(frame.index.get_level_values(level).array, frame.index)
        if name is not None and str(name) in wanted:
            other = levels.get(str(name), columns.get(str(name)))
            if other is not None and not _same(other, values):
                raise MetaGDError(
                    f"{where}: there is more than one {as_given(str(name))}, in its index and beside, and they differ; "
                    "keep one of them, with reset_index(drop=True)"
                )
            levels[str(name)] = values
    columns = levels | columns  # of which those in both are the same
    plain = {
        name: values
        if is_numeric(values.dtype)
        else pd.Series(plain_values(values, f"{where}: the column {as_given(name)}"), values.index, dtype=object)
        for name, values in columns.items()
    }
    return pd.DataFrame(plain, index=frame.index)


def path_columns(frame: Frame) -> list[str]:
    """Return the columns that hold paths of images, as far as their first hundred rows tell."""
    head = frame.head(LOOKED_AT)
    return [
        name
        for name in frame.columns
        if all(isinstance(value, str) and value.lower().strip().endswith(ENDINGS) for value in head[name])
    ]


def path_levels(frame: Frame) -> bool:
    """Return whether the index of a table holds paths of images, which are no column."""
    import pandas as pd

    index = frame.index
    return any(path_columns(pd.DataFrame({"": index.get_level_values(n)})) for n in range(index.nlevels))


def _same(one: Frame, other: Frame) -> bool:
    return [as_text(value, "a value") for value in one] == [as_text(value, "a value") for value in other]


def is_numeric(dtype: object) -> bool:
    """Return whether a column is of NumPy's numbers or truth values."""
    return isinstance(dtype, np.dtype) and dtype.kind in "biufc"


def plain_values(values: Any, where: str) -> npt.NDArray[Any]:
    """Return a column, an index or an array of any of pandas' types as Python's values, None where one is missing.

    Raises:
        MetaGDError: for values that are none.
    """
    import pandas as pd

    try:
        series = pd.Series(values)
        if isinstance(series.dtype, pd.CategoricalDtype):  # pandas would make each value anew
            categories = plain_values(series.cat.categories, where)
            return np.asarray(np.append(categories, [None])[series.cat.codes])  # -1 for a missing one
        return np.asarray(series.to_numpy(dtype=object, na_value=None))
    except Exception as error:  # of whatever kind: the column may be of anybody's type
        raise MetaGDError(
            f"{where} holds values that cannot be read ({type(error).__name__}: {shortened(str(error))}); correct "
            "them, texts have to be UTF-8, or leave it out"
        ) from error


def _named(frame: Frame, where: str) -> Frame:
    names = [str(name) for name in frame.columns]
    _check_columns(names, where)
    if frame.empty:
        raise MetaGDError(f"{where}: a table without rows; give one row for each case")
    frame.columns = names
    return frame


def column(frame: Frame, name: str, what: str, where: str) -> Frame:
    """Return a column of a table by its name.

    Raises:
        MetaGDError: naming the columns that there are.
    """
    if name not in frame.columns:
        raise MetaGDError(
            f"{where}: {what} is {as_given(name)}, and there is no such column{did_you_mean(name, frame.columns)}; "
            f"there are {listed(frame.columns)}"
        )
    return frame[name]


def _csv(path: Path) -> Frame:
    import pandas as pd

    where = shortened(str(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline(LONGEST_LINE)
            second = next((line for line in iter(lambda: stream.readline(LONGEST_LINE), "") if line.strip()), "")
        if len(first) == LONGEST_LINE:
            raise ValueError(f"its first line has more than {LONGEST_LINE:,} characters")
        separator = max(SEPARATORS, key=first.count)
        names, row = (next(csv.reader([line], delimiter=separator), []) for line in (first, second))
        _check_columns(names, where)
        if len(row) > len(names):
            raise _too_wide(where, len(names))
        check_memory(path.stat().st_size + _values(path, separator) * BYTES_OF_VALUE, where, _FEWER)
        frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MetaGDError(
            f"{where}: not a text in UTF-8 (byte {error.start}); save it as UTF-8, in Excel as 'CSV UTF-8'"
        ) from None
    except pd.errors.EmptyDataError:
        raise MetaGDError(f"{where}: an empty file; give a line of column names and one line for each case") from None
    except (pd.errors.ParserError, csv.Error, ValueError, OverflowError) as error:
        raise MetaGDError(
            f"{where}: no table ({shortened(str(error))}); give one line for each case, with as many fields as the "
            "first"
        ) from None
    except OSError as error:
        raise MetaGDError(f"{where}: cannot be read ({error.strerror}); check its permissions") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is too much for row names
        raise _too_wide(where, len(frame.columns))
    return frame


def _too_wide(where: str, columns: int) -> MetaGDError:
    return MetaGDError(f"{where}: rows have more fields than the {columns} columns that the first line names")


def _values(path: Path, separator: str) -> int:
    """Return how many values a CSV file has at most."""
    marks = (separator.encode(), b"\n", b"\r")
    with path.open("rb") as stream:
        return sum(chunk.count(mark) for chunk in iter(lambda: stream.read(_CHUNK), b"") for mark in marks)


_FEWER = "leave out rows or columns that are not learnt from"


def _parquet(path: Path, where: str) -> Frame:
    with opened_parquet(path, where) as file:
        _check_columns(file.names, where)
        check_memory(file.size(BYTES_OF_VALUE), where, _FEWER)
        return _of_arrow(file.read())


def _of_arrow(table: Any) -> Frame:
    """Return a table of pyarrow's with the index that it had in pandas.

    Raises:
        ValueError: if what pandas wrote of it is damaged.
    """
    import pandas as pd

    columns = {name: _series(values) for name, values in zip(table.column_names, table.columns, strict=True)}
    levels = _levels((table.schema.metadata or {}).get(b"pandas"), columns, table.num_rows)
    others = {name: values for name, values in columns.items() if name not in levels}
    frame = pd.DataFrame(others, index=pd.RangeIndex(table.num_rows))
    if len(levels) > 1:
        return frame.set_axis(pd.MultiIndex.from_arrays(list(levels.values())))
    return frame.set_axis(*levels.values()) if levels else frame


def _series(values: Any) -> Any:
    """Return a column of pyarrow's, in which whole numbers beside missing ones are still whole."""
    import pandas as pd

    if str(values.type) not in _WHOLE or not values.null_count:
        return values.to_pandas()
    whole = pd.UInt64Dtype() if str(values.type).startswith("u") else pd.Int64Dtype()
    return values.to_pandas(types_mapper=lambda _: whole)


def _levels(account: bytes | None, columns: Mapping[str, Any], rows: int) -> dict[str | int, Any]:
    """Return the levels of the index that a table had in pandas: which columns those are, and what they are called.

    Nothing else of pandas' own account is believed, by which any dtype could be asked for.
    """
    import pandas as pd

    told = {} if account is None else json.loads(account)
    names = {each.get("field_name", each.get("name")): each.get("name") for each in told.get("columns", [])}
    index = told.get("index_columns", [])
    if len(index) == 1 and isinstance(index[0], dict):
        values = pd.RangeIndex(*(np.int64(index[0][key]) for key in ("start", "stop", "step")))
        return {0: _called(values, index[0]["name"])} if len(values) == rows else {}
    levels: dict[str | int, Any] = {}
    for level in index:
        if not isinstance(level, str):
            raise ValueError("an index of a range and others")
        name = names.get(level, level)
        unnamed = name == level and level.startswith(_UNNAMED)
        if level in columns:
            levels[level] = _called(pd.Index(columns[level]), None if unnamed else name)
    return levels


def _called(index: Any, name: object) -> Any:
    return index.rename(None if name is None else str(name))


def _check_columns(names: Sequence[str], where: str) -> None:
    if len(names) > MOST_COLUMNS:
        raise MetaGDError(f"{where}: {len(names):,} columns; up to {MOST_COLUMNS:,} can be read: leave some out")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise MetaGDError(f"{where}: more than one column is called {listed(map(as_given, repeated))}; rename them")
