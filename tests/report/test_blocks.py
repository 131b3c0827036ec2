"""Both renderers show what was given, literally, whatever it is."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagd_optuna.report.blocks import (
    Block,
    Bullets,
    Code,
    Details,
    Facts,
    Formula,
    Heading,
    Listing,
    Prose,
    Strong,
    Swatch,
    Table,
    VerdictCard,
)
from metagd_optuna.report.html import html
from metagd_optuna.report.markdown import markdown

HOSTILE = (
    "<b>&amp;",
    'a" onclick="x',
    "a|b",
    "`a``b`",
    "*a* _b_ [c](d)",
    "# a",
    "- a",
    "1. a",
    "a\nb",
    "$x$ ~~y~~",
    "\udce9",
)


def all_blocks(text: str) -> list[Block]:
    """Return a block of every kind but a figure, made of one text."""
    return [
        Heading(2, text, "anchor"),
        Prose((text, Code(text), Strong(text), Swatch("#000000", "dash")), "note"),
        Bullets([text, Code(text)]),
        Table((text, "b"), [(Code(text), text), (text, Strong(text))], text, numbers_from=1, highlighted=[0]),
        Listing(text, "toml"),
        Formula(text),
        Facts([(text, text)]),
        Details(text, [Prose(text)], kept=True),
        VerdictCard(text, "anchor", "tie", text, text, text, [text]),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_html_holds_no_tag_that_is_not_ours(text: str) -> None:
    written, harmless = html(all_blocks(text)), html(all_blocks("x"))
    assert re.findall(r"<[^>]*>", written) == re.findall(r"<[^>]*>", harmless)
    assert unescape(re.sub(r"<[^>]*>", "", written)).count(text) == re.sub(r"<[^>]*>", "", harmless).count("x")


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_has_the_same_structure_whatever_the_names(text: str) -> None:
    written, harmless = (
        re.sub(r"(`{3,})toml\n.*?\n\1", "", markdown(all_blocks(t)), flags=re.DOTALL) for t in (text, "x")
    )
    starts = r"^(#+ |- |\d+\. |\||\*\*)"
    assert re.findall(starts, written, re.MULTILINE) == re.findall(starts, harmless, re.MULTILINE)
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in written.splitlines()]
    assert cells == [line.count("|") for line in harmless.splitlines()]
    prose = re.sub(r"(?<!\\)`[^`\n]*`", "", written)
    assert not re.search(r"(?<!\\)[<\[$~&`]", prose)


@given(st.text(max_size=40))
def test_a_listing_ends_where_it_ends(text: str) -> None:
    first, *_, last = markdown([Listing(text, "toml")]).rstrip("\n").split("\n")
    assert first == f"{last}toml"
    assert set(last) == {"`"}
    assert last not in text


def test_what_is_folded_is_kept_in_markdown_only_where_it_says_so() -> None:
    assert markdown([Details("more", [Prose("text")])]) == "\n"
    assert markdown([Details("more", [Prose("text")], kept=True)]) == "more:\n\ntext\n"
    assert html([Details("more", [Prose("text")])]) == "<details><summary>more</summary><p>text</p></details>"


def test_a_formula_is_latex_where_there_is_one() -> None:
    assert markdown([Formula("lr = 1", r"\eta = 1")]) == "$$\\eta = 1$$\n"
    assert markdown([Formula("d = c; lr = a|b")]) == "`d = c; lr = a\\|b`\n"
    assert html([Formula("d = c; lr = 2^0.5")]) == '<pre class="formula">d = c\nlr = 2<sup>0.5</sup></pre>'


@pytest.mark.parametrize("latex", ["$$ <b>", "a\n\n# b", "`a`", "<script>"])
def test_a_formula_that_could_end_its_mathematics_is_shown_as_code(latex: str) -> None:
    assert markdown([Formula("lr = 1", latex)]) == "`lr = 1`\n"
    assert markdown([Formula("lr = 1", r"\eta = 1")]) == "$$\\eta = 1$$\n"
