"""report.md: the verdicts and their evidence as Markdown, written from the results alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from metagd_optuna.report.cautions import cautions
from metagd_optuna.report.document import Across, Results, TaskResults
from metagd_optuna.report.optimism import OPTIMISM_CAPTION, OPTIMISM_TITLE, optimism_rows
from metagd_optuna.report.panels import IMPORTANCES_CAPTION, IMPORTANCES_TITLE, importance_rows
from metagd_optuna.report.regret import REGRET_CAPTION, REGRET_TITLE, regret_rows, regret_sentences
from metagd_optuna.report.sentences import (
    FEEDBACK_WORDS,
    METRIC_NAMES,
    NOT_COMPARABLE,
    across_cautions,
    across_sentence,
    detectable_sentence,
    epochs,
    feedback_sentence,
    interval,
    label_words,
    level_rows,
    levels_caption,
    price_sentence,
    probability,
    ratio,
    reached_by_any,
    share_within,
    trained_alike,
    verdict_sentence,
    versus_best_baseline,
)
from metagd_optuna.report.settings_text import settings_text

# In the order of the contenders; the article is what all this began with, so its rules have a place in every table.
ARTICLES = ("article", "article-as-printed")
PROFILE_FACTORS = (1, 1.25, 1.5, 2, 5)


def markdown_report(results: Results) -> str:
    """Return the report as Markdown.

    Args:
        results: what ``build_results``, ``merge_results`` or ``read_results`` returned.
    """
    tasks = results.tasks
    across = results.across
    parts = [f"# {prose(results.study)}"]
    parts += [prose(across_sentence(across))] if across else []
    parts += [task_in_brief(name, task) for name, task in tasks.items()]
    parts += [overview(results)]
    parts += _across(across) if across else []
    for name, task in tasks.items():
        parts += _task(name, task)
    return "\n\n".join([*parts, *_environment(results)]) + "\n"


def task_in_brief(name: str, task: TaskResults) -> str:
    """Return label, verdict and price of one task as one paragraph."""
    return f"**{label_words(task.verdict)}**: {prose(verdict_sentence(name, task))} {prose(price_sentence(task))}"


def overview(results: Results) -> str:
    """Return all verdicts as one table, a row per task, with the article's own rule beside the searched one.

    Args:
        results: what ``build_results``, ``merge_results`` or ``read_results`` returned.
    """
    rows = []
    for name, task in results.tasks.items():
        verdict = task.verdict
        same = trained_alike(task.winner, task.reference)
        rows.append(
            (
                prose(name),
                code(task.best_baseline),
                versus_best_baseline(task, task.winner),
                probability(verdict.p_holm).removeprefix("p = ").removeprefix("p "),
                f"**{label_words(verdict)}**" + (", the same rule" if same else ""),
                _on_test(task),
                FEEDBACK_WORDS[verdict.feedback],
                *(_versus(task, article) for article in ARTICLES),
                _best_test_auc(task),
            )
        )
    heads = (
        "task",
        "best tuned baseline",
        "speed-up of the searched policy (95% interval)",
        "p, Holm",
        "verdict",
        "on the test images",
        "feedback",
        *(f"speed-up of {code(article)}" for article in ARTICLES),
        "highest test AUC",
    )
    return _table(heads, rows)


def _on_test(task: TaskResults) -> str:
    """Return the speed-up on the test images, where the best baseline learned enough on them to set a target."""
    verdict = task.verdict
    if task.test_target is None:
        return NOT_COMPARABLE
    return f"{ratio(verdict.test_speedup)} ({interval(verdict.test_ci95)})"


def _best_test_auc(task: TaskResults) -> str:
    """Return the highest median AUC on the test images and who has it; controls are nobody's choice."""
    rows = [row for row in task.contenders if row.kind != "control"]
    best = max(row.test.auc for row in rows)
    return f"{best:.3f} ({', '.join(code(row.name) for row in rows if row.test.auc == best)})"


def _versus(task: TaskResults, name: str) -> str:
    """Return the speed-up of a contender over the best baseline, if it ran."""
    found = [row for row in task.contenders if row.name == name]
    if not found:
        return "not run"
    return ratio(found[0].versus_best_baseline.speedup) if reached_by_any(*found, task.reference) else NOT_COMPARABLE


def prose(text: str) -> str:
    r"""Return text that Markdown shows literally, on one line.

    >>> prose("a_b <i> _c_")
    'a_b \\<i\\> \\_c\\_'
    """
    # An underscore within a word means nothing to Markdown and is left alone, as names are full of them.
    return " ".join(re.sub(r"(?<![^\W_])_|_(?![^\W_])|[\\`*\[\]<>|#$]", r"\\\g<0>", text).split())


def code(text: str) -> str:
    """Return text as a code span, on one line and safe within a table.

    >>> code("a|b")
    '`a\\\\|b`'
    """
    return "`" + " ".join(text.replace("`", "'").split()).replace("|", "\\|") + "`"


