"""The chores of the Makefile, continuous integration and the pinned packages."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_makefile_and_ci_know_their_chores() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for chore in ("study", "check", "test", "clean"):
        assert f"\n{chore}:" in makefile
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    assert "make test" in ci.read_text(encoding="utf-8")


def test_the_constraints_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(line.count("==") == 1 and not set("@/: ") & set(line) for line in lines)
    names = {line.partition("==")[0].lower() for line in lines}
    assert {"optuna", "tensorflow", "keras", "numpy", "pytest", "ruff", "mypy"} <= names
    assert not {"metagd-optuna", "metagd_optuna", "torch", "medmnist"} & names
