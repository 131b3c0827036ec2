"""Where a study trains: what may be asked for, and a real study on worker processes with TensorFlow."""

import sys

import pytest
from small_study import results_but_times, stored_trials

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import run_study
from metagd_optuna.training import device
from metagd_optuna.tuning import clients
from metagd_optuna.tuning.progress import QuietProgress
from metagd_optuna.tuning.workers import MOST_WORKERS, Places


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"workers": -1}, r"workers is -1; give 0 to train in this process, or .* up to 256"),
        ({"workers": MOST_WORKERS + 1}, "workers is 257"),
        ({"workers": 2.0}, r"workers is 2\.0"),
        ({"workers": True}, "workers is True"),
        ({"workers": "4"}, "workers is '4'"),
        ({"workers": 2, "cluster": "tcp://a:1"}, "workers and cluster are given; a study trains in one place"),
        ({"cluster": "tcp://a:1", "client": object()}, "cluster and client are given"),
    ],
)
def test_a_study_trains_in_one_place(given, told):
    with pytest.raises(MetaGDError, match=told):
        Places(**given)


def test_without_dask_the_extra_is_named(finished_study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "metagd_optuna.tuning.clients", None)
    with pytest.raises(MetaGDError, match=r"pip install 'metagd-optuna\[cluster\]'"):
        run_study(finished_study.file, out=tmp_path, workers=2)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nowhere.json", r"--cluster nowhere\.json: there is no such scheduler file; start one with: dask scheduler"),
        ("tcp://127.0.0.1:1", r"--cluster tcp://127\.0\.0\.1:1: no scheduler answers there"),
        ("ftp://127.0.0.1:1", r"--cluster ftp://127\.0\.0\.1:1: no scheduler answers there"),
    ],
)
def test_a_cluster_that_is_not_there_is_told(address, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clients, "CONNECT_SECONDS", 0.5)
    with pytest.raises(MetaGDError, match=told), clients.joined_client(address):
        pass


def test_a_scheduler_file_that_is_none_is_told(tmp_path):
    file = tmp_path / "scheduler.json"
    for content in ("", "[]", "{}", '{"address": 5}', "\x00"):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(MetaGDError, match="is no scheduler file"), clients.joined_client(file):
            pass


@pytest.mark.parametrize(
    ("gpus", "visible", "workers", "expected"),
    [
        (2, None, 2, ["0", "1"]),
        (3, "4,7,GPU-a1", 2, ["4", "7"]),
        (2, "1,0", 2, ["1", "0"]),
    ],
)
def test_every_worker_has_a_gpu_of_its_own(gpus, visible, workers, expected, monkeypatch):
    monkeypatch.setattr(device, "gpu_count", lambda: gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    shares = clients._shares(workers)
    assert [share["env"]["CUDA_VISIBLE_DEVICES"] for share in shares] == expected
    assert [share["nthreads"] for share in shares] == [1] * workers


def test_more_workers_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(device, "gpu_count", lambda: 2)
    with pytest.raises(MetaGDError, match=r"--workers 3: a worker has a GPU of its own, and this machine has 2"):
        clients._shares(3)


@pytest.mark.parametrize(("cores", "workers", "threads"), [(16, 4, 4), (2, 5, 1), (7, 2, 3)])
def test_without_gpus_workers_share_the_cores(cores, workers, threads, monkeypatch):
    monkeypatch.setattr(device, "gpu_count", lambda: 0)
    monkeypatch.setattr(device, "usable_cores", lambda: cores)
    assert [share["nthreads"] for share in clients._shares(workers)] == [threads] * workers


def test_a_real_study_on_two_workers_has_the_results_of_one_process(finished_study, tmp_path):
    """And goes on in this process: whoever trains, a study that is through trains nothing."""
    progress = QuietProgress()
    found = run_study(finished_study.file, out=tmp_path, workers=2, progress=progress)
    assert results_but_times(found) == finished_study.results
    for part in ("calibrate", "confirm"):
        assert len(stored_trials(tmp_path, part)) == len(stored_trials(finished_study.out, part))
    said = "\n".join(progress.unprinted)
    for name in ("local-0", "local-1"):
        assert f"worker {name} (tls://127.0.0.1:" in said
    assert "Dask's dashboard: http://127.0.0.1:" in said
    assert "jobs" in progress.unprinted[-1]
    assert results_but_times(run_study(finished_study.file, out=tmp_path)) == finished_study.results
