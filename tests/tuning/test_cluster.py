"""Studies on real worker processes, with trainings that are made up: the same results whoever trains, and dies."""

import os
import re
import signal
import time

import numpy as np
import pytest
from made_up_cluster import Faults, Folder, MadeUpOpening, MadeUpTask, Said, introduced, processes, study_here, study_on

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tuning import cluster
from metagd_optuna.tuning.cluster import Cluster
from metagd_optuna.tuning.flow import to_the_end
from metagd_optuna.tuning.phases import confirm
from metagd_optuna.tuning.worker import Introduction, decisive_versions


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """What the study stores if it trains in one process."""
    return study_here(Folder(tmp_path_factory.mktemp("here")))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(cluster, "LOOK_EVERY", 0.0)
    # A hundred resamples take longer than a made-up study, and nothing here depends on them.
    monkeypatch.setattr(confirm, "importance_intervals", lambda study: {})


@pytest.fixture
def kept(tmp_path):
    """Where a test keeps its study."""
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def three():
    with processes(3) as client:
        yield client


class AtSeconds:
    """Calls something at some moments of a study."""

    def __init__(self, moments, act):
        self.moments, self.act, self.began = list(moments), act, time.monotonic()

    def __call__(self):
        if self.moments and time.monotonic() - self.began > self.moments[0]:
            self.moments.pop(0)
            self.act()


def pids(client):
    """Return the process ids of the workers that are there, by name."""
    found = {name: nanny.pid for name, nanny in client.cluster.workers.items()}
    return {name: pid for name, pid in sorted(found.items()) if pid}


def test_workers_store_what_one_process_stores(three, here, kept):
    assert study_on(three, kept) == here


def test_workers_may_join_late_and_leave_early(here, kept):
    said = Said()
    with processes(1) as client:
        widths = [4, 2]

        def change():
            if widths:
                client.cluster.scale(widths[0])
                while len(client.nthreads()) != widths[0]:
                    time.sleep(0.05)
                widths.pop(0)

        faults = Faults(seconds=0.05, newer=("0", "1", "2"))
        assert study_on(client, kept, faults=faults, progress=said, look=change) == here
    assert sum("joined" in line for line in said.lines) == 3
    assert sum("left; what it was training" in line for line in said.lines) == 2
    [other] = [line for line in said.lines if "is of another kind, newer, 64 cores, so who trains what" in line]
    assert re.search(r"note: worker .*tcp:", other)


def test_what_comes_up_in_training_is_said_with_the_workers_name(three, here, kept):
    said = Said()
    assert study_on(three, kept, faults=Faults(mentions="out of memory, so by half"), progress=said) == here
    lines = [line for line in said.lines if re.fullmatch(r"worker w\d \(tcp:.*\): out of memory, so by half", line)]
    assert len(lines) == sum(len(runs) for rows in here.values() for *_, runs in rows)


def test_twenty_killed_workers_cost_no_run_and_add_none(here, kept):
    """SIGKILL at moments drawn from a seed, of a worker that trains or of one that starts."""
    rng = np.random.default_rng(7)
    killed = set()

    def kill():
        alive = [pid for pid in pids(client).values() if pid not in killed]
        if alive:
            pid = alive[int(rng.integers(len(alive)))]
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)

    with processes(3) as client:
        while len(killed) < 20:  # once more where a study ended before
            strike = AtSeconds(np.cumsum(rng.uniform(0.05, 0.35, size=20 - len(killed))), kill)
            assert study_on(client, Folder(kept.path), faults=Faults(seconds=0.3), look=strike) == here


def test_a_worker_that_is_terminated_hands_its_job_back(here, kept):
    with processes(2) as client:
        stop = AtSeconds([0.5], lambda: os.kill(next(iter(pids(client).values())), signal.SIGTERM))
        assert study_on(client, kept, faults=Faults(seconds=0.05), look=stop) == here


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (Faults(raises_on=("w1",)), r"failed on .*w1.*is tried elsewhere: ValueError: this machine is broken"),
        (Faults(without_data=("w1",)), r"worker w1 .*cannot train task 't', so others do: /data/t.npz"),
    ],
)
def test_what_fails_on_one_machine_is_done_on_others(three, here, kept, faults, told):
    said = Said()
    assert study_on(three, kept, faults=faults, progress=said) == here
    assert any(re.search(told, line) for line in said.lines), said.lines


