"""A real PostgreSQL server: studies are stored there, and only one process at a time runs one."""

import contextlib
import json
import threading
import urllib.request

import numpy as np
import optuna
import pytest
from postgresql import postgresql_server
from small_study import results_but_times

from metagd_optuna import MetaPolicy, MetaPolicyObjective, ResumableTPESampler
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import run_study
from metagd_optuna.tuning.dashboard import dashboard_server
from metagd_optuna.tuning.exclusive import own_study
from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.study_file import load_study


@pytest.fixture(scope="module")
def url():
    with postgresql_server() as address:
        yield address


@pytest.fixture
def connect(url):
    """Open the storage as a process would; all its connections end with the test."""
    opened = []

    def connect_once():
        opened.append(open_storage(url, must_exist=True))
        return opened[-1]

    yield connect_once
    for storage in opened:
        storage.remove_session()
        storage.engine.dispose()


def test_a_study_is_stored_and_read_again(connect):
    study = optuna.create_study(storage=connect(), study_name="kept")
    study.add_trial(optuna.create_trial(value=0.5, user_attrs={"runs": [1, 2]}))
    again = optuna.load_study(storage=connect(), study_name="kept")
    assert [(trial.value, trial.user_attrs) for trial in again.trials] == [(0.5, {"runs": [1, 2]})]


def test_a_study_runs_to_its_end_with_the_results_that_sqlite_has(finished_study, url, connect, tmp_path):
    """Nobody else may run it meanwhile, and the dashboard lists all its parts."""
    study = load_study(finished_study.file)
    with own_study(connect(), study.name), pytest.raises(MetaGDError, match="'small' is being run by another process"):
        run_study(study, out=tmp_path, storage=url)
    assert results_but_times(run_study(study, out=tmp_path, storage=url)) == finished_study.results
    storage = connect()
    sqlite = open_storage(finished_study.out / "optuna.db", must_exist=True)
    names = {held.study_name for held in sqlite.get_all_studies()}
    with dashboard_server(storage, host="127.0.0.1", port=0, artifacts=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/api/studies", timeout=20) as answer:
            listed = {summary["study_name"] for summary in json.load(answer)["study_summaries"]}
        server.shutdown()
    assert {name for name in listed if name.startswith("small")} == names


def test_one_process_at_a_time_runs_a_study(connect):
    """A second connection stands for another process: the lock is the connection's."""
    first, second = connect(), connect()
    with own_study(first, "mine"):
        with pytest.raises(MetaGDError, match="'mine' is being run by another process"), own_study(second, "mine"):
            pass
        with own_study(second, "another"):
            pass


@pytest.mark.parametrize("how", [contextlib.nullcontext(), pytest.raises(KeyboardInterrupt)])
def test_whoever_stopped_can_go_on_in_the_same_session(connect, how):
    """As in a notebook, where a traceback still holds the first storage."""
    first, second = connect(), connect()
    with how as interrupted, own_study(first, "stopped"):
        if interrupted is not None:
            raise KeyboardInterrupt
    with own_study(second, "stopped"):
        pass


def test_a_study_of_ones_own_is_optimised_there(connect):
    labels = (np.arange(60) % 2).astype(np.int32)
    images = (np.random.default_rng(0).normal(size=(60, 8, 8, 1)) + labels[:, None, None, None]).astype(np.float32)
    objective = MetaPolicyObjective(
        (images, labels), prefix="rate.", report="evaluations", target=0.9, examples_per_run=100, evaluations=4
    )
    study = optuna.create_study(study_name="own", storage=connect(), sampler=ResumableTPESampler(seed=0))
    study.optimize(objective, n_trials=4)
    assert MetaPolicy.from_trial(study.best_trial, prefix="rate.").formula == study.best_trial.user_attrs["formula"]
