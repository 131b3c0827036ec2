"""index.html: one file that opens without a network, written from the results alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from metagd_optuna.report import blocks
from metagd_optuna.report.content import report_blocks
from metagd_optuna.report.document import Results
from metagd_optuna.report.html import html
from metagd_optuna.report.stylesheet import STYLESHEET

# Drawn after the page has loaded, so that text is there at once; printing redraws at the width of the paper.
SCRIPT = """
const drawn = [];
const options = {responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]]};
function fail(error) {
  const box = document.getElementById("failure");
  box.hidden = false;
  box.textContent = "A figure could not be drawn: " + error;
}
for (const source of document.querySelectorAll("script[data-figure]")) {
  const figure = JSON.parse(source.textContent), place = document.getElementById(source.dataset.figure);
  drawn.push(place);
  Plotly.newPlot(place, figure.data, figure.layout, options).catch(fail);
}
addEventListener("beforeprint", () => drawn.forEach(place => Plotly.relayout(place, {width: 680})));
addEventListener("afterprint", () => drawn.forEach(place => Plotly.relayout(place, {width: null, autosize: true})));
"""


def page(results: Results) -> str:
    """Return the report as one HTML page with everything in it: styles, figures and plotly.js."""
    return page_of(
        results.study,
        "Which rule for the learning rate converges fastest, and is it really faster than a tuned baseline?",
        report_blocks(results),
        title=f"Which learning-rate rule converges fastest: {results.study}",
        links=[("verdicts", "Verdicts")] if len(results.tasks) > 1 else [],
    )


def page_of(
    name: str, subtitle: str, parts: Sequence[blocks.Block], *, title: str, links: Sequence[tuple[str, str]] = ()
) -> str:
    """Return blocks as one HTML page that opens without a network.

    Args:
        name, subtitle: what its head says.
        parts: what it is made of; headings with an anchor are its contents.
        title: of the window.
        links: what the contents begin with, anchor and text.
    """
    from plotly.offline import get_plotlyjs

    headings = [(block.anchor, block.text) for block in parts if isinstance(block, blocks.Heading) and block.anchor]
    contents = "".join(f'<a href="#{anchor}">{escape(text)}</a>' for anchor, text in (*links, *headings))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{STYLESHEET}</style></head><body>",
            f'<header id="verdicts"><div><h1>{escape(name)}</h1>',
            f'<p class="subtitle">{escape(subtitle)}</p></div></header>',
            f'<nav aria-label="Contents"><div>{contents}</div></nav>',
            '<main><div id="failure" hidden></div>',
            "<noscript><p>The figures need JavaScript; text and tables do not.</p></noscript>",
            html(parts),
            "</main>",
            f"<script>{get_plotlyjs()}</script>",
            f"<script>{SCRIPT}</script>",
            "</body></html>",
            "",
        ]
    )
