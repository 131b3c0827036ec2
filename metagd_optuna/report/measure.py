"""The records of one task to the numbers of a report; verdicts are given in ``evaluate.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from metagd_optuna.analysis import (
    Band,
    band,
    confirmation_target,
    final_best,
    median_time,
    resolution_limited,
)
from metagd_optuna.contracts import Curve, FloatArray, MetaGDError, RunRecord
from metagd_optuna.models import did_you_mean
from metagd_optuna.policy import BASELINES, MetaPolicy
from metagd_optuna.policy.words import in_words
from metagd_optuna.records import CandidateRecord, TaskRecord, TrialRecord
from metagd_optuna.report.levels import speedups_by_level, times_to
from metagd_optuna.report.optimism import optimism
from metagd_optuna.report.regret import regrets
from metagd_optuna.report.surface import rate_surface
from metagd_optuna.report.task_document import Curve as DrawnCurve
from metagd_optuna.report.task_document import MeasuredCandidate, MeasuredTask, MedianTime, Search, Sizes, TestScores

# Same rate at every step on every seed, to float32 rounding: the rule cannot have used feedback.
SAME_RATE_TOLERANCE = 1e-6


def measured_task(study: str, task: TaskRecord) -> MeasuredTask:
    """Return everything about one task but the verdict.

    Args:
        study: the name of the study.
        task: with at least the candidates that ``task.policy`` and ``task.best_baseline`` name, all of them run on the
            same seeds in the same order, with test curves.

    Raises:
        MetaGDError: if a candidate is missing or double, seeds are not paired, or a run has no test curve.
    """
    seeds = _paired_seeds(task)
    by_name = {candidate.name: candidate for candidate in task.candidates}
    policy, baseline = by_name[task.policy], by_name[task.best_baseline]
    target_on_test = test_target(task, baseline)
    steps = sorted({step for c in task.candidates for run in c.runs for step in run.validation.steps})
    grid = np.array(steps) / task.steps_per_epoch
    medians = median_time(times_to(task, [run.validation for run in baseline.runs], task.target))
    return MeasuredTask.of(
        study=study,
        metric=task.metric,
        target=task.target,
        test_target=target_on_test,
        search_target=task.search_target,
        chance=task.chance,
        complexity=task.complexity,
        complexity_measure=task.complexity_measure,
        population=task.population,
        network=task.network,
        classes=task.classes,
        sizes=Sizes(train=task.train_examples, validation=task.val_examples, test=task.test_examples),
        source=task.source,
        audit=task.audit,
        steps_per_epoch=task.steps_per_epoch,
        budget_epochs=task.budget_epochs,
        evaluations=task.evaluations,
        resolution_limited=resolution_limited(_hit_index(grid, medians.median)),
        seeds=seeds,
        spent_epochs=sum(task.spent_epochs.values()),
        spent_by_phase=task.spent_epochs,
        scope=task.scope,
        policy=policy.name,
        policy_in_words=words_of(policy, task.complexity),
        best_baseline=baseline.name,
        baselines_left_out=task.baselines_left_out,
        candidates=[_candidate(task, candidate, target_on_test, steps) for candidate in task.candidates],
        levels=speedups_by_level(task, policy, baseline),
        optimism=optimism(task),
        regrets=regrets(task),
        searches={method: _search(trials) for method, trials in task.trials.items()},
        importances=task.importances,
        importance_ci95=task.importance_ci95,
        evaluation_epochs=grid,
        surface=rate_surface(policy, task),
        resampled=task.resampled,
        earlier_looks=[asdict(look) for look in task.earlier_looks],
        target_share=task.target_share,
    )


def test_target(task: TaskRecord, baseline: CandidateRecord) -> float | None:
    """Return the target for the test curves, or None if the best baseline does not beat chance level there.

    It is at the same share of the way as the target: T100 is the median over seeds of the baseline's final confirmed
    best test score.
    """
    bests = [final_best(_test_curve(run).metric(task.metric)) for run in baseline.runs]
    if not float(np.median(bests)) > task.chance:
        return None
    return confirmation_target(task.chance, bests, share=task.target_share)


def open_loop(candidate: CandidateRecord) -> bool | None:
    """Return whether a candidate's rate used no feedback.

    That is so if its meta-policy does not depend on performance, or if the rate was the same on every seed for as long
    as each ran. None for fewer than two runs of another rule that went on after their first rate update, before which
    no rule has anything to look at: they cannot tell.
    """
    if candidate.kind == "meta-policy":
        policy = MetaPolicy.from_dict(candidate.settings)
        if not policy.depends_on_performance and not policy.probes:
            return True
    traces = [
        np.asarray(run.rates) for run in candidate.runs if len(run.rates) > min(run.update_steps, default=math.inf)
    ]
    if len(traces) < 2:
        return None
    longest = max(traces, key=len)
    return all(np.allclose(trace, longest[: len(trace)], rtol=SAME_RATE_TOLERANCE, atol=0.0) for trace in traces)


def words_of(candidate: CandidateRecord, complexity: float) -> str:
    """Return what a searched policy does in plain words; nothing for a rule of another kind."""
    if candidate.kind != "meta-policy":
        return ""
    return in_words(MetaPolicy.from_dict(candidate.settings), complexity)


def steers_on_validation(candidate: CandidateRecord) -> bool:
    """Return whether a candidate's rate looks at the validation data on which convergence is measured."""
    if candidate.kind == "meta-policy":
        return MetaPolicy.from_dict(candidate.settings).steers_on_validation
    # A baseline that has feedback at all listens to the validation loss.
    return candidate.kind == "article" or (candidate.name in BASELINES and BASELINES[candidate.name].feedback)


