"""What several folders of tests share: one small study, run once."""

import os
import signal

import pytest
from small_study import SMALL_STUDY, FinishedStudy, results_but_times

from metagd_optuna.training.startup import set_environment

collect_ignore = ["benchmarks", "method"]  # programs, run by "make bench" and "make verify-method"

set_environment()  # before TensorFlow is loaded, as a study does
# A shell's job in the background ignores Ctrl-C, and so would the programs that tests start to interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """No test reads or writes the user's cache, nor does a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METAGD_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def device():
    """TensorFlow set up as a study does it, before any test uses it: how threads share work decides rounding."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return None  # tests/training/test_jax.py has started this process, which does without TensorFlow
    from metagd_optuna.training.device import prepare_device

    return prepare_device()


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory):
    import optuna

    from metagd_optuna.study import run_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = tmp_path_factory.mktemp("finished")
    file = folder / "small.toml"
    file.write_text(SMALL_STUDY, encoding="utf-8")
    out = folder / "out"
    found = run_study(file, out=out)
    return FinishedStudy(file, out, results_but_times(found), found)
