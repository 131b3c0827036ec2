"""index.html: one file that opens without a network, written from the results alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

from metagd_optuna.report.cautions import cautions
from metagd_optuna.report.document import Across, Results, TaskResults
from metagd_optuna.report.figures import performance_profiles, task_panel
from metagd_optuna.report.json_values import json_value
from metagd_optuna.report.optimism import OPTIMISM_CAPTION, OPTIMISM_TITLE, optimism_rows
from metagd_optuna.report.page_parts import (
    audit_part,
    captioned_part,
    contender_table,
    cost_table,
    environment_part,
    facts,
    formula_part,
    levels_table,
    per_seed_table,
    verdict_card,
)
from metagd_optuna.report.panels import IMPORTANCES_CAPTION, IMPORTANCES_TITLE
from metagd_optuna.report.regret import REGRET_CAPTION, REGRET_TITLE, regret_rows, regret_sentences
from metagd_optuna.report.sentences import (
    across_cautions,
    across_sentence,
    detectable_sentence,
    feedback_sentence,
)
from metagd_optuna.report.styles import Style, contender_styles
from metagd_optuna.report.stylesheet import STYLESHEET

if TYPE_CHECKING:
    import plotly.graph_objects as go

CAPTIONS = {
    "learning-curves": "Above: the median validation score over the seeds, with quartiles as a band; a run that "
    "diverged goes on at guessing. Below: the median learning rate, with quartiles. Click a name to show or hide it; "
    "defaults, the article's rules and the controls are hidden at first. The scores are those that the visible medians "
    "need; double-click for all of them.",
    "profile": "For each factor, the share of tasks on which a method's median time to target is at most that many "
    "times the fastest one's. Higher is better; on the left edge, how often it is the fastest. A median that missed "
    "the target is never counted. Adding a method can change the lines of the others.",
    "speed-ups": "Geometric mean over paired seeds of the best baseline's time to target divided by the contender's, "
    "with its 95% interval. A missed target counts as twice the budget. A triangle at the end of an interval means "
    "that it goes on. These intervals are not corrected for their number; the verdict is.",
    "surface": "The learning rate that the winner's g gives in the middle of the budget, within the bounds. "
    "Within one task only the white line is visited, because the complexity does not change. A rule that does not look "
    "at the difficulty is drawn over performance alone.",
    "search-history": "Best objective so far: the mean time in epochs over a ladder of targets, on the seeds of the "
    "search. The best of many trials is lucky, which is why the verdict uses other seeds. A pruned trial leaves "
    "the line as it was.",
    "importances": IMPORTANCES_CAPTION,
}
HEADINGS = {
    "learning-curves": "Learning curves and learning rates",
    "profile": "Performance profile",
    "speed-ups": "Speed-ups against the best baseline",
    "surface": "The winner's learning rate over performance and difficulty",
    "search-history": "The searches",
    "importances": IMPORTANCES_TITLE,
}

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
    """Return the report as one HTML page with everything in it: styles, figures and plotly.js.

    Args:
        results: what ``build_results``, ``merge_results`` or ``read_results`` returned.
    """
    from plotly.offline import get_plotlyjs

    styles = contender_styles(results)
    tasks = results.tasks
    anchors = {name: f"task-{place}" for place, name in enumerate(tasks, start=1)}
    title = f"Which learning-rate rule converges fastest: {results.study}"
    cards = "\n".join(verdict_card(name, task, anchors[name]) for name, task in tasks.items())
    across = results.across
    summary = f'<p class="across">{escape(across_sentence(across))}</p>' if across else ""
    parts = "\n".join(_task(name, task, anchors[name], styles) for name, task in tasks.items())
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{STYLESHEET}</style></head><body>",
            f"<header><div><h1>{escape(results.study)}</h1>",
            '<p class="subtitle">Which rule for the learning rate converges fastest, and is it really faster than a '
            "tuned baseline?</p></div></header>",
            _contents(anchors, across is not None),
            '<main><div id="failure" hidden></div>',
            "<noscript><p>The figures need JavaScript; text and tables do not.</p></noscript>",
            f'<section id="verdicts" aria-label="Verdicts">{summary}{cards}</section>',
            _across(across, styles) if across else "",
            parts,
            f'<section id="method">{_method()}</section>',
            f'<section id="environment">{environment_part(results)}</section>',
            "</main>",
            f"<script>{get_plotlyjs()}</script>",
            f"<script>{SCRIPT}</script>",
            "</body></html>",
            "",
        ]
    )


def _contents(anchors: Mapping[str, str], has_across: bool) -> str:
    links = [("verdicts", "Verdicts")] if len(anchors) > 1 else []
    links += [("across", "All tasks together")] if has_across else []
    links += [(anchor, name) for name, anchor in anchors.items()]
    links += [("method", "Method"), ("environment", "Environment")]
    items = "".join(f'<a href="#{anchor}">{escape(text)}</a>' for anchor, text in links)
    return f'<nav aria-label="Contents"><div>{items}</div></nav>'


def _across(across: Across, styles: Mapping[str, Style]) -> str:
    figure = _figure("across-profile", performance_profiles(across.profile, styles), CAPTIONS["profile"])
    notes = _bullets([across_sentence(across), *regret_sentences(across), *across_cautions(across)])
    return f'<section id="across"><h2>All tasks together</h2>{notes}<h3>{HEADINGS["profile"]}</h3>{figure}</section>'


def _task(name: str, task: TaskResults, anchor: str, styles: Mapping[str, Style]) -> str:
    figures = task_panel(task, styles)

    def drawn(figure: str) -> str:
        if figure not in figures:
            return ""
        return f"<h3>{HEADINGS[figure]}</h3>" + _figure(f"{anchor}-{figure}", figures[figure], CAPTIONS[figure])

    notes = [detectable_sentence(task), feedback_sentence(task), *cautions(task)]
    return "\n".join(
        [
            f'<section id="{anchor}"><h2>{escape(name)}</h2>',
            "<h3>What to keep in mind</h3>",
            _bullets(notes),
            drawn("learning-curves"),
            drawn("speed-ups"),
            "<h3>All contenders</h3>",
            contender_table(task, styles),
            per_seed_table(task),
            "<h3>Where in training the time was won</h3>",
            levels_table(task),
            "<h3>The winner's formula</h3>",
            formula_part(task),
            drawn("surface"),
            drawn("search-history"),
            captioned_part(OPTIMISM_TITLE, optimism_rows(task), OPTIMISM_CAPTION),
            captioned_part(REGRET_TITLE, regret_rows(task), REGRET_CAPTION),
            drawn("importances"),
            "<h3>What was spent</h3>",
            cost_table(task),
            "<h3>The task and its data</h3>",
            facts(task),
            audit_part(task),
            "</section>",
        ]
    )


def _figure(identifier: str, figure: go.Figure, caption: str) -> str:
    # Inside a script element only "<" could end it; JSON may write it as an escape.
    data = json.dumps(json_value(figure.to_plotly_json()), ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<figure><div id="{identifier}"></div><figcaption>{escape(caption)}</figcaption></figure>'
        f'<script type="application/json" data-figure="{identifier}">{data}</script>'
    )


def _bullets(sentences: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _method() -> str:
    rules = [
        "Time to target is in epochs: examples seen divided by the examples in the training set. The target was set "
        "before the runs shown here: 95% of the way from guessing to the score that the best baseline ended with on "
        "the shortlist or, in the universal league, that the calibration reached. It counts as reached when two "
        "evaluations in a row are at or above it.",
        "Settings, best baseline and target were fixed on other seeds. All contenders then ran on the same seeds: the "
        "same initial weights, and the same examples in the same order.",
        "Every tuned method got the same number of trials, the same budget per run and the same bounds.",
        "A speed-up is the geometric mean over paired seeds of baseline time divided by policy time; a missed target "
        "counts as twice the budget. Test and interval are sign-flip tests, exact up to 20 seeds; p-values are "
        "corrected over all tasks of this report by Holm's method, and intervals, each of its own task, are not.",
        "Faster is said only if the corrected p is at most 0.05, the speed-up is above 1 against every tuned baseline, "
        "the target was reached at least as often as by the best one, and the test images do not contradict it. Slower "
        "is the mirror image against the best baseline. Anything else is a tie, which is no proof of equality.",
        "Feedback mattered is said only if the winner beats both its own rate played back without looking (replay) and "
        "itself with performance and difficulty held fixed (frozen), each with p at most 0.05. Feedback did not matter "
        "is said first, if the winner is shown to be at most 10% faster than one of the two or, where times are "
        "coarse, slower. Neither is corrected for the number of tasks.",
        "Test images were seen by no controller, no search and no target on validation. The target on them is set "
        "afterwards, from the best baseline's own curves there. Test scores are medians over seeds at the "
        "evaluation with the best validation score.",
    ]
    return f"<h2>How this was measured</h2>{_bullets(rules)}"
