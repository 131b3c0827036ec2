"""Verdicts from the numbers in results.json alone, so that merged reports can be evaluated anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Literal

import numpy as np

from metagd_optuna.analysis import Comparison, paired_speedup, payback, verdicts
from metagd_optuna.analysis.verdict import Verdict as Judged
from metagd_optuna.report.sentences import CONSTANT_COMPLEXITY, NEGLIGIBLE_SPEEDUP
from metagd_optuna.report.task_document import (
    UNIVERSAL,
    CandidateResults,
    Evidence,
    MeasuredTask,
    Speedup,
    TaskResults,
    Verdict,
)

FEEDBACK_ALPHA = 0.05
SEED = 0
CONTROLS = ("replay", "frozen")
Feedback = Literal["open-loop", "feedback mattered", "feedback did not matter", "not shown"]


def with_verdicts(tasks: Mapping[str, MeasuredTask]) -> dict[str, TaskResults]:
    """Return ``tasks`` with the verdict of each, and every candidate's speed-up over the best baseline.

    Holm's correction spans all of them, and earlier looks at them. Above 20 seeds the sign flips are sampled, for every
    comparison anew with the same seed, so that the same numbers give the same p-value wherever their task stands.

    Args:
        tasks: by name; a verdict that one has already is made anew.
    """
    found = verdicts([_comparison(task) for task in tasks.values()], seed=SEED)
    return {name: _with_verdict(task, one) for (name, task), one in zip(tasks.items(), found, strict=True)}


def feedback_verdict(
    policy_is_open_loop: bool | None, evidence: Mapping[str, Speedup], *, coarse_times: bool = False
) -> Feedback:
    """Return what the controls show about feedback, the first of these that holds.

    - ``open-loop``: the winner's rate was the same on every seed, so it used no feedback.
    - ``feedback did not matter``: the 95% interval of its speed-up over one of them ends at 1.1 or below, so that
      an open-loop rate is practically as fast. Where times are coarse, equal ones do not show that, and the interval
      has to end below 1.
    - ``feedback mattered``: it is faster than each of replay and frozen, p <= 0.05 by the sign-flip test.
    - ``not shown``: anything else, a missing control included.

    Args:
        policy_is_open_loop: whether the rate was the same on every seed; None if one seed cannot tell.
        evidence: the speed-up of the winner over each control that was run and can be compared.
        coarse_times: whether the task is resolution-limited.

    >>> feedback_verdict(False, {"replay": Speedup(speedup=1.02, ci95=(0.97, 1.08), p_value=0.4)})
    'feedback did not matter'
    """
    if policy_is_open_loop:
        return "open-loop"
    ends = [control.ci95[1] for control in evidence.values() if control.ci95[1] is not None]
    if any(end < 1 if coarse_times else end <= NEGLIGIBLE_SPEEDUP for end in ends):
        return "feedback did not matter"
    beaten = [control.speedup > 1 and control.p_value <= FEEDBACK_ALPHA for control in evidence.values()]
    if set(CONTROLS) <= set(evidence) and all(beaten):
        return "feedback mattered"
    return "not shown"


def _comparison(task: MeasuredTask) -> Comparison:
    rows = {row.name: row for row in task.candidates}
    policy, baseline = rows[task.policy], rows[task.best_baseline]
    return Comparison(
        budget=task.budget_epochs,
        policy_times=policy.times,
        baseline_times=baseline.times,
        other_baselines={
            row.name: row.times
            for row in task.candidates
            if row.kind == "baseline" and row.name not in (baseline.name, policy.name)
        },
        policy_test_times=policy.test_times,
        baseline_test_times=baseline.test_times,
        earlier_p_values=[look.p_value for look in task.earlier_looks],
    )


def _with_verdict(task: MeasuredTask, numbers: Judged) -> TaskResults:
    rows = {row.name: row for row in task.candidates}
    policy, baseline = rows[task.policy], rows[task.best_baseline]
    controls = {
        row.name: found
        for row in task.candidates
        if row.kind == "control" and (found := _over_control(row.times, policy.times, task.budget_epochs))
    }
    evidence = {name: found for name, found in controls.items() if name in CONTROLS}
    # What has not been shown to save time has nothing to pay its search back with.
    pays_back = math.inf
    # What the choice of a universal rule cost was spent on the other tasks, and pays back on all.
    if numbers.label == "faster" and task.scope != UNIVERSAL:
        pays_back = payback(task.spent_epochs, baseline.times, policy.times, task.budget_epochs)
    candidates = [
        CandidateResults.of(
            **dict(row) | {"versus_best_baseline": _speedup(baseline.times, row.times, task.budget_epochs)}
        )
        for row in task.candidates
    ]
    verdict = Verdict.of(
        **asdict(numbers),
        feedback=feedback_verdict(policy.open_loop, evidence, coarse_times=task.resolution_limited),
        feedback_evidence=evidence,
        complexity_evidence=controls.get(CONSTANT_COMPLEXITY),
        payback_trainings=pays_back,
    )
    return TaskResults.of(**dict(task) | {"candidates": candidates, "verdict": verdict})


def _speedup(theirs: Sequence[float], ours: Sequence[float], budget: float) -> Speedup:
    found = paired_speedup(theirs, ours, budget, rng=np.random.default_rng(SEED))
    return Speedup.of(speedup=found.speedup, ci95=found.ci95, p_value=found.p_value)


def _over_control(control: Sequence[float], policy: Sequence[float], budget: float) -> Evidence | None:
    """Return the speed-up over a control on the seeds on which one of the two reached the target, if there are any.

    Two misses are no equal times, and would make an unknown difference look like a small one.
    """
    known = [pair for pair in zip(control, policy, strict=True) if not all(map(math.isinf, pair))]
    if not known:
        return None
    theirs, ours = zip(*known, strict=True)
    return Evidence.of(**asdict(paired_speedup(theirs, ours, budget, rng=np.random.default_rng(SEED))))
