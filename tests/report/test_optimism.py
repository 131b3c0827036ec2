"""How much of a search was luck."""

from dataclasses import replace

import numpy as np
import pytest

from metagd_optuna.analysis import hit_times, targets_up_to
from metagd_optuna.records import Selection
from metagd_optuna.report.optimism import optimism


def test_the_confirmation_is_the_targets_of_its_own_runs(faster_task):
    rows = {row.method: row for row in optimism(faster_task)}
    assert list(rows) == list(faster_task.selections)
    [policy] = [candidate for candidate in faster_task.candidates if candidate.name == faster_task.policy]
    times = []
    for run in policy.runs:
        epochs = np.array(run.validation.steps) / faster_task.steps_per_epoch
        times.append(hit_times(epochs, run.validation.auc, targets_up_to(0.5, faster_task.search_target)))
    misses = 2 * faster_task.budget_epochs
    expected = np.mean(np.where(np.isinf(times), misses, times))
    assert rows["meta-policy"].confirmation == pytest.approx(expected)
    row = rows["meta-policy"]
    assert (row.trial, row.best, row.search, row.shortlist) == (3, 1.2, 1.3, 1.7)


def test_it_is_empty_where_nothing_was_chosen_on_the_task(faster_task):
    assert optimism(replace(faster_task, selections={})) == []
    only = {"adam-cosine": Selection(0, 1.0, 1.0, 1.0)}
    assert [row.method for row in optimism(replace(faster_task, selections=only))] == ["adam-cosine"]
