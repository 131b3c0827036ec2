"""What a report says, as blocks: the verdicts, all tasks together, each task, how it was measured and with what."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from metagd_optuna.report import blocks
from metagd_optuna.report.document import Across, Results
from metagd_optuna.report.figures import performance_profiles
from metagd_optuna.report.regret import regret_sentences
from metagd_optuna.report.sentences import (
    FEEDBACK_WORDS,
    NOT_COMPARABLE,
    across_cautions,
    across_sentence,
    interval,
    label_words,
    percent,
    price_sentence,
    probability,
    ratio,
    reached_by_any,
    share_within,
    short_flags,
    trained_alike,
    use_sentence,
    verdict_sentence,
    versus_best_baseline,
)
from metagd_optuna.report.settings_text import settings_text
from metagd_optuna.report.styles import Style, candidate_styles
from metagd_optuna.report.task_content import task_blocks
from metagd_optuna.report.task_document import TaskResults

# In the order of the candidates; the article is what all this began with, so its rules have a place in the table.
ARTICLES = ("article", "article-as-printed")
PROFILE_FACTORS = (1, 1.25, 1.5, 2, 5)
PROFILE_CAPTION = (
    "For each factor, the share of tasks on which a method's median time to target is at most that many times the "
    "fastest one's. Higher is better; on the left edge, how often it is the fastest. A median that missed the target "
    "is never counted. Adding a method can change the lines of the others."
)
METHOD = (
    "Settings, best baseline and target were fixed on other seeds. All candidates then ran on the same seeds: the same "
    "initial weights, and the same examples in the same order.",
    "Every tuned method got the same number of trials, the same budget per run and the same bounds.",
    "A speed-up is the geometric mean over paired seeds of baseline time divided by policy time; a missed target "
    "counts as twice the budget. Test and interval are sign-flip tests, exact up to 20 seeds; p-values are corrected "
    "over all tasks of this report by Holm's method, and intervals, each of its own task, are not.",
    "Faster is said only if the corrected p is at most 0.05, the speed-up is above 1 against every tuned baseline, the "
    "target was reached at least as often as by the best one, and the test cases do not contradict it. Slower is the "
    "mirror image against the best baseline. Anything else is a tie, which is no proof of equality.",
    "Feedback mattered is said only if the winner beats both its own rate replayed open-loop (replay) and "
    "itself with performance and difficulty held fixed (frozen), each with p at most 0.05. Feedback did not matter is "
    "said first, if the winner is shown to be at most 10% faster than one of the two or, where times are coarse, "
    "slower. Neither is corrected for the number of tasks.",
    "Test cases were seen by no controller, no search and no target on validation. The target on them is set "
    "afterwards, from the best baseline's own curves there. Test scores are medians over seeds at the evaluation with "
    "the best validation score.",
)


def report_blocks(results: Results) -> list[blocks.Block]:
    """Return everything that a report says, the verdicts first."""
    styles = candidate_styles(results)
    across, alone = results.across, len(results.tasks) == 1
    parts: list[blocks.Block] = [blocks.Prose(across_sentence(across), "lead")] if across else []
    anchors = {name: f"task-{place}" for place, name in enumerate(results.tasks, start=1)}
    parts += [verdict_card(name, task, anchors[name]) for name, task in results.tasks.items()]
    if across:
        parts += _across(results, across, styles)
    for name, task in results.tasks.items():
        parts.append(blocks.Heading(2, name, anchors[name]))
        if not alone:  # then the verdict stands above
            parts.append(blocks.Prose((blocks.Strong(label_words(task.verdict)), f": {verdict_sentence(name, task)}")))
        parts += task_blocks(task, styles, anchors[name])
    parts += [blocks.Heading(2, "How this was measured", "method"), blocks.Bullets([_on_the_target(results), *METHOD])]
    return [*parts, *_environment(results)]


def _on_the_target(results: Results) -> str:
    shares = dict.fromkeys(percent(task.target_share) for task in results.tasks.values())
    differ = "" if len(shares) == 1 else ", as each study says,"
    return (
        "Time to target is in epochs: examples seen divided by the examples in the training set. The target was set "
        f"before the runs shown here: {' or '.join(shares)}{differ} of the way from chance level to the score that the "
        "best baseline ended with on the shortlist or, in the universal scope, that the calibration reached. It counts "
        "as reached when two evaluations in a row are at or above it."
    )


def verdict_card(name: str, task: TaskResults, anchor: str) -> blocks.VerdictCard:
    """Return the verdict on one task: label, sentence, price, and in short what else to know."""
    return blocks.VerdictCard(
        task=name,
        anchor=anchor,
        label=task.verdict.label,
        words=label_words(task.verdict),
        sentence=" ".join(filter(None, (verdict_sentence(name, task), use_sentence(name, task)))),
        price=price_sentence(task),
        flags=short_flags(task),
    )


def overview_table(results: Results) -> blocks.Table:
    """Return all verdicts as one table, a row per task."""
    heads = (
        "task",
        "best tuned baseline",
        "speed-up of the searched policy (95% interval; p, Holm)",
        "verdict",
        "feedback",
    )
    rows: list[tuple[blocks.Text, ...]] = []
    for name, task in results.tasks.items():
        known = reached_by_any(task.winner, task.reference)
        same = ", the same rule" if trained_alike(task.winner, task.reference) else ""
        rows.append(
            (
                name,
                blocks.Code(task.best_baseline),
                versus_best_baseline(task, task.winner) + (f"; {probability(task.verdict.p_holm)}" if known else ""),
                (blocks.Strong(label_words(task.verdict)), same),
                FEEDBACK_WORDS[task.verdict.feedback],
            )
        )
    return blocks.Table(heads, rows)


def comparison_table(results: Results) -> blocks.Table:
    """Return what stands beside the verdicts: the test cases, and the article's own rule."""
    heads: tuple[blocks.Text, ...] = (
        "task",
        "speed-up on the test cases (95% interval)",
        *(("speed-up of ", blocks.Code(article)) for article in ARTICLES),
        "highest test AUC",
    )
    rows: list[tuple[blocks.Text, ...]] = []
    for name, task in results.tasks.items():
        on_test = f"{ratio(task.verdict.test_speedup)} ({interval(task.verdict.test_ci95)})"
        rows.append(
            (
                name,
                NOT_COMPARABLE if task.test_target is None else on_test,
                *(_versus(task, article) for article in ARTICLES),
                _best_test_auc(task),
            )
        )
    return blocks.Table(heads, rows)


