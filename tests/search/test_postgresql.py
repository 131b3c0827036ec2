"""A real PostgreSQL server: studies are stored there, and only one process at a time runs one."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import optuna
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.search.exclusive import own_study
from metagd_optuna.search.storage import open_storage

STARTED = "-c listen_addresses='' -c fsync=off"


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, installed by the system's package manager if we may."""

    def found() -> list[Path]:
        return [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]

    here = shutil.which("initdb")
    if here:
        return Path(here).parent
    if not found() and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update"], capture_output=True, check=False)
        subprocess.run(["apt-get", "install", "-y", "postgresql"], capture_output=True, check=False)
    if not found():
        pytest.skip("no PostgreSQL on this machine, and none could be installed: nothing was stored in one")
    return found()[-1]


@pytest.fixture(scope="module")
def url():
    """The address of a server of the test's own, which listens on a socket in its folder and nowhere else."""
    found, root = programs(), os.geteuid() == 0  # which the server refuses to be
    if root and "postgres" not in {known.pw_name for known in pwd.getpwall()}:
        pytest.skip("no user postgres on this machine, and root may not run a server: nothing was stored in one")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path has to be short
    user = []
    if root:
        shutil.chown(folder, "postgres")
        user = ["runuser", "-u", "postgres", "--"]
    control = [*user, str(found / "pg_ctl"), "-D", str(folder / "data"), "-l", str(folder / "log"), "-w", "-s"]
    subprocess.run([*control, "init", "-o", "-U metagd -A trust -N"], cwd=folder, check=True)
    subprocess.run([*control, "start", "-o", f"-k {folder} {STARTED}"], cwd=folder, check=True)
    try:
        yield f"postgresql://metagd@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "stop", "-m", "fast"], cwd=folder, check=True)
        shutil.rmtree(folder)


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
