from __future__ import annotations

import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import Task


def test_arrays_take_their_canonical_form(make_arrays):
    task = Task("t", classes=["a", "b"], **make_arrays(dtype=np.float64))
    assert task.train_images.dtype == np.float32
    assert task.train_labels.dtype == np.int32
    assert task.train_labels.shape == (20,)
    assert task.input_shape == (8, 8, 1)
    assert task.sizes == (20, 10, 10)
    assert task.class_frequencies == (0.5, 0.5)
    assert task.classes == ("a", "b")


def test_colour_images_stay_bytes(make_arrays):
    task = Task("t", classes=("a", "b", "c"), **make_arrays(classes=3, shape=(9, 8, 3)))
    assert task.train_images.dtype == np.uint8
    assert task.input_shape == (9, 8, 3)
    assert sum(task.class_frequencies) == pytest.approx(1)


def test_a_task_cannot_be_changed_and_leaves_the_givers_arrays_alone(make_arrays):
    arrays = make_arrays()
    task = Task("t", classes=("a", "b"), **arrays)
    with pytest.raises(ValueError, match="read-only"):
        task.train_images[0] = 0
    arrays["train_images"][0] = 0


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        (("a",), r"task 't': train_labels holds the label 1; with 1 classes the labels are 0 to 0"),
        (("a", "b", "c"), r"train_labels holds 2 of 3 classes; the classes 2 have no training image"),
    ],
)
def test_class_names_must_fit_the_labels(make_arrays, classes, text):
    with pytest.raises(MetaGDError, match=text):
        Task("t", classes=classes, **make_arrays())


def test_a_task_needs_a_name(make_arrays):
    with pytest.raises(MetaGDError, match="needs a name"):
        Task("", classes=("a", "b"), **make_arrays())
