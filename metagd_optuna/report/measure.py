"""The records of one task to the numbers of a report; nothing is judged here."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from metagd_optuna.analysis import (
    band,
    final_best,
    headline_target,
    median_time,
    resolution_limited,
    time_to_target,
)
from metagd_optuna.contracts import ContenderRecord, Curve, FloatArray, MetaGDError, RunRecord, TaskRecord, TrialRecord
from metagd_optuna.policy import BASELINES, MetaPolicy
from metagd_optuna.policy.words import in_words
from metagd_optuna.report.json_values import json_value
from metagd_optuna.report.levels import speedups_by_level
from metagd_optuna.report.optimism import optimism
from metagd_optuna.report.regret import regrets
from metagd_optuna.report.surface import rate_surface

# Same rate at every step on every seed, to float32 rounding: the rule cannot have looked at the network.
SAME_RATE_TOLERANCE = 1e-6
# A curve is only drawn, and curves are most of a results.json.
CURVE_DIGITS = 5
TEST_METRICS = ("auc", "accuracy", "balanced_accuracy")


def measured_task(task: TaskRecord) -> dict[str, Any]:
    """Return everything about one task but the verdict, JSON-able but for infinities.

    Args:
        task: with at least the contenders that ``task.policy`` and ``task.best_baseline`` name, all of them run on
            the same seeds in the same order, with test curves.

    Raises:
        MetaGDError: if a contender is missing or double, seeds are not paired, or a run has no test curve.
    """
    seeds = _paired_seeds(task)
    by_name = {contender.name: contender for contender in task.contenders}
    policy, baseline = by_name[task.policy], by_name[task.best_baseline]
    target_on_test = test_target(task, baseline)
    steps = sorted({step for c in task.contenders for run in c.runs for step in run.validation.steps})
    grid = np.array(steps) / task.steps_per_epoch
    rows = [_contender(task, contender, target_on_test, steps) for contender in task.contenders]
    median_baseline = next(row for row in rows if row["name"] == baseline.name)["epochs_to_target"]["median"]
    return {
        "metric": task.metric,
        "target": task.target,
        "test_target": target_on_test,
        "t_search": task.t_search,
        "chance": task.chance,
        "complexity": task.complexity,
        "complexity_measure": task.complexity_measure,
        "population": task.population,
        "network": task.network,
        "classes": task.classes,
        "sizes": {"train": task.train_examples, "validation": task.val_examples, "test": task.test_examples},
        "source": dict(task.source),
        "audit": dict(task.audit),
        "steps_per_epoch": task.steps_per_epoch,
        "budget_epochs": task.budget_epochs,
        "evaluations": task.evaluations,
        "resolution_limited": resolution_limited(_hit_index(grid, median_baseline)),
        "seeds": seeds,
        "spent_epochs": sum(task.spent_epochs.values()),
        "spent_by_phase": dict(task.spent_epochs),
        "league": task.league,
        "policy": policy.name,
        "policy_in_words": words_of(policy, task.complexity),
        "best_baseline": baseline.name,
        "baselines_left_out": list(task.baselines_left_out),
        "contenders": rows,
        "levels": speedups_by_level(task, policy, baseline),
        "optimism": optimism(task),
        "regrets": regrets(task),
        "searches": {method: _search(trials) for method, trials in task.trials.items()},
        "importances": dict(task.importances),
        "importance_ci95": {name: list(ends) for name, ends in task.importance_ci95.items()},
        "evaluation_epochs": grid,
        "surface": rate_surface(policy, task),
    }


def test_target(task: TaskRecord, baseline: ContenderRecord) -> float | None:
    """Return the target for the test curves, or None if the best baseline does not beat guessing there.

    chance + 0.95 (T100 - chance), T100 the median over seeds of the baseline's final confirmed best test score.
    """
    bests = [final_best(_test_curve(run).metric(task.metric)) for run in baseline.runs]
    if not float(np.median(bests)) > task.chance:
        return None
    return headline_target(task.chance, bests)


def open_loop(contender: ContenderRecord) -> bool | None:
    """Return whether a contender's rate looked at nothing.

    That is so if its meta-policy does not depend on performance, or if the rate was the same on every seed for as
    long as each ran. None for fewer than two runs of another rule that went on after their first tick, before which
    no rule has anything to look at: they cannot tell.
    """
    if contender.kind == "meta-policy" and not MetaPolicy.from_dict(contender.settings).depends_on_performance:
        return True
    traces = [np.asarray(run.rates) for run in contender.runs if len(run.rates) > min(run.tick_ends, default=math.inf)]
    if len(traces) < 2:
        return None
    longest = max(traces, key=len)
    return all(np.allclose(trace, longest[: len(trace)], rtol=SAME_RATE_TOLERANCE, atol=0.0) for trace in traces)


def words_of(contender: ContenderRecord, complexity: float) -> str:
    """Return what a searched policy does in plain words; nothing for a rule of another kind."""
    if contender.kind != "meta-policy":
        return ""
    return in_words(MetaPolicy.from_dict(contender.settings), complexity)


def steers_on_validation(contender: ContenderRecord) -> bool:
    """Return whether a contender's rate looks at the validation data on which convergence is measured."""
    if contender.kind == "meta-policy":
        return MetaPolicy.from_dict(contender.settings).steers_on_validation
    # A baseline that has feedback at all listens to the validation loss.
    return contender.kind == "article" or (contender.name in BASELINES and BASELINES[contender.name].feedback)


