"""How much faster rules were than the constant that one would take, on the half that no choice has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metagd_optuna.analysis import (
    GeometricMean,
    PairedSpeedup,
    confirmation_target,
    final_best,
    geometric_mean_speedup,
    holm,
    log_ratios,
    paired_speedup,
    time_to_target,
)
from metagd_optuna.suite.exploration import BOOTSTRAP_SEED, targets_of, tuned_constant
from metagd_optuna.suite.rate_settings import PRESENT
from metagd_optuna.suite.runs import SuiteRun
from metagd_optuna.suite.seeds import CONFIRMING

TUNED = "a constant tuned on the workload"
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What one rule did against the constant 0.0025.

    Args:
        name: of the rule.
        by_workload: epochs to the target of the constant over the rule's, paired by seed.
        adjusted: p by workload, by Holm's correction over all workloads.
        over_all: geometric mean over the workloads, with a bootstrap over workloads and seeds.
        over_all_test: the same on the test part, against a target from there.
    """

    name: str
    by_workload: Mapping[str, PairedSpeedup]
    adjusted: Mapping[str, float]
    over_all: GeometricMean
    over_all_test: GeometricMean

    @property
    def pairs(self) -> int:
        """Paired seeds per workload."""
        return min(one.pairs for one in self.by_workload.values())

    @property
    def counts(self) -> str:
        """Workloads on which it was faster, on which nothing is shown, and on which it was slower."""
        shown = [self.by_workload[name].speedup for name, p in self.adjusted.items() if p <= LEVEL]
        faster = sum(speedup > 1 for speedup in shown)
        return f"{faster} / {len(self.adjusted) - len(shown)} / {len(shown) - faster}"


def confirmed(runs: Mapping[str, Sequence[SuiteRun]]) -> list[Confirmed]:
    """Return what every rule did that was run on all workloads and paired seeds, the tuned constants first.

    Args:
        runs: by workload.
    """
    held = {workload: _by_candidate(own) for workload, own in runs.items()}
    rules = set.intersection(*(set(own) for own in held.values())) - {PRESENT.name}
    tuned = {workload: tuned_constant(own).name for workload, own in runs.items()}
    named = [(TUNED, tuned), *((rule, dict.fromkeys(runs, rule)) for rule in sorted(rules))]
    return [_against_present(name, of, held, runs) for name, of in named]


def _by_candidate(runs: Sequence[SuiteRun]) -> dict[str, list[SuiteRun]]:
    """Return the confirming runs of every candidate that has all of them, in the order of the seeds."""
    found: dict[str, list[SuiteRun]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        if run.seed in CONFIRMING:
            found.setdefault(run.candidate, []).append(run)
    return {name: own for name, own in found.items() if len(own) == len(CONFIRMING)}


def _against_present(
    name: str,
    candidate: Mapping[str, str],
    held: Mapping[str, Mapping[str, Sequence[SuiteRun]]],
    runs: Mapping[str, Sequence[SuiteRun]],
) -> Confirmed:
    speedups, validation, test = {}, [], []
    for workload, own in held.items():
        constant, rule = own[PRESENT.name], own[candidate[workload]]
        budget, target, test_target = rule[0].budget, targets_of(runs[workload]).one, _test_target(constant)
        before, after = ([time_to_target(run.epochs, run.scores, target) for run in part] for part in (constant, rule))
        speedups[workload] = paired_speedup(before, after, budget)
        validation.append(log_ratios(before, after, budget))
        before, after = (
            [time_to_target(run.epochs, run.test_scores, test_target) for run in part] for part in (constant, rule)
        )
        test.append(log_ratios(before, after, budget))
    adjusted = holm([one.p_value for one in speedups.values()])
    return Confirmed(
        name,
        speedups,
        dict(zip(speedups, adjusted, strict=True)),
        geometric_mean_speedup(validation, rng=np.random.default_rng(BOOTSTRAP_SEED)),
        geometric_mean_speedup(test, rng=np.random.default_rng(BOOTSTRAP_SEED)),
    )


def _test_target(constant: Sequence[SuiteRun]) -> float:
    """Return the target on the test part, from the curves of the constant there."""
    best = [max(final_best(run.test_scores), run.chance) for run in constant]
    return confirmation_target(constant[0].chance, best)
