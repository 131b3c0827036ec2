"""What was unpacked of image files comes back equal, is kept for its owner alone, and never instead of other files."""

from __future__ import annotations

import stat

import numpy as np
import pytest
from PIL import Image

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import fingerprint, load_task
from metagd_optuna.tasks.readers import picture_cache, pillow_file


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("METAGD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def scans(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("healthy", "ill"):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(rng.integers(0, 256, (12, 10), np.uint8)).save(tmp_path / "scans" / name / f"{number}.png")
    return tmp_path / "scans"


@pytest.fixture
def unpacked(monkeypatch):
    """Return the files that are unpacked while a test runs."""
    files, original = [], pillow_file.pixels
    monkeypatch.setattr(pillow_file, "pixels", lambda file, wanted: files.append(file) or original(file, wanted))
    return files


def test_the_second_time_nothing_is_unpacked(cache, scans, unpacked):
    first = load_task(scans)
    assert len(unpacked) == 20
    assert fingerprint(load_task(scans)) == fingerprint(first)
    assert len(unpacked) == 20
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    [file] = cache.iterdir()
    assert not any(name in file.read_bytes() for name in (b"healthy", b"scans", b"png"))


def test_files_with_other_names_are_the_same_files(cache, scans, unpacked):
    load_task(scans)
    for file in list(scans.rglob("*.png")):
        file.rename(file.with_name(f"patient-{file.name}"))
    load_task(scans)
    assert len(unpacked) == 20


@pytest.mark.parametrize("change", ["pixels", "options", "order", "format"])
def test_whatever_changes_the_pixels_is_read_anew(cache, scans, unpacked, change, monkeypatch):
    load_task(scans)
    options = {}
    if change == "pixels":
        Image.fromarray(np.full((12, 10), 7, np.uint8)).save(scans / "ill" / "3.png")
    elif change == "options":
        options = {"image_size": 10}
    elif change == "order":
        (scans / "ill" / "0.png").rename(scans / "ill" / "z.png")
    else:
        monkeypatch.setattr(picture_cache, "FORMAT", picture_cache.FORMAT + 1)
    load_task(scans, **options)
    assert len(unpacked) == 40


def test_a_damaged_entry_is_read_anew(cache, scans, unpacked):
    first = load_task(scans)
    [file] = cache.iterdir()
    file.write_bytes(file.read_bytes()[:300])
    assert fingerprint(load_task(scans)) == fingerprint(first)
    assert len(unpacked) == 40
    load_task(scans)
    assert len(unpacked) == 40


def test_it_can_be_switched_off_and_has_a_limit(cache, scans, unpacked, monkeypatch):
    monkeypatch.setenv("METAGD_IMAGE_CACHE_GIB", "0")
    load_task(scans)
    assert not cache.exists()
    monkeypatch.setenv("METAGD_IMAGE_CACHE_GIB", str(7000 / 2**30))  # an entry is some 3,000 bytes
    for size in (8, 9, 10, 11):
        load_task(scans, image_size=size)
    assert 1 <= len(list(cache.iterdir())) < 4
    assert sum(file.stat().st_size for file in cache.iterdir()) <= 7000


@pytest.mark.parametrize("given", ["much", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(scans, monkeypatch, given):
    monkeypatch.setenv("METAGD_IMAGE_CACHE_GIB", given)
    with pytest.raises(MetaGDError, match=r"METAGD_IMAGE_CACHE_GIB is .*allowed is a number of GiB"):
        load_task(scans)


def test_what_is_unreadable_is_told_although_others_are_kept(cache, scans, unpacked):
    file = scans / "ill" / "3.png"
    file.write_bytes(file.read_bytes()[:80])
    skipped = load_task(scans, skip_unreadable=True)
    assert skipped.source["skipped"] == 1
    with pytest.raises(MetaGDError, match=r"1 image of 20 cannot be read: .*3\.png"):
        load_task(scans)
    assert fingerprint(load_task(scans, skip_unreadable=True)) == fingerprint(skipped)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, scans, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("METAGD_CACHE_DIR", str(tmp_path / "file"))
    assert load_task(scans).sizes.train == 12
