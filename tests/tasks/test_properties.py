import pytest

from metagd_optuna.tasks.properties import task_properties


@pytest.mark.parametrize(
    ("shares", "balance"),
    [((0.5, 0.5), 1.0), ((0.75, 0.25), 0.8113), ((0.25,) * 4, 1.0), ((1.0, 0.0), 0.0)],
)
def test_balance(shares, balance):
    assert task_properties(0.3, shares, 100)["balance"] == balance
