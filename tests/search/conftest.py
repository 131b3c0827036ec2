"""What the tests of searches share: the finished study, and a quiet Optuna."""

import optuna
import pytest


@pytest.fixture(autouse=True)
def _quiet_optuna():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def study_file(finished_study):
    return finished_study.file


@pytest.fixture
def whole(finished_study):
    """The folder and the results of the study that ran without interruption."""
    return finished_study.out, finished_study.results
