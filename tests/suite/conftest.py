"""What tests of the suite share."""

import pytest

from metagd_optuna.policy import OPTIMIZERS


@pytest.fixture(autouse=True)
def optimizers():
    """Optimizers that a test registers are gone after it."""
    before = set(OPTIMIZERS)
    yield
    for name in set(OPTIMIZERS) - before:
        del OPTIMIZERS._rows[name]
