"""What one rate for all networks costs, and what rules that need no feedback gain, from stored runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metagd_optuna.analysis import (
    GeometricMean,
    confirmation_target,
    final_best,
    geometric_mean_speedup,
    mean_time_to_targets,
    search_target,
    targets_up_to,
    time_to_target,
)
from metagd_optuna.contracts import FloatArray
from metagd_optuna.suite.fixed_rules import FixedRule, GivenConstant, RateTable, fixed_rules
from metagd_optuna.suite.rate_settings import (
    CONSTANTS,
    PRESENT,
    RATES,
    SCALED_MEMORY,
    SCHEDULE_FREE,
    SCHEDULED,
    RateSetting,
)
from metagd_optuna.suite.runs import SuiteRun
from metagd_optuna.suite.seeds import CHOOSING, JUDGING

BOOTSTRAP_SEED = 0
BATCH_NORM, NORMALISED = "batch normalisation", "any normalisation"
EXPLORED = (*CONSTANTS, *SCHEDULED, *SCALED_MEMORY)
OBJECTIVE, TO_TARGET = "mean time to the targets", "time to the target"
# A time to measure a run by: (run, targets of the workload) -> log of epochs.
Measure = Callable[[SuiteRun, "Targets"], float]


@dataclass(frozen=True, slots=True)
class Targets:
    """What has to be reached on a workload; both from constant rates on the seeds that choose.

    Args:
        rising: targets of the mean time, shape (T,).
        one: the one target.
    """

    rising: FloatArray
    one: float


def targets_of(runs: Sequence[SuiteRun]) -> Targets:
    """Return the targets of a workload, from its best constant rate of either optimizer.

    Raises:
        MetaGDError: if nothing learns there.
    """
    chance = runs[0].chance
    best: dict[float, list[float]] = {}
    for number, candidate in enumerate(CONSTANTS):
        scores = [_best(run) for run in runs if run.candidate == candidate.name and run.seed in CHOOSING]
        if scores:
            best[float(number)] = scores
    top = search_target(chance, best)
    return Targets(targets_up_to(chance, top), confirmation_target(chance, [top]))


def _best(run: SuiteRun) -> float:
    return max(final_best(run.scores), run.chance)


def log_objective(run: SuiteRun, targets: Targets) -> float:
    """Return the log of the mean time to the targets, in epochs."""
    return float(np.log(mean_time_to_targets(run.epochs, run.scores, targets.rising, run.budget)))


def log_time(run: SuiteRun, targets: Targets) -> float:
    """Return the log of the epochs to the one target; twice the budget where it is missed."""
    return float(np.log(min(time_to_target(run.epochs, run.scores, targets.one), 2 * run.budget)))


MEASURES: Mapping[str, Measure] = {OBJECTIVE: log_objective, TO_TARGET: log_time}


def tuned_constant(runs: Sequence[SuiteRun]) -> RateSetting:
    """Return the best constant rate of ScheduleFreeAdamW on a workload, by the seeds that choose."""
    targets = targets_of(runs)
    constants = [candidate for candidate in CONSTANTS if candidate.optimizer == SCHEDULE_FREE]
    return min(constants, key=lambda each: _mean(runs, each, CHOOSING, targets, log_objective))


def _mean(
    runs: Sequence[SuiteRun], candidate: RateSetting, seeds: Sequence[int], targets: Targets, measure: Measure
) -> float:
    return float(
        np.mean([measure(run, targets) for run in runs if run.candidate == candidate.name and run.seed in seeds])
    )


def rate_table(runs: Mapping[str, Sequence[SuiteRun]], family: str, measure: Measure) -> RateTable:
    """Return how long every workload took at every rate of one family of candidates.

    Args:
        runs: by workload.
        family: an optimizer and a schedule, as ``RateSetting.family``.
        measure: what time is meant.
    """
    candidates = [each for each in EXPLORED if each.family == family]
    rows: dict[str, list[list[float]]] = {"choosing": [], "judging": []}
    for held in runs.values():
        targets, there = targets_of(held), [each.at(held[0].batch_size) for each in candidates]
        for part, seeds in (("choosing", CHOOSING), ("judging", JUDGING)):
            rows[part].append([_mean(held, each, seeds, targets, measure) for each in there])
    first = [held[0] for held in runs.values()]
    return RateTable(
        tuple(runs),
        np.array(RATES),
        np.array(rows["choosing"]),
        np.array(rows["judging"]),
        np.array([float(run.batch_size) for run in first]),
        {
            BATCH_NORM: np.array([int(run.batch_norm) for run in first]),
            NORMALISED: np.array([int(run.normalised) for run in first]),
        },
    )


@dataclass(frozen=True, slots=True)
class Row:
    """What a rule costs, chosen on the other workloads.

    Args:
        family: optimizer and schedule.
        rule: what decides the rate.
        regret: times as long as the rate that is best for the workload itself, in the same family.
        reference: times as long as ScheduleFreeAdamW at the constant 0.0025.
        regrets: log of the former by workload, shape (W,).
    """

    family: str
    rule: FixedRule | GivenConstant
    regret: GeometricMean
    reference: GeometricMean
    regrets: FloatArray


def explored(runs: Mapping[str, Sequence[SuiteRun]], measure: Measure) -> list[Row]:
    """Return what every rule without feedback costs over some workloads.

    Args:
        runs: by workload, each with all families.
        measure: what time is meant.
    """
    present = rate_table(runs, PRESENT.family, measure)
    at_present = present.judging[:, RATES.index(PRESENT.rate)]
    rows = []
    there = {workload: {run.candidate for run in held} for workload, held in runs.items()}
    for family in dict.fromkeys(each.family for each in EXPLORED):
        own = [each for each in EXPLORED if each.family == family]
        if not all(each.at(held[0].batch_size).name in there[name] for name, held in runs.items() for each in own):
            continue
        table = rate_table(runs, family, measure)
        rules: list[FixedRule | GivenConstant] = list(fixed_rules((BATCH_NORM, NORMALISED)))
        if family == PRESENT.family:
            rules.insert(0, GivenConstant(PRESENT.rate))
        for rule in rules:
            judged = rule.judged(table)
            rows.append(Row(family, rule, over(judged - table.tuned), over(judged - at_present), judged - table.tuned))
    return rows


def trained_rules(runs: Mapping[str, Sequence[SuiteRun]], measure: Measure) -> dict[str, FloatArray]:
    """Return log of how much faster than the constant 0.0025 every rule was, that was trained on all seeds explored.

    Args:
        runs: by workload.
        measure: what time is meant.

    Returns:
        by the rule's name, shape (W,): over four seeds, the same for both.
    """
    seeds = (*CHOOSING, *JUDGING)
    settings = {each.at(held[0].batch_size).name for held in runs.values() for each in EXPLORED}

    def candidates(held: Sequence[SuiteRun]) -> set[str]:
        there = {(run.candidate, run.seed) for run in held}
        return {name for name, _ in there if name not in settings and all((name, seed) in there for seed in seeds)}

    def faster(held: Sequence[SuiteRun], name: str) -> float:
        targets = targets_of(held)
        before, after = (
            np.mean([measure(run, targets) for run in held if run.candidate == one and run.seed in seeds])
            for one in (PRESENT.name, name)
        )
        return float(before - after)

    names = set.intersection(*map(candidates, runs.values()))
    return {name: np.array([faster(held, name) for held in runs.values()]) for name in sorted(names)}


def explored_wholly(runs: Sequence[SuiteRun]) -> bool:
    """Return whether a workload has a run of every constant rate of ScheduleFreeAdamW on all exploring seeds."""
    there = {(run.candidate, run.seed) for run in runs}
    wanted = [each.name for each in CONSTANTS if each.optimizer == SCHEDULE_FREE]
    return all((name, seed) in there for name in wanted for seed in (*CHOOSING, *JUDGING))


def over(logs: FloatArray) -> GeometricMean:
    """Return the geometric mean of ratios over workloads, with an interval that resamples them.

    Args:
        logs: log ratio of every workload, shape (W,).
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return geometric_mean_speedup([[value] for value in logs], rng=rng)
