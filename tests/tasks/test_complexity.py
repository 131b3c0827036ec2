from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import class_frequencies, measure_complexity
from metagd_optuna.tasks.complexity import LARGEST_SAMPLE

MEASURED = ("knn", "linear-probe")


def _blobs(separation, counts=(200, 200), features=20, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = separation * np.eye(len(counts), features)
    return rng.normal(size=(len(labels), features)) + centres[labels], labels


@pytest.mark.parametrize("method", MEASURED)
@pytest.mark.parametrize("counts", [(200, 200), (360, 40), (100, 100, 100)])
def test_far_apart_is_zero_and_indistinguishable_is_near_one(method, counts):
    assert measure_complexity(*_blobs(30, counts), method) == 0.0
    assert measure_complexity(*_blobs(0, counts), method) > 0.8


@pytest.mark.parametrize("method", MEASURED)
def test_closer_classes_are_more_complex(method):
    values = [measure_complexity(*_blobs(separation), method) for separation in (0.5, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


@pytest.mark.parametrize("method", MEASURED)
def test_it_is_repeatable_and_leaves_its_input_alone(method):
    images, labels = _blobs(2)
    kept = images.copy()
    assert measure_complexity(images, labels, method) == measure_complexity(images, labels, method)
    np.testing.assert_array_equal(images, kept)


def test_knn_by_hand():
    # five points on a line; the nearest neighbours are, in order, points 1, 0, 3, 2, 3
    images = np.array([[0.0], [1.0], [3.0], [3.5], [10.0]])
    labels = np.array([0, 0, 0, 1, 1])
    # point 2 (class 0) is next to class 1: 1 of 3 wrong; point 3 (class 1) is next to class 0: 1 of 2 wrong
    expected = ((1 / 3 + 1 / 2) / 2) / (1 - 1 / 2)
    assert measure_complexity(images, labels) == pytest.approx(expected)


def test_constant_needs_no_measurement():
    assert measure_complexity(*_blobs(30), "constant") == 0.5


@pytest.mark.parametrize("method", MEASURED)
def test_images_that_are_all_alike_have_complexity_one(method):
    assert measure_complexity(np.full((10, 8, 8), 7, np.uint8), np.arange(10) % 2, method) == 1.0


@pytest.mark.parametrize("method", MEASURED)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float64, bool])
@pytest.mark.parametrize("shape", [(64,), (8, 8), (8, 8, 1), (4, 4, 4)])
def test_any_real_dtype_and_shape_is_measured(method, dtype, shape):
    images, labels = _blobs(3, (40, 40), 64)
    images = np.clip(images * 20 + 100, 0, 255)
    images = (images > 110) if dtype is bool else images.astype(dtype)
    value = measure_complexity(images.reshape(80, *shape), labels[:, None].astype(np.uint8), method)
    assert 0 <= value <= 1
    assert value == measure_complexity(images.reshape(80, -1), labels, method)


@settings(deadline=None, max_examples=30)
@given(
    scale=st.floats(-200, 200),
    offset=st.floats(-1e3, 1e3),
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=5),
)
def test_it_stays_in_range_whatever_the_scale(scale, offset, counts):
    images, labels = _blobs(1, tuple(counts), 6)
    value = measure_complexity(images * 10.0**scale if scale < 100 else images * 1e200, labels)
    assert 0 <= value <= 1
    assert 0 <= measure_complexity(images + offset, labels) <= 1


@pytest.mark.parametrize("method", MEASURED)
def test_a_large_set_is_sampled(method):
    images, labels = _blobs(3, (LARGEST_SAMPLE, LARGEST_SAMPLE), 4)
    small = measure_complexity(*_blobs(3, (1000, 1000), 4, seed=1), method)
    assert measure_complexity(images, labels, method) == pytest.approx(small, abs=0.05)


