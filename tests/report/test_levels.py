"""Where in training the time was won."""

import math
from dataclasses import replace

import pytest

from metagd_optuna.report.levels import SHARES, speedups_by_level


def by_name(task, name):
    return next(contender for contender in task.contenders if contender.name == name)


def test_the_headline_target_is_among_the_levels_and_says_what_the_verdict_says(faster_task):
    policy, baseline = by_name(faster_task, faster_task.policy), by_name(faster_task, faster_task.best_baseline)
    rows = speedups_by_level(faster_task, policy, baseline)
    assert [row["share"] for row in rows] == list(SHARES)
    [headline] = [row for row in rows if row["share"] == 0.95]
    assert headline["target"] == pytest.approx(faster_task.target)
    from metagd_optuna.report.measure import measured_task

    [row] = [row for row in measured_task(faster_task)["contenders"] if row["name"] == policy.name]
    assert headline["policy"] == row["epochs_to_target"]["median"]
    targets = [row["target"] for row in rows]
    assert targets == sorted(targets)
    medians = [row["policy"] for row in rows]
    assert medians == sorted(medians)


def test_a_contender_against_itself_won_nothing_anywhere(faster_task):
    baseline = by_name(faster_task, faster_task.best_baseline)
    for row in speedups_by_level(faster_task, baseline, baseline):
        assert row["speedup"] == 1.0
        assert row["policy"] == row["baseline"]


def test_heights_that_nobody_reaches_are_misses(faster_task):
    high = replace(faster_task, target=0.9999)
    policy, baseline = by_name(faster_task, faster_task.policy), by_name(faster_task, faster_task.best_baseline)
    last = speedups_by_level(high, policy, baseline)[-1]
    assert math.isinf(last["policy"])
    assert last["speedup"] == 1.0
