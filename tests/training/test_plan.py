import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.training.plan import plan_run


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(2, 3000),
    epochs=st.integers(1, 40),
    batch=st.integers(1, 256),
    evaluations=st.integers(1, 60),
    updates=st.integers(1, 4),
)
def test_timetable_is_in_order_and_complete(n, epochs, batch, evaluations, updates):
    plan = plan_run(
        train_examples=n, epochs=epochs, batch_size=batch, evaluations=evaluations, rate_updates_per_evaluation=updates
    )
    assert plan.batch_size == min(batch, n)
    assert plan.evaluation_steps[-1] == plan.update_steps[-1] == plan.steps
    assert set(plan.evaluation_steps) <= set(plan.update_steps)
    assert list(plan.update_steps) == sorted(set(plan.update_steps))
    assert plan.update_steps[0] >= 1
    assert len(plan.evaluation_steps) == min(evaluations, plan.steps)
    assert plan.budget_epochs == pytest.approx(epochs, abs=plan.batch_size / n)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 200), epochs=st.integers(1, 5), batch=st.integers(1, 64), seed=st.integers(0, 2**31))
def test_every_pass_sees_every_example_once(n, epochs, batch, seed):
    plan = plan_run(train_examples=n, epochs=epochs, batch_size=batch, evaluations=4, rate_updates_per_evaluation=1)
    batches = plan.batches(seed)
    assert batches.shape == (plan.steps, plan.batch_size)
    stream = batches.ravel()
    for begin in range(0, len(stream) - n + 1, n):
        assert sorted(stream[begin : begin + n]) == list(range(n))
    np.testing.assert_array_equal(batches, plan.batches(seed))


def test_seeds_shuffle_differently():
    plan = plan_run(train_examples=50, epochs=1, batch_size=10, evaluations=2, rate_updates_per_evaluation=1)
    assert not np.array_equal(plan.batches(0), plan.batches(1))
