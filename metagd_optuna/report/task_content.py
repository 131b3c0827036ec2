"""What a report says about one task, as blocks: curves, what to keep in mind, then the evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping

from metagd_optuna.report import blocks
from metagd_optuna.report.cautions import cautions
from metagd_optuna.report.figures import task_drawings
from metagd_optuna.report.optimism import OPTIMISM_TITLE, optimism_table
from metagd_optuna.report.panels import fastest_first, importance_bars
from metagd_optuna.report.regret import REGRET_TITLE, regret_table
from metagd_optuna.report.sentences import (
    METRIC_NAMES,
    NOT_COMPARABLE,
    SYMBOLS,
    detectable_sentence,
    epochs,
    feedback_sentence,
    interval,
    percent,
    ratio,
    versus_best_baseline,
)
from metagd_optuna.report.styles import Style
from metagd_optuna.report.task_document import CandidateResults, TaskResults

FIGURES = {
    "learning-curves": (
        "Learning curves and learning rates",
        "Above: the median validation score over the seeds, with quartiles as a band; a run that diverged goes on at "
        "chance level. Below: the median learning rate, with quartiles. Click a name to show or hide it; defaults, the "
        "article's rules and the controls are hidden at first. Both axes are zoomed to where the visible curves reach "
        "the target; double-click for the full range.",
    ),
    "speed-ups": (
        "Speed-ups against the best baseline",
        "Geometric mean over paired seeds of the best baseline's time to target divided by the candidate's, with its "
        "95% interval. A missed target counts as twice the budget. A triangle at the end of an interval means that it "
        "goes on. These intervals are not corrected for their number; the verdict is.",
    ),
    "surface": (
        "The winner's learning rate over performance and difficulty",
        "The learning rate that the winner's g gives in the middle of the budget, within the bounds. Within one task "
        "only the white line is visited, because the complexity does not change. A rule that does not look at the "
        "difficulty is drawn over performance alone.",
    ),
    "search-history": (
        "The searches",
        "Best objective so far: the mean time in epochs over a list of targets, on the seeds of the search. The best "
        "of many trials fits these seeds by chance, so the verdict uses other seeds. Pruned trials do not change "
        "the line.",
    ),
    "importances": (
        "Which parameters mattered",
        "How much each parameter of the meta-policy's search decides whether a trial is among the best tenth "
        "(PED-ANOVA; the shares sum to 1), with the 95% interval of a bootstrap over its trials.",
    ),
}
MOST_CAUTIONS = 5  # that are not folded


def task_blocks(task: TaskResults, styles: Mapping[str, Style], anchor: str) -> list[blocks.Block]:
    """Return the part on one task, without its heading and its verdict.

    Args:
        styles: of all candidates of the report.
        anchor: begins the identifiers of its figures.
    """
    drawings = task_drawings(task, styles)

    def figure(name: str, numbers: blocks.Table | None = None) -> list[blocks.Block]:
        if name not in drawings:
            return []
        return [blocks.Figure(f"{anchor}-{name}", *FIGURES[name], drawings[name], numbers)]

    return [
        *figure("learning-curves"),
        *_to_keep_in_mind(task),
        *figure("speed-ups"),
        blocks.Heading(3, "All candidates"),
        candidate_table(task, styles),
        blocks.Details("Rules of all candidates", [_rules(task)], kept=True),
        blocks.Details("Every single time to target, by seed", [_per_seed(task)]),
        blocks.Heading(3, "Where in training the time was won"),
        levels_table(task),
        blocks.Heading(3, "The winner's formula"),
        *_formula(task.winner, task.policy_in_words),
        *figure("surface"),
        *figure("search-history"),
        *_titled(OPTIMISM_TITLE, optimism_table(task)),
        *_titled(REGRET_TITLE, regret_table(task)),
        *figure("importances", _importances(task)),
        blocks.Heading(3, "What was spent"),
        _costs(task),
        blocks.Heading(3, "The task and its data"),
        _facts(task),
        *_findings(task),
    ]


def _to_keep_in_mind(task: TaskResults) -> list[blocks.Block]:
    """Return the most serious reservations, with the others folded."""
    notes = [detectable_sentence(task), feedback_sentence(task), *cautions(task)]
    first, others = notes[:MOST_CAUTIONS], notes[MOST_CAUTIONS:]
    folded = [blocks.Details(f"{len(others)} more to keep in mind", [blocks.Bullets(others)], kept=True)]
    return [blocks.Heading(3, "What to keep in mind"), blocks.Bullets(first), *(folded if others else [])]


def candidate_table(task: TaskResults, styles: Mapping[str, Style]) -> blocks.Table:
    """Return all candidates, the fastest first, in the order of the figure of speed-ups."""
    seeds = len(task.seeds)
    rows = fastest_first(task)
    heads = (
        "candidate",
        "kind",
        "epochs to target (95% interval)",
        "reached",
        "speed-up (95% interval)",
        "test AUC",
        "balanced accuracy",
        "accuracy",
        "trials",
    )
    cells = [
        (
            (blocks.Swatch(styles[row.name].colour, styles[row.name].dash), blocks.Code(row.name)),
            row.kind,
            _time(row),
            f"{round(row.reached * seeds)} of {seeds}",
            "reference" if row.name == task.best_baseline else versus_best_baseline(task, row),
            _score(row.test.auc),
            _score(row.test.balanced_accuracy),
            _score(row.test.accuracy),
            str(row.trials) if row.trials else "untuned",
        )
        for row in rows
    ]
    caption = (
        f"Target: {METRIC_NAMES[task.metric]} of {task.target:.3f} on validation. Epochs to target: median over "
        f"{seeds} paired seeds. Speed-up: against the best baseline, {task.best_baseline}, over the same seeds, the "
        "fastest first; these intervals are not corrected for their number. AUC and accuracies: on the test cases."
    )
    chosen = [number for number, row in enumerate(rows) if row.name == task.policy]
    return blocks.Table(heads, cells, caption, numbers_from=2, highlighted=chosen)


def _rules(task: TaskResults) -> blocks.Table:
    rows = [(blocks.Code(row.name), blocks.Code(row.formula), row.optimizer) for row in fastest_first(task)]
    return blocks.Table(("candidate", "rule with its coefficients", "optimizer"), rows)


def _per_seed(task: TaskResults) -> blocks.Table:
    heads = ("epochs to target", *map(str, task.seeds))
    rows: list[tuple[blocks.Text, ...]] = [
        (blocks.Code(row.name), *map(epochs, row.per_seed)) for row in task.candidates
    ]
    return blocks.Table(heads, rows, "One column per seed.", numbers_from=1)


def levels_table(task: TaskResults) -> blocks.Table:
    """Return where in training the time was won."""
    reached = " In brackets: how many runs got there." if task.levels[0].policy_reached is not None else ""
    caption = (
        "Median epochs to intermediate targets, as shares of the gap between chance level (0%) and the reference score "
        f"(100%); the verdict uses {percent(task.target_share)}. The reference score is the best baseline's final "
        f"score on the shortlist or, in the universal scope, what the calibration reached.{reached} These intervals "
        "are not corrected for their number."
    )
    rows = [
        (
            percent(level.share),
            f"{level.target:.3f}",
            _time_and_reach(task, level.policy, level.policy_reached),
            _time_and_reach(task, level.baseline, level.baseline_reached),
            NOT_COMPARABLE
            if level.policy_reached == level.baseline_reached == 0
            else f"{ratio(level.speedup)} ({interval(level.ci95)})",
        )
        for level in task.levels
    ]
    heads = (
        "share of the gap",
        "score",
        blocks.Code(task.policy),
        blocks.Code(task.best_baseline),
        "speed-up (95% interval)",
    )
    return blocks.Table(heads, rows, caption, numbers_from=1)


def _time_and_reach(task: TaskResults, median: float | None, share: float | None) -> str:
    seeds = len(task.seeds)
    return epochs(median) + (f" ({round(share * seeds)} of {seeds})" if share is not None else "")


def _importances(task: TaskResults) -> blocks.Table:
    rows = [(blocks.Code(name), label) for name, _, label in reversed(importance_bars(task))]
    return blocks.Table(("parameter", "share (95% interval)"), rows, FIGURES["importances"][1], numbers_from=1)


def _titled(title: str, table: blocks.Table | None) -> list[blocks.Block]:
    return [blocks.Heading(3, title), table] if table else []


def _formula(winner: CandidateResults, in_words: str) -> list[blocks.Block]:
    parts: list[blocks.Block] = [blocks.Prose(in_words)] if in_words else []
    parts += [blocks.Formula(winner.formula), blocks.Prose(f"{SYMBOLS} Optimizer: {winner.optimizer}.", "note")]
    if winner.latex:
        parts.append(blocks.Details("As LaTeX", [blocks.Listing(winner.latex, "latex")]))
    settings = json.dumps(winner.settings, indent=1, ensure_ascii=False)
    return [*parts, blocks.Details("As a policy file", [blocks.Listing(settings, "json")])]


def _costs(task: TaskResults) -> blocks.Table:
    total = task.spent_epochs or 1.0
    rows: list[tuple[blocks.Text, ...]] = []
    for phase, spent in task.spent_by_phase.items():
        search = task.searches.get(phase)
        trials = f"{search.trials}, {search.pruned} pruned" if search else ""
        rows.append((blocks.Code(phase), trials, epochs(spent), f"{spent / total:.0%}"))
    rows.append(("all", "", epochs(task.spent_epochs), "100%"))
    caption = "Passes over the training set, pruned trials included."
    return blocks.Table(
        ("phase", "trials", "epochs", "share"), rows, caption, numbers_from=1, highlighted=[len(rows) - 1]
    )


def _facts(task: TaskResults) -> blocks.Facts:
    sizes = task.sizes
    return blocks.Facts(
        [
            ("metric", METRIC_NAMES[task.metric]),
            ("cases", f"{sizes.train:,} training, {sizes.validation:,} validation, {sizes.test:,} test"),
            ("classes", str(task.classes)),
            ("complexity c", f"{task.complexity:.3f} ({task.complexity_measure})"),
            ("chance level", _score(task.chance)),
            ("target", _score(task.target)),
            ("target on the test cases", _score(task.test_target)),
            ("target of the searches", _score(task.search_target)),
            ("budget of a run", f"{task.budget_epochs:.4g} epochs, {task.evaluations} evaluations"),
            ("network", task.network),
            ("members per program", str(task.population)),
            *((key, str(value)) for key, value in task.source.items()),
        ]
    )


def _findings(task: TaskResults) -> list[blocks.Block]:
    if not task.findings:
        return [blocks.Prose("The audit of the data found nothing.", "note")]
    return [blocks.Prose("The audit of the data found:"), blocks.Bullets(task.findings)]


def _time(row: CandidateResults) -> str:
    time = row.epochs_to_target
    return epochs(None) if time.median is None else f"{epochs(time.median)} ({interval(time.ci95)})"


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
