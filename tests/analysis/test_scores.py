from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from metagd_optuna.analysis.scores import (
    METRICS,
    accuracy,
    balanced_accuracy,
    chance_level,
    cross_entropy,
    macro_auc,
    standard_error,
)
from metagd_optuna.contracts import MetaGDError


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def sample(members, examples, classes, seed, decimals=None):
    """Random logits and labels in which every class occurs; rounding makes ties."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(examples) % classes)
    logits = rng.normal(size=(members, examples, classes)) + 0.7 * np.eye(classes)[labels]
    return (logits if decimals is None else logits.round(decimals)), labels


@settings(deadline=None, max_examples=40)
@given(
    classes=st.integers(2, 6),
    examples=st.integers(12, 60),
    seed=st.integers(0, 10**6),
    decimals=st.sampled_from([None, 1, 0]),
)
def test_macro_auc_is_that_of_scikit_learn(classes, examples, seed, decimals):
    logits, labels = sample(3, examples, classes, seed, decimals)
    probabilities = softmax(logits)
    if decimals is not None:
        # Shares of 16 add up to 1 exactly, so the reference sees the same ties.
        parts = np.floor(probabilities * 16)
        parts[..., -1] = 16 - parts[..., :-1].sum(axis=-1)
        probabilities = parts / 16
    for values, scores in zip(probabilities, macro_auc(probabilities, labels), strict=True):
        expected = (
            roc_auc_score(labels, values[:, 1])
            if classes == 2
            else roc_auc_score(labels, values, multi_class="ovr", average="macro")
        )
        assert scores == pytest.approx(expected, abs=1e-12)


def test_binary_auc_is_the_same_from_logits_and_probabilities_and_counts_ties_half():
    logits, labels = sample(4, 50, 2, seed=3)
    np.testing.assert_allclose(macro_auc(logits, labels), macro_auc(softmax(logits), labels))
    np.testing.assert_array_equal(macro_auc(logits, labels), macro_auc(logits, labels, from_logits=True))
    assert macro_auc(np.zeros((10, 2)), np.arange(10) % 2) == 0.5


def test_logits_of_a_saturated_network_are_not_tied():
    logits = np.array([[900.0, 0.0, 0.0], [800.0, 0.0, 0.0], [0.0, 900.0, 0.0], [0.0, 0.0, 900.0]])
    labels = np.array([0, 1, 2, 2])
    rounded = macro_auc(softmax(logits), labels)
    assert macro_auc(logits, labels, from_logits=True) != rounded
    # Class 0: the positive ties with one of three and beats two, 2.5/3.
    # Class 1: its log-probability is -800 against -900, 0 and -900, 2/3.
    # Class 2: positives -900 and 0 against -900 and -800, (0.5 + 0 + 1 + 1) / 4.
    assert macro_auc(logits, labels, from_logits=True) == pytest.approx((2.5 / 3 + 2 / 3 + 2.5 / 4) / 3)


def test_ordinary_logits_score_like_their_probabilities():
    logits, labels = sample(3, 80, 5, seed=1)
    np.testing.assert_allclose(macro_auc(logits, labels, from_logits=True), macro_auc(softmax(logits), labels))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_binary_auc_of_swapped_labels_is_one_minus_it(seed):
    logits, labels = sample(2, 30, 2, seed, decimals=1)
    np.testing.assert_allclose(macro_auc(logits, labels) + macro_auc(logits, 1 - labels), 1.0)


def test_classes_without_examples_are_left_out_of_the_mean():
    probabilities, labels = softmax(sample(1, 40, 3, seed=5)[0])[0], np.arange(40) % 2
    one_vs_rest = [roc_auc_score(labels == k, probabilities[:, k]) for k in (0, 1)]
    assert macro_auc(probabilities, labels) == pytest.approx(np.mean(one_vs_rest))


@pytest.mark.parametrize("classes", [2, 4])
def test_a_member_that_is_not_finite_scores_nan_and_leaves_the_others_alone(classes):
    logits, labels = sample(3, 20, classes, seed=7)
    broken = softmax(logits)
    broken[1, 4, 0] = np.nan
    broken[2, 4, 0] = np.inf
    for score in (macro_auc, balanced_accuracy, accuracy, cross_entropy):
        values, whole = score(broken, labels), score(softmax(logits), labels)
        assert np.isnan(values).tolist() == [False, True, True]
        assert values[0] == whole[0]


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_scores_have_the_shape_of_the_leading_axes(shape):
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    logits = rng.normal(size=(*shape, 30, 3))
    for score in (balanced_accuracy, accuracy, cross_entropy, lambda x, y: macro_auc(x, y, from_logits=True)):
        values = score(logits, labels)
        assert values.shape == shape
        for index in np.ndindex(shape):
            assert values[index] == pytest.approx(score(logits[index], labels))


@pytest.mark.parametrize("classes", range(2, 14))
def test_a_balanced_accuracy_does_not_depend_on_who_else_is_scored_and_a_perfect_one_is_one(classes):
    """Times to a target compare scores for order, so a last digit would be a miss."""
    logits, labels = sample(5, 78, classes, seed=classes)
    logits[2] = np.eye(classes)[labels]
    together = balanced_accuracy(logits, labels)
    assert together.tolist() == [float(balanced_accuracy(one, labels)) for one in logits]
    assert together[2] == 1.0


def test_other_scores_are_those_of_scikit_learn():
    logits, _ = sample(4, 60, 3, seed=9)
    labels = np.random.default_rng(1).choice(3, size=60, p=[0.7, 0.2, 0.1])
    for member in range(4):
        predictions = logits[member].argmax(axis=-1)
        assert balanced_accuracy(logits, labels)[member] == pytest.approx(balanced_accuracy_score(labels, predictions))
        assert accuracy(logits, labels)[member] == pytest.approx(np.mean(predictions == labels))
        assert cross_entropy(logits, labels)[member] == pytest.approx(log_loss(labels, softmax(logits[member])))


def test_cross_entropy_survives_large_logits():
    assert cross_entropy([[1e4, 0.0], [0.0, 1e4]], [0, 0]) == pytest.approx(5e3)


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (np.zeros((4, 2)), [0, 1, 1], "do not fit labels"),
        (np.zeros((4, 1)), [0, 0, 0, 0], "K >= 2"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "N >= 1"),
        (np.zeros(4), [0, 1, 0, 1], "do not fit labels"),
        (np.zeros((2, 2)), [0.0, 1.0], "integers"),
        (np.zeros((2, 2)), [0, 2], "from 0 to 2 do not fit 2 classes"),
        (np.zeros((2, 2)), [-1, 1], "from -1 to 1"),
        (np.zeros((2, 2)), [1, 1], "only class 1"),
        (np.zeros((3, 3)), [0, 1, 2], "from_logits=True"),
        (np.array([[2.0, -1.0, 0.0]] * 3), [0, 1, 2], "from_logits=True"),
    ],
)
def test_what_does_not_fit_is_an_error(outputs, labels, message):
    with pytest.raises(MetaGDError, match=message):
        macro_auc(outputs, labels)


@pytest.mark.parametrize(("metric", "expected"), [("auc", 0.5), ("balanced_accuracy", 1 / 3), ("accuracy", 0.6)])
def test_chance_level_is_what_a_guesser_scores(metric, expected):
    assert chance_level(metric, (0.6, 0.3, 0.1)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "shares", "message"),
    [
        ("balanced_acuracy", (0.5, 0.5), "did you mean 'balanced_accuracy'"),
        ("loss", (0.5, 0.5), "choose one of auc"),
        ("auc", (0.5, 0.6), "sum to 1"),
        ("auc", (1.5, -0.5), "non-negative"),
        ("auc", (1.0,), "at least two"),
        ("auc", (float("nan"), 0.5), "sum to 1"),
    ],
)
def test_chance_level_refuses(metric, shares, message):
    with pytest.raises(MetaGDError, match=message):
        chance_level(metric, shares)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("score", [1.0, 1.0 + 1e-12])
def test_a_perfect_score_has_no_error_even_a_rounding_above_1(metric, score):
    assert standard_error(metric, score, (50, 50)) == 0.0
