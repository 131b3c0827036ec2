"""All tasks of a report together, from the numbers in results.json alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from metagd_optuna.analysis import (
    GeometricMean,
    geometric_mean_speedup,
    log_ratios,
    performance_profile,
    probability_of_improvement,
)
from metagd_optuna.report.document import Across, Profile, Run
from metagd_optuna.report.json_values import times
from metagd_optuna.report.regret import mean_regrets
from metagd_optuna.report.sentences import reached_by_any
from metagd_optuna.report.task_document import Mean, TaskResults

MOST_BASELINES = 3  # with the searched policy and Keras' own Adam that is five methods
KERAS_DEFAULT = "keras-adam"
# Fine where methods differ, and with the round factors that the text names.
FACTORS = (*(1 + k / 20 for k in range(20)), *(2 + k / 4 for k in range(33)))


def across_tasks(tasks: Mapping[str, TaskResults], runs: Mapping[str, Run]) -> Across | None:
    """Return how the searched policies do over all tasks, or None for fewer than two tasks.

    The same tasks in any order give the same numbers: the bootstrap goes through them by name, always with the
    same generator. The profile is of at most five methods: the searched policy, up to three baselines, those first
    that were best on most tasks, and Keras' Adam. Who did not run on every task cannot take part.

    Args:
        tasks: by name.
        runs: the studies that they are from.
    """
    if len(tasks) < 2:
        return None
    ordered = dict(sorted(tasks.items()))
    each = list(ordered.values())
    policies, baselines = [task.winner.times for task in each], [task.reference.times for task in each]
    budgets = [task.budget_epochs for task in each]
    mean = _mean_speedup(baselines, policies, budgets)
    untuned = [row.times for task in each for row in task.candidates if row.name == KERAS_DEFAULT]
    default = _mean_speedup(untuned, policies, budgets) if len(untuned) == len(each) else None
    medians, left_out = _profile_medians(each)
    return Across.of(
        tasks=list(ordered),
        settings_that_differ=_differing(runs),
        not_comparable=[name for name, task in ordered.items() if not reached_by_any(task.winner, task.reference)],
        spent_epochs=sum(task.spent_epochs for task in each),
        speedup=mean.speedup,
        ci95=mean.ci95,
        over_keras_adam=default and Mean.of(speedup=default.speedup, ci95=default.ci95),
        probability_of_improvement=probability_of_improvement(baselines, policies),
        profile=Profile.of(factors=FACTORS, shares=performance_profile(medians, FACTORS)),
        profile_left_out=left_out,
        regrets=mean_regrets([task.regrets for task in each]),
    )


def _differing(runs: Mapping[str, Run]) -> list[str]:
    """Return the keys of study files, but for the tasks, whose values are not the same in all studies."""
    settings = [run.settings for run in runs.values()]
    keys = sorted({key for each in settings for key in each} - {"tasks"})
    return [key for key in keys if any(each.get(key) != settings[0].get(key) for each in settings)]


def _mean_speedup(
    theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]], budgets: Sequence[float]
) -> GeometricMean:
    """Return the geometric mean over tasks of the speed-up over one rival per task."""
    ratios = [log_ratios(rival, own, budget) for rival, own, budget in zip(theirs, ours, budgets, strict=True)]
    return geometric_mean_speedup(ratios, rng=np.random.default_rng(0))


def _profile_medians(tasks: Sequence[TaskResults]) -> tuple[dict[str, list[float]], list[str]]:
    """Return the median times by headline method, and the best baselines that did not run on every task."""
    rows = [{row.name: row for row in task.candidates} for task in tasks]
    everywhere = set.intersection(*(set(found) for found in rows))
    best = Counter(task.best_baseline for task in tasks)
    tuned = {name for found in rows for name, row in found.items() if row.kind == "baseline"} | best.keys()
    ranked = sorted(tuned, key=lambda name: (-best[name], name))
    policies = [task.policy for task in tasks]
    shown = [name for name in ranked if name in everywhere and name not in policies][:MOST_BASELINES]
    if KERAS_DEFAULT in everywhere and KERAS_DEFAULT not in (*shown, *policies):
        shown.append(KERAS_DEFAULT)
    searched = policies[0] if len(set(policies)) == 1 else "searched policy"
    chosen = {searched: [task.winner for task in tasks]}
    chosen |= {name: [found[name] for found in rows] for name in shown}
    medians = {name: times([row.epochs_to_target.median for row in found]) for name, found in chosen.items()}
    return medians, [name for name in ranked if best[name] and name not in everywhere]
