"""What the tests of searches share: the finished study, and one that was cut off."""

import shutil

import pytest
from killed_study import cut_off
from small_study import made_once

from metagd_optuna.tuning.phases.shortlist import Shortlist
from metagd_optuna.tuning.tuner import Tuner


@pytest.fixture
def study_file(finished_study):
    return finished_study.file


@pytest.fixture
def whole(finished_study):
    """The folder and the results of the study that ran without interruption."""
    return finished_study.out, finished_study.results


@pytest.fixture
def half_searched(study_file, shared, tmp_path):
    """The folder of a study that was cut off before its last search."""

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            cut_off(study_file, folder, patch, Tuner, "run", lambda tuner, *_: tuner._method.name == "meta-policy")

    return shutil.copytree(made_once(shared / "half", make), tmp_path / "half")


@pytest.fixture
def search_only(study_file, monkeypatch):
    """Run the small study in a folder until its searches are through: all that follows depends on them alone."""
    return lambda out: cut_off(study_file, out, monkeypatch, Shortlist, "run", lambda *_: True)