def _across(across: Across) -> list[str]:
    rows = [
        (code(method), *(f"{share_within(across.profile, method, factor):.0%}" for factor in PROFILE_FACTORS))
        for method in across.profile.shares
    ]
    return [
        "## All tasks together",
        _bullets([*regret_sentences(across), *across_cautions(across)]),
        "Share of tasks that a method solves within a factor of the fastest median among these methods:",
        _table(("method", *(f"{factor:g}" for factor in PROFILE_FACTORS)), rows),
    ]


def _task(name: str, task: TaskResults) -> list[str]:
    winner = task.winner
    return [
        f"## {prose(name)}",
        _bullets([detectable_sentence(task), feedback_sentence(task), *cautions(task)]),
        f"### Contenders\n\nTarget: {METRIC_NAMES[task.metric]} of {task.target:.3f} on validation. "
        f"{len(task.seeds)} paired seeds. Speed-ups are against {prose(task.best_baseline)}; "
        "their intervals are not corrected for their number.",
        _contenders(task),
        f"### Where in training the time was won\n\n{levels_caption(task)}",
        _levels(task),
        f"### The winner's formula\n\n{prose(task.policy_in_words)}\n\n{code(winner.formula)}\n\n"
        f"Optimizer: {prose(winner.optimizer)}. "
        "c is the task's complexity, p the performance, d the difficulty, lr the learning rate.",
        *_captioned(OPTIMISM_TITLE, optimism_rows(task), OPTIMISM_CAPTION),
        *_captioned(REGRET_TITLE, regret_rows(task), REGRET_CAPTION),
        *_captioned(IMPORTANCES_TITLE, importance_rows(task), IMPORTANCES_CAPTION),
        "### What was spent",
        _spent(task),
        "### The task and its data",
        _facts(task),
    ]


def _levels(task: TaskResults) -> str:
    heads, *rows = level_rows(task)
    return _table(tuple(map(prose, heads)), rows)


def _captioned(title: str, rows: Sequence[Sequence[str]], caption: str) -> list[str]:
    """Return a table of texts with its heading and caption; nothing if there are no rows."""
    if not rows:
        return []
    heads, *body = rows
    return [f"### {title}\n\n{caption}", _table(heads, [(code(row[0]), *row[1:]) for row in body])]


def _contenders(task: TaskResults) -> str:
    seeds = len(task.seeds)
    ordered = sorted(task.contenders, key=lambda row: (row.epochs_to_target.median or float("inf"), row.name))
    rows = []
    for row in ordered:
        test = row.test
        rows.append(
            (
                code(row.name),
                row.kind,
                epochs(row.epochs_to_target.median),
                f"{round(row.reached * seeds)} of {seeds}",
                "reference" if row.name == task.best_baseline else versus_best_baseline(task, row),
                f"{test.auc:.3f}",
                f"{test.balanced_accuracy:.3f}",
                str(row.trials) if row.trials else "untuned",
                code(row.formula),
            )
        )
    heads = (
        "contender",
        "kind",
        "epochs to target",
        "reached",
        "speed-up (95%)",
        "test AUC",
        "test bal. acc.",
        "trials",
        "rule",
    )
    return _table(heads, rows)


def _spent(task: TaskResults) -> str:
    rows = []
    for phase, spent in task.spent_by_phase.items():
        search = task.searches.get(phase)
        rows.append((code(phase), f"{search.trials}, {search.pruned} pruned" if search else "", epochs(spent)))
    return _table(("phase", "trials", "epochs"), [*rows, ("all", "", epochs(task.spent_epochs))])


def _facts(task: TaskResults) -> str:
    sizes = task.sizes
    findings = task.findings
    lines = [
        f"{sizes.train:,} training, {sizes.validation:,} validation and {sizes.test:,} test images, "
        f"{task.classes} classes, complexity {task.complexity:.3f} ({task.complexity_measure}).",
        f"Budget of a run: {task.budget_epochs:.4g} epochs, {task.evaluations} evaluations.",
        f"Network: {task.network}. Members per program: {task.population}.",
        *(f"{key}: {value}" for key, value in task.source.items()),
        *(f"Audit: {finding}" for finding in findings),
    ]
    return _bullets(lines if findings else [*lines, "The audit of the data found nothing."])


def _environment(results: Results) -> list[str]:
    parts = ["## Environment, and how to run it again"]
    for name, run in results.runs.items():
        versions = ", ".join(f"{package} {version}" for package, version in run.versions.items())
        # Longer than any run of backticks in a setting, so that no setting ends the block.
        fence = "`" * (3 + settings_text(run.settings).count("`"))
        parts += [
            f"Study {code(name)}: {prose(run.device)}; {prose(versions)}. Save this as {code(name + '.toml')} and "
            f"call {code('metagd run ' + name + '.toml')}; on the same CPU it gives the same results but for the "
            "times; on a GPU rounding may differ.",
            f"{fence}toml\n{settings_text(run.settings)}\n{fence}",
        ]
    return parts


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {prose(sentence)}" for sentence in sentences)
