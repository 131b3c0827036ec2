"""The tables and small parts of the page; every text that comes from outside is escaped here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from metagd_optuna.report.document import ContenderResults, MedianTime, Results, TaskResults
from metagd_optuna.report.sentences import (
    METRIC_NAMES,
    NOT_COMPARABLE,
    epochs,
    interval,
    label_words,
    level_rows,
    levels_caption,
    price_sentence,
    ratio,
    reached_by_any,
    short_flags,
    verdict_sentence,
)
from metagd_optuna.report.settings_text import settings_text
from metagd_optuna.report.styles import Style

# A shape beside the word, so that the verdict does not hang on a colour.
LABEL_SHAPES = {"faster": "▲", "tie": "●", "slower": "▼"}
BORDERS = {"solid": "solid", "dash": "dashed", "dot": "dotted", "dashdot": "dashed", "longdash": "dashed"}


def verdict_card(name: str, task: TaskResults, anchor: str) -> str:
    """Return the verdict on one task: badge, sentence, price, and in short what else to know."""
    label = task.verdict.label
    flags = "".join(f'<span class="flag">{escape(flag)}</span>' for flag in short_flags(task))
    return (
        f'<div class="verdict {label}"><div class="verdict-head"><span class="badge">{LABEL_SHAPES[label]} '
        f'{label_words(task.verdict)}</span><a href="#{anchor}">{escape(name)}</a></div>'
        f'<p class="sentence">{escape(verdict_sentence(name, task))}</p>'
        f'<p class="price">{escape(price_sentence(task))}</p>{flags}</div>'
    )


def contender_table(task: TaskResults, styles: Mapping[str, Style]) -> str:
    """Return all contenders, the fastest median first."""
    rows = sorted(task.contenders, key=lambda row: (row.epochs_to_target.median or float("inf"), row.name))
    seeds = len(task.seeds)
    body = [
        (
            _swatch(styles[row.name]) + escape(row.name),
            escape(row.kind),
            _time(row.epochs_to_target),
            f"{round(row.reached * seeds)} of {seeds}",
            _speedup(task, row),
            _score(row.test.auc),
            _score(row.test.balanced_accuracy),
            _score(row.test.accuracy),
            str(row.trials) if row.trials else "untuned",
        )
        for row in rows
    ]
    heads = (
        "contender",
        "kind",
        "epochs to target",
        "reached",
        "speed-up",
        "test AUC",
        "balanced accuracy",
        "accuracy",
        "trials",
    )
    caption = (
        f"Target: {METRIC_NAMES[task.metric]} of {task.target:.3f} on validation. Epochs to target: median over "
        f"{seeds} paired seeds with its 95% interval. Speed-up: against the best baseline, {task.best_baseline}. "
        "AUC and accuracies: on the test images."
    )
    chosen = [row.name == task.policy for row in rows]
    table = _table(heads, body, caption, numbers_from=2, chosen=chosen)
    rules = _table(
        ("contender", "rule with its coefficients", "optimizer"),
        [(escape(row.name), f"<code>{escape(row.formula)}</code>", escape(row.optimizer)) for row in rows],
    )
    return f"{table}<details><summary>Rules of all contenders</summary>{rules}</details>"


def per_seed_table(task: TaskResults) -> str:
    """Return the raw times on which the verdict rests, folded away."""
    seeds = [str(seed) for seed in task.seeds]
    body = [(escape(row.name), *(epochs(value) for value in row.per_seed)) for row in task.contenders]
    table = _table(("epochs to target", *seeds), body, "One column per seed.", numbers_from=1)
    return f"<details><summary>Every single time to target, by seed</summary>{table}</details>"


def levels_table(task: TaskResults) -> str:
    """Return where in training the time was won."""
    heads, *rows = level_rows(task)
    return _table(heads, [tuple(map(escape, row)) for row in rows], levels_caption(task), numbers_from=1)


def captioned_part(title: str, rows: Sequence[Sequence[str]], caption: str) -> str:
    """Return a table of texts with its heading and caption; nothing if there are no rows.

    Args:
        rows: the head first; the first column is text and the others are numbers.
    """
    if not rows:
        return ""
    heads, *body = rows
    table = _table(heads, [tuple(map(escape, row)) for row in body], caption, numbers_from=1)
    return f"<h3>{escape(title)}</h3>{table}"


def formula_part(task: TaskResults) -> str:
    """Return the winner's formula as text, its LaTeX, and its settings as JSON."""
    row = task.winner
    settings = escape(json.dumps(row.settings, indent=1, ensure_ascii=False), quote=False)
    latex = f"<details><summary>As LaTeX</summary><pre>{escape(row.latex)}</pre></details>" if row.latex else ""
    words = f"<p>{escape(task.policy_in_words)}</p>" if task.policy_in_words else ""
    return (
        f'{words}<pre class="formula">{_powers(row.formula)}</pre>'
        '<p class="note">c: complexity of the task, measured before training. p: performance, 0 is guessing and 1 is '
        "perfect. d: difficulty. lr: learning rate. "
        f"Optimizer: {escape(row.optimizer)}.</p>"
        f"{latex}<details><summary>As a policy file</summary><pre>{settings}</pre></details>"
    )


