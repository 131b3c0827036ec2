"""A table read from a file: CSV in UTF-8 with any of four separators, or Parquet."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, shortened
from metagd_optuna.models import did_you_mean
from metagd_optuna.tasks.validation import listed

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MOST_COLUMNS = 10_000

Frame = Any  # pandas ships no types


def read_frame(path: Path) -> Frame:
    """Return a table as text, empty where a value is missing; of Parquet with the types that it has.

    Args:
        path: ``.csv`` or ``.tsv`` in UTF-8, separated by what its first line has most of: comma, semicolon, tab or bar;
            or ``.parquet``.

    Raises:
        MetaGDError: if it cannot be read, or its columns are no columns.
    """
    frame = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    return check_frame(frame, shortened(str(path)))


def check_frame(frame: Frame, where: str) -> Frame:
    """Return a table with its columns called by texts.

    Raises:
        MetaGDError: if it has no rows, two columns of one name, or more than 10,000 columns.
    """
    names = [str(name) for name in frame.columns]
    _check_columns(names, where)
    if len(names) > MOST_COLUMNS:
        raise MetaGDError(f"{where}: {len(names):,} columns; up to {MOST_COLUMNS:,} can be read: leave some out")
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
            first = stream.readline(1_000_000)
        separator = max(SEPARATORS, key=first.count)
        _check_columns(next(csv.reader([first], delimiter=separator), []), where)
        frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MetaGDError(
            f"{where}: not a text in UTF-8 (byte {error.start}); save it as UTF-8, in Excel as 'CSV UTF-8'"
        ) from None
    except pd.errors.EmptyDataError:
        raise MetaGDError(f"{where}: an empty file; give a line of column names and one line for each case") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise MetaGDError(
            f"{where}: no table ({shortened(str(error))}); give one line for each case, with as many fields as the "
            "first"
        ) from None
    except OSError as error:
        raise MetaGDError(f"{where}: cannot be read ({error.strerror}); check its permissions") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is too much for row names
        raise MetaGDError(
            f"{where}: rows have more fields than the {len(frame.columns)} columns that the first line names"
        )
    return frame


def _check_columns(names: Sequence[str], where: str) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise MetaGDError(f"{where}: more than one column is called {listed(map(as_given, repeated))}; rename them")


def _parquet(path: Path) -> Frame:
    import pandas as pd

    where = shortened(str(path))
    try:
        import pyarrow
    except ImportError:
        raise MetaGDError(
            f"{where}: a Parquet file is read with pyarrow, which is not installed: pip install "
            "'metagd-optuna[parquet]', or save the table as CSV"
        ) from None
    try:
        return pd.read_parquet(path)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise MetaGDError(f"{where}: no Parquet file, or damaged ({shortened(str(error))}); write it again") from None
