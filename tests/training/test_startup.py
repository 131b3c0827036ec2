import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from metagd_optuna.training.startup import set_environment

WANTED = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.mark.parametrize("given", [{}, {"TF_ENABLE_ONEDNN_OPTS": "0"}, {"TF_CPP_MIN_LOG_LEVEL": "0"}])
def test_what_the_user_has_set_stays(monkeypatch, given):
    for name in WANTED:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    set_environment()
    assert {name: os.environ[name] for name in WANTED} == WANTED | given


def test_a_study_gets_onednn_and_no_notes():
    program = (
        "from metagd_optuna.training.startup import load_tensorflow; load_tensorflow()\n"
        "from tensorflow.python.util import _pywrap_util_port; print(_pywrap_util_port.IsMklEnabled())"
    )
    environment = {name: value for name, value in os.environ.items() if name not in WANTED}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_a_process_without_an_error_stream_can_load_it():
    program = "import sys; from metagd_optuna.training.startup import load_tensorflow; load_tensorflow(); print('in')"
    command = ["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, program]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "in"


OTHER = {"jax", "torch", "numpy", "openvino"}


def asked(tmp_path, program="", **environment):
    """Return what a process of its own says about the backend, and whether it loaded something heavy for it."""
    program = (
        f"{program}\nimport sys\nbefore = set(sys.modules)\n"
        "from metagd_optuna.contracts import MetaGDError\n"
        "from metagd_optuna.training.startup import check_backend\n"
        "try: check_backend()\nexcept MetaGDError as error: print(error)\n"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch'} & (set(sys.modules) - before)))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KERAS")}
    kept |= {"HOME": str(tmp_path), **environment}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=kept, check=True)
    *said, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    return " ".join(said)


@pytest.mark.parametrize("backend", sorted(OTHER))
def test_another_backend_is_told_by_what_chose_it(tmp_path, backend):
    home = tmp_path / "keras home"
    home.mkdir()
    (home / "keras.json").write_text(json.dumps({"backend": backend}), encoding="utf-8")
    by_file = {"KERAS_HOME": str(home)}
    assert f"'{backend}', by KERAS_BACKEND, " in asked(tmp_path, KERAS_BACKEND=backend)
    assert f"'{backend}', by {home / 'keras.json'}, " in asked(tmp_path, **by_file)
    # As Keras reads it: the variable wins over the file, and an empty one counts for nothing.
    assert asked(tmp_path, KERAS_BACKEND="tensorflow", **by_file) == ""
    assert "set KERAS_BACKEND=tensorflow" in asked(tmp_path, KERAS_BACKEND="", **by_file)


def test_the_file_in_the_users_own_folder_counts(tmp_path):
    assert asked(tmp_path) == ""
    (tmp_path / ".keras").mkdir()
    file = tmp_path / ".keras" / "keras.json"
    for text in ("", "{", "{}", '{"backend": "tensorflow"}'):
        file.write_text(text, encoding="utf-8")
        assert asked(tmp_path) == "", text
    file.write_text('{"backend": "jax"}', encoding="utf-8")
    assert str(file) in asked(tmp_path)
    file.write_text("[1]", encoding="utf-8")
    assert "not a JSON object" in asked(tmp_path)


def test_a_keras_that_is_loaded_is_asked_itself(tmp_path):
    loaded = "import sys, types\nkeras = types.ModuleType('keras')\nsys.modules['keras'] = keras\n"
    loaded += "keras.backend = types.SimpleNamespace(backend=lambda: {!r})\n"
    assert "that this process has loaded" in asked(tmp_path, loaded.format("jax"))
    assert asked(tmp_path, loaded.format("tensorflow"), KERAS_BACKEND="jax") == ""


def test_the_file_is_the_one_that_keras_reads(tmp_path):
    program = "import keras.src.backend.config as c; print(c._config_path)"
    for environment in ({}, {"KERAS_HOME": str(tmp_path / "elsewhere")}):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KERAS")}
        # With this backend Keras loads no TensorFlow, which takes longer than the rest.
        kept |= {"HOME": str(tmp_path), "KERAS_BACKEND": "numpy", **environment}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=kept, check=True)
        path = Path(done.stdout.strip())
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"backend": "jax"}', encoding="utf-8")
        assert str(path) in asked(tmp_path, **environment)


def test_a_study_is_refused_before_anything_is_printed_or_made(tmp_path):
    (tmp_path / "tiny.toml").write_text('tasks = ["breast_cancer"]\n', encoding="utf-8")
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-m", "metagd_optuna.cli"]
    done = subprocess.run(
        [*command, "run", "tiny.toml"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"error: Keras' backend is 'jax', by KERAS_BACKEND, .*KERAS_BACKEND=tensorflow.*\n", done.stderr
    )
    assert not (tmp_path / "runs").exists()
    for words in (["policies", "list"], ["tasks", "list"], ["--help"]):
        subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, check=True)