def test_a_broken_machine_with_nothing_to_do_does_not_take_jobs_back(here, kept):
    """An idle worker takes jobs over from busy ones."""
    with processes(2) as client:
        assert study_on(client, kept, faults=Faults(raises_on=("w1",), seconds=0.04)) == here


def test_jobs_wait_for_the_worker_that_can_do_them(here, kept):
    """The other one lacks the data; the one that has them is killed, and is there again a little later."""

    def kill():
        os.kill(pids(client)["w0"], signal.SIGKILL)

    with processes(2) as client:
        strike = AtSeconds([1.0], kill)
        assert study_on(client, kept, faults=Faults(without_data=("w1",), seconds=0.03), look=strike) == here
    assert not strike.moments


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (
            Faults(raises_on=("*",)),
            r"opening task 't' failed on 3 workers.*is broken.* is kept",
        ),
        (Faults(without_data=("*",)), r"no worker can train task 't': w. .*/data/t\.npz: there is no such file"),
    ],
)
def test_what_fails_on_every_machine_ends_the_study(three, kept, faults, told):
    with pytest.raises(MetaGDError, match=told) as caught:
        study_on(three, kept, faults=faults)
    assert ("Traceback" in str(caught.value.__cause__)) == bool(faults.raises_on)


def test_what_was_trained_before_a_job_failed_is_kept(three, here, kept, tmp_path):
    with pytest.raises(MetaGDError, match="meta-policy#"):
        study_on(three, kept, faults=Faults(fails="meta-policy#"))
    begun = tmp_path / "begun"
    begun.mkdir()
    assert study_on(three, kept, faults=Faults(begun=begun)) == here
    assert not any(path.name.startswith("adam-constant@0.") for path in begun.iterdir())  # the calibration was there


def test_a_job_that_ends_every_process_is_named(kept):
    with (
        processes(2, failures=0) as client,
        pytest.raises(MetaGDError, match=r"adam-constant@0.0003.*ended one worker"),
    ):
        study_on(client, kept, faults=Faults(dies="adam-constant@0.0003"))


def other_versions():
    return Introduction(decisive_versions() | {"tensorflow": "2.20.0"}, "node7", "made up")


def no_tensorflow():
    return Introduction({}, "node7", problem="ImportError: libcuda.so.1")


@pytest.mark.parametrize(
    ("introduction", "told"),
    [
        (
            other_versions,
            r"3 workers of 3 .*w\d .*: tensorflow is 2\.20\.0, the coordinator has 2\.2[1-9]",
        ),
        (no_tensorflow, r"3 workers of 3 .*ImportError: libcuda"),
    ],
)
def test_workers_with_other_versions_are_refused_by_name_at_the_start(three, introduction, told):
    with pytest.raises(MetaGDError, match=told):
        Cluster(three, Said(), introduction=introduction)


def test_a_worker_of_another_version_that_joins_late_is_given_nothing(three):
    """What a worker finds when a job comes to it."""
    workers = Cluster(three, Said(), introduction=introduced)
    opening = MadeUpOpening("late", versions=decisive_versions() | {"keras": "0.1"})
    with pytest.raises(MetaGDError, match=r"no worker can train .*keras is .*, the coordinator has 0\.1"):
        to_the_end(workers.open(opening, MadeUpTask()))


def test_a_scheduler_that_is_gone_is_said_and_the_same_command_goes_on(here, kept):
    with processes(2, patience=1) as client:

        def end():
            client.cluster.sync(client.cluster.scheduler.close)

        with pytest.raises(MetaGDError, match=r"the scheduler .* does not answer any more.*same command"):
            study_on(client, kept, faults=Faults(seconds=0.1), look=AtSeconds([0.5], end))
    with processes(2) as client:
        assert study_on(client, kept) == here


def test_data_reach_a_worker_once_for_all_jobs(three, kept, tmp_path):
    """A job is a few thousand bytes, and a worker opens a task once."""
    begun = tmp_path / "begun"
    begun.mkdir()
    study_on(three, kept, faults=Faults(begun=begun))
    opened = [path for path in begun.iterdir() if path.name.startswith("opened")]
    assert 1 <= len(opened) <= 3
