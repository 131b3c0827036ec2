import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.write_ahead import LOCAL_FILE_SYSTEMS, file_system, write_ahead

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/scratch tmpfs rw 0 0
/dev/sdb1 /my\\040disk xfs rw 0 0
old /twice ext4 rw 0 0
new /twice fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/runs/a.db", "ext4"),
        ("/home/ann/a.db", "nfs4"),
        ("/home/scratch/a.db", "tmpfs"),
        ("/homeless/a.db", "ext4"),
        ("/my disk/a.db", "xfs"),
        ("/twice/a.db", "fuse.sshfs"),
    ],
)
def test_the_deepest_and_latest_mount_tells_the_file_system(tmp_path, path, kind):
    table = tmp_path / "mounts"
    table.write_text(MOUNTS, encoding="utf-8")
    assert file_system(Path(path), table) == kind


def mode(file):
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_local_file_gets_a_log_and_keeps_what_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr("metagd_optuna.tuning.write_ahead.file_system", lambda path: "ext4")
    file = tmp_path / "optuna.db"
    storage = open_storage(file, must_exist=False)
    assert write_ahead(storage)
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
    optuna.create_study(storage=storage, study_name="a").add_trial(optuna.create_trial(value=1.0))
    assert mode(file) == "wal"
    again = optuna.load_study(storage=open_storage(file, must_exist=True), study_name="a")
    assert again.best_value == 1.0


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre", ""])
def test_elsewhere_nothing_changes(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("metagd_optuna.tuning.write_ahead.file_system", lambda path: kind)
    assert kind not in LOCAL_FILE_SYSTEMS
    storage = open_storage(tmp_path / "optuna.db", must_exist=False)
    assert not write_ahead(storage)
    assert mode(tmp_path / "optuna.db") == "delete"
