"""All tasks of a report together, from the numbers in results.json alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metagd_optuna.analysis import (
    GeometricMean,
    geometric_mean_speedup,
    log_ratios,
    performance_profile,
    probability_of_improvement,
)
from metagd_optuna.report.json_values import times
from metagd_optuna.report.regret import mean_regrets
from metagd_optuna.report.sentences import contender_named, reached_by_any

MOST_BASELINES = 3  # with the searched policy and Keras' own Adam that is five methods
KERAS_DEFAULT = "keras-adam"
# Fine where methods differ, and with the round factors that the text names.
FACTORS = (*(1 + k / 20 for k in range(20)), *(2 + k / 4 for k in range(33)))


def across_tasks(
    tasks: Mapping[str, Mapping[str, Any]], runs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return how the searched policies do over all tasks, or None for fewer than two tasks.

    The same tasks in any order give the same numbers: the bootstrap goes through them by name, always with the
    same generator.

    Args:
        tasks: by name, as read from JSON (a miss is None).
        runs: the studies that they are from, with their ``settings``.

    Returns:
        ``settings_that_differ`` between the studies, ``spent_epochs`` in all, and the tasks that are ``not_comparable``
        because neither policy nor best baseline reached the target on any seed; ``speedup`` and ``ci95`` of the
        geometric mean over the best baselines, ``probability_of_improvement``, and the ``profile`` of at most five
        methods: the searched policy, up to three baselines, those first that were best on most tasks, and Keras' Adam.
        Who did not run on every task cannot take part; best baselines among them are in ``profile_left_out``.
        ``over_keras_adam`` is the mean over Keras' own Adam, None unless it ran on every task. ``regrets`` by method,
        where settings were chosen on other tasks.
    """
    if len(tasks) < 2:
        return None
    ordered = dict(sorted(tasks.items()))
    policies, baselines = (
        [times(contender_named(task, task[role])["per_seed"]) for task in ordered.values()]
        for role in ("policy", "best_baseline")
    )
    budgets = [task["budget_epochs"] for task in ordered.values()]
    mean = _mean_speedup(baselines, policies, budgets)
    rows = [[row for row in task["contenders"] if row["name"] == KERAS_DEFAULT] for task in ordered.values()]
    untuned = None
    if all(rows):
        default = _mean_speedup([times(row["per_seed"]) for [row] in rows], policies, budgets)
        untuned = {"speedup": default.speedup, "ci95": list(default.ci95)}
    medians, left_out = _headline_medians(ordered)
    shares = performance_profile(medians, FACTORS)
    regrets = mean_regrets(ordered)
    return {
        "tasks": list(ordered),
        "settings_that_differ": _differing(runs),
        "not_comparable": [
            name for name, task in ordered.items() if not reached_by_any(task, task["policy"], task["best_baseline"])
        ],
        "spent_epochs": sum(task["spent_epochs"] for task in ordered.values()),
        "speedup": mean.speedup,
        "ci95": list(mean.ci95),
        "over_keras_adam": untuned,
        "probability_of_improvement": probability_of_improvement(baselines, policies),
        "profile": {"factors": list(FACTORS), "shares": shares},
        "profile_left_out": left_out,
        **({"regrets": regrets} if regrets else {}),
    }


def _differing(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the keys of study files, but for the tasks, whose values are not the same in all studies."""
    settings = [run["settings"] for run in runs.values()]
    keys = sorted({key for each in settings for key in each} - {"tasks"})
    return [key for key in keys if any(each.get(key) != settings[0].get(key) for each in settings)]


def _mean_speedup(
    theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]], budgets: Sequence[float]
) -> GeometricMean:
    """Return the geometric mean over tasks of the speed-up over one rival per task."""
    ratios = [log_ratios(rival, own, budget) for rival, own, budget in zip(theirs, ours, budgets, strict=True)]
    return geometric_mean_speedup(ratios, rng=np.random.default_rng(0))


def _headline_medians(tasks: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, list[float]], list[str]]:
    """Return the median times by headline method, and the best baselines that did not run on every task."""
    rows = [{row["name"]: row for row in task["contenders"]} for task in tasks.values()]
    everywhere = set.intersection(*(set(found) for found in rows))
    best = Counter(task["best_baseline"] for task in tasks.values())
    tuned = {name for found in rows for name, row in found.items() if row["kind"] == "baseline"} | best.keys()
    ranked = sorted(tuned, key=lambda name: (-best[name], name))
    policies = [task["policy"] for task in tasks.values()]
    shown = [name for name in ranked if name in everywhere and name not in policies][:MOST_BASELINES]
    if KERAS_DEFAULT in everywhere and KERAS_DEFAULT not in (*shown, *policies):
        shown.append(KERAS_DEFAULT)
    searched = policies[0] if len(set(policies)) == 1 else "searched policy"
    medians = {searched: [found[policy] for found, policy in zip(rows, policies, strict=True)]}
    medians |= {name: [found[name] for found in rows] for name in shown}
    left_out = [name for name in ranked if best[name] and name not in everywhere]
    return {
        name: times([row["epochs_to_target"]["median"] for row in chosen]) for name, chosen in medians.items()
    }, left_out
