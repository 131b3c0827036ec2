"""Studies that are run again, and what may have changed meanwhile: their file, network, data, versions or folder."""

import errno
import fcntl
import re
import shutil
import signal
import subprocess
import sys

import optuna
import pytest
from killed_study import strike
from small_study import SMALL_STUDY, TASK, UNMEASURED, results_but_times, results_of, searched

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.study import run_study
from metagd_optuna.tuning.parts import SETTINGS
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.study_file import load_study


def test_complete_study_trains_nothing(study_file, whole, monkeypatch):
    out, results = whole
    import metagd_optuna.training.engine as engine

    monkeypatch.setattr(engine.Engine, "train", lambda *a, **k: pytest.fail("it trained"))
    assert results_but_times(run_study(study_file, out=out)) == results


def test_changed_study_file_is_refused_and_nothing_is_lost(study_file, whole, tmp_path):
    out, results = whole
    changed = tmp_path / "small.toml"
    changed.write_text(SMALL_STUDY.replace("trials = 5", "trials = 4"), encoding="utf-8")
    with pytest.raises(MetaGDError, match=r"trials: was 5, now 4.*--out"):
        run_study(changed, out=out)
    assert results_but_times(run_study(study_file, out=out)) == results


def test_the_folder_of_another_study_is_refused_and_left_alone(study_file, whole, tmp_path):
    """Its searches would be taken over, and its report and policies overwritten."""
    out, results = whole
    other = tmp_path / "other.toml"
    other.write_text(SMALL_STUDY.replace("confirmation_seeds = 2", "confirmation_seeds = 3"), encoding="utf-8")
    with pytest.raises(
        MetaGDError, match=r"belongs to the study 'small', and .*other.toml is the study 'other'.*--out"
    ):
        run_study(other, out=out)
    assert results_but_times(run_study(study_file, out=out)) == results
    # Another study may share its storage, from a folder of its own, and it stays the owner of this one.
    copy = shutil.copytree(out, tmp_path / "copy")
    optuna.create_study(
        storage=open_storage(copy / "optuna.db", must_exist=True), study_name="another/task/calibrate"
    ).set_user_attr(SETTINGS, {})
    assert results_but_times(run_study(study_file, out=copy)) == results


def dense(input_shape, classes, *, seed):
    import keras

    model = keras.Sequential([keras.layers.Input(input_shape), keras.layers.Flatten()], name="dense")
    model.add(keras.layers.Dense(classes, kernel_initializer=keras.initializers.GlorotUniform(seed=seed)))
    return model


def test_network_of_ones_own(study_file, tmp_path, capsys):
    """From a file and from Python: named in the results, kept apart from any other network."""
    file = tmp_path / "small.toml"
    least = SMALL_STUDY.replace("\ntrials = 5", "\ntrials = 4").replace("= 8\n", "= 4\n")
    least = least.replace("shortlist_trials = 3", "shortlist_trials = 1")
    file.write_text(f'{least}{UNMEASURED}network = "mine.keras"\n', encoding="utf-8")
    dense((20, 21, 1), 2, seed=0).save(tmp_path / "mine.keras")
    found = run_study(file, out=tmp_path / "file")
    assert results_of(found).tasks[TASK].network == "mine.keras, 842 weights"

    out = tmp_path / "python"
    strike(study_file, out, "add calibrate", 2, "SIGKILL")  # it began with the article's CNN
    with pytest.raises(MetaGDError, match=r"the network changed .*was article-cnn, .* now dense, 842 weights"):
        run_study(study_file, out=out, build_network=dense)
    with pytest.raises(MetaGDError, match=r"'mine.keras', and build_network= is given too"):
        run_study(file, out=tmp_path / "both", build_network=dense)
    dense((20, 21, 1), 3, seed=0).save(tmp_path / "mine.keras")
    with pytest.raises(MetaGDError, match=r"maps \(20, 21, 1\) to \(3,\); this task needs .* to \(2,\)"):
        run_study(file, out=tmp_path / "other")
    # A complete study trains nothing, and yet it is not about another network.
    narrow = dense((20, 21, 1), 1, seed=0)
    narrow.add(type(narrow.layers[-1])(2))
    narrow.save(tmp_path / "mine.keras")
    with pytest.raises(MetaGDError, match=r"the network changed .*was mine.keras, 842 weights"):
        run_study(file, out=tmp_path / "file")


