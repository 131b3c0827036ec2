from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import CATALOGUE, DEFAULT_TASK, find_entry, list_tasks, load_task
from metagd_optuna.tasks.catalogue import entry_of_file
from metagd_optuna.tasks.editions import EDITIONS

MEDMNIST_2D = {
    "pathmnist": 9,
    "chestmnist": 14,
    "dermamnist": 7,
    "octmnist": 4,
    "pneumoniamnist": 2,
    "retinamnist": 5,
    "breastmnist": 2,
    "bloodmnist": 8,
    "tissuemnist": 8,
    "organamnist": 11,
    "organcmnist": 11,
    "organsmnist": 11,
}


def test_the_catalogue_is_complete():
    assert set(CATALOGUE) == {*MEDMNIST_2D, "breast_cancer", "gbsg2", "cifar10"}
    assert next(iter(CATALOGUE)) == DEFAULT_TASK == "breast_cancer"
    assert {name: len(CATALOGUE[name].classes) for name in MEDMNIST_2D} == MEDMNIST_2D


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_an_entry_states_its_facts(name):
    entry = CATALOGUE[name]
    assert entry.name == name
    assert entry.licence
    assert entry.citation
    assert len(set(entry.classes)) == len(entry.classes) >= 2
    assert min(entry.sizes) > 0
    assert min(entry.input_shape[:2]) >= 8
    assert entry.kind in ("binary", "multi-class", "ordinal", "multi-label")
    assert (entry.kind == "binary") == (len(entry.classes) == 2)
    if entry.package:
        assert entry.file_name is entry.url is entry.md5 is None
    else:
        assert re.fullmatch(r"[0-9a-f]{32}", entry.md5 or "")
        assert (entry.url or "").startswith("https://")
        assert (entry.file_name or "") in (entry.url or "")


def test_md5s_and_addresses_are_all_different():
    files = [entry for entry in CATALOGUE.values() if entry.file_name]
    assert len({entry.md5 for entry in files}) == len({entry.url for entry in files}) == len(files)


# MD5s of the files as downloaded from Zenodo, computed independently of medmnist's table
@pytest.mark.parametrize(
    ("name", "md5"),
    [
        ("breastmnist", "750601b1f35ba3300ea97c75c52ff8f6"),
        ("pneumoniamnist", "28209eda62fecd6e6a2d98b1501bb15f"),
        ("retinamnist", "bd4c0672f1bba3e3a89f0e4e876791e4"),
    ],
)
def test_known_md5s(name, md5):
    assert CATALOGUE[name].md5 == md5


def test_only_dermamnist_is_non_commercial():
    assert [e.name for e in CATALOGUE.values() if "NC" in e.licence] == ["dermamnist"]
    assert "CC BY 4.0" in CATALOGUE["breastmnist"].licence


def test_the_list_has_a_row_of_texts_per_task():
    rows = list_tasks()
    assert [row["name"] for row in rows] == list(CATALOGUE)
    assert all(isinstance(value, str) for row in rows for value in row.values())
    assert len({tuple(row) for row in rows}) == 1
    by_name = {row["name"]: row for row in rows}
    assert by_name["pathmnist"]["train / val / test"] == "89,996 / 10,004 / 7,180"
    assert by_name["chestmnist"]["source"] == "not supported"
    assert by_name["cifar10"]["source"] == "download"


@pytest.mark.parametrize(
    ("given", "meant"), [("brestmnist", "breastmnist"), ("BreastMNIST", "breastmnist"), ("cifar-10", "cifar10")]
)
def test_a_misspelt_name_gets_a_suggestion(given, meant):
    with pytest.raises(MetaGDError, match=f"unknown task '{given}'; did you mean '{meant}'"):
        find_entry(given)


def test_a_strange_name_gets_the_list():
    with pytest.raises(MetaGDError, match="unknown task 'zzz'; Known tasks: breast_cancer, ") as caught:
        load_task("zzz")
    assert "path" in str(caught.value)


def test_multi_label_chestmnist_is_refused_before_any_download(tmp_path):
    with pytest.raises(MetaGDError, match=r"multi-label.*0\.947.*nothing.*pneumoniamnist"):
        load_task("chestmnist", data_dir=tmp_path / "never-looked-at")


def test_the_documentation_lists_every_task_as_the_catalogue_does():
    page = Path(__file__).parents[2].joinpath("docs", "tasks.md").read_text(encoding="utf-8")
    for row in list_tasks():
        line = next(line for line in page.splitlines() if line.startswith(f"| `{row['name']}` |"))
        size = "refused" if row["source"] == "not supported" else row["train / val / test"]
        for fact in (row["modality"], row["classes"], row["image"], size, row["licence"]):
            assert fact in line


@pytest.mark.parametrize("name", EDITIONS)
@pytest.mark.parametrize("size", [64, 128, 224])
def test_larger_editions_are_found_by_name_and_by_file(name, size):
    entry, base = find_entry(f"{name}_{size}"), CATALOGUE[name]
    assert entry.input_shape == (size, size, base.input_shape[2])
    assert (entry.sizes, entry.classes, entry.licence) == (base.sizes, base.classes, base.licence)
    assert entry.url == base.url.replace(name, f"{name}_{size}")
    assert re.fullmatch(r"[0-9a-f]{32}", entry.md5)
    assert entry_of_file(entry.md5) == entry
    assert bool(entry.refusal) == (name == "chestmnist")


def test_md5s_of_editions_are_all_different():
    """Golden: that of breastmnist_64 in medmnist 3.0.2's info.py."""
    known = [md5 for sizes in EDITIONS.values() for md5 in sizes.values()] + [
        e.md5 for e in CATALOGUE.values() if e.md5
    ]
    assert len(known) == len(set(known)) == 3 * 12 + 13
    assert EDITIONS["breastmnist"][64] == "742edef2a1fd1524b2efff4bd7ba9364"
    assert set(EDITIONS) == set(MEDMNIST_2D)


def test_an_edition_that_there_is_not_is_told():
    with pytest.raises(MetaGDError, match="also with _64, _128 or _224 behind the name"):
        find_entry("breastmnist_65")


def test_one_finding_of_a_file_of_many_is_a_task(make_arrays, tmp_path, monkeypatch):
    arrays = make_arrays()
    rng = np.random.default_rng(0)
    several = {k: rng.integers(0, 2, (len(v), 14)) if "labels" in k else v for k, v in arrays.items()}
    np.savez(tmp_path / "chestmnist.npz", **several)
    md5 = hashlib.md5((tmp_path / "chestmnist.npz").read_bytes()).hexdigest()
    monkeypatch.setitem(CATALOGUE, "chestmnist", replace(CATALOGUE["chestmnist"], md5=md5))
    task = load_task(tmp_path / "chestmnist.npz", target="6")
    assert task.classes == ("0", "1")
    np.testing.assert_array_equal(task.val_labels, several["val_labels"][:, 6])
