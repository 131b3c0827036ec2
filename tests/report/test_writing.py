from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from altered import altered

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.report.results import Results, build_results, read_results, write_report

Factory = Callable[..., Any]
NAMES = ["index.html", "report.md", "results.json"]


@pytest.fixture(scope="module")
def results(task_factory: Factory, study_factory: Factory) -> Results:
    return build_results(study_factory(task_factory(seeds=2)))


def test_three_files_and_nothing_else(results: Results, tmp_path: Path) -> None:
    index = write_report(results, tmp_path / "new" / "report")
    assert index == tmp_path / "new" / "report" / "index.html"
    assert sorted(path.name for path in index.parent.iterdir()) == NAMES
    assert read_results(index.parent) == results
    assert index.stat().st_mode & 0o777 == 0o644


def test_the_same_results_write_the_same_bytes(results: Results, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_report(results, tmp_path / folder)
    for name in NAMES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_full_disk_loses_nothing(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(results, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    synced = []

    def full(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MetaGDError, match=r"index\.html: cannot be written \(No space left on device"):
        write_report(altered(results, "study", "another"), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_in_the_way_of_the_folder(results: Results, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine", encoding="utf-8")
    with pytest.raises(MetaGDError, match=r"report: cannot be made \(File exists"):
        write_report(results, tmp_path / "report")
    assert (tmp_path / "report").read_text(encoding="utf-8") == "mine"


def test_a_folder_in_the_way_of_a_file(results: Results, tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(MetaGDError, match=r"index\.html: cannot be written \(Is a directory"):
        write_report(results, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_place_that_cannot_be_written(results: Results) -> None:
    # /proc refuses new folders even to root.
    with pytest.raises(MetaGDError, match="/proc/report: cannot be made"):
        write_report(results, Path("/proc/report"))


def test_a_name_that_is_no_unicode(task_factory: Factory, study_factory: Factory, tmp_path: Path) -> None:
    results = build_results(study_factory(task_factory("scan\udce9s", seeds=2)))
    write_report(results, tmp_path)
    assert list(read_results(tmp_path).tasks) == ["scan\udce9s"]
