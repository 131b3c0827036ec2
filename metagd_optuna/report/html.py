"""Blocks to HTML; every text is escaped here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from metagd_optuna.report import blocks

# A shape beside the word, so that the verdict does not hang on a colour.
LABEL_SHAPES = {"faster": "▲", "tie": "●", "slower": "▼"}
BORDERS = {"solid": "solid", "dash": "dashed", "dot": "dotted", "dashdot": "dashed", "longdash": "dashed"}


def html(parts: Iterable[blocks.Block]) -> str:
    """Return parts as the inside of a page."""
    return "\n".join(map(_block, parts))


def _block(block: blocks.Block) -> str:
    match block:
        case blocks.Heading(level, text, anchor):
            identifier = f' id="{anchor}"' if anchor else ""
            return f"<h{level}{identifier}>{escape(text)}</h{level}>"
        case blocks.Prose(text, look):
            return f"<p>{_text(text)}</p>" if look == "plain" else f'<p class="{look}">{_text(text)}</p>'
        case blocks.Bullets(items):
            return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in items) + "</ul>"
        case blocks.Table():
            return _table(block)
        case blocks.Figure():
            return _figure(block)
        case blocks.Listing(text):
            return f"<pre>{escape(text, quote=False)}</pre>"
        case blocks.Formula(text):
            return f'<pre class="formula">{_powers(text)}</pre>'
        case blocks.Facts(rows):
            pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
            return f'<dl class="facts">{pairs}</dl>'
        case blocks.Details(summary, inner):
            return f"<details><summary>{escape(summary)}</summary>{html(inner)}</details>"
        case blocks.VerdictCard():
            return _card(block)


def _text(text: blocks.Text) -> str:
    """Return a text with its marks.

    >>> _text(("a < b in ", blocks.Code("<i>"), blocks.Strong("&")))
    'a &lt; b in <code>&lt;i&gt;</code><strong>&amp;</strong>'
    """
    match text:
        case str():
            return escape(text)
        case blocks.Code(inner):
            return f"<code>{escape(inner)}</code>"
        case blocks.Strong(inner):
            return f"<strong>{escape(inner)}</strong>"
        case blocks.Swatch(colour, dash):
            return f'<span class="swatch" style="border-top: 3px {BORDERS[dash]} {colour}"></span>'
        case _:
            return "".join(map(_text, text))


def _table(table: blocks.Table) -> str:
    def kind(place: int) -> str:
        return ' class="number"' if table.numbers_from is not None and place >= table.numbers_from else ""

    head = "".join(f'<th scope="col"{kind(place)}>{_text(text)}</th>' for place, text in enumerate(table.heads))
    body = ""
    for number, (first, *others) in enumerate(table.rows):
        cells = "".join(f"<td{kind(place)}>{_text(cell)}</td>" for place, cell in enumerate(others, start=1))
        mark = ' class="chosen"' if number in table.highlighted else ""
        body += f'<tr{mark}><th scope="row">{_text(first)}</th>{cells}</tr>'
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(figure: blocks.Figure) -> str:
    from plotly.io import to_json

    # Plotly escapes what could end a script element.
    data = to_json(figure.draw(), validate=False, engine="json")
    return (
        f'<h3>{escape(figure.title)}</h3><figure><div id="{figure.identifier}"></div>'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
        f'<script type="application/json" data-figure="{figure.identifier}">{data}</script>'
    )


def _card(card: blocks.VerdictCard) -> str:
    flags = "".join(f'<span class="flag">{escape(flag)}</span>' for flag in card.flags)
    return (
        f'<div class="verdict {card.label}"><div class="verdict-head"><span class="badge">{LABEL_SHAPES[card.label]} '
        f'{escape(card.words)}</span><a href="#{card.anchor}">{escape(card.task)}</a></div><p '
        f'class="sentence">{escape(card.sentence)}</p><p class="price">{escape(card.price)}</p>{flags}</div>'
    )


def _powers(formula: str) -> str:
    """Return a formula with one part per line and its numeric powers raised.

    >>> print(_powers("d = 0.5 c; lr = 0.01 (1 - d)^0.5 (p + 0.01)^-1e-05 (2 < 3)^sigmoid(p)"))
    d = 0.5 c
    lr = 0.01 (1 - d)<sup>0.5</sup> (p + 0.01)<sup>-1e-05</sup> (2 &lt; 3)^sigmoid(p)
    """
    return re.sub(r"\^([-+]?\d[\d.]*(?:e[-+]?\d+)?)", r"<sup>\1</sup>", escape(formula.replace("; ", "\n")))