@pytest.mark.parametrize("method", MEASURED)
def test_a_thousand_images_are_quick(method):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (1000, 28, 28), dtype=np.uint8), np.arange(1000) % 5
    measure_complexity(images[:50], labels[:50], method)  # loads scikit-learn
    began = time.process_time()
    measure_complexity(images, labels, method)
    assert time.process_time() - began < 1.0


def test_a_probe_works_with_two_images_of_a_class_and_refuses_one():
    images, labels = _blobs(30, (2, 9))
    assert measure_complexity(images, labels, "linear-probe") <= 1
    with pytest.raises(MetaGDError, match="two images of every class; class 0 has one: use method='knn'"):
        measure_complexity(*_blobs(30, (1, 9)), "linear-probe")
    assert 0 < measure_complexity(*_blobs(30, (1, 9))) <= 1


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (np.zeros((4, 3)), [0, 1, 0], "one label per image"),
        (np.zeros((4, 0)), [0, 1, 0, 1], "at least one value"),
        (np.zeros(4), [0, 1, 0, 1], r"shape \(4,\)"),
        (np.zeros((4, 2, 2, 2, 2)), [0, 1, 0, 1], "shape"),
        (np.full((4, 3), np.nan), [0, 1, 0, 1], "missing values"),
        (np.array([["a"]] * 4), [0, 1, 0, 1], "real numbers"),
        (np.zeros((4, 3), complex), [0, 1, 0, 1], "real numbers"),
        (np.zeros((4, 3)), [0, 0, 0, 0], "one class only"),
        (np.zeros((4, 3)), [0, 2, 0, 2], "without gaps"),
        (np.zeros((4, 3)), np.eye(4), "argmax"),
        (np.zeros((4, 3)), ["a", "b", "a", "b"], "integer class indices"),
        (np.zeros((0, 3)), np.zeros(0, int), "empty"),
    ],
)
def test_bad_arrays_are_refused(images, labels, text):
    with pytest.raises(MetaGDError, match=text):
        measure_complexity(images, labels)


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(MetaGDError, match=r"unknown complexity method 'kn'; allowed are .*did you mean 'knn'"):
        measure_complexity(np.eye(2), [0, 1], "kn")


@pytest.mark.parametrize("labels", [[1, 0, 1, 2], np.array([[1], [0], [1], [2]], np.uint8)])
def test_class_frequencies(labels):
    assert class_frequencies(labels) == (0.25, 0.5, 0.25)


@pytest.mark.parametrize("labels", [[0.0, 1.0], [0, 2], [[1, 0], [0, 1]], [-1, 0], []])
def test_class_frequencies_refuses_what_is_no_index(labels):
    with pytest.raises(MetaGDError):
        class_frequencies(labels)


@pytest.mark.parametrize("scale", [2.0**1015, 2.0**-1060])
def test_a_power_of_two_in_the_scale_changes_nothing(scale):
    """Not even where the sum of the values is more than a float holds."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (60, 30)) + np.arange(60)[:, None] % 2 * 8.0
    assert 0 < measure_complexity(values, np.arange(60) % 2) < 1
    assert measure_complexity(values * scale, np.arange(60) % 2) == measure_complexity(values, np.arange(60) % 2)


def test_images_take_thirteen_times_their_bytes_in_memory_and_no_more():
    """Large images of a clinic's own are gigabytes even so."""
    images = np.random.default_rng(0).integers(0, 256, (300, 40_000), dtype=np.uint8)
    tracemalloc.start()
    try:
        measure_complexity(images, np.arange(300) % 2)
        assert tracemalloc.get_traced_memory()[1] < 13.5 * images.size
    finally:
        tracemalloc.stop()


def test_images_that_are_alike_in_double_precision_have_complexity_one():
    """Which integers beyond 2^53 may be."""
    images = 2**60 + np.arange(8)[:, None] % 2 * np.ones((1, 4), np.int64)
    assert measure_complexity(images, np.arange(8) % 2) == 1.0
