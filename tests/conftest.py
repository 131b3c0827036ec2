"""What several folders of tests share: which tests are slow, and one small study, run once."""

import gc
import os
import shutil
import signal
from pathlib import Path

import optuna
import pytest
from small_study import SMALL_STUDY, FinishedStudy, made_once, results_but_times

from metagd_optuna.training.startup import set_environment

collect_ignore = ["benchmarks", "faults", "fuzz", "method"]  # programs, each with a word in the Makefile

# What trains or starts processes: "make check" leaves it out, and every test that asks for the finished study. Single
# slow tests of other modules carry the mark themselves.
SLOW = (
    "own_training",
    "tuning/test_batch_size.py",
    "tuning/test_killed_studies.py",
    "tuning/test_many_processes.py",
    "tuning/test_postgresql.py",
    "tuning/test_studies_on_workers.py",
    "tuning/test_trials_of_others.py",
    "tuning/test_cluster.py",
    "tuning/test_universal.py",
    "suite/test_networks.py",
    "suite/test_second_moment.py",
    "test_benchmarks.py",
    "test_cli_run.py",
    "test_encodings.py",
    "test_exported_members.py",
    "test_method.py",
    "test_odd_paths.py",
    "test_scale_scripts.py",
    "test_wrong_use.py",
    "training",
)

set_environment()  # before TensorFlow is loaded, as a study does
# A shell's job in the background ignores Ctrl-C, and so would the programs that tests start to interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _places():
    """Return the folders and modules of slow tests."""
    places = [Path(__file__).parent / name for name in SLOW]
    for place in places:
        assert place.exists(), f"tests/conftest.py calls {place} slow, and there is no such file or folder"
    return places


def pytest_ignore_collect(collection_path, config):
    """Leave slow tests unread where none of them runs: most load TensorFlow, which takes seconds."""
    return True if config.option.markexpr == "not slow" and collection_path in _places() else None


def pytest_collection_modifyitems(items):
    """Mark the slow tests, and let them come first: so no worker waits at the end for the other's long test."""
    places = _places()
    for item in items:
        if "finished_study" in item.fixturenames or any(item.path.is_relative_to(place) for place in places):
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Free what a module's slow tests leave: thousands of TensorFlow's graphs at once take half a minute to go."""
    if item.get_closest_marker("slow") and (nextitem is None or nextitem.path != item.path):
        gc.collect()


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """A folder that all workers of this run of the tests share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(shared):
    """No test reads or writes the user's cache, nor does a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METAGD_CACHE_DIR", str(shared / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def device():
    """TensorFlow set up as a study does it, before any test uses it: how threads share work decides rounding."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return None  # tests/training/test_jax.py has started this process, which does without TensorFlow
    from metagd_optuna.training.device import prepare_device

    prepared = prepare_device()
    gc.freeze()  # what is loaded by now stays: no collection has to look through it again
    return prepared


@pytest.fixture(autouse=True)
def _quiet_optuna():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(scope="session")
def finished_study(shared, tmp_path_factory):
    """The small study, run by whichever worker comes first; each has a copy of its own."""
    from metagd_optuna.study import run_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def make(folder):
        (folder / "small.toml").write_text(SMALL_STUDY, encoding="utf-8")
        results = results_but_times(run_study(folder / "small.toml", out=folder / "out"))
        (folder / "results").write_text(results, encoding="utf-8")

    made = made_once(shared / "finished", make)
    own = shutil.copytree(made, tmp_path_factory.mktemp("finished") / "copy")
    return FinishedStudy(own / "small.toml", own / "out", (own / "results").read_text(encoding="utf-8"))
