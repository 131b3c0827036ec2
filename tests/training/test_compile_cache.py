"""XLA keeps what it compiled, and finds it again in another process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metagd_optuna.training.compile_cache import keep_compiled_programs

COMPILES = """
import sys
import tensorflow as tf
from metagd_optuna.training.compile_cache import keep_compiled_programs
keep_compiled_programs("CPU: made up")
for factor in map(float, sys.argv[1:]):
    print(float(tf.function(lambda x: tf.reduce_sum(tf.sin(x) * factor), jit_compile=True)(tf.ones(8))))
"""


def run(cache, *factors):
    """Compile a program per factor in a process of its own; return the lines it says and the programs that are kept."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILES, *map(str, factors)],
        env=environment | {"METAGD_CACHE_DIR": str(cache), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines(), {file: file.stat().st_mtime_ns for file in Path(cache).rglob("*.pb")}


def test_a_program_is_compiled_once(tmp_path):
    cache = tmp_path / "a cache"
    said, kept = run(cache, 2)
    assert len(kept) == 1
    assert "CPU-made-up-tensorflow-2" in str(next(iter(kept)))
    both, more = run(cache, 2, 3)
    assert both[0] == said[0] != both[1]
    assert len(more) == 2
    assert more.items() >= kept.items()  # not written again


def test_a_folder_that_the_user_gave_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("METAGD_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/theirs")
    keep_compiled_programs("GPU: made up")
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_persistent_cache_directory=/theirs"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_max_cluster_size=9")
    keep_compiled_programs("GPU: made up")
    assert os.environ["TF_XLA_FLAGS"].startswith("--tf_xla_max_cluster_size=9 --tf_xla_persistent_cache_directory='")


def test_a_cache_that_cannot_be_made_is_a_warning(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("METAGD_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    with pytest.warns(UserWarning, match=r"cannot be made \(Not a directory\): programs are compiled anew"):
        keep_compiled_programs("GPU: made up")
    assert "TF_XLA_FLAGS" not in os.environ
