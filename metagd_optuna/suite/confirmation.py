"""How much faster rules were than the constant that one would take, on the half that no choice has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
        by_workload_test: the same on the test part, against a target from there.
        adjusted: p by workload, by Holm's correction over all workloads.
        over_all: geometric mean over the workloads, with a bootstrap over workloads and seeds.
        over_all_test: the same on the test part.
        misses: trainings that missed the target: of the rule, and of the constant.
    """

    name: str
    by_workload: Mapping[str, PairedSpeedup]
    by_workload_test: Mapping[str, PairedSpeedup]
    adjusted: Mapping[str, float]
    over_all: GeometricMean
    over_all_test: GeometricMean
    misses: tuple[int, int]

    @property
    def pairs(self) -> int:
        """Paired seeds per workload."""
        return min(one.pairs for one in self.by_workload.values())

    @property
    def counts(self) -> str:
        """Workloads on which it was faster, on which nothing is shown, and on which it was slower."""
        labels = [self.label(name) for name in self.by_workload]
        return " / ".join(str(labels.count(label)) for label in ("faster", "tie", "slower"))

    def label(self, workload: str) -> str:
        """Return ``faster``, ``tie`` or ``slower``, by the adjusted p."""
        if self.adjusted[workload] > LEVEL:
            return "tie"
        return "faster" if self.by_workload[workload].speedup > 1 else "slower"

    def provenance(self) -> dict[str, Any]:
        """Return what travels with a policy of this: its results by workload and over all, as plain values."""
        results = {
            workload: {
                "speedup": one.speedup,
                "ci95": _ends(one.ci95),
                "p_value": one.p_value,
                "p_holm": self.adjusted[workload],
                "test_speedup": self.by_workload_test[workload].speedup,
                "test_ci95": _ends(self.by_workload_test[workload].ci95),
                "label": self.label(workload),
            }
            for workload, one in self.by_workload.items()
        }
        over_all = {
            "speedup": self.over_all.speedup,
            "ci95": list(self.over_all.ci95),
            "test_speedup": self.over_all_test.speedup,
            "test_ci95": list(self.over_all_test.ci95),
        }
        against = f"{PRESENT.optimizer} at the constant {PRESENT.rate:g}"
        return {
            "suite": {"against": against, "over_all": over_all, "misses": list(self.misses)},
            "confirmation_seeds": list(CONFIRMING),
            "results": results,
        }


def _ends(interval: tuple[float, float]) -> list[float | None]:
    return [end if math.isfinite(end) else None for end in interval]


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
    speedups, on_test, validation, test = {}, {}, [], []
    misses = [0, 0]
    for workload, own in held.items():
        constant, rule = own[PRESENT.name], own[candidate[workload]]
        budget, target, test_target = rule[0].budget, targets_of(runs[workload]).one, _test_target(constant)
        before, after = ([time_to_target(run.epochs, run.scores, target) for run in part] for part in (constant, rule))
        speedups[workload] = paired_speedup(before, after, budget)
        misses = [many + sum(map(math.isinf, times)) for many, times in zip(misses, (after, before), strict=True)]
        validation.append(log_ratios(before, after, budget))
        before, after = (
            [time_to_target(run.epochs, run.test_scores, test_target) for run in part] for part in (constant, rule)
        )
        test.append(log_ratios(before, after, budget))
        on_test[workload] = paired_speedup(before, after, budget)
    adjusted = holm([one.p_value for one in speedups.values()])
    return Confirmed(
        name,
        speedups,
        on_test,
        dict(zip(speedups, adjusted, strict=True)),
        geometric_mean_speedup(validation, rng=np.random.default_rng(BOOTSTRAP_SEED)),
        geometric_mean_speedup(test, rng=np.random.default_rng(BOOTSTRAP_SEED)),
        (misses[0], misses[1]),
    )


def _test_target(constant: Sequence[SuiteRun]) -> float:
    """Return the target on the test part, from the curves of the constant there."""
    best = [max(final_best(run.test_scores), run.chance) for run in constant]
    return confirmation_target(constant[0].chance, best)
