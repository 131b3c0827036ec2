"""What a report is made of: blocks of content, which the page and the Markdown render each in its own way.

Texts are as they were given; whoever renders them escapes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Code:
    """A name, or a piece of code, within a text."""

    text: str


@dataclass(frozen=True, slots=True)
class Strong:
    """A part of a text that stands out."""

    text: str


@dataclass(frozen=True, slots=True)
class Swatch:
    """The line by which figures show a candidate; only where there are figures."""

    colour: str
    dash: str


Inline = str | Code | Strong | Swatch
Text = Inline | tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 2 or 3; those of level 2 are what a list of contents links to, by their anchors."""

    level: Literal[2, 3]
    text: str
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph: plain, the lead of the report, or a note in small."""

    text: Text
    look: Literal["plain", "lead", "note"] = "plain"


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[Text]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row is its head.

    Args:
        numbers_from: the first column that holds numbers; None for none.
        highlighted: numbers of the rows that stand out.
    """

    heads: Sequence[Text]
    rows: Sequence[Sequence[Text]]
    caption: str = ""
    numbers_from: int | None = None
    highlighted: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, and the table that holds its numbers where nothing can be drawn; without one it is left out there."""

    identifier: str
    title: str
    caption: str
    draw: Callable[[], go.Figure]
    numbers: Table | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines of code, such as a file."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Formula:
    """A rule as plain text, its parts separated by semicolons; as LaTeX where Markdown is to show it so."""

    text: str
    latex: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Details:
    """What is folded away; where nothing can be folded it is shown only if ``kept``."""

    summary: str
    blocks: Sequence[Block]
    kept: bool = False


@dataclass(frozen=True, slots=True)
class VerdictCard:
    """The verdict on one task at a glance.

    Args:
        task: its name; ``anchor`` is where its part begins.
        label: faster, tie or slower; ``words`` says it.
        flags: in a few words each, what else to know.
    """

    task: str
    anchor: str
    label: str
    words: str
    sentence: str
    price: str
    flags: Sequence[str]


Block = Heading | Prose | Bullets | Table | Figure | Listing | Formula | Facts | Details | VerdictCard
