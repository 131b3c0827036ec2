"""Blocks to Markdown; every text is escaped here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable

from metagd_optuna.given import in_markdown
from metagd_optuna.report import blocks
from metagd_optuna.report.content import overview_table, report_blocks
from metagd_optuna.report.document import Results


def markdown_report(results: Results) -> str:
    """Return the report as Markdown."""
    return f"# {_text(results.study)}\n\n{markdown(report_blocks(results))}"


def overview(results: Results) -> str:
    """Return all verdicts as one table, a row per task."""
    return markdown([overview_table(results)]).rstrip()


def markdown(parts: Iterable[blocks.Block]) -> str:
    """Return parts as Markdown; figures are left out, or told by their numbers."""
    return "\n\n".join(part for block in parts for part in _block(block)) + "\n"


def _block(block: blocks.Block) -> list[str]:
    """Return the parts of a block, between which there is an empty line."""
    match block:
        case blocks.Heading(level, text):
            return [f"{'#' * level} {_text(text)}"]
        case blocks.Prose(text):
            return [_text(text)]
        case blocks.Bullets(items):
            return ["\n".join(f"- {_text(item)}" for item in items)]
        case blocks.Table(heads, rows, caption):
            lines = [_row(map(_text, heads)), _row(["---"] * len(heads)), *(_row(map(_text, row)) for row in rows)]
            return [*([_text(caption)] if caption else []), "\n".join(lines)]
        case blocks.Figure(title=title, numbers=numbers):
            return [f"### {_text(title)}", *_block(numbers)] if numbers else []
        case blocks.Listing(text, language):
            # Longer than any run of backticks inside, so that nothing inside ends the block.
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return [f"{fence}{language}\n{text}\n{fence}"]
        case blocks.Formula(text, latex):
            # A results.json may be anybody's, and whatever ends the formula would begin Markdown.
            return [f"$${latex}$$" if latex and not set("$<>`\n") & set(latex) else _text(blocks.Code(text))]
        case blocks.Facts(rows):
            return _block(blocks.Bullets([f"{name}: {value}" for name, value in rows]))
        case blocks.Details(summary, inner, kept):
            return [f"{_text(summary)}:", *(part for each in inner for part in _block(each))] if kept else []
        case blocks.VerdictCard():
            return [f"**{_text(block.words)}**: {_text(block.sentence)} {_text(block.price)}"]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(text: blocks.Text) -> str:
    r"""Return a text with its marks, on one line; what Markdown would understand in it is shown literally.

    >>> _text("a_b <i> _c_"), _text("- 1. a"), _text("1. a")
    ('a_b \\<i\\> \\_c\\_', '\\- 1. a', '1\\. a')
    >>> _text((blocks.Code("a|b"), " ", blocks.Strong("*")))
    '`a\\|b` **\\***'
    """
    match text:
        case str():
            return in_markdown(text)
        case blocks.Code(inner):
            return "`" + " ".join(inner.replace("`", "'").split()).replace("|", "\\|") + "`"
        case blocks.Strong(inner):
            return f"**{_text(inner)}**"
        case blocks.Swatch():
            return ""
        case _:
            return "".join(map(_text, text))
