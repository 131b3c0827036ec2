"""Studies that are killed in every phase, or interrupted, and go on to the same results."""

import signal

import pytest
from killed_study import strike
from small_study import PARTS, TASK, results_but_times, searched, store_of, stored_trials

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import Interrupted, run_study
from metagd_optuna.tuning.phases.calibrate import Calibrate
from metagd_optuna.tuning.record import winning_policy

KILLS = [
    ("add calibrate", 6),  # in the middle of a population's runs
    ("watch a search", 3),
    ("tell meta-policy", 4),  # a batch of which one trial is told
    ("suggest g", 6),  # a trial with half of its parameters, after those that are known
    ("add shortlist", 9),  # in its second round, after all of the first
    ("add confirm", 9),
]


def test_killed_in_every_phase_it_ends_with_the_same_results(study_file, whole, tmp_path):
    """SIGKILL again and again, each time in a later place; the last run finishes."""
    for when, count in KILLS:
        process = strike(study_file, tmp_path, when, count, "SIGKILL")
        assert process.returncode == -signal.SIGKILL, (when, process.stderr[-2000:])
    assert results_but_times(run_study(study_file, out=tmp_path)) == whole[1]
    for part in PARTS:
        assert len(stored_trials(tmp_path, part)) == len(stored_trials(whole[0], part))
        assert {t.state.name for t in stored_trials(tmp_path, part)} <= {"COMPLETE", "PRUNED"}


def test_ctrl_c_leaves_nothing_running_and_says_how_to_go_on(study_file, whole, tmp_path, search_only):
    process = strike(study_file, tmp_path, "tell meta-policy", 3, "SIGINT")
    assert "Interrupted: stopped" in process.stderr
    assert "same command" in process.stderr
    states = [t.state.name for t in stored_trials(tmp_path, "meta-policy")]
    assert "RUNNING" not in states
    assert "WAITING" in states
    search_only(tmp_path)
    assert searched(tmp_path) == searched(whole[0])


def test_interrupted_is_raised_in_the_process_too(study_file, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Calibrate, "run", interrupt)
    with pytest.raises(Interrupted, match="same command"):
        run_study(study_file, out=tmp_path)


def test_policy_of_an_unfinished_study_is_refused(study_file, tmp_path):
    strike(study_file, tmp_path, "add calibrate", 1, "SIGKILL")
    with pytest.raises(MetaGDError, match="not finished"):
        winning_policy(store_of(tmp_path), TASK)
