"""Labels as they are written, and cases dealt into parts: no patient in two, every class in each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks.labels import encode_labels
from metagd_optuna.tasks.splitting import split_cases
from metagd_optuna.tasks.validation import PARTS


@pytest.mark.parametrize(
    ("labels", "positive", "classes", "indices"),
    [
        (["b", "a", "b"], None, ("a", "b"), [1, 0, 1]),
        (["b", "a", "b"], "a", ("b", "a"), [0, 1, 0]),
        ([3, 1, 1], None, ("1", "3"), [1, 0, 0]),
        ([3, 1, 1], 1, ("3", "1"), [0, 1, 1]),
        (["10", "9", "-1"], None, ("-1", "9", "10"), [2, 1, 0]),
        ([True, False, np.True_], None, ("false", "true"), [1, 0, 1]),
        ([1.0, 0.0, np.float32(1)], None, ("0", "1"), [1, 0, 1]),
        ([" ill", "ill ", "well"], None, ("ill", "well"), [0, 0, 1]),
    ],
)
def test_labels_become_indices_in_a_natural_order(labels, positive, classes, indices):
    found, names = encode_labels(labels, "label", positive=positive)
    assert names == classes
    assert found.dtype == np.int32
    assert found.tolist() == indices


@pytest.mark.parametrize(
    ("labels", "positive", "message"),
    [
        (["a", "", None, float("nan"), "b"], None, "label: 3 missing labels in 5 cases, the first in case 2"),
        (["a", "a"], None, "every case has the label 'a'"),
        ([0.5, 1.5], None, "0.5 is no class but a measured number"),
        (list(range(30)), None, "30 different labels in 30 cases are no classes"),
        (["a", "b", "c"], "a", "there are 3 classes; it is for two classes"),
        (["healthy", "ill"], "il", r"did you mean 'ill'\?\); the classes are 'healthy' and 'ill'"),
    ],
)
def test_what_is_no_class_is_told(labels, positive, message):
    with pytest.raises(MetaGDError, match=message):
        encode_labels(labels, "label", positive=positive)


@st.composite
def cohorts(draw):
    """Labels of patients with several cases each, at least ten patients per class."""
    classes = draw(st.integers(2, 4))
    labels, patients = [], []
    for patient in range(draw(st.integers(10, 25)) * classes):
        for _ in range(draw(st.integers(1, 4))):
            labels.append(patient % classes)
            patients.append(f"P{patient:04d}")
    return np.array(labels, np.int32), patients, [str(k) for k in range(classes)]


@pytest.mark.slow
@settings(deadline=None)  # a split takes longer than that on a busy machine
@given(cohorts())
def test_no_patient_is_in_two_parts_and_every_case_in_one(cohort):
    labels, patients, classes = cohort
    rows = split_cases(labels, classes, "ours", patients=patients).rows
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(len(labels)))
    owners = [{patients[row] for row in rows[part]} for part in PARTS]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]
    for part in PARTS:
        assert len(np.unique(labels[rows[part]])) == len(classes)
    again = split_cases(labels, classes, "ours", patients=patients).rows
    assert all(np.array_equal(rows[part], again[part]) for part in PARTS)


@given(st.lists(st.integers(3, 40), min_size=2, max_size=5))
def test_without_patients_every_class_is_dealt_by_its_frequency(counts):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    split = split_cases(labels, list("abcde")[: len(counts)], "ours")
    assert "by class" in split.text
    for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        found = np.bincount(labels[split.rows[part]], minlength=len(counts))
        assert (found >= 1).all()
        assert (np.abs(found - share * np.array(counts)) <= len(counts)).all()


@pytest.mark.parametrize(
    ("given_parts", "text"),
    [
        (["training"] * 24 + ["valid"] * 8 + ["TEST"] * 8, "as given"),
        (["train"] * 30 + ["test"] * 10, "validation split off the training part"),
        (["train"] * 30 + ["validation"] * 10, "test split off the training part"),
        (["train"] * 40, "60% train, 20% validation, 20% test"),
    ],
)
def test_parts_that_are_given_stay_and_the_others_are_split_off(given_parts, text):
    labels = (np.arange(40) % 2).astype(np.int32)
    split = split_cases(labels, ["a", "b"], "ours", parts=given_parts)
    assert text in split.text
    assert all(len(split.rows[part]) >= 6 for part in PARTS)
    held = [row for row, part in enumerate(given_parts) if part.lower() == "test"]
    if held:
        assert split.rows["test"].tolist() == held


def labelled(*cases):
    """Labels, patients and parts from (label, patient, part)."""
    labels, patients, parts = zip(*cases, strict=True)
    return np.array(labels, np.int32), list(patients), list(parts)


def test_a_patient_in_two_given_parts_is_an_error_that_does_not_say_who():
    labels, patients, parts = labelled(
        (0, "Ada", "train"), (1, "Ada", "train"), (0, "Bob", "train"), (1, "Bob", "test"), (0, "Eve", "test")
    )
    with pytest.raises(MetaGDError, match=r"1 patient of 3 in more than one part, in the cases 3, 4;") as error:
        split_cases(labels, ["a", "b"], "ours", patients=patients, parts=parts)
    assert not {"Ada", "Bob", "Eve"} & set(str(error.value).split())


@pytest.mark.parametrize(
    ("labels", "patients", "parts", "message"),
    [
        ([0, 1] * 5, None, ["train"] * 9 + ["tset"], "'tset' is no part; allowed are train, val"),
        ([0, 1] * 5, None, ["test"] * 10, "no case is of the part train"),
        ([0, 1] * 5, ["a"] * 9 + [""], None, "1 case without a patient, the first is case 10"),
        ([0, 1] * 5, ["a", "b"] * 5, None, "2 patients cannot be split; at least 5"),
        ([0] * 9 + [1], None, None, r"too few cases to be split: b \(1\); a class needs at least 3"),
        ([0, 1, 0, 1], None, ["train", "test", "train", "val"], "the training part has no case of b;"),
    ],
)
def test_what_cannot_be_split_is_told(labels, patients, parts, message):
    with pytest.raises(MetaGDError, match=message):
        split_cases(np.array(labels, np.int32), ["a", "b"], "ours", patients=patients, parts=parts)
