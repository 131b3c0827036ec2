"""Optuna's own way to scale: several processes optimise one study, on one PostgreSQL server."""

import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy
from killed_study import CHILDREN
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
from postgresql import postgresql_server

from metagd_optuna import MetaPolicy, MetaPolicyObjective, ResumableTPESampler

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SCRIPT = Path(__file__).parents[2] / "docs" / "scale" / "own_objective.py"
[CREATE] = re.findall(r"^Make the study once.*: optuna (.*)$", SCRIPT.read_text(encoding="utf-8"), re.M)
TRIALS, PROCESSES = 8, 4
KILLED = 0  # the process that dies in the middle of its first trial
LONGEST = 300  # seconds, on a machine with much else to do


def tiny(input_shape, classes, *, seed):
    import keras

    keras.utils.set_random_seed(seed)
    inputs = keras.layers.Input(input_shape)
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Flatten()(inputs)))


def take_part(number, url, start, killed):
    """Run what the page shows, from a process of its own.

    Args:
        number: of the process.
        url: of the database.
        start: a barrier, so that all begin at once.
        killed: an event: the first process is dead, and its last heartbeat long ago.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    labels = (np.arange(60) % 2).astype(np.int32)
    images = (np.random.default_rng(0).normal(size=(60, 8, 8, 1)) + labels[:, None, None, None]).astype(np.float32)
    objective = MetaPolicyObjective(
        (images, labels),
        build_network=tiny,
        prefix="rate.",
        report="evaluations",
        optimizers=["adam"],  # one program to trace in each process
        examples_per_run=100,
        evaluations=4,
        calibration_seeds=1,
        seeds_per_trial=1,
    )
    finished = reports = 0

    def reported(trial, value, step):
        nonlocal reports
        reports += 1
        if reports == 2:
            os.kill(os.getpid(), signal.SIGKILL)  # itself, by its id
        report(trial, value, step)

    def noted(trial):
        nonlocal finished
        if finished == 1:
            assert killed.wait(LONGEST)
        finished += 1
        trial.set_user_attr("process", number)
        trial.set_user_attr("target", objective.target)
        return objective(trial)

    report = optuna.Trial.report
    if number == KILLED:
        optuna.Trial.report = reported
    optimize = runpy.run_path(str(SCRIPT))["optimize"]
    start.wait(LONGEST)
    optimize(url, noted, TRIALS)


def let_pass_an_hour(url):
    """Set back the last heartbeat of the process that is dead, instead of waiting for the whole grace period."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        set_back = connection.exec_driver_sql(
            "UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '1 hour' FROM trial_user_attributes AS noted "
            f"WHERE noted.trial_id = trial_heartbeats.trial_id AND key = 'process' AND value_json = '{KILLED}'"
        )
        assert set_back.rowcount == 1
    engine.dispose()


def optimised():
    """Return all trials of a study that four processes began and three finished."""
    with postgresql_server() as server:
        url = server.url
        command = [Path(sys.executable).with_name("optuna"), *CREATE.split()]
        subprocess.run(command, env=os.environ | {"OPTUNA_STORAGE": url}, check=True, capture_output=True)
        start, killed = CHILDREN.Barrier(PROCESSES), CHILDREN.Event()
        children = [CHILDREN.Process(target=take_part, args=(n, url, start, killed)) for n in range(PROCESSES)]
        try:
            for child in children:
                child.start()
            children[KILLED].join(LONGEST)
            assert children[KILLED].exitcode == -signal.SIGKILL
            let_pass_an_hour(url)
            killed.set()
            for child in children:
                child.join(LONGEST)
        finally:
            for child in children:
                child.kill()
        assert [child.exitcode for child in children if child is not children[KILLED]] == [0] * (PROCESSES - 1)
        storage = RDBStorage(url)
        found = optuna.load_study(study_name="rates", storage=storage).trials
        storage.remove_session()
        storage.engine.dispose()
        return found


def test_four_processes_of_which_one_is_killed():
    trials = optimised()
    assert [trial.number for trial in trials] == list(range(len(trials)))
    [lost] = [trial for trial in trials if trial.state == TrialState.FAIL]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == len(trials) - 1  # so none is RUNNING or WAITING
    # Every process looks at the number of trials after its own.
    assert TRIALS <= len(complete) <= TRIALS + PROCESSES - 1

    # What was lost is tried again by another process, from its beginning.
    [again] = [one for one in complete if RetryHeartbeatStaleTrialCallback.retried_trial_number(one) == lost.number]
    assert lost.user_attrs["process"] == KILLED != again.user_attrs["process"]
    assert again.params == lost.params != {}
    assert len(lost.intermediate_values) == 1
    assert len(again.intermediate_values) == 4  # all evaluations of a run

    # All others differ, though the samplers have one seed, and all are judged by one target, though each measured it.
    assert len({frozenset(trial.params.items()) for trial in complete}) == len(complete)
    assert len({trial.user_attrs["process"] for trial in complete}) == PROCESSES - 1
    assert len({trial.user_attrs["target"] for trial in complete}) == 1
    best = min(complete, key=lambda trial: trial.value)
    assert MetaPolicy.from_trial(best, prefix="rate.").formula == best.user_attrs["formula"]


@pytest.mark.parametrize(("sampler", "different"), [(ResumableTPESampler, 4), (TPESampler, 1)])
def test_samplers_of_one_seed_in_several_processes(sampler, different):
    """Optuna's begins its stream of random numbers in each process; ours has the trial's number in the seed."""
    storage = InMemoryStorage()
    optuna.create_study(study_name="shared", storage=storage)
    opened = [optuna.load_study(study_name="shared", storage=storage, sampler=sampler(seed=0)) for _ in range(4)]
    assert len({study.ask().suggest_float("x", 0, 1) for study in opened}) == different
