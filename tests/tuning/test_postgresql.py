"""A real PostgreSQL server: studies are stored there, and only one process at a time runs one."""

import contextlib
import gc
import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import optuna
import pytest
import sqlalchemy
from made_up import task_state
from made_up_cluster import SPEC, Faults, Folder, Said, made_up_trainer, processes, stored, study_here, study_on
from optuna.exceptions import StorageInternalError
from postgresql import postgresql_server
from small_study import TASK, results_but_times
from sqlalchemy.exc import SQLAlchemyError

from metagd_optuna import MetaPolicy, MetaPolicyObjective, ResumableTPESampler
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import run_study
from metagd_optuna.tuning import exclusive, outages
from metagd_optuna.tuning.dashboard import dashboard_server
from metagd_optuna.tuning.exclusive import own_study
from metagd_optuna.tuning.flow import to_the_end
from metagd_optuna.tuning.outages import through_outages
from metagd_optuna.tuning.phases import run_phases
from metagd_optuna.tuning.runner import Interrupted, requeueing
from metagd_optuna.tuning.storage import PATIENCE, open_storage
from metagd_optuna.tuning.store import Identity, StudyStore
from metagd_optuna.tuning.study_file import load_study


@pytest.fixture(scope="module")
def server():
    with postgresql_server() as running:
        yield running


@pytest.fixture
def url(server):
    return server.url


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


def test_a_server_that_says_nothing_is_given_up(url, connect):
    given = open_storage(f"{url}{'&' if '?' in url else '?'}connect_timeout=7", must_exist=True)
    for storage, patience in ((connect(), PATIENCE), (given, {**PATIENCE, "connect_timeout": 7})):
        with storage.engine.connect() as connection:
            told = connection.connection.dbapi_connection.info.get_parameters()
        assert {name: told.get(name) for name in patience} == {name: str(value) for name, value in patience.items()}
        storage.engine.dispose()


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


def test_a_study_waits_for_a_server_that_is_away_and_goes_on(server, connect, tmp_path):
    """Its lock goes with the connection, so it is taken again; what was stored is there once."""
    spec = SPEC.model_copy(update={"name": "waits"})
    here = study_here(Folder(tmp_path / "here"), spec)
    storage, said = connect(), Said()
    state = task_state(spec, made_up_trainer(Faults(seconds=0.01)), tmp_path, storage)

    def away():
        server.stop()
        time.sleep(2)
        server.start()

    outage = threading.Thread(target=away)
    outages_to_come = iter([outage])
    with own_study(storage, spec.name) as hold:

        def run():
            for begun in outages_to_come:
                begun.start()
            to_the_end(run_phases([state], spec.scope))
            outage.join()  # on a busy machine the study may be through before its server is away
            storage.get_all_studies()

        through_outages(run, storage, hold, said)
        with pytest.raises(MetaGDError, match=r"another process.*--cluster"), own_study(connect(), spec.name):
            pass
    assert stored(state.store) == here
    told = [line for line in said.lines if line.startswith("the storage")]
    assert ["waiting for it" in line for line in told] == [True, False]


