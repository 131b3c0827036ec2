"""One study of identical or faster rules, resampled from recorded curves the way a run goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pools import Pool

from metagd_optuna.analysis import (
    Comparison,
    confirmation_target,
    final_best,
    halving_rounds,
    mean_time_to_targets,
    search_target,
    targets_up_to,
    time_to_target,
    verdicts,
)
from metagd_optuna.contracts import FloatArray
from metagd_optuna.tuning.settings import StudySpec

Draws = npt.NDArray[np.int64]
# As many as search.phases.CALIBRATION_RATES, which would load TensorFlow.
RATES = 4


@dataclass(frozen=True, slots=True)
class Design:
    """How big a study is.

    Args:
        baselines: tuned baselines.
        seeds: of the confirmation.
    """

    baselines: int
    seeds: int


def resampled(pool: Pool, policys: Pool, design: Design, rng: np.random.Generator) -> Comparison:
    """Return what a study would compare if every setting of every baseline were the recorded rule.

    Every run of every phase is drawn from the pool, with replacement and independently: no candidate shares its luck
    with another, as it may when both train on the same seed, so that differences are as wide as they can be.

    Args:
        pool: the runs of the baselines, and of the policy's search.
        policys: the confirmation runs of the policy; the same pool in an A/A study.
    """
    spec = StudySpec(name="resampled", tasks=("breast_cancer",))
    bests = np.array([final_best(curve) for curve in pool.validation])

    def draw(*shape: int) -> Draws:
        return rng.integers(pool.runs, size=shape)

    calibration = {rate: bests[draw(spec.calibration_seeds)].tolist() for rate in range(RATES)}
    targets = targets_up_to(pool.chance, search_target(pool.chance, calibration))
    objectives = np.array([mean_time_to_targets(pool.epochs, c, targets, pool.budget) for c in pool.validation])
    # Of every baseline's trials the best go to the shortlist. They are the same rule and draw new runs there, so which
    # trials they are makes no difference.
    shortlists: list[tuple[float, Draws]] = []
    for _ in range(design.baselines):
        runs = np.empty((spec.shortlist_trials, 0), dtype=np.int64)
        for candidates, seeds in halving_rounds(spec.shortlist_trials, spec.shortlist_seeds):
            better = np.argsort(objectives[runs].sum(axis=1), kind="stable")[:candidates]
            runs = np.hstack([runs[better], draw(candidates, seeds)])
        means = objectives[runs].mean(axis=1)
        shortlists.append((float(means.min()), runs[int(means.argmin())]))
    best = min(range(design.baselines), key=lambda place: shortlists[place][0])
    target = confirmation_target(pool.chance, bests[shortlists[best][1]].tolist())
    confirmed = [draw(design.seeds) for _ in range(design.baselines)]
    ours = draw(design.seeds)
    on_test = confirmation_target(pool.chance, [final_best(curve) for curve in pool.test[confirmed[best]]])

    def times(of: Pool, curves: FloatArray, wanted: float) -> list[float]:
        return [time_to_target(of.epochs, curve, wanted) for curve in curves]

    return Comparison(
        budget=pool.budget,
        policy_times=times(policys, policys.validation[ours], target),
        baseline_times=times(pool, pool.validation[confirmed[best]], target),
        other_baselines={
            f"baseline {place}": times(pool, pool.validation[runs], target)
            for place, runs in enumerate(confirmed)
            if place != best
        },
        policy_test_times=times(policys, policys.test[ours], on_test),
        baseline_test_times=times(pool, pool.test[confirmed[best]], on_test),
    )


def studies(
    pools: Sequence[tuple[Pool, Pool]], design: Design, seeds: Sequence[np.random.SeedSequence]
) -> list[list[str]]:
    """Return the labels of many reports, each over all given tasks.

    Args:
        pools: for every task the baselines' pool and the policy's.
        design: of every study.
        seeds: one per report.
    """
    labels = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        found = verdicts([resampled(pool, policys, design, rng) for pool, policys in pools])
        labels.append([verdict.label for verdict in found])
    return labels
