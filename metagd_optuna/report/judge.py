"""Verdicts from the numbers in results.json alone, so that merged reports can be judged anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from metagd_optuna.analysis import Comparison, Verdict, paired_speedup, payback, verdicts
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.report.json_values import times
from metagd_optuna.report.sentences import CONSTANT_COMPLEXITY, NEGLIGIBLE_SPEEDUP, contender_named

FEEDBACK_ALPHA = 0.05
SEED = 0
CONTROLS = ("replay", "frozen")


def judged_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return copies of ``tasks`` with the verdict of each, and every contender's speed-up over the best baseline.

    Holm's correction spans all of them. Above 20 seeds the sign flips are sampled, for every comparison anew with the
    same seed, so that the same numbers give the same p-value wherever their task stands.

    Args:
        tasks: by name, as ``measured_task`` returns them or as read from JSON (a miss is infinity or None).

    Raises:
        MetaGDError: if the times of a task are not paired.
    """
    judged = verdicts([_comparison(task) for task in tasks.values()], seed=SEED)
    return {
        name: {
            **task,
            "contenders": [{**row, "versus_best_baseline": _versus_baseline(task, row)} for row in task["contenders"]],
            "verdict": _verdict(task, verdict),
        }
        for (name, task), verdict in zip(tasks.items(), judged, strict=True)
    }


def feedback_verdict(
    policy_is_open_loop: bool | None, evidence: Mapping[str, Mapping[str, Any]], *, coarse_times: bool = False
) -> str:
    """Return what the controls show about feedback, the first of these that holds.

    - ``open-loop``: the winner's rate was the same on every seed, so it looked at nothing.
    - ``feedback did not matter``: the 95% interval of its speed-up over one of them ends at 1.1 or below, so that
      an open-loop rate is practically as fast. Where times are coarse, equal ones do not show that, and the interval
      has to end below 1.
    - ``feedback mattered``: it is faster than each of replay and frozen, p <= 0.05 by the sign-flip test.
    - ``not shown``: anything else, a missing control included.

    Args:
        policy_is_open_loop: whether the rate was the same on every seed; None if one seed cannot tell.
        evidence: for each control that was run and can be compared, ``speedup`` of the winner over it, ``ci95`` and
            ``p_value``.
        coarse_times: whether the task is resolution-limited.

    >>> feedback_verdict(False, {"replay": {"speedup": 1.02, "ci95": [0.97, 1.08], "p_value": 0.4}})
    'feedback did not matter'
    """
    if policy_is_open_loop:
        return "open-loop"
    found = list(evidence.values())
    ends = [control["ci95"][1] for control in found if control["ci95"][1] is not None]
    if any(end < 1 if coarse_times else end <= NEGLIGIBLE_SPEEDUP for end in ends):
        return "feedback did not matter"
    beaten = [control["speedup"] > 1 and control["p_value"] <= FEEDBACK_ALPHA for control in found]
    if set(CONTROLS) <= set(evidence) and all(beaten):
        return "feedback mattered"
    return "not shown"


def _comparison(task: Mapping[str, Any]) -> Comparison:
    policy, baseline = contender_named(task, task["policy"]), contender_named(task, task["best_baseline"])
    return Comparison(
        budget=task["budget_epochs"],
        policy_times=times(policy["per_seed"]),
        baseline_times=times(baseline["per_seed"]),
        other_baselines={
            row["name"]: times(row["per_seed"])
            for row in task["contenders"]
            if row["kind"] == "baseline" and row["name"] not in (baseline["name"], policy["name"])
        },
        policy_test_times=times(policy["per_seed_test"]),
        baseline_test_times=times(baseline["per_seed_test"]),
    )


def _speedup_over(task: Mapping[str, Any], reference: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    if len(reference["per_seed"]) != len(row["per_seed"]):
        raise MetaGDError(
            f"{row['name']} has {len(row['per_seed'])} times and {reference['name']} {len(reference['per_seed'])}; "
            "a paired comparison needs one per seed from each"
        )
    result = paired_speedup(
        times(reference["per_seed"]), times(row["per_seed"]), task["budget_epochs"], rng=np.random.default_rng(SEED)
    )
    return {"speedup": result.speedup, "ci95": list(result.ci95), "p_value": result.p_value}


def _speedup_over_control(
    task: Mapping[str, Any], control: Mapping[str, Any], policy: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the speed-up over a control on the seeds on which one of the two reached the target, if there are any.

    Two misses are no equal times, and would make an unknown difference look like a small one.
    """
    pairs = zip(times(control["per_seed"]), times(policy["per_seed"]), strict=True)
    known = [pair for pair in pairs if not all(map(math.isinf, pair))]
    if not known:
        return None
    one, other = zip(*known, strict=True)
    found = _speedup_over(task, {**control, "per_seed": one}, {**policy, "per_seed": other})
    return {**found, "pairs": len(known)}


def _versus_baseline(task: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    return _speedup_over(task, contender_named(task, task["best_baseline"]), row)


def _verdict(task: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    policy, baseline = contender_named(task, task["policy"]), contender_named(task, task["best_baseline"])
    controls = {
        row["name"]: found
        for row in task["contenders"]
        if row["kind"] == "control" and (found := _speedup_over_control(task, row, policy))
    }
    evidence = {name: found for name, found in controls.items() if name in CONTROLS}
    # What has not been shown to save time has nothing to pay its search back with.
    pays_back = math.inf
    # What the choice of a universal rule cost was spent on the other tasks, and pays back on all.
    if verdict.label == "faster" and task.get("league") != "universal":
        pays_back = payback(
            task["spent_epochs"], times(baseline["per_seed"]), times(policy["per_seed"]), task["budget_epochs"]
        )
    return {
        "speedup": verdict.speedup,
        "ci95": list(verdict.ci95),
        "p_value": verdict.p_value,
        "p_holm": verdict.p_holm,
        "test_speedup": verdict.test_speedup,
        "test_ci95": list(verdict.test_ci95),
        "detectable": verdict.detectable,
        "label": verdict.label,
        "reasons": list(verdict.reasons),
        "feedback": feedback_verdict(policy["open_loop"], evidence, coarse_times=task["resolution_limited"]),
        "feedback_evidence": evidence,
        "complexity_evidence": controls.get(CONSTANT_COMPLEXITY),
        "payback_trainings": pays_back,
    }
