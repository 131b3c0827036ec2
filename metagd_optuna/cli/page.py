"""A page of blocks as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import indent, wrap

from metagd_optuna.report import blocks
from metagd_optuna.terminal import print_line, print_table

COLUMNS = 80


def print_blocks(parts: Iterable[blocks.Block]) -> None:
    """Print headings, prose, formulas, listings and tables, in lines of 80 columns where words can be parted."""
    for number, part in enumerate(parts):
        if number:
            print_line("")
        match part:
            case blocks.Heading(_, text):
                print_line(text)
            case blocks.Prose(text):
                _print_wrapped(_plain(text), "  ")
            case blocks.Formula(text):
                for line in text.split("; "):
                    _print_wrapped(line, "  ", "      ")
            case blocks.Listing(text):
                print_line(indent(text, "  "))
            case blocks.Table(heads, rows):
                print_table(map(_plain, heads), [map(_plain, row) for row in rows])
            case _:
                raise TypeError(f"{type(part).__name__} is not printed on a terminal")


def _plain(text: blocks.Text) -> str:
    match text:
        case str():
            return text
        case blocks.Code(inner) | blocks.Strong(inner):
            return inner
        case blocks.Swatch():
            return ""
        case _:
            return "".join(map(_plain, text))


def _print_wrapped(text: str, first: str, others: str | None = None) -> None:
    for line in wrap(
        text,
        COLUMNS,
        initial_indent=first,
        subsequent_indent=first if others is None else others,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        print_line(line)
