"""Where in training the time was won: the policy against the best baseline at every height of the climb."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metagd_optuna.analysis import median_time, paired_speedup, time_to_target
from metagd_optuna.contracts import Curve
from metagd_optuna.records import CandidateRecord, TaskRecord
from metagd_optuna.report.task_document import Level

# Of the way from chance level to where the best baseline ends; the share of the target is added.
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
# T100 is worked out from the target, and may come out a rounding above the score that some run ends at.
ROUNDING = 1e-12


def speedups_by_level(task: TaskRecord, policy: CandidateRecord, baseline: CandidateRecord) -> list[Level]:
    """Return, for rising targets, both median times and the speed-up over the paired seeds.

    Target a is m0 + a (T100 - m0), with the target among them. The intervals are those of single
    comparisons: this describes the curves, and is no test of its own.

    Args:
        task: with its target.
        policy, baseline: run on the same seeds in the same order.
    """
    whole = (task.target - task.chance) / task.target_share * (1 - ROUNDING)
    rows = []
    for share in sorted({*SHARES, task.target_share}):
        target = task.target if share == task.target_share else task.chance + share * whole
        ours, theirs = (
            times_to(task, [run.validation for run in candidate.runs], target) for candidate in (policy, baseline)
        )
        found = paired_speedup(theirs, ours, task.budget_epochs, rng=np.random.default_rng(0))
        policys, baselines = median_time(ours), median_time(theirs)
        rows.append(
            Level.of(
                share=share,
                target=target,
                policy=policys.median,
                baseline=baselines.median,
                policy_reached=policys.reached,
                baseline_reached=baselines.reached,
                speedup=found.speedup,
                ci95=found.ci95,
            )
        )
    return rows


def times_to(task: TaskRecord, curves: Sequence[Curve], target: float | None) -> list[float]:
    """Return the epochs to a target by curve, infinity for a miss, as all are where there is no target."""
    if target is None:
        return [math.inf] * len(curves)
    return [
        time_to_target(np.array(curve.steps) / task.steps_per_epoch, curve.metric(task.metric), target)
        for curve in curves
    ]