def cost_table(task: TaskResults) -> str:
    """Return what every phase cost in epochs, pruned trials included."""
    total = task.spent_epochs or 1.0
    body = []
    for phase, spent in task.spent_by_phase.items():
        search = task.searches.get(phase)
        trials = f"{search.trials}, {search.pruned} pruned" if search else ""
        body.append((escape(phase), trials, epochs(spent), f"{spent / total:.0%}"))
    body.append(("all", "", epochs(task.spent_epochs), "100%"))
    chosen = [False] * (len(body) - 1) + [True]
    caption = "Passes over the training set, pruned trials included."
    return _table(("phase", "trials", "epochs", "share"), body, caption, numbers_from=1, chosen=chosen)


def facts(task: TaskResults) -> str:
    """Return what the task is."""
    sizes = task.sizes
    rows = [
        ("metric", METRIC_NAMES[task.metric]),
        ("images", f"{sizes.train:,} training, {sizes.validation:,} validation, {sizes.test:,} test"),
        ("classes", str(task.classes)),
        ("complexity c", f"{task.complexity:.3f} ({task.complexity_measure})"),
        ("guessing scores", _score(task.chance)),
        ("target", _score(task.target)),
        ("target on the test images", _score(task.test_target)),
        ("target of the searches", _score(task.t_search)),
        ("budget of a run", f"{task.budget_epochs:.4g} epochs, {task.evaluations} evaluations"),
        ("network", task.network),
        ("members per program", str(task.population)),
        *((str(key), str(value)) for key, value in task.source.items()),
    ]
    return '<dl class="facts">' + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows) + "</dl>"


def audit_part(task: TaskResults) -> str:
    """Return the findings of the data audit."""
    findings = task.findings
    if not findings:
        return '<p class="note">The audit of the data found nothing.</p>'
    items = "".join(f"<li>{escape(str(finding))}</li>" for finding in findings)
    return f"<p>The audit of the data found:</p><ul>{items}</ul>"


def environment_part(results: Results) -> str:
    """Return device, versions, times and how to run it again."""
    parts = ["<h2>Environment, and how to run it again</h2>"]
    for name, run in results.runs.items():
        versions = ", ".join(f"{package} {version}" for package, version in run.versions.items())
        parts += [
            f"<h3>{escape(name)}</h3>",
            '<dl class="facts">',
            f"<dt>device</dt><dd>{escape(run.device)}</dd>",
            f"<dt>versions</dt><dd>{escape(versions)}</dd></dl>",
            f"<p>Save this as <code>{escape(name)}.toml</code> and call <code>metagd run {escape(name)}.toml</code>; "
            "on the same CPU it gives the same results but for the times; on a GPU rounding may differ.</p>",
            f"<pre>{escape(settings_text(run.settings))}</pre>",
            "<details><summary>Wall-clock times</summary>"
            f"<pre>{escape(settings_text(results.timing[name]))}</pre></details>",
        ]
    return "\n".join(parts)


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    *,
    numbers_from: int = 99,
    chosen: Sequence[bool] = (),
) -> str:
    """Return a table; cells are HTML, the first of a row is its head."""

    def kind(place: int) -> str:
        return ' class="number"' if place >= numbers_from else ""

    head = "".join(f'<th scope="col"{kind(place)}>{escape(text)}</th>' for place, text in enumerate(heads))
    body = []
    for number, row in enumerate(rows):
        cells = "".join(f"<td{kind(place)}>{cell}</td>" for place, cell in enumerate(row[1:], start=1))
        mark = ' class="chosen"' if number < len(chosen) and chosen[number] else ""
        body.append(f'<tr{mark}><th scope="row">{row[0]}</th>{cells}</tr>')
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _powers(formula: str) -> str:
    """Return a formula with one part per line and its numeric powers raised.

    >>> print(_powers("d = 0.5 c; lr = 0.01 (1 - d)^0.5 (p + 0.01)^-1e-05 (2 < 3)^sigmoid(p)"))
    d = 0.5 c
    lr = 0.01 (1 - d)<sup>0.5</sup> (p + 0.01)<sup>-1e-05</sup> (2 &lt; 3)^sigmoid(p)
    """
    return re.sub(r"\^([-+]?\d[\d.]*(?:e[-+]?\d+)?)", r"<sup>\1</sup>", escape(formula.replace("; ", "\n")))


def _swatch(style: Style) -> str:
    return f'<span class="swatch" style="border-top: 3px {BORDERS[style.dash]} {style.colour}"></span>'


def _time(time: MedianTime) -> str:
    if time.median is None:
        return epochs(None)
    return f"{epochs(time.median)} ({interval(time.ci95)})"


def _speedup(task: TaskResults, row: ContenderResults) -> str:
    if not reached_by_any(row, task.reference):
        return NOT_COMPARABLE
    return ratio(row.versus_best_baseline.speedup)


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
