from __future__ import annotations

import json

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Task, audit, audit_arrays

PLACES = ("train", "val", "test", "train-val", "train-test", "val-test")


def _task(arrays, classes=2, source=None):
    return Task("t", classes=tuple(f"class {k}" for k in range(classes)), source=source or {}, **arrays)


def _texts(report):
    return tuple(finding.text for finding in report.findings)


def test_a_clean_task_has_no_findings(make_arrays):
    report = audit(_task(make_arrays(sizes=(40, 20, 20))))
    assert report.findings == ()
    assert report.sizes == {"train": 40, "val": 20, "test": 20}
    assert report.class_counts == {"train": (20, 20), "val": (10, 10), "test": (10, 10)}
    assert report.duplicates == report.contradictions == dict.fromkeys(PLACES, 0)
    assert report.imbalance == 1
    assert report.dropped == {}


def test_copies_and_contradictions_are_counted_by_place(make_arrays):
    arrays = make_arrays(sizes=(40, 20, 20))
    train, labels = arrays["train_images"], arrays["train_labels"]
    train[2] = train[4] = train[0]  # same label
    train[1], labels[1] = train[6], 1 - labels[6]
    arrays["val_images"][:8], arrays["val_labels"][:8] = train[20:28], labels[20:28]
    arrays["test_images"][3], arrays["test_labels"][3] = train[30], 1 - labels[30]
    arrays["test_images"][5], arrays["test_labels"][5] = arrays["val_images"][9], arrays["val_labels"][9]
    report = audit(_task(arrays))
    assert report.duplicates == dict(zip(PLACES, (3, 0, 0, 8, 1, 1), strict=True))
    assert report.contradictions == dict(zip(PLACES, (2, 0, 0, 0, 1, 0), strict=True))
    assert _texts(report)[:6] == (
        "3 train images repeated within train: exact copies",
        "8 val images also in train: exact copies",
        "1 test image also in train: exact copies",
        "1 test image also in val: exact copies",
        "2 train images also in train with another label: contradictory",
        "1 test image also in train with another label: contradictory",
    )
    assert [finding.cases for finding in report.findings[:6]] == [
        {"train": (3, 5, 7)},
        {"val": tuple(range(1, 9))},
        {"test": (4,)},
        {"test": (6,)},
        {"train": (2, 7)},
        {"test": (4,)},
    ]
    assert str(report.findings[0]).endswith("cases 3, 5, 7 of train; drop_duplicates = true leaves those in train out")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_constant_images_are_found(make_arrays, dtype):
    arrays = make_arrays(sizes=(40, 20, 20), dtype=dtype)
    arrays["train_images"][7] = 0
    arrays["train_images"][8] = 1
    report = audit(_task(arrays))
    assert report.constant_images == {"train": 2, "val": 0, "test": 0}
    assert _texts(report) == ("train: 2 constant images, without information",)


def test_imbalance_and_few_are_found(make_arrays):
    arrays = make_arrays(sizes=(100, 20, 20))
    arrays["train_labels"][:] = (np.arange(100) < 20)[:, None]
    arrays["test_labels"][:] = (np.arange(20) < 4)[:, None]
    arrays["val_labels"][:] = (np.arange(20) < 4)[:, None]
    report = audit(_task(arrays))
    assert report.imbalance == 4
    assert _texts(report) == (
        "unbalanced classes: class 0 80.0%, class 1 20.0% of train; plain accuracy misleads",
        "val: fewer than 10 images of class 1 (4)",
        "test: fewer than 10 images of class 1 (4)",
    )


@pytest.mark.parametrize(
    ("ones_in_test", "size", "found"),
    [(750, 1200, True), (880, 1200, False), (62, 100, False)],  # 62.5%; 73%; 62% but only 2.6 standard errors
)
def test_a_prevalence_shift_is_told_from_noise(make_arrays, ones_in_test, size, found):
    arrays = make_arrays(sizes=(1200, 1200, size))
    for part, ones in (("train", 888), ("val", 888), ("test", ones_in_test)):
        arrays[f"{part}_labels"] = (np.arange(len(arrays[f"{part}_labels"])) < ones).astype(np.uint8)
    report = audit(_task(arrays))
    told = [text for text in _texts(report) if "prevalence" in text]
    assert bool(told) == found
    if found:
        assert told[1] == "prevalence shift: class 0 is 26.0% of val and 37.5% of test"
    assert report.prevalence_shift["train-test"] == pytest.approx(abs(0.74 - ones_in_test / size))
    assert report.prevalence_shift["train-val"] == 0