def test_the_dashboard_reads_while_workers_train(connect, tmp_path):
    """It sees every part grow, and changes nothing of it."""
    kept, through, seen = Folder(tmp_path), threading.Event(), []
    spec = SPEC.model_copy(update={"name": "watched"})
    kept.storage = connect()
    with (
        dashboard_server(connect(), host="127.0.0.1", port=0, artifacts=None) as shown,
        processes(2) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        address = f"http://127.0.0.1:{shown.server_port}/api/studies"

        def read(path=""):
            with urllib.request.urlopen(address + path, timeout=20) as answer:
                return json.load(answer)

        def reading():
            while not through.is_set():
                own = [each for each in read()["study_summaries"] if each["study_name"].startswith("watched/")]
                details = [read(f"/{each['study_id']}?after=0") for each in own]
                seen.append(sum(trial["state"] == "Complete" for each in details for trial in each["trials"]))

        threads.submit(shown.serve_forever)
        reads = threads.submit(reading)
        try:
            found = study_on(client, kept, spec, faults=Faults(seconds=0.05))
        finally:
            through.set()
            reads.result()
            shown.shutdown()
    assert found == study_here(Folder(tmp_path / "here"), spec)
    assert sorted(set(seen)) == list(dict.fromkeys(seen)), "what was complete stays so"
    assert len(set(seen)) > 5


def test_a_lock_that_a_restart_dropped_is_noticed_without_a_query_that_fails(server, connect, monkeypatch):
    """The pool replaces its connections in silence."""
    first, second = connect(), connect()
    with own_study(first, "restarted") as hold:
        server.stop()
        server.start()
        with pytest.raises((StorageInternalError, SQLAlchemyError)):
            first.get_all_studies()
        hold.regain()
        first.get_all_studies()
        with pytest.raises(MetaGDError, match="being run by another"), own_study(second, "restarted"):
            pass
        monkeypatch.setattr(exclusive, "CHECK_EVERY", 0.0)
        hold.check()
        server.stop()
        server.start()
        with pytest.raises(SQLAlchemyError):
            hold.check()
        with pytest.raises(StorageInternalError):  # and again, until it is held again
            first.get_all_studies()
        hold.regain()
        first.get_all_studies()


def test_an_outage_after_one_task_is_through_leaves_it_alone(connect, tmp_path):
    state = task_state(SPEC, made_up_trainer(Faults()), tmp_path, connect())
    to_the_end(run_phases([state], SPEC.scope))
    before = stored(state.store)
    assert state.trained_by is None
    to_the_end(run_phases([state], SPEC.scope))
    assert stored(state.store) == before


def test_a_server_that_fails_again_and_again_ends_the_study(connect):
    calls = []

    def run():
        calls.append(1)
        raise StorageInternalError("no space left")

    storage = connect()
    with own_study(storage, "fails") as hold, pytest.raises(StorageInternalError):
        through_outages(run, storage, hold, Said())
    assert len(calls) == outages.MOST_IN_A_ROW + 1


def test_a_study_that_somebody_else_took_over_meanwhile_is_theirs(connect, monkeypatch):
    monkeypatch.setattr(outages, "LONGEST", 0.0)
    first, second = connect(), connect()

    def run():
        hold._connection.invalidate()
        theirs.enter_context(own_study(second, "taken"))
        raise StorageInternalError("gone")

    taken = pytest.raises(MetaGDError, match="'taken' is being run by another process")
    with contextlib.ExitStack() as theirs, own_study(first, "taken") as hold:
        with taken:
            through_outages(run, first, hold, Said())
        with pytest.raises(SQLAlchemyError, match="was lost"):
            hold.check(now=True)
        first.engine.dispose()
        with pytest.raises(StorageInternalError):  # nor does any new connection write
            optuna.create_study(storage=first, study_name="theirs")
    optuna.create_study(storage=first, study_name="mine")


def test_a_study_that_somebody_else_took_over_is_not_handed_back(connect):
    first, second = connect(), connect()
    begun = Identity("handed", SPEC.to_dict(), {}, "made up", (TASK,))
    part = StudyStore(first, begun).task(TASK).open("meta-policy")
    part.ask()
    with own_study(first, "handed") as hold:
        hold._connection.invalidate()
        with (
            own_study(second, "handed"),
            pytest.raises(Interrupted, match="0 trials wait"),
            requeueing(first, "handed", hold),
        ):
            raise KeyboardInterrupt
    assert [trial.state.name for trial in part.trials] == ["RUNNING"]


def test_a_study_that_nobody_else_took_over_is_handed_back(connect):
    """Whoever interrupts may do so while the lock is looked after, which ends its connection."""
    storage = connect()
    begun = Identity("kept", SPEC.to_dict(), {}, "made up", (TASK,))
    part = StudyStore(storage, begun).task(TASK).open("meta-policy")
    part.ask()
    with own_study(storage, "kept") as hold:
        hold._connection.invalidate()
        with pytest.raises(Interrupted, match="1 trial waits"), requeueing(storage, "kept", hold):
            raise KeyboardInterrupt
    assert [trial.state.name for trial in part.trials] == ["WAITING"]


def test_a_lock_whose_connection_alone_was_lost_is_noticed_before_anything_is_written(connect, monkeypatch):
    """As one that idles behind a firewall, while those that write live on."""
    first, second = connect(), connect()
    with own_study(first, "idle") as hold:
        first.get_all_studies()
        process = hold._connection.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar()
        with second.engine.begin() as other:
            other.execute(sqlalchemy.text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})
        monkeypatch.setattr(exclusive, "CHECK_EVERY", 0.0)
        with own_study(second, "idle"):
            for _ in range(3):
                with pytest.raises(StorageInternalError):
                    optuna.create_study(storage=first, study_name="theirs")
            with pytest.raises(MetaGDError, match="another process"):
                hold.regain()
        hold.regain()
        optuna.create_study(storage=first, study_name="theirs")


def test_a_check_that_is_interrupted_stops_as_any_other(connect, monkeypatch):
    """As when a server hangs, and whoever waits for it gives up."""
    storage, other = connect(), connect()
    with own_study(storage, "interrupted") as hold:
        monkeypatch.setattr(hold._connection, "commit", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            hold.check(now=True)
    with own_study(other, "interrupted"):
        pass


def test_a_release_that_is_interrupted_releases(connect, monkeypatch):
    storage, other = connect(), connect()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt), own_study(storage, "released"):
        patched.setattr(sqlalchemy.Connection, "execute", raising(KeyboardInterrupt))
    gc.collect()  # which gives a connection back that nobody closed
    time.sleep(0.5)  # a server takes a moment to notice
    with own_study(other, "released"):
        pass


def test_what_is_interrupted_while_it_takes_a_study_does_not_keep_it(connect, monkeypatch):
    storage, other = connect(), connect()
    with monkeypatch.context() as patched:
        patched.setattr(sqlalchemy.Connection, "commit", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt), own_study(storage, "untaken"):
            pass
    with own_study(other, "untaken"):
        pass
    storage.get_all_studies()


def raising(error):
    def call(*_):
        raise error

    return call


def test_a_study_of_ones_own_is_optimised_there(connect):
    labels = (np.arange(60) % 2).astype(np.int32)
    images = (np.random.default_rng(0).normal(size=(60, 8, 8, 1)) + labels[:, None, None, None]).astype(np.float32)
    objective = MetaPolicyObjective(
        (images, labels), prefix="rate.", report="evaluations", target=0.9, examples_per_run=100, evaluations=4
    )
    study = optuna.create_study(study_name="own", storage=connect(), sampler=ResumableTPESampler(seed=0))
    study.optimize(objective, n_trials=4)
    assert MetaPolicy.from_trial(study.best_trial, prefix="rate.").formula == study.best_trial.user_attrs["formula"]