def test_other_code_version_is_refused(study_file, whole, monkeypatch):
    import metagd_optuna.tuning.runner as runner

    monkeypatch.setattr(runner, "versions", lambda: {"metagd-optuna": "99"})
    with pytest.raises(MetaGDError, match=r"metagd-optuna: was .*, now 99"):
        run_study(study_file, out=whole[0])


def test_other_versions_of_packages_are_noted_and_the_complexity_stays(
    study_file, whole, half_searched, search_only, monkeypatch, capsys
):
    import metagd_optuna.tuning.runner as runner

    now = runner.versions()
    monkeypatch.setattr(runner, "versions", lambda: now | {"optuna": "6.0.0"})
    # What earlier trials were told is what later ones are told, even if it would be measured a little differently now.
    monkeypatch.setattr(runner, "measure_complexity", lambda *_: pytest.fail("it measured again"))
    search_only(half_searched)
    assert searched(half_searched) == searched(whole[0])
    said = capsys.readouterr().out
    assert f"note: this study began with optuna {now['optuna']} (now 6.0.0); proposals" in said
    # The calibration's 8 runs are stored, and the 10 of the first search.
    assert re.findall(r"to train: (.*?), about .*; (.*)$", said, re.M) == [
        ("40 runs, 7,680 examples", "18 runs are stored already")
    ]
    # Its report and policies name the versions that it began with.
    monkeypatch.setattr(runner, "run_phases", lambda *_: iter(()))
    storage = open_storage(half_searched / "optuna.db", must_exist=True)
    store = runner.train_study(
        load_study(study_file), storage, out=half_searched, data_dir=None, progress=Progress(), build_network=None
    )
    assert store.identity.versions == now


def test_somebody_elses_study_of_that_name_is_refused(study_file, tmp_path):
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    optuna.create_study(storage=url, study_name="small").add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(MetaGDError, match="not one of metagd's"):
        run_study(study_file, out=tmp_path, storage=url)


def test_second_run_in_the_same_folder_is_refused(study_file, tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, os, sys, time\n"
            f"fd = os.open({str(tmp_path / '.lock')!r}, os.O_RDWR | os.O_CREAT)\n"
            "fcntl.flock(fd, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MetaGDError, match="another run"):
            run_study(study_file, out=tmp_path)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_folder_that_has_no_locks_is_told_from_one_in_use(study_file, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(MetaGDError, match=r"\.lock: cannot be locked \(No locks available\)"):
        run_study(study_file, out=tmp_path)


def test_second_coordinator_of_one_storage_is_refused(study_file, tmp_path):
    """Even from another folder: it would take over trials that the first is training."""
    database = tmp_path / "shared.db"
    lock = tmp_path / "shared.db.lock"
    code = (
        "import fcntl, os, time\n"
        f"fd = os.open({str(lock)!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MetaGDError, match=r"shared.db: another run"):
            run_study(study_file, out=tmp_path / "b", storage=f"sqlite:///{database}")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.slow
def test_changed_data_is_refused(tmp_path):
    import numpy as np

    def write(seed):
        rng = np.random.default_rng(seed)
        arrays = {}
        for part, count in (("train", 40), ("val", 20), ("test", 20)):
            arrays[f"{part}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
            pixels = rng.integers(0, 100, size=(count, 8, 8), dtype=np.uint8)
            arrays[f"{part}_images"] = pixels + 100 * arrays[f"{part}_labels"][:, :, None]
        np.savez(tmp_path / "mine.npz", **arrays)

    path = tmp_path / "small.toml"
    path.write_text(SMALL_STUDY.replace("breast_cancer", "mine.npz"), encoding="utf-8")
    write(0)
    process = strike(path, tmp_path / "out", "add calibrate", 1, "SIGKILL")
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]
    write(1)
    with pytest.raises(MetaGDError, match=r"data of task 'mine' changed"):
        run_study(path, out=tmp_path / "out")


def test_folder_that_cannot_be_written_is_an_error(study_file, tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(MetaGDError, match="--out"):
        run_study(study_file, out=tmp_path / "file" / "out")
