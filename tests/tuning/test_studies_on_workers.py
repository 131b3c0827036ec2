"""Studies of every kind on the workers of somebody's own cluster: the results of one process, whatever they search."""

import shutil

import distributed
import keras
import numpy as np
import pytest
from small_study import SMALL_STUDY, UNMEASURED, results_but_times

from metagd_optuna.study import run_study, search
from metagd_optuna.tasks import load_task
from metagd_optuna.tuning.progress import QuietProgress

CODE = """
import keras


def build(shape, classes, *, seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes)])
"""
SETTINGS = {
    "baselines": ["adam-constant"],
    "optimizers": ["adam"],
    "trials": 4,
    "trials_at_once": 2,
    "seeds_per_trial": 1,
    "examples_per_run": 700,
    "evaluations": 4,
    "rate_updates_per_evaluation": 1,
    "batch_size": 16,
    "calibration_seeds": 1,
    "shortlist_trials": 2,
    "shortlist_seeds": 1,
    "confirmation_seeds": 2,
}


@pytest.fixture(scope="module")
def scheduler():
    """Two processes, each of which trains two jobs at once, as a cluster that was started for something else may."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        yield cluster


def _images(name, size=8):
    rng = np.random.default_rng(size)
    labels = np.arange(90) % 2
    images = rng.integers(0, 90, (90, size, size))
    images[labels == 1, : size // 2] += 40
    return load_task((images.astype(np.uint8), labels), name=name)


def _rows(name):
    rng = np.random.default_rng(5)
    labels = np.arange(90) % 2
    return load_task((rng.normal(size=(90, 5)) + labels[:, None], labels), name=name)


def _network(shape, classes, *, seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes)])


def test_one_rule_for_all_tasks_with_parts_dealt_anew(scheduler, tmp_path):
    """Tasks in memory, of images and of rows, and a network that is a function of this module."""
    found = []
    for where in ({}, {"cluster": scheduler.scheduler_address}):
        results = run_study(
            name="all",
            out=tmp_path / f"{len(found)}",
            tasks=[_images("small"), _images("large", 10), _rows("rows")],
            scope="universal",
            resample_splits=True,
            build_network=_network,
            **SETTINGS,
            **where,
        )
        found.append(results_but_times(results))
    assert found[0] == found[1]


def test_a_saved_network_and_tuned_batches_whose_trials_are_raised_on_another_width(scheduler, tmp_path):
    network = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(6, activation="relu"), keras.layers.Dense(2)],
    )
    network.save(tmp_path / "net.keras")
    file = tmp_path / "small.toml"
    np.savetxt(
        tmp_path / "rows.csv",
        np.column_stack([_rows("rows").train_images, _rows("rows").train_labels]),
        delimiter=",",
        header="a,b,c,d,e,label",
        comments="",
    )
    text = SMALL_STUDY.replace('"breast_cancer"', '{path = "rows.csv", target = "label"}') + UNMEASURED
    text = text.replace("examples_per_run = 192", "examples_per_run = 600")
    file.write_text(text + 'network = "net.keras"\nmedian_pruning = true\ntune_batch_size = true\n', encoding="utf-8")
    run_study(file, out=tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    file.write_text(file.read_text(encoding="utf-8").replace("trials = 5", "trials = 8"), encoding="utf-8")
    alone = run_study(file, out=tmp_path / "here")
    with distributed.Client(scheduler, set_as_default=False) as client:
        together = run_study(file, out=tmp_path / "there", client=client)
        assert client.status == "running"  # it stays the caller's
    assert results_but_times(together) == results_but_times(alone)


def test_arrays_in_memory_and_a_network_in_a_file(scheduler, tmp_path):
    """Its function is in no installed package, so workers import it from the study's folder as well."""
    (tmp_path / "network_of_ours.py").write_text(CODE, encoding="utf-8")
    task = _images("ours")
    found, progress = [], QuietProgress()
    for where in ({}, {"cluster": scheduler.scheduler_address, "progress": progress}):
        results = search(
            task.train_images,
            task.train_labels,
            out=tmp_path / f"{len(found)}",
            build_network=_network,
            **SETTINGS,
            **where,
        )
        found.append(results_but_times(results))
        file = tmp_path / "study.toml"
        lines = [f"{key} = {str(value).replace(chr(39), chr(34))}" for key, value in SETTINGS.items()]
        file.write_text(
            "\n".join(['tasks = ["breast_cancer"]', 'network = "network_of_ours:build"', *lines]), encoding="utf-8"
        )
        results = run_study(file, out=tmp_path / f"code{len(found)}", allow_code=True, **where)
        found.append(results_but_times(results))
    assert found[:2] == found[2:]
    assert any("Dask's dashboard" in line for line in progress.unprinted)