def test_a_rare_class_may_shift_where_a_common_one_only_may_have(make_arrays):
    """14 points of difference at 1.98 standard errors in the first class, 12 at 3.33 in the last."""
    arrays = make_arrays(sizes=(100, 100, 100))
    for part, counts in (("train", (59, 40, 1)), ("val", (45, 42, 13)), ("test", (52, 41, 7))):
        arrays[f"{part}_labels"] = np.repeat(np.arange(3), counts).astype(np.uint8)
    told = [text for text in _texts(audit(_task(arrays, 3))) if "prevalence" in text]
    assert told == ["prevalence shift: class 2 is 1.0% of train and 13.0% of val"]


def test_large_float_pixels_are_told(make_arrays):
    arrays = make_arrays(sizes=(40, 20, 20), dtype=np.float32)
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = np.round(arrays[f"{part}_images"] * 255)
    arrays["train_images"][0, 0, :2] = (0, 255)
    [finding] = _texts(audit(_task(arrays)))
    assert finding == "pixels are floats from 0 to 255 and are used as they are; values near 1 train better"
    assert audit(_task(arrays)).pixel_range == (0, 255)


def test_the_catalogues_note_is_passed_on(make_arrays):
    [finding] = _texts(audit(_task(make_arrays((40, 20, 20)), source={"note": "leaks lesions"})))
    assert finding == "from the catalogue: leaks lesions"


def test_an_audit_is_json_able_and_comes_back_equal(make_arrays):
    table = audit(_task(make_arrays(classes=5), 5)).to_dict()
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert isinstance(table["findings"], list)


def test_arrays_with_missing_values_are_counted(make_arrays):
    arrays = make_arrays(sizes=(40, 20, 20), dtype=np.float64)
    arrays["train_images"][0, 0, :3] = np.nan
    arrays["val_images"][1, 0, 0] = np.inf
    report = audit_arrays(arrays, name="mine", classes=("a", "b"))
    assert report.missing_values == {"train": 3, "val": 1, "test": 0}
    assert _texts(report) == (
        "train: 3 missing values (NaN or infinite); a task with any is refused",
        "val: 1 missing value (NaN or infinite); a task with any is refused",
    )
    json.dumps(report.to_dict(), allow_nan=False)


def test_arrays_may_lack_a_class_in_train_and_be_nothing_but_nan(make_arrays):
    arrays = make_arrays(sizes=(40, 20, 20), dtype=np.float32, classes=3)
    arrays["train_labels"][arrays["train_labels"] == 1] = 0
    arrays["train_images"][:] = np.nan
    report = audit_arrays(arrays)
    assert report.imbalance is None
    assert report.pixel_range is None
    assert report.class_counts["train"][1] == 0
    assert any(text.startswith("train: fewer than 10 images of 1 (0)") for text in _texts(report))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: a.pop("val_labels"), "missing arrays: val_labels"),
        (lambda a: a.update(val_labels=a["val_labels"][:3]), "with 3 labels; allowed"),
        (lambda a: a.update(val_images=np.zeros((10, 64))), r"shape \(10, 64\)"),
        (lambda a: a.update(val_images=a["val_images"][:, :0]), r"shape \(\d+, 0, 8\).*no side of length 0"),
        (lambda a: a.update(val_images=np.float32(3)), r"shape \(\) and dtype float32"),
        (lambda a: a.update(val_labels=a["val_labels"] * 1.0), "integer class indices"),
        (lambda a: a.update(val_labels=a["val_labels"] + 2), "largest label is 3, but 2 class names"),
    ],
)
def test_arrays_that_cannot_be_audited_are_refused(make_arrays, change, text):
    arrays = make_arrays()
    change(arrays)
    with pytest.raises(MetaGDError, match=text):
        audit_arrays(arrays, classes=("a", "b"))


def test_a_stray_label_is_refused_unless_its_class_has_a_name(make_arrays):
    arrays = make_arrays(sizes=(10, 5, 5))
    arrays["val_labels"][0] = 200
    with pytest.raises(MetaGDError, match="the largest label is 200, but there are only 20 labels"):
        audit_arrays(arrays)
    names = tuple(f"grade {k}" for k in range(201))
    assert audit_arrays(arrays, classes=names).class_counts["val"][200] == 1
