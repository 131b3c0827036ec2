"""Files are written in one piece: a reader sees the old one or the whole new one."""

import os
import stat
from pathlib import Path

import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import make_private_folder, write_text, write_texts


def kept(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_several_files_are_written_for_everyone_to_read(tmp_path):
    (tmp_path / "a.json").write_text("a much longer text that was there before", encoding="utf-8")
    write_texts({tmp_path / "a.json": "größe\n", tmp_path / "b.md": "2"})
    assert kept(tmp_path) == {"a.json": "größe\n".encode(), "b.md": b"2"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}


def test_a_private_folder_is_for_its_owner_alone_and_so_are_those_it_is_in(tmp_path):
    before = stat.S_IMODE(tmp_path.stat().st_mode)
    for _ in range(2):
        make_private_folder(tmp_path / "cache" / "xla" / "cpu")
    for made in (tmp_path / "cache", tmp_path / "cache" / "xla", tmp_path / "cache" / "xla" / "cpu"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert stat.S_IMODE(tmp_path.stat().st_mode) == before
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    for way in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            make_private_folder(way)


def test_half_a_character_is_written_as_an_escape(tmp_path):
    """A path that is no valid UTF-8 may stand in a JSON document."""
    write_text('"caf\udce9"', tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == b'"caf\\udce9"'


@pytest.mark.parametrize("wrong", ["folder in its place", "no folder", "folder that is a file"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_where_one_cannot_be_written_none_is(tmp_path, wrong, first):
    (tmp_path / "a.json").write_text("old", encoding="utf-8")
    (tmp_path / "taken").mkdir()
    bad = {
        "folder in its place": tmp_path / "taken",
        "no folder": tmp_path / "nowhere" / "b.json",
        "folder that is a file": tmp_path / "a.json" / "b.json",
    }[wrong]
    texts = [(tmp_path / "a.json", "new"), (tmp_path / "c.json", "new"), (bad, "new")]
    with pytest.raises(MetaGDError) as refused:
        write_texts(dict(texts[::-1] if first else texts))
    assert str(refused.value).startswith(f"{bad}: cannot be written (")
    assert "what was there before is unchanged: free some space" in str(refused.value)
    assert kept(tmp_path) == {"a.json": b"old"}


@pytest.mark.parametrize("broken", ["fsync", "chmod"])
def test_a_disk_that_runs_full_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, broken):
    write_texts({tmp_path / "a.json": "old", tmp_path / "b.json": "old"})
    before, calls = kept(tmp_path), []

    def fail(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "chmod": (Path, "chmod")}[broken], fail)
    with pytest.raises(MetaGDError, match=r"b.json: cannot be written \(No space left on device: the disk is full\)"):
        write_texts({tmp_path / "a.json": "new", tmp_path / "b.json": "new"})
    assert kept(tmp_path) == before


def test_what_interrupts_the_writing_leaves_no_half_file(tmp_path, monkeypatch):
    write_text("old", tmp_path / "a.json")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text("new", tmp_path / "a.json")
    assert kept(tmp_path) == {"a.json": b"old"}
