"""What the command line prints with: lines, tables, and places that can be clicked."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metagd_optuna.contracts import printable
from metagd_optuna.given import MOST_QUOTED, shortened, without_secrets


def set_up_streams() -> None:
    """Let standard output and error print any text: a character that their encoding lacks is replaced.

    What the user chose for such characters with PYTHONIOENCODING stays.
    """
    for stream in (sys.stdout, sys.stderr):
        # Python itself sets surrogateescape in the C locale, which lets bytes of file names through and nothing else.
        if not isinstance(stream, io.TextIOWrapper):
            continue
        utf8 = stream.encoding.lower() == "utf-8"
        if stream.errors == "strict" or (stream.errors == "surrogateescape" and not utf8):
            stream.reconfigure(errors="replace")


def console() -> Console:
    """Return where to print: the terminal, or lines of any width where there is none."""
    # Names come from users, so nothing in them is taken as markup.
    found = Console(markup=False, highlight=False, emoji=False)
    return found if found.is_terminal else Console(markup=False, highlight=False, emoji=False, width=10_000)


def print_error(text: str, arguments: Iterable[str]) -> None:
    """Print an error on the error stream, with every argument that it quotes shortened if that is very long.

    Whoever leaves --storage out has the address taken for something else; its password is not shown then either.

    Args:
        text: of the error.
        arguments: of the command line.
    """
    for argument in arguments:
        for quoted in (argument, argument.partition("=")[2]):
            if len(quoted) > MOST_QUOTED:
                text = text.replace(quoted, shortened(quoted))
    print(printable(without_secrets(text)), file=sys.stderr)  # noqa: T201 - click would take a stream of ASCII for one of UTF-8


def print_line(line: str) -> None:
    """Print a line, however long, without breaking it."""
    # Half of a pair of surrogates, which JSON can hold, has no place in any encoding.
    console().print(printable(line).encode("utf-8", "replace").decode("utf-8"), soft_wrap=True)


def print_place(lead: str, path: Path) -> None:
    """Print a path that a terminal makes clickable."""
    console().print(Text(lead).append(printable(str(path)), style=f"link {path.resolve().as_uri()}"), soft_wrap=True)


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table, without lines around it where there is no terminal."""
    place = console()
    table = Table(*columns) if place.is_terminal else Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    place.print(table)


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Print names and what belongs to them, one pair a line."""
    print_table(["", ""], pairs.items())
