"""The target of the searches, from runs that are made up."""

import pytest
from made_up import TASK, task_state, task_trainer

from metagd_optuna.contracts import Curve, RunRecord
from metagd_optuna.training.plan import plan_run
from metagd_optuna.tuning.flow import to_the_end
from metagd_optuna.tuning.phases.calibrate import Calibrate
from metagd_optuna.tuning.settings import StudySpec

PLAN = plan_run(train_examples=12, epochs=4, batch_size=4, evaluations=3, rate_updates_per_evaluation=1)


def run(name, seed, score, diverged):
    scores = (0.6, score, score)
    return RunRecord(name, seed, 12, 12, Curve((4, 8, 12), *[scores] * 4), None, (), (), (), (), diverged)


@pytest.mark.parametrize(
    ("diverging", "search_target"),
    [
        ((), 0.92),
        (("adam-constant@0.01",), 0.85),  # the protocol: a diverged run counts as minus infinity
    ],
)
def test_a_rate_that_diverges_sets_no_target(tmp_path, diverging, search_target):
    scores = {"adam-constant@0.001": 0.85, "adam-constant@0.01": 0.92}

    def train(jobs, *, seed, test, watch):
        return [run(job.name, seed, scores.get(job.name, 0.7), job.name in diverging) for job in jobs]

    state = task_state(
        StudySpec(name="s", tasks=("breast_cancer",), calibration_seeds=2), task_trainer(train, PLAN), tmp_path
    )
    for _ in range(2):  # the second time as stored
        to_the_end(Calibrate().run(state, {TASK: state}))
        assert state.search_target == state.store.search_target == search_target
    assert state.store.metadata == state.metadata
    assert len(state.store.trials("calibrate")) == Calibrate().planned_runs(state.settings)
