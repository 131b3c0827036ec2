"""The command line in this process: what it prints, and how it ends."""

from __future__ import annotations

import pytest

from metagd_optuna.cli import main
from metagd_optuna.policy.meta_policy import MetaPolicy

TASKS = 'tasks = ["breast_cancer"]\n'
POLICY = MetaPolicy("adam", "power", {"lr0": 0.003, "a": 0.5, "b": 1.5}, "mix", {"w": 0.25}, half_life=1.0)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what the command line says about a mistake, having checked how it ends."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.err.startswith(("error: ", "Usage: "))
    assert "Traceback" not in printed.err
    return printed.err


def done(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what a successful command prints."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    assert caught.value.code == 0, printed.err
    return printed.out