def _paired_seeds(task: TaskRecord) -> list[int]:
    names = [candidate.name for candidate in task.candidates]
    for role, name in (("policy", task.policy), ("best_baseline", task.best_baseline)):
        if name not in names:
            known = f"{names}{did_you_mean(name, names)}"
            raise MetaGDError(f"task {task.name}: {role}={name!r} is not among the confirmed candidates {known}")
    if len(set(names)) < len(names):
        raise MetaGDError(f"task {task.name}: candidates {names} are not unique; give each a name of its own")
    seeds = {candidate.name: [run.seed for run in candidate.runs] for candidate in task.candidates}
    expected = seeds[task.policy]
    if not expected:
        raise MetaGDError(f"task {task.name}: {task.policy} has no confirmation run; confirm on at least one seed")
    for name, own in seeds.items():
        if own != expected:
            raise MetaGDError(
                f"task {task.name}: {name} ran on seeds {own}, but {task.policy} on {expected}; a paired comparison "
                "needs the same seeds in the same order"
            )
    return expected


def _test_curve(run: RunRecord) -> Curve:
    if run.test is None:
        raise MetaGDError(
            f"the run of {run.candidate} with seed {run.seed} has no test curve; only confirmation runs, which store "
            "one, belong into a report"
        )
    return run.test


def _hit_index(grid: FloatArray, median: float) -> float:
    """Return the number of the evaluation, counted from 1, at which a median time lies."""
    return float(np.count_nonzero(grid <= median * (1 + 1e-9))) if math.isfinite(median) else math.inf


def _candidate(
    task: TaskRecord, candidate: CandidateRecord, target_on_test: float | None, steps: list[int]
) -> MeasuredCandidate:
    runs = candidate.runs
    per_seed = times_to(task, [run.validation for run in runs], task.target)
    times = median_time(per_seed)
    return MeasuredCandidate.of(
        name=candidate.name,
        kind=candidate.kind,
        optimizer=candidate.optimizer,
        formula=candidate.formula,
        latex=candidate.latex,
        settings=candidate.settings,
        trials=candidate.trials,
        open_loop=open_loop(candidate),
        steers_on_validation=steers_on_validation(candidate),
        epochs_to_target=MedianTime.of(median=times.median, ci95=times.ci95),
        per_seed=per_seed,
        per_seed_test=times_to(task, [_test_curve(run) for run in runs], target_on_test),
        reached=times.reached,
        diverged=sum(run.diverged for run in runs),
        test=TestScores.of(
            auc=_median_test(task, runs, "auc"),
            accuracy=_median_test(task, runs, "accuracy"),
            balanced_accuracy=_median_test(task, runs, "balanced_accuracy"),
        ),
        curve=_curve(task, runs, steps),
    )


def _median_test(task: TaskRecord, runs: Sequence[RunRecord], metric: str) -> float:
    """Return the median over seeds of a test metric at the evaluation with the best validation score.

    A run that diverged before its first evaluation has learned nothing and counts as 0.
    """
    values = []
    for run in runs:
        scores, test = run.validation.metric(task.metric), _test_curve(run).metric(metric)
        values.append(test[int(np.argmax(scores))] if scores and len(test) == len(scores) else 0.0)
    return float(np.median(values))


def _curve(task: TaskRecord, runs: Sequence[RunRecord], steps: list[int]) -> DrawnCurve:
    """Return median and quartiles over runs of score and rate at every evaluation."""
    grid = np.array(steps) / task.steps_per_epoch
    nothing = np.full(len(steps), math.nan)
    scores = Band(nothing, nothing, nothing)
    if any(run.validation.steps for run in runs):
        scores = band(
            grid,
            [run.validation.metric(task.metric) for run in runs],
            grid,
            diverged=[run.diverged for run in runs],
            chance=task.chance,
        )
    rates = np.full((len(steps), 3), math.nan)
    for place, step in enumerate(steps):
        # The rate of a run that has ended is no rate; the runs that go on speak alone.
        at_step = [run.rates[step - 1] for run in runs if len(run.rates) >= step]
        if at_step:
            rates[place] = np.quantile(at_step, [0.5, 0.25, 0.75])
    middle, low, high = rates.T
    return DrawnCurve.of(**scores._asdict(), rate=middle, rate_low=low, rate_high=high)


def _search(trials: Sequence[TrialRecord]) -> Search:
    found = [math.inf if trial.objective is None else trial.objective for trial in trials]
    best_so_far = np.minimum.accumulate(found, dtype=np.float64)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    return Search.of(
        trials=len(trials),
        completed=len(trials) - len(pruned),
        pruned=len(pruned),
        spent_epochs=sum(trial.spent_epochs for trial in trials),
        pruned_epochs=sum(trial.spent_epochs for trial in pruned),
        best_objective=min(found, default=math.inf),
        objectives=best_so_far,
    )
