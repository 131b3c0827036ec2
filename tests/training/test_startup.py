import os
import subprocess
import sys

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
