"""What the suite found, as blocks: a page with a figure, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import exp
from pathlib import Path

from metagd_optuna.analysis import GeometricMean
from metagd_optuna.files import write_texts
from metagd_optuna.report.blocks import Block, Figure, Heading, Prose, Strong, Table, Text
from metagd_optuna.report.figures import ratios_by_row
from metagd_optuna.report.markdown import markdown
from metagd_optuna.report.page import page_of
from metagd_optuna.suite.confirmation import Confirmed, confirmed
from metagd_optuna.suite.exploration import (
    MEASURES,
    OBJECTIVE,
    TO_TARGET,
    Row,
    explored,
    over,
    rate_table,
    trained_rules,
    tuned_constant,
)
from metagd_optuna.suite.rate_settings import RATES, SCHEDULE_FREE
from metagd_optuna.suite.runs import SuiteRun
from metagd_optuna.suite.workloads import EXPLORE

FEWEST = 3  # workloads of which one can be left out and the others still differ
TITLES = {
    EXPLORE: "What one rate for all networks costs",
    "confirm": "Rules for all networks, on workloads that had no say in them",
}


def write_page(half: str, runs: Mapping[str, Sequence[SuiteRun]], out: Path) -> Path:
    """Write what one half of the suite found as a page and as Markdown, and return the page's path.

    Args:
        half: ``explore`` or ``confirm``.
        runs: by workload, at least one.
        out: a folder that is there.
    """
    parts = exploration_blocks(runs) if half == EXPLORE else confirmation_blocks(runs)
    html = page_of("The suite", TITLES[half], parts, title=TITLES[half])
    write_texts({out / f"{half}.html": html, out / f"{half}.md": f"# {TITLES[half]}\n\n{markdown(parts)}"})
    return out / f"{half}.html"


def exploration_blocks(runs: Mapping[str, Sequence[SuiteRun]]) -> list[Block]:
    """Return what rules without feedback cost on workloads that they were chosen without."""
    parts: list[Block] = [Heading(2, "Every constant rate", "rates"), _rates(runs)]
    if len(runs) < FEWEST:
        lead = f"Rules are compared over {FEWEST} workloads or more, and here are {len(runs)}."
        return [Prose(lead), *parts, *_trained(runs)]
    rows = {name: explored(runs, measure) for name, measure in MEASURES.items()}
    shown = [row for row in rows[TO_TARGET] if row.family.startswith(SCHEDULE_FREE) and not row.rule.scaled]
    return [
        Prose(
            f"{len(runs)} workloads. Each rule is chosen on all others, on two seeds, and judged on two other seeds. A "
            "regret of 1 is the rate that is best for the workload itself. In brackets the 95% interval over workloads."
        ),
        Heading(2, "Rules that need no feedback", "rules"),
        _rules_table(rows),
        Figure(
            "times",
            "Epochs to the target by workload",
            "ScheduleFreeAdamW; 1 is its rate that was tuned on the workload itself.",
            partial(
                ratios_by_row,
                list(runs),
                {row.rule.name: [exp(value) for value in row.regrets] for row in shown},
                "times the epochs that the tuned constant takes: slower to the right",
            ),
        ),
        *parts,
        *_trained(runs),
    ]


def _trained(runs: Mapping[str, Sequence[SuiteRun]]) -> list[Block]:
    """Return how much faster rules were that were trained as well, if there are any."""
    found = {name: trained_rules(runs, measure) for name, measure in MEASURES.items()}
    if not found[OBJECTIVE]:
        return []
    rows = [
        [name, *(_interval(over(found[kind][name])) for kind in MEASURES), f"{exp(found[OBJECTIVE][name].min()):.2f}"]
        for name in found[OBJECTIVE]
    ]
    by_workload = [
        [workload, *(f"{exp(logs[row]):.2f}" for logs in found[OBJECTIVE].values())]
        for row, workload in enumerate(runs)
    ]
    return [
        Heading(2, "Other rules that were trained", "trained"),
        Prose(
            "Rules that were searched on these workloads, as those that look at probes were, are judged here on what "
            "they were chosen by."
        ),
        Table(
            ["rule", *(f"speed-up, {kind}" for kind in MEASURES), "worst workload"],
            rows,
            "Speed-up over ScheduleFreeAdamW (r = 1) at the constant 0.0025, on the same four seeds",
            numbers_from=1,
        ),
        Table(["workload", *found[OBJECTIVE]], by_workload, f"Speed-up by workload, {OBJECTIVE}", numbers_from=1),
    ]


def _rules_table(rows: Mapping[str, Sequence[Row]]) -> Table:
    heads = ["optimizer and schedule", "rule for the rate", f"regret, {OBJECTIVE}", f"regret, {TO_TARGET}"]
    heads += ["times the constant 0.0025 of ScheduleFreeAdamW"]
    cells = [
        [objective.family, objective.rule.name, *map(_interval, (objective.regret, time.regret, objective.reference))]
        for objective, time in zip(rows[OBJECTIVE], rows[TO_TARGET], strict=True)
    ]
    return Table(heads, cells, numbers_from=2)


def _interval(found: GeometricMean) -> str:
    return f"{found.speedup:.2f} ({found.ci95[0]:.2f} to {found.ci95[1]:.2f})"


def _rates(runs: Mapping[str, Sequence[SuiteRun]]) -> Table:
    table = rate_table(runs, f"{SCHEDULE_FREE} constant", MEASURES[OBJECTIVE])
    both = (table.choosing + table.judging) / 2
    rows: list[list[Text]] = []
    for name, line in zip(runs, both, strict=True):
        best = line.min()
        cells = [f"{exp(value - best):.2f}" for value in line]
        rows.append([name, *(Strong(cell) if cell == "1.00" else cell for cell in cells)])
    caption = (
        "ScheduleFreeAdamW (r = 1) at constant rates: mean time to the targets, times that of the best, four seeds"
    )
    return Table(["workload", *(f"{rate:g}" for rate in RATES)], rows, caption, numbers_from=1)


def confirmation_blocks(runs: Mapping[str, Sequence[SuiteRun]]) -> list[Block]:
    """Return how much faster every rule was than the constant 0.0025, over paired seeds."""
    found = confirmed(runs)
    return [
        Prose(
            f"{len(runs)} workloads that no choice has seen, on {found[0].pairs} paired seeds. Speed-up: epochs to the "
            "target of ScheduleFreeAdamW at the constant 0.0025, over those of the rule. A training that misses the "
            "target counts as one of twice the budget."
        ),
        Heading(2, "Over all workloads", "all"),
        Table(
            ["rule", "speed-up", "on the test part", "faster / tie / slower", "misses, of the constant"],
            [
                [
                    each.name,
                    _interval(each.over_all),
                    _interval(each.over_all_test),
                    each.counts,
                    f"{each.misses[0]}, {each.misses[1]}",
                ]
                for each in found
            ],
            numbers_from=1,
        ),
        Figure(
            "speedups",
            "Speed-up by workload",
            "Faster than the constant 0.0025 to the right of 1.",
            partial(
                ratios_by_row,
                list(runs),
                {each.name: [one.speedup for one in each.by_workload.values()] for each in found},
                "speed-up over the constant 0.0025",
            ),
        ),
        Heading(2, "By workload", "workloads"),
        *(_by_workload(each, runs) for each in found),
    ]


def _by_workload(found: Confirmed, runs: Mapping[str, Sequence[SuiteRun]]) -> Table:
    rows = [
        [
            name,
            f"{tuned_constant(runs[name]).rate:g}",
            f"{one.speedup:.2f} ({one.ci95[0]:.2f} to {one.ci95[1]:.2f})",
            f"{found.adjusted[name]:.3f}",
        ]
        for name, one in found.by_workload.items()
    ]
    return Table(["workload", "tuned constant", "speed-up", "p, Holm"], rows, found.name, numbers_from=1)
