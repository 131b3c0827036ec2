"""Where in training the time was won."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.analysis import confirmation_target
from metagd_optuna.records import TaskRecord
from metagd_optuna.report.levels import SHARES, speedups_by_level


def by_name(task, name):
    return next(candidate for candidate in task.candidates if candidate.name == name)


def test_the_confirmation_target_is_among_the_levels_and_says_what_the_verdict_says(faster_task):
    policy, baseline = by_name(faster_task, faster_task.policy), by_name(faster_task, faster_task.best_baseline)
    rows = speedups_by_level(faster_task, policy, baseline)
    assert [row.share for row in rows] == list(SHARES)
    [headline] = [row for row in rows if row.share == 0.95]
    assert headline.target == pytest.approx(faster_task.target)
    reached = [(row.policy_reached, row.baseline_reached) for row in rows]
    assert reached[0] == (1.0, 1.0)
    assert reached == sorted(reached, reverse=True)
    from metagd_optuna.report.measure import measured_task

    [row] = [row for row in measured_task("study", faster_task).candidates if row.name == policy.name]
    assert headline.policy == row.epochs_to_target.median
    targets = [row.target for row in rows]
    assert targets == sorted(targets)
    medians = [row.policy for row in rows]
    assert medians == sorted(medians)


@pytest.mark.parametrize("share", [0.8, 0.985])
def test_another_target_share_is_among_the_levels(faster_task, share):
    task = replace(faster_task, target_share=share)
    policy, baseline = by_name(task, task.policy), by_name(task, task.best_baseline)
    rows = speedups_by_level(task, policy, baseline)
    assert [row.share for row in rows] == sorted({*SHARES, share})
    [headline] = [row for row in rows if row.share == share]
    assert headline.target == task.target
    [whole] = [row for row in rows if row.share == 1]
    assert (task.target - task.chance) / (whole.target - task.chance) == pytest.approx(share)


def test_a_candidate_against_itself_won_nothing_anywhere(faster_task):
    baseline = by_name(faster_task, faster_task.best_baseline)
    for row in speedups_by_level(faster_task, baseline, baseline):
        assert row.speedup == 1.0
        assert row.policy == row.baseline


def test_heights_that_nobody_reaches_are_misses(faster_task):
    high = replace(faster_task, target=0.9999)
    policy, baseline = by_name(faster_task, faster_task.policy), by_name(faster_task, faster_task.best_baseline)
    last = speedups_by_level(high, policy, baseline)[-1]
    assert last.policy is None
    assert last.speedup == 1.0
    assert (last.policy_reached, last.baseline_reached) == (0, 0)


@settings(deadline=None)
@given(wins=st.integers(1, 2 * 57 * 21), chance=st.sampled_from([0.5, 1 / 3, 0.2]))
def test_all_of_the_way_is_reached_by_a_run_that_ends_where_the_baseline_ended(
    faster_task: TaskRecord, wins: int, chance: float
) -> None:
    """An AUC of 57 and 21 images is a whole number of halves of 57 x 21 pairs; T100 is worked out from the target."""
    end = chance + (1 - chance) * wins / (2 * 57 * 21)
    candidate = by_name(faster_task, faster_task.best_baseline)
    run = candidate.runs[0]
    flat = replace(run, validation=replace(run.validation, auc=(end,) * len(run.validation.auc)))
    task = replace(faster_task, chance=chance, target=confirmation_target(chance, [end]))
    candidate = replace(candidate, runs=(flat,))
    rows = speedups_by_level(task, candidate, candidate)
    assert [row.policy_reached for row in rows] == [1.0] * len(SHARES)