def _paired_seeds(task: TaskRecord) -> list[int]:
    names = [contender.name for contender in task.contenders]
    for role, name in (("policy", task.policy), ("best_baseline", task.best_baseline)):
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise MetaGDError(f"task {task.name}: {role}={name!r} is not among the confirmed contenders {names}{hint}")
    if len(set(names)) < len(names):
        raise MetaGDError(f"task {task.name}: contenders {names} are not unique; give each a name of its own")
    seeds = {contender.name: [run.seed for run in contender.runs] for contender in task.contenders}
    expected = seeds[task.policy]
    if not expected:
        raise MetaGDError(f"task {task.name}: {task.policy} has no confirmation run; confirm on at least one seed")
    for name, own in seeds.items():
        if own != expected:
            raise MetaGDError(
                f"task {task.name}: {name} ran on seeds {own}, but {task.policy} on {expected}; "
                "a paired comparison needs the same seeds in the same order"
            )
    return expected


def _test_curve(run: RunRecord) -> Curve:
    if run.test is None:
        raise MetaGDError(
            f"the run of {run.contender} with seed {run.seed} has no test curve; "
            "only confirmation runs, which store one, belong into a report"
        )
    return run.test


def _hit_index(grid: FloatArray, median: float) -> float:
    """Return the number of the evaluation, counted from 1, at which a median time lies."""
    return float(np.count_nonzero(grid <= median * (1 + 1e-9))) if math.isfinite(median) else math.inf


def _times(task: TaskRecord, curves: Sequence[Curve], target: float | None) -> list[float]:
    if target is None:
        return [math.inf] * len(curves)
    return [
        time_to_target(np.array(curve.steps) / task.steps_per_epoch, curve.metric(task.metric), target)
        for curve in curves
    ]


def _contender(
    task: TaskRecord, contender: ContenderRecord, target_on_test: float | None, steps: list[int]
) -> dict[str, Any]:
    per_seed = _times(task, [run.validation for run in contender.runs], task.target)
    times = median_time(per_seed)
    return {
        "name": contender.name,
        "kind": contender.kind,
        "optimizer": contender.optimizer,
        "formula": contender.formula,
        "latex": contender.latex,
        "settings": dict(contender.settings),
        "trials": contender.trials,
        "open_loop": open_loop(contender),
        "steers_on_validation": steers_on_validation(contender),
        "epochs_to_target": {"median": times.median, "ci95": times.ci95},
        "per_seed": per_seed,
        "per_seed_test": _times(task, [_test_curve(run) for run in contender.runs], target_on_test),
        "reached": times.reached,
        "diverged": sum(run.diverged for run in contender.runs),
        "test": {metric: _median_test(task, contender.runs, metric) for metric in TEST_METRICS},
        "curve": _curve(task, contender.runs, steps),
    }


def _median_test(task: TaskRecord, runs: Sequence[RunRecord], metric: str) -> float:
    """Return the median over seeds of a test metric at the evaluation with the best validation score.

    A run that diverged before its first evaluation has learned nothing and counts as 0.
    """
    values = []
    for run in runs:
        scores, test = run.validation.metric(task.metric), _test_curve(run).metric(metric)
        values.append(test[int(np.argmax(scores))] if scores and len(test) == len(scores) else 0.0)
    return float(np.median(values))


def _curve(task: TaskRecord, runs: Sequence[RunRecord], steps: list[int]) -> dict[str, Any]:
    """Return median and quartiles over runs of score and rate at every evaluation."""
    grid = np.array(steps) / task.steps_per_epoch
    nothing: list[float | None] = [None] * len(steps)
    if not any(run.validation.steps for run in runs):
        scores: dict[str, Any] = {"median": nothing, "low": nothing, "high": nothing}
    else:
        scores = band(
            grid,
            [run.validation.metric(task.metric) for run in runs],
            grid,
            diverged=[run.diverged for run in runs],
            chance=task.chance,
        )._asdict()
    rates: dict[str, list[float]] = {"rate": [], "rate_low": [], "rate_high": []}
    for step in steps:
        # The rate of a run that has ended is no rate; the runs that go on speak alone.
        at_step = [run.rates[step - 1] for run in runs if len(run.rates) >= step]
        quartiles = np.quantile(at_step, [0.5, 0.25, 0.75]) if at_step else [math.nan] * 3
        for key, value in zip(rates, quartiles, strict=True):
            rates[key].append(float(value))
    drawn: dict[str, Any] = json_value({**scores, **rates}, CURVE_DIGITS)
    return drawn


def _search(trials: Sequence[TrialRecord]) -> dict[str, Any]:
    best: float | None = None
    objectives: list[float | None] = []
    for trial in trials:
        if trial.objective is not None and (best is None or trial.objective < best):
            best = trial.objective
        objectives.append(best)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    return {
        "trials": len(trials),
        "completed": len(trials) - len(pruned),
        "pruned": len(pruned),
        "spent_epochs": sum(trial.spent_epochs for trial in trials),
        "pruned_epochs": sum(trial.spent_epochs for trial in pruned),
        "best_objective": best,
        "objectives": objectives,
    }
