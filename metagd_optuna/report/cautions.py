"""What a reader must know before believing a verdict."""

from __future__ import annotations

import math

from metagd_optuna.analysis.scores import standard_error
from metagd_optuna.report.sentences import complexity_sentence, interval, ratio, untuned_but_faster
from metagd_optuna.report.task_document import UNIVERSAL, TaskResults
from metagd_optuna.tasks.audit import cases_by_class

FEW_CASES = 200  # of validation


def cautions(task: TaskResults) -> list[str]:
    """Return what a reader must know before believing the verdict, most serious first."""
    notes = [
        f"Faster without any tuning: {name} is {ratio(faster)} times as fast as {task.policy} over the same seeds "
        f"({ratio(task.candidate(name).versus_best_baseline.speedup)} times as fast as {task.best_baseline}), which "
        "was not tested. Only tuned baselines count for the label."
        for name, faster in untuned_but_faster(task)
    ]
    if task.verdict.reasons:
        notes.append(f"Not labelled faster because {'; '.join(task.verdict.reasons)}.")
    notes += _on_looks(task)
    notes += _on_misses(task)
    rows = task.candidates
    if all(row.reached == 0 for row in rows):
        notes.append("No candidate reached the target in any run, so the speed-ups carry no information.")
    if task.search_target is None or task.search_target <= task.chance:
        notes.append(
            "Calibration never rose above chance level, so the target that steered the searches is meaningless."
        )
    winner = task.winner
    if not any(row.kind == "baseline" and row.optimizer == winner.optimizer for row in rows):
        notes.append(
            f"The winner uses {winner.optimizer}, and no tuned baseline of this study does: what differs may be the "
            "optimizer and not the rule."
        )
    notes += _on_batches(task)
    if task.resolution_limited:
        notes.append(
            "Resolution-limited: the best baseline reaches the target before the 8th evaluation, so times are coarse. "
            "Evaluate more often or raise the target."
        )
    if task.test_target is None:
        notes.append(
            "On the test cases the best baseline never rose above chance level, so nothing can be compared there."
        )
    untouched = "some of which the search trained on" if task.resampled else "which nothing was tuned on"
    on_test = (
        f" On the {task.sizes.test} test cases, {untouched}, the same comparison gives "
        f"{ratio(task.verdict.test_speedup)} (95% interval {interval(task.verdict.test_ci95)})."
    )
    notes.append(_on_cases(task) + (on_test if task.test_target is not None else ""))
    notes += _on_few(task)
    diverged = [f"{row.name} ({row.diverged} of {len(task.seeds)})" for row in rows if row.diverged]
    if diverged:
        notes.append(
            "Runs that diverged, counted as misses unless they had reached the target: " + ", ".join(diverged) + "."
        )
    steered = [row.name for row in rows if row.steers_on_validation]
    if steered:
        notes.append(
            "Steered by the validation data on which convergence is measured, which can flatter: "
            + ", ".join(steered)
            + "."
        )
    if task.scope == UNIVERSAL:
        notes.append(
            "Universal scope: the settings of all methods, and the best baseline, were chosen on the other tasks, and "
            f"no setting was chosen on this one. {complexity_sentence(task)}"
        )
    else:
        notes.append(
            "Within one task the complexity c is constant, so a coefficient of c in f cannot be told from a constant; "
            "only a search across several tasks could."
        )
    left_out = task.baselines_left_out
    if left_out:
        notes.append("Baselines that were not run, and might have been faster: " + ", ".join(left_out) + ".")
    return notes


def _on_looks(task: TaskResults) -> list[str]:
    """Return how often a confirmation was looked at; nothing if this is the first time."""
    looks = task.earlier_looks
    if not looks:
        return []
    said = "; ".join(f"{look.label} with {look.trials} trials, p = {look.p_value:.3g}" for look in looks)
    return [
        f"This is look {len(looks) + 1} at a confirmation: the trials were raised after the study had said {said}. "
        "Holm's correction counts these tests too, on seeds of their own."
    ]


def _on_cases(task: TaskResults) -> str:
    """Return what the intervals cover: seeds, or also which cases were drawn."""
    if task.resampled:
        return (
            f"Every seed dealt the cases into parts of its own, {task.sizes.validation} of them for validation, so the "
            "intervals cover seeds and which cases are in which part. All parts are drawn from the same cases, so the "
            "result is conditional on these data: what other cases would show is beyond it."
        )
    return (
        f"Fresh seeds show the luck of seeds, not of cases: convergence is measured on {task.sizes.validation} "
        "validation cases, and the result is conditional on these data."
    )


def _on_few(task: TaskResults) -> list[str]:
    """Return what few validation cases cost; nothing if there are 200 or more."""
    counts = cases_by_class(task.audit, "val")
    if task.sizes.validation >= FEW_CASES or len([count for count in counts if count]) < 2:
        return []
    error = standard_error(task.metric, task.target, counts)
    more = "" if task.resampled else " With resample_splits = true every seed measures others."
    return [
        f"Few data: on {task.sizes.validation} validation cases a score at the target, {task.target:.3f}, has a "
        f"standard error of {error:.3f}, so other cases of the same kind would reach it earlier or later, or not at "
        f"all.{more}"
    ]


def _on_batches(task: TaskResults) -> list[str]:
    """Return what the batches that methods chose mean for a comparison of times; nothing if they had no choice."""
    chose = [row for row in task.candidates if row.kind != "control"]
    rows = {row.name: row.batch_size for row in chose if row.batch_size is not None}
    if not rows:
        return []
    batches = ", ".join(f"{name} {size}" for name, size in rows.items())
    ours, theirs = rows.get(task.policy), rows.get(task.best_baseline)
    apart = (
        " What differs between winner and best baseline may be the batch and not the rule." if ours != theirs else ""
    )
    return [
        f"Methods chose their batch ({batches}), and the untuned have that of the study.{apart} Times count examples: "
        "where a step takes as long whatever its batch, an epoch of half of the batch takes twice as long."
    ]


def _on_misses(task: TaskResults) -> list[str]:
    """Return how much of a verdict hangs on what a missed target counts as; nothing if that is nothing."""
    policy, baseline = task.winner.per_seed, task.reference.per_seed
    both = [math.log(theirs / ours) for ours, theirs in zip(policy, baseline, strict=True) if ours and theirs]
    if len(both) == len(policy) or not any((*policy, *baseline)):
        return []
    alone = "On no seed did both reach it, so the speed-up is what a miss counts as."
    if both:
        factor = math.exp(math.fsum(both) / len(both))
        seeds = "only seed" if len(both) == 1 else str(len(both))
        alone = f"On the {seeds} where both reached it the policy is {ratio(factor)} times as fast."
    return [
        f"A missed target counts as twice the budget: {task.policy} missed it on {policy.count(None)} of "
        f"{len(policy)} seeds, {task.best_baseline} on {baseline.count(None)}. {alone}"
    ]