def _versus(task: TaskResults, name: str) -> str:
    """Return the speed-up of a candidate over the best baseline, if it ran."""
    found = [row for row in task.candidates if row.name == name]
    if not found:
        return "not run"
    return ratio(found[0].versus_best_baseline.speedup) if reached_by_any(*found, task.reference) else NOT_COMPARABLE


def _best_test_auc(task: TaskResults) -> blocks.Text:
    """Return the highest median AUC on the test cases and who has it; controls are nobody's choice."""
    rows = [row for row in task.candidates if row.kind != "control"]
    best = max(row.test.auc for row in rows)
    names = [part for row in rows if row.test.auc == best for part in (", ", blocks.Code(row.name))]
    return (f"{best:.3f} (", *names[1:], ")")


def _across(results: Results, across: Across, styles: Mapping[str, Style]) -> list[blocks.Block]:
    rows: list[tuple[blocks.Text, ...]] = [
        (blocks.Code(method), *(f"{share_within(across.profile, method, factor):.0%}" for factor in PROFILE_FACTORS))
        for method in across.profile.shares
    ]
    numbers = blocks.Table(
        ("method", *(f"{factor:g}" for factor in PROFILE_FACTORS)),
        rows,
        "Share of tasks that a method solves within a factor of the fastest median among these methods.",
    )
    return [
        blocks.Heading(2, "All tasks together", "across"),
        overview_table(results),
        comparison_table(results),
        blocks.Figure(
            "across-profile",
            "Performance profile",
            PROFILE_CAPTION,
            partial(performance_profiles, across.profile, styles),
            numbers,
        ),
        blocks.Heading(3, "What to keep in mind of all tasks"),
        blocks.Bullets([*regret_sentences(across), *across_cautions(across)]),
    ]


def _environment(results: Results) -> list[blocks.Block]:
    parts: list[blocks.Block] = [blocks.Heading(2, "Environment, and how to run it again", "environment")]
    for name, run in results.runs.items():
        versions = ", ".join(f"{package} {version}" for package, version in run.versions.items())
        again = "; on the same CPU it gives the same results but for the times; on a GPU rounding may differ."
        parts += [
            blocks.Heading(3, name),
            blocks.Facts([("device", run.device), ("versions", versions)]),
            blocks.Prose(
                (
                    "Save this as ",
                    blocks.Code(f"{name}.toml"),
                    " and call ",
                    blocks.Code(f"metagd run {name}.toml"),
                    again,
                )
            ),
            blocks.Listing(settings_text(run.settings), "toml"),
            blocks.Details("Wall-clock times", [blocks.Listing(settings_text(results.timing[name]), "toml")]),
        ]
    return parts
