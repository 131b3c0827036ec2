"""What a report says about one task, in plain sentences that the page, the Markdown and the notes share."""

from __future__ import annotations

from metagd_optuna.analysis import known_log_ratios, same_on_all_pairs
from metagd_optuna.analysis.paired import ALPHA
from metagd_optuna.report.document import Across, Profile
from metagd_optuna.report.task_document import (
    UNIVERSAL,
    CandidateResults,
    Evidence,
    Interval,
    MeasuredCandidate,
    TaskResults,
    Verdict,
)

METRIC_NAMES = {"auc": "macro one-vs-rest AUC", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy"}
LABEL_WORDS = {"faster": "faster", "tie": "no difference shown", "slower": "slower"}
FEEDBACK_WORDS = {
    "open-loop": "open-loop",
    "feedback mattered": "feedback mattered",
    "feedback did not matter": "feedback did not matter",
    "not shown": "role of feedback not shown",
}
OTHER_SYMBOLS = "p: performance, 0 is chance level and 1 is perfect. d: difficulty. lr: learning rate."
SYMBOLS = f"c: complexity of the task, measured before training. {OTHER_SYMBOLS}"
MISSED = "not reached"
NOT_COMPARABLE = "not comparable"
EQUAL = 1e-8  # equal times may differ in the last of the ten digits that results have
# A winner that is at most this many times as fast as an open-loop control owes it nothing that matters.
NEGLIGIBLE_SPEEDUP = 1.1
CONSTANT_COMPLEXITY = "constant-complexity"  # the control that tells what knowing the complexity is worth
CHOSEN_ELSEWHERE = "chosen on other tasks"


def ratio(value: float | None, *, missing: str = "unbounded") -> str:
    """Return a speed-up with three significant digits.

    >>> ratio(1.4234), ratio(0.05), ratio(None)
    ('1.42', '0.050', 'unbounded')
    """
    if value is None:
        return missing
    return f"{value:.2f}" if 0.1 <= value < 10 else f"{value:#.2g}" if value < 0.1 else f"{value:.1f}"


def epochs(value: float | None) -> str:
    """Return a time in epochs, or words for a miss.

    >>> epochs(0.6251), epochs(1234.4), epochs(None)
    ('0.63', '1,234', 'not reached')
    """
    if value is None:
        return MISSED
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def percent(share: float) -> str:
    """Return a share as per cent, with as many digits as it has.

    >>> percent(0.95), percent(0.985), percent(1.0)
    ('95%', '98.5%', '100%')
    """
    return f"{100 * share:.4g}%"


def probability(value: float) -> str:
    """Return a p-value as reports print it, with as many digits as tell on which side of 0.05 it lies.

    >>> probability(0.0004), probability(0.0312), probability(0.0503), probability(1.0)
    ('p < 0.001', 'p = 0.031', 'p = 0.0503', 'p = 1.000')
    """
    if value < 0.001:
        return "p < 0.001"
    shown = (f"{value:.{digits}f}" for digits in range(3, 18))
    return f"p = {next(text for text in shown if (float(text) <= ALPHA) == (value <= ALPHA))}"


def interval(bounds: Interval) -> str:
    """Return an interval in words; an end that the seeds cannot bound is said to be open.

    An end near 1 has as many digits as tell on which side of 1 it lies.

    >>> interval((1.2, 1.68)), interval((0.9964, 1.68)), interval((None, None))
    ('1.20 to 1.68', '0.996 to 1.68', 'unbounded: too few seeds')
    """
    low, high = bounds
    if not low and high is None:
        return "unbounded: too few seeds"
    if high is None:
        return f"{_end(low)} or more"
    return f"{_end(low)} to {_end(high)}"


def _end(value: float | None) -> str:
    text = ratio(value, missing="0")
    if value is None or text != "1.00" or abs(value - 1) <= EQUAL:
        return text
    return next(text for digits in range(3, 10) if float(text := f"{value:.{digits}f}") != 1)


def trained_alike(one: CandidateResults, two: CandidateResults) -> bool:
    """Return whether two candidates are one rule on their task: same rates, same scores, same time on every seed.

    Two that had no score before they diverged may be any two rules.
    """
    same = all(getattr(one, part) == getattr(two, part) for part in ("optimizer", "per_seed", "per_seed_test", "curve"))
    return same and any(score is not None for score in one.curve.median)


def reached_by_any(*rows: MeasuredCandidate) -> bool:
    """Return whether one of some candidates reached the target on any seed; if none did, nothing compares them."""
    return any(time is not None for row in rows for time in row.per_seed)


def versus_best_baseline(task: TaskResults, row: CandidateResults) -> str:
    """Return the speed-up of a candidate over the best baseline with its interval, if there is anything to compare."""
    if not reached_by_any(row, task.reference):
        return NOT_COMPARABLE
    return f"{ratio(row.versus_best_baseline.speedup)} ({interval(row.versus_best_baseline.ci95)})"


def label_words(verdict: Verdict) -> str:
    """Return a verdict's label in words; a tie is none where a difference was shown and only the rest was not."""
    if verdict.label == "tie" and verdict.p_holm <= ALPHA:
        return "no verdict"
    return LABEL_WORDS[verdict.label]


def verdict_sentence(name: str, task: TaskResults) -> str:
    """Return the verdict on one task as one plain sentence with its interval.

    Args:
        name: the task's name.
        task: the task's part of the results.
    """
    verdict, policy, baseline = task.verdict, task.policy, task.best_baseline
    numbers = f"95% interval {interval(verdict.ci95)}; {probability(verdict.p_holm)} after Holm's correction"
    if verdict.p_holm > verdict.p_value:
        numbers = (
            f"95% interval of this task alone {interval(verdict.ci95)}; {probability(verdict.p_holm)} after "
            "Holm's correction for all tasks"
        )
    speedup = ratio(verdict.speedup)
    if verdict.label == "faster":
        return f"On {name}, {policy} converges {speedup} times as fast as {baseline}, the best baseline ({numbers})."
    if verdict.label == "slower":
        return (
            f"On {name}, {policy} converges more slowly than {baseline}, the best baseline: {speedup} times its speed "
            f"({numbers})."
        )
    if verdict.p_holm <= ALPHA:
        called, against = "faster", next(iter(verdict.reasons), "another condition failed")
        if verdict.speedup < 1:
            more_often = task.winner.reached > task.reference.reached
            called = "slower"
            against = "it reached the target more often" if more_often else "on the test cases it is the faster one"
        return (
            f"On {name}, {policy} is {speedup} times as fast as {baseline}, the best baseline ({numbers}), but that is "
            f"not called {called}: {against}."
        )
    if not reached_by_any(task.winner, task.reference):
        return (
            f"On {name}, neither {policy} nor {baseline}, the best baseline, reached the target on any seed, so their "
            "speed cannot be compared."
        )
    if trained_alike(task.winner, task.reference):
        return (
            f"On {name}, {policy} does what {baseline}, the best baseline, does: the same rates, scores and times on "
            f"all {len(task.seeds)} seeds, so there is no difference in speed to be shown."
        )
    return (
        f"On {name}, no difference in speed is shown between {policy} and {baseline}, the best baseline: "
        f"{speedup} times as fast ({numbers})."
    )


def use_sentence(name: str, task: TaskResults) -> str:
    """Return which rule to use on a task, and why; nothing in the universal scope.

    There a task has the rule of a fold, with which nobody trains. Otherwise it is the searched policy only if that is
    faster, and else the best baseline that was fixed before the confirmation: what did best there would be luck.
    """
    if task.scope == UNIVERSAL:
        return ""
    if task.verdict.label == "faster":
        return f"Use the searched policy on {name}: it is faster than the best tuned baseline, {task.best_baseline}."
    why = "is slower" if task.verdict.label == "slower" else "is not shown to be faster"
    return f"Use {task.best_baseline} on {name}, the best tuned baseline: the searched policy {why}."


def detectable_sentence(task: TaskResults) -> str:
    """Return what this number of seeds could have shown at all."""
    detectable = task.verdict.detectable
    if not reached_by_any(task.winner, task.reference):
        return "Neither of the two reached the target on any seed, so nothing could have been shown about their speed."
    ratios = known_log_ratios(task.reference.times, task.winner.times, task.budget_epochs)
    seeds = f"{len(ratios)} paired seeds"
    if len(ratios) < len(task.seeds):
        seeds = f"{len(ratios)} of {len(task.seeds)} paired seeds, where at least one of the two reached the target,"
    if detectable is not None:
        return (
            f"With {seeds} and this spread, a true speed-up of {ratio(detectable)} would be shown with 80% "
            "power, and a smaller one less often."
        )
    if 2.0 ** (1 - len(ratios)) > ALPHA:
        return f"With {seeds} no speed-up, however large, could have been shown."
    if trained_alike(task.winner, task.reference):
        return "The two are one rule here and times do not differ, so nothing says what these seeds could have shown."
    if same_on_all_pairs(ratios):
        return (
            "The ratio of the two times is the same on every seed, so nothing says what these seeds could have shown."
        )
    return f"With {seeds} no speed-up, however large, is sure to pass Holm's correction over all tasks of this report."


def price_sentence(task: TaskResults) -> str:
    """Return what the search cost and after how many trainings it pays back."""
    if task.scope == UNIVERSAL:
        return (
            f"Design and confirmation cost {epochs(task.spent_epochs)} epochs of training on this task; the rule "
            "was chosen by the designs on the others."
        )
    spent = f"Finding and confirming it cost {epochs(task.spent_epochs)} epochs of training"
    payback = task.verdict.payback_trainings
    if payback is not None:
        return f"{spent}; that pays back after {payback:,.0f} trainings to the target."
    if task.verdict.label == "faster":
        return f"{spent}; the median training saves no time, so that does not pay back."
    return f"{spent}; no saving is shown, so there is nothing to pay it back."


def feedback_sentence(task: TaskResults) -> str:
    """Return whether steering on performance was the cause, judged by the two open-loop controls."""
    feedback, evidence = task.verdict.feedback, task.verdict.feedback_evidence
    compared = "; ".join(
        f"against {control}: {ratio(found.speedup)} times as fast, 95% interval {interval(found.ci95)}"
        + _on_some_seeds(task, found)
        for control, found in evidence.items()
    )
    ends = [found.ci95[1] for found in evidence.values() if found.ci95[1] is not None]
    would_do = task.resolution_limited and any(1 <= end <= NEGLIGIBLE_SPEEDUP for end in ends)
    coarse = ", because times are coarse on this task" if would_do else ""
    detail = f" ({compared})" if compared else ""
    return {
        "open-loop": "The winner is open-loop: its rate is the same whatever the network does, "
        "so it is a schedule and no evidence for feedback.",
        "feedback did not matter": "Feedback did not matter: an open-loop control is practically as fast"
        + detail
        + ".",
        "feedback mattered": "Feedback mattered: the winner is faster than its own rate played back "
        "and than itself with performance held fixed" + detail + ".",
        "not shown": "Whether feedback mattered is not shown" + coarse + detail + ".",
    }[feedback]


def complexity_sentence(task: TaskResults) -> str:
    """Return whether it helped the winner to know the task's complexity; nothing if that was not tried."""
    found = task.verdict.complexity_evidence
    if not found:
        return ""
    if trained_alike(task.winner, task.candidate(CONSTANT_COMPLEXITY)):
        return (
            "Knowing this task's complexity changes nothing: told the mean of the other tasks' the rule does the same."
        )
    return (
        f"Knowing this task's complexity makes it {ratio(found.speedup)} times as fast as the same rule that is "
        f"told the mean of the other tasks' (95% interval {interval(found.ci95)}{_on_some_seeds(task, found)})."
    )


def _on_some_seeds(task: TaskResults, found: Evidence) -> str:
    if found.pairs == len(task.seeds):
        return ""
    return f", on the {found.pairs} seeds on which at least one of the two reached the target"


def untuned_but_faster(task: TaskResults) -> list[tuple[str, float]]:
    """Return the defaults and rules of the article that are faster than the policy, and by what factor, fastest first.

    Over the same seeds the speed-up of one over the other is the quotient of their speed-ups over the best baseline.
    """
    policy = task.winner.versus_best_baseline.speedup
    found = [
        (row.name, row.versus_best_baseline.speedup / policy)
        for row in task.candidates
        if row.kind in ("default", "article")
    ]
    return sorted(((name, faster) for name, faster in found if faster > 1 + EQUAL), key=lambda one: (-one[1], one[0]))


def across_sentence(across: Across) -> str:
    """Return how the searched policies do over all tasks of a report, as one plain sentence."""
    default = across.over_keras_adam
    untuned = (
        f" Over Keras' own Adam it is {ratio(default.speedup)} (95% interval {interval(default.ci95)})."
        if default
        else ""
    )
    return (
        f"Over all {len(across.tasks)} tasks, the searched policies converge {ratio(across.speedup)} times as "
        f"fast as the best baselines (geometric mean; 95% interval {interval(across.ci95)}), and a training with "
        f"the policy is the faster one with a probability of {across.probability_of_improvement:.0%}, equal times "
        f"counting one half.{untuned} All of it cost {epochs(across.spent_epochs)} epochs of training."
    )


def across_cautions(across: Across) -> list[str]:
    """Return what a reader must know before generalising from the tasks of a report."""
    notes = [
        "This describes the tasks of this report and is no test: the verdicts are those of the single tasks. With few "
        "tasks the interval is too narrow.",
        "Two missed targets are equal times, too.",
    ]
    if across.not_comparable:
        notes.append(
            "Counted as equally fast, although neither policy nor best baseline reached the target on any seed: "
            + ", ".join(across.not_comparable)
            + "."
        )
    if across.settings_that_differ:
        notes.append(
            "The studies of this report differ in their settings, which its end has in full: "
            + ", ".join(across.settings_that_differ)
            + "."
        )
    if across.profile_left_out:
        notes.append(
            "Best on some task, but not run on all, and so missing from the profile: "
            + ", ".join(across.profile_left_out)
            + "."
        )
    return notes


def share_within(profile: Profile, method: str, factor: float) -> float:
    """Return the share of tasks that a method solves within ``factor`` times the fastest median.

    >>> share_within(Profile(factors=(1.0, 2.0), shares={"a": (0.5, 1.0)}), "a", 1.5)
    0.5
    """
    shares = profile.shares[method]
    return [share for known, share in zip(profile.factors, shares, strict=True) if known <= factor][-1]


def short_flags(task: TaskResults) -> list[str]:
    """Return in a few words each what else belongs beside the verdict."""
    flags = [FEEDBACK_WORDS[task.verdict.feedback]]
    if task.scope == UNIVERSAL:
        flags.append(CHOSEN_ELSEWHERE)
    if trained_alike(task.winner, task.reference):
        flags.insert(0, f"the same rule as {task.best_baseline}")
    untuned = [name for name, _ in untuned_but_faster(task)]
    if untuned:
        flags.insert(0, f"untuned but faster than the winner: {', '.join(untuned)}")
    if task.resolution_limited:
        flags.append("resolution-limited")
    if task.winner.steers_on_validation:
        flags.append("steered by validation data")
    if all(row.reached == 0 for row in task.candidates):
        flags.append("target never reached")
    return flags
