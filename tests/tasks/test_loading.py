from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import CATALOGUE, audit, load_task


@pytest.fixture
def write(tmp_path):
    def save(arrays, name="mine.npz"):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return save


def _same(first, second):
    return all(np.array_equal(first.arrays()[name], second.arrays()[name]) for name in first.arrays())


def test_breast_cancer_is_standardised_on_train_and_drawn_as_blocks():
    from sklearn.datasets import load_breast_cancer

    task = load_task("breast_cancer")
    assert task.sizes == CATALOGUE["breast_cancer"].sizes
    assert task.input_shape == CATALOGUE["breast_cancer"].input_shape
    assert task.train_images.dtype == np.float32
    small = task.train_images[:, ::2, ::7, 0]
    assert small.shape == (341, 10, 3)
    np.testing.assert_array_equal(task.train_images[..., 0], small.repeat(2, axis=1).repeat(7, axis=2))
    np.testing.assert_allclose(small.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(small.std(axis=0), 1, atol=1e-5)
    # every case is there once, and the grid has its measurements in the right places: sorted, the values of
    # one cell are an affine function of the sorted raw column; 212 of the cases are malignant
    raw = load_breast_cancer()
    column = [task.arrays()[f"{part}_images"][:, 2, 7, 0] for part in ("train", "val", "test")]  # error of texture
    name = str(raw.feature_names[11])
    assert name == "texture error"
    assert np.corrcoef(np.sort(np.concatenate(column)), np.sort(raw.data[:, 11]))[0, 1] == pytest.approx(1, abs=1e-6)
    assert sum(np.count_nonzero(task.arrays()[f"{part}_labels"] == 0) for part in ("train", "val", "test")) == 212
    shares = [np.mean(task.arrays()[f"{part}_labels"]) for part in ("train", "val", "test")]
    assert np.ptp(shares) < 0.01
    assert task.source["licence"] == "CC BY 4.0"
    assert _same(task, load_task("breast_cancer"))


def test_a_path_gives_its_stem_and_its_checksum(make_arrays, write):
    path = write(make_arrays(classes=3), "my cells.npz")
    task = load_task(path)
    assert task.name == "my cells"
    assert task.classes == ("0", "1", "2")
    assert task.source == {"file": "my cells.npz", "md5": hashlib.md5(path.read_bytes()).hexdigest()}
    assert _same(task, load_task(str(path)))


def test_a_bare_file_name_is_a_path(make_arrays, write, tmp_path, monkeypatch):
    write(make_arrays())
    monkeypatch.chdir(tmp_path)
    assert load_task("mine.npz").name == "mine"


def test_a_file_of_the_catalogue_keeps_its_class_names(make_arrays, write, monkeypatch):
    path = write(make_arrays(), "breastmnist.npz")
    official = replace(CATALOGUE["breastmnist"], md5=hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(CATALOGUE, "breastmnist", official)
    by_name, by_path = load_task("breastmnist", data_dir=path.parent), load_task(path)
    assert by_name.name == "breastmnist"
    assert by_name.classes == by_path.classes == ("malignant", "normal or benign")
    assert by_name.source["md5"] == official.md5
    assert by_name.source["url"] == official.url
    assert _same(by_name, by_path)


@pytest.mark.parametrize("text", ["data/mine", "mine.tar.gz", "./breast_cancer", "mine.NPZ"])
def test_a_path_without_npz_is_refused(text):
    with pytest.raises(MetaGDError, match=r"paths that end in \.npz"):
        load_task(text)


@pytest.mark.parametrize("option", ["max_train", "max_eval"])
@pytest.mark.parametrize("value", [0, 1, -5, 2.5, True, "10"])
def test_the_size_of_a_part_must_be_a_count(value, option):
    with pytest.raises(MetaGDError, match=f"{option}="):
        load_task("breast_cancer", **{option: value})


def test_max_eval_takes_a_stratified_part_of_validation_and_test(make_arrays, write):
    arrays = make_arrays(sizes=(60, 40, 8), classes=2)
    arrays["val_labels"][:] = np.repeat([0, 1], [30, 10])[:, None]
    path = write(arrays)
    whole, part = load_task(path), load_task(path, max_eval=8)
    assert part.sizes == (60, 8, 8)
    assert np.bincount(part.val_labels).tolist() == [6, 2]
    np.testing.assert_array_equal(part.train_images, whole.train_images)
    np.testing.assert_array_equal(part.test_images, whole.test_images)
    assert part.source["val_available"] == 40
    assert "test_available" not in part.source
    with pytest.raises(MetaGDError, match="max_eval=2 is fewer than its 3 classes"):
        load_task(write(make_arrays(sizes=(30, 9, 9), classes=3)), max_eval=2)
    found = [str(finding) for finding in audit(part).findings if "stratified" in finding.text]
    assert found == ["val is a stratified part: 8 of 40 images"]


def test_max_train_takes_a_stratified_part_of_train_only(make_arrays, write):
    arrays = make_arrays(sizes=(60, 12, 12), classes=3)
    arrays["train_labels"][:] = np.repeat([0, 1, 2], [49, 10, 1])[:, None]
    path = write(arrays)
    whole, part, again = load_task(path), load_task(path, max_train=12), load_task(path, max_train=12)
    assert np.bincount(part.train_labels).tolist() == [9, 2, 1]
    assert part.sizes == (12, 12, 12)
    assert part.source["train_available"] == 60
    assert _same(part, again)
    np.testing.assert_array_equal(part.test_images, whole.test_images)
    assert _same(whole, load_task(path, max_train=60))
    assert "train_available" not in load_task(path, max_train=1000).source
    with pytest.raises(MetaGDError, match="max_train=2 is fewer than its 3 classes"):
        load_task(path, max_train=2)
    assert "train is a stratified part: 12 of 60 images" in map(str, audit(part).findings)


@pytest.fixture
def trapped(make_arrays):
    """Train: 1 copies 0; 3 copies 2 with another label; 4 is in val, 5 in test, 6 in test with another label."""
    arrays = make_arrays()
    images, labels = arrays["train_images"], arrays["train_labels"]
    labels[:, 0] = np.arange(20) % 2
    labels[1], labels[2], labels[3] = 0, 0, 1
    images[1], images[3] = images[0], images[2]
    arrays["val_images"][0], arrays["val_labels"][0] = images[4], labels[4]
    arrays["test_images"][1], arrays["test_labels"][1] = images[5], labels[5]
    arrays["test_images"][0], arrays["test_labels"][0] = images[6], 1 - labels[6]
    return arrays


@pytest.mark.parametrize(
    ("duplicates", "contradictions", "gone"),
    [
        (False, False, []),
        (True, False, [1, 4, 5]),
        (False, True, [2, 3, 6]),
        (True, True, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_dropping_touches_train_only_and_is_counted(trapped, write, duplicates, contradictions, gone):
    path = write(trapped)
    whole = load_task(path)
    task = load_task(path, drop_duplicates=duplicates, drop_contradictions=contradictions)
    np.testing.assert_array_equal(task.train_images, np.delete(whole.train_images, gone, axis=0))
    np.testing.assert_array_equal(task.train_labels, np.delete(whole.train_labels, gone))
    for name in ("val_images", "val_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(task.arrays()[name], whole.arrays()[name])
    expected = ({"duplicates": 3} if duplicates else {}) | ({"contradictions": 3} if contradictions else {})
    assert task.source.get("dropped", {}) == expected
    assert audit(task).dropped == expected
    for reason in expected:
        assert f"dropped from train on request, {reason}: 3 images" in map(str, audit(task).findings)


def test_dropping_comes_before_thinning(trapped, write):
    task = load_task(write(trapped), drop_duplicates=True, drop_contradictions=True, max_train=14)
    assert task.sizes.train == 14
    assert "train_available" not in task.source
    assert audit(task).duplicates["train-val"] == 0


def test_a_class_that_would_vanish_is_an_error(make_arrays, write):
    arrays = make_arrays()
    arrays["train_labels"][:] = 0
    arrays["train_labels"][0] = 1
    arrays["test_images"][0], arrays["test_labels"][0] = arrays["train_images"][0], 0
    with pytest.raises(MetaGDError, match="dropping 1 contradictions leaves no training image of 1; turn"):
        load_task(write(arrays), drop_contradictions=True)


def test_importing_tasks_loads_nothing_heavy():
    code = (
        "import sys, metagd_optuna.tasks; print([n for n in ('sklearn', 'scipy', 'pooch', 'requests', 'tensorflow', "
        "'optuna') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
