"""One colour and one dash per candidate, the same in every figure and table of a report."""

from __future__ import annotations

from dataclasses import dataclass

from metagd_optuna.report.document import Results

# Colours that stay apart for colour-blind readers: Okabe and Ito, "Color universal design" (2008), without
# yellow, which is too pale for lines on white. Blue is kept for the meta-policy and its controls.
WINNER_COLOUR = "#0072B2"
BASELINE_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#882255", "#44AA99", "#999933")
CONTROL_COLOUR = "#56B4E9"
DEFAULT_COLOUR = "#555555"
ARTICLE_COLOUR = "#8C6D31"
DASHES = ("dash", "dot", "dashdot", "longdash")


@dataclass(frozen=True, slots=True)
class Style:
    """How a candidate is drawn.

    Args:
        colour: as ``#rrggbb``.
        dash: a line style of plotly; with the colour it tells candidates apart in grey print too.
        width: of the line, in pixels.
        prominent: whether its band is drawn and it is shown before anyone clicks in the legend.
    """

    colour: str
    dash: str
    width: float
    prominent: bool


def candidate_styles(results: Results) -> dict[str, Style]:
    """Return the style of every candidate of every task, by name."""
    kinds = {row.name: row.kind for task in results.tasks.values() for row in task.candidates}
    drawn: dict[str, int] = {}
    styles = {}
    for name, kind in kinds.items():
        rank = drawn.get(kind, 0)
        drawn[kind] = rank + 1
        styles[name] = _style(kind, rank)
    return styles


def _style(kind: str, rank: int) -> Style:
    if kind == "meta-policy":
        return Style(WINNER_COLOUR, "solid" if rank == 0 else DASHES[rank % len(DASHES)], 3.0, True)
    if kind == "baseline":
        dash = "solid" if rank < len(BASELINE_COLOURS) else DASHES[rank // len(BASELINE_COLOURS) % len(DASHES)]
        return Style(BASELINE_COLOURS[rank % len(BASELINE_COLOURS)], dash, 2.0, True)
    colour = {"control": CONTROL_COLOUR, "article": ARTICLE_COLOUR}.get(kind, DEFAULT_COLOUR)
    return Style(colour, DASHES[rank % len(DASHES)], 1.5, False)
