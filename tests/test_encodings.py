"""What is printed comes through in every encoding; a character that it lacks is replaced."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from metagd_optuna.policy.meta_policy import MetaPolicy
from metagd_optuna.tuning.progress import Progress

ENCODINGS = ("ascii", "latin-1", "cp1252", "cp932", "koi8-r", "gb18030", "utf-16", "utf-8")
NAME = "größe 心 😀.json"
POLICY = MetaPolicy("adam", "power", {"lr0": 0.003, "a": 0.5, "b": 1.5}, "mix", {"w": 0.25})


def in_process(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "metagd_optuna.cli", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with names that few encodings can write, and a task."""
    made = tmp_path_factory.mktemp("größe 心")
    policies = made / "runs" / "心 café" / "policies"
    policies.mkdir(parents=True)
    POLICY.save(policies / NAME)
    POLICY.save(made / NAME)
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = rng.integers(0, 255, (12, 8, 8), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(12) % 2
    np.savez(made / "größe 心.npz", **arrays)
    return made


# What is run, and its exit status.
COMMANDS = [
    (["policies", "list"], 0),
    (["policies", "show", NAME], 0),
    (["tasks", "list"], 0),
    (["tasks", "show", "größe 心.npz"], 0),
    (["policies", "show", "心"], 2),
    (["run", "心 😀.toml"], 2),
    (["report", "café 心"], 2),
    (["export", "--study", "心", "--task", "é"], 2),
    (["心"], 2),
    (["run", "x.toml", "--data-dir", "心"], 2),
]
# Runs them all in one process; each ends with a line on both streams.
ONE_BY_ONE = """
import json, sys
from metagd_optuna.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        print("ended with", end.code)
        print("ended", file=sys.stderr)
"""


@pytest.fixture(scope="module", params=["ascii", "utf-16"])
def printed(folder: Path, request: pytest.FixtureRequest) -> tuple[str, list[tuple[int, str, str]]]:
    """The encoding, and per command its exit status and what it printed to both streams."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, json.dumps([arguments for arguments, _ in COMMANDS])],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": request.param},
        capture_output=True,
        check=True,
        timeout=120,
    )
    # Decoding is strict: what was printed has to be in the encoding that was asked for.
    parts = re.split(r"ended with (\d)\n", done.stdout.decode(request.param))[:-1]
    errors = done.stderr.decode(request.param).split("ended\n")[:-1]
    return request.param, list(zip(map(int, parts[1::2]), parts[::2], errors, strict=True))


@pytest.mark.parametrize(
    ("place", "arguments", "code"),
    [(place, *command) for place, command in enumerate(COMMANDS)],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_command_prints_in_every_encoding(
    printed: tuple[str, list[tuple[int, str, str]]], place: int, arguments: list[str], code: int
) -> None:
    encoding, ended = printed
    status, output, errors = ended[place]
    assert status == code, errors
    assert "Traceback" not in errors
    assert output.strip() if code == 0 else "rror: " in errors
    if encoding == "utf-16":
        assert "�" not in output + errors
        assert "?" not in output
    if arguments[-1] == NAME and encoding == "utf-16":
        assert "lr = 0.003 (1 - d)^0.5 (p + 0.01)^1.5" in output


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_names_of_files_work_in_the_c_locale(folder: Path, environment: dict[str, str]) -> None:
    done = in_process(folder, "policies", "list", **environment)
    assert done.returncode == 0, done.stderr
    assert b"not measured" in done.stdout
    shown = in_process(folder, "policies", "show", NAME, **environment)
    assert (shown.returncode, shown.stderr) == (0, b"")


def test_every_help_text_is_ascii() -> None:
    done = in_process(Path.cwd(), "--help", PYTHONIOENCODING="ascii")
    assert done.stdout.isascii()
    assert b"Usage" in done.stdout


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "file"])
def test_progress_is_shown_in_every_encoding(encoding: str, terminal: bool) -> None:
    written = io.BytesIO()
    # As strict as can be, and as a caller from Python may have it.
    stream = io.TextIOWrapper(written, encoding=encoding, errors="strict", write_through=True)
    with Progress(Console(file=stream, force_terminal=terminal, width=120)) as progress:
        progress.plan(10)
        progress.phase("größe 心", "tune 😀")
        progress.trials("größe 心", "adam-cosine", 3, 3, 1.5)
        progress.log("device: 心 \udce9")
        progress.runs(4, None)
    text = written.getvalue().decode(encoding)
    assert "3 trials, best 1.500 epochs" in text
    assert ("größe 心" in text) == (encoding in ("gb18030", "utf-16", "utf-8"))


@pytest.mark.parametrize("encoding", ["cp932"])
def test_a_study_in_a_folder_of_any_name_is_reported_in_every_encoding(finished_study, tmp_path, encoding: str) -> None:
    out = shutil.copytree(finished_study.out, tmp_path / "größe 😀")
    done = in_process(tmp_path, "run", str(finished_study.file), "--out", str(out), PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "the study is complete; report: " in done.stdout.decode(encoding)
    reported = in_process(tmp_path, "report", str(out), PYTHONIOENCODING=encoding)
    assert "index.html" in reported.stdout.decode(encoding)
