"""Scores of a classifier from its outputs, for any number of population members at once.

Outputs have shape (..., N, K): leading axes are members, N examples, K classes. Every score has the shape of
the leading axes; a member with an output that is not finite scores ``nan`` and leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import FloatArray, MetaGDError
from metagd_optuna.given import nearest

METRICS = ("auc", "balanced_accuracy", "accuracy")


def macro_auc(probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, from_logits: bool = False) -> FloatArray:
    r"""Macro one-vs-rest area under the ROC curve; a tie counts one half.

    For class k with :math:`n_k` positives of mean rank :math:`\bar r_k` among all N scores of that class,

    .. math:: \mathrm{AUC}_k = \frac{\bar r_k - (n_k + 1)/2}{N - n_k}

    and the result is the plain mean over classes. For K = 2 it is the AUC of class 1, ranked by the difference
    of the two columns, so that logits and probabilities give the same value. A class that no label or every
    label belongs to has no AUC and is left out of the mean.

    Args:
        probabilities: softmax probabilities, shape (..., N, K); with ``from_logits``, logits.
        labels: class of every example, integers in [0, K), shape (N,).
        from_logits: whether the first argument holds logits. They are ranked by their log-softmax, which keeps
            apart small probabilities that a softmax would round to the same 0.

    Returns:
        Scores in [0, 1], the shape of the leading axes; ``nan`` for members whose outputs are not finite.

    Raises:
        MetaGDError: if shapes or labels do not fit, if no class has both kinds of examples, or if K > 2 and the
            rows are not probabilities.

    Source: Hanley and McNeil (1982), Radiology 143, 29-36 (the rank form); Hand and Till (2001) for the macro mean.

    >>> float(macro_auc([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]], [0, 0, 1, 1]))
    0.75
    """
    outputs, classes, finite = _checked(probabilities, labels)
    if outputs.shape[-1] == 2:
        columns = (outputs[..., 1] - outputs[..., 0])[..., np.newaxis, :]
        candidates = np.array([1])
    else:
        if from_logits:
            outputs = _log_softmax(outputs)
        else:
            _require_probabilities(outputs, finite)
        columns = np.swapaxes(outputs, -1, -2)
        candidates = np.arange(outputs.shape[-1])

    examples = len(classes)
    positives = np.bincount(classes, minlength=outputs.shape[-1])[candidates]
    kept = (positives > 0) & (positives < examples)
    if not kept.any():
        raise MetaGDError(
            f"the labels hold only class {int(classes[0])}; an AUC needs examples of at least two classes, "
            "so use a larger or a stratified validation part"
        )
    columns, candidates, positives = columns[..., kept, :], candidates[kept], positives[kept]

    order = np.argsort(columns, axis=-1)
    ranks = _mean_ranks(np.take_along_axis(columns, order, axis=-1))
    rank_sums = np.sum(ranks, axis=-1, where=classes[order] == candidates[:, np.newaxis])
    per_class = (rank_sums / positives - (positives + 1) / 2) / (examples - positives)
    return np.where(finite, per_class.mean(axis=-1), np.nan)


def balanced_accuracy(logits: npt.ArrayLike, labels: npt.ArrayLike) -> FloatArray:
    r"""Mean recall over the classes that occur among the labels.

    .. math:: \frac{1}{K} \sum_k \frac{\#\{i : \hat y_i = y_i = k\}}{\#\{i : y_i = k\}}

    Args:
        logits: logits or probabilities, shape (..., N, K); the largest of a row is its prediction.
        labels: class of every example, integers in [0, K), shape (N,).

    Returns:
        Scores in [0, 1], the shape of the leading axes; ``nan`` for members whose outputs are not finite.

    Raises:
        MetaGDError: if shapes or labels do not fit.

    >>> float(balanced_accuracy([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]], [0, 0, 1, 1]))
    0.75
    """
    outputs, classes, finite = _checked(logits, labels)
    hits = outputs.argmax(axis=-1) == classes
    present = np.unique(classes)
    # One recall after the other, so that a score does not depend on how many members there are, and a perfect one is 1.
    recalls = sum(hits[..., classes == k].mean(axis=-1) for k in present)
    return np.where(finite, recalls / len(present), np.nan)


def accuracy(logits: npt.ArrayLike, labels: npt.ArrayLike) -> FloatArray:
    """Share of examples whose largest output is their class.

    Args:
        logits: logits or probabilities, shape (..., N, K).
        labels: class of every example, integers in [0, K), shape (N,).

    Returns:
        Scores in [0, 1], the shape of the leading axes; ``nan`` for members whose outputs are not finite.

    Raises:
        MetaGDError: if shapes or labels do not fit.

    >>> float(accuracy([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]], [0, 0, 0, 1]))
    1.0
    """
    outputs, classes, finite = _checked(logits, labels)
    return np.where(finite, (outputs.argmax(axis=-1) == classes).mean(axis=-1), np.nan)


def cross_entropy(logits: npt.ArrayLike, labels: npt.ArrayLike) -> FloatArray:
    r"""Mean cross-entropy :math:`\log \sum_k e^{z_k} - z_y`, in nats.

    Args:
        logits: logits, shape (..., N, K).
        labels: class of every example, integers in [0, K), shape (N,).

    Returns:
        Losses, the shape of the leading axes; ``nan`` for members whose outputs are not finite.

    Raises:
        MetaGDError: if shapes or labels do not fit.

    >>> round(float(cross_entropy([[0.0, 0.0]], [1])), 4)
    0.6931
    """
    outputs, classes, finite = _checked(logits, labels)
    own = _log_softmax(outputs)[..., np.arange(len(classes)), classes]
    return np.where(finite, -own.mean(axis=-1), np.nan)


def chance_level(metric: str, class_frequencies: Sequence[float]) -> float:
    """Value of a metric for a network at chance level that knows nothing but the class frequencies.

    1/2 for ``auc``, 1/K for ``balanced_accuracy``, the largest share for ``accuracy``.

    Args:
        metric: one of ``METRICS``.
        class_frequencies: share of every class, shape (K,), K >= 2, summing to 1.

    Raises:
        MetaGDError: for another metric, or shares that are not shares.

    >>> chance_level("balanced_accuracy", (0.5, 0.25, 0.125, 0.125))
    0.25
    """
    if metric not in METRICS:
        near = nearest(metric, METRICS)
        hint = f"; did you mean {near!r}?" if near else ""
        raise MetaGDError(f"metric {metric!r} has no chance level; choose one of {', '.join(METRICS)}{hint}")
    shares = np.asarray(class_frequencies, dtype=np.float64)
    if shares.ndim != 1 or len(shares) < 2 or not np.all(shares >= 0) or abs(shares.sum() - 1) > 1e-6:
        raise MetaGDError(
            f"class_frequencies={list(class_frequencies)} are not shares; pass at least two non-negative numbers that "
            "sum to 1"
        )
    if metric == "auc":
        return 0.5
    return 1.0 / len(shares) if metric == "balanced_accuracy" else float(shares.max())


def standard_error(metric: str, score: float, class_counts: Sequence[int]) -> float:
    r"""How far a score would move, as a standard deviation, if other cases of the same kind had been measured.

    For ``auc``, with A the score and each class with :math:`n_1` cases against the :math:`n_0` others,

    .. math:: \mathrm{SE}^2 = \frac{A(1 - A) + (n_1 - 1)(Q_1 - A^2) + (n_0 - 1)(Q_2 - A^2)}{n_1 n_0},
        \quad Q_1 = \frac{A}{2 - A}, \quad Q_2 = \frac{2 A^2}{1 + A}

    and of several classes the root mean square over the square root of K, as if they were measured apart.
    For ``balanced_accuracy`` each recall, and for ``accuracy`` the share of hits, is a binomial share.

    Args:
        metric: one of ``METRICS``.
        score: in [0, 1].
        class_counts: measured cases of every class, shape (K,); a class without any is left out.

    Raises:
        MetaGDError: for another metric, or fewer than two classes with cases.

    Source: Hanley and McNeil (1982), Radiology 143, 29-36.

    >>> round(standard_error("auc", 0.5, (50, 50)), 3), standard_error("accuracy", 0.5, (50, 50))
    (0.058, 0.05)
    """
    if metric not in METRICS:
        raise MetaGDError(f"metric {metric!r} has no standard error; choose one of {', '.join(METRICS)}")
    counts = np.array([count for count in class_counts if count > 0], dtype=np.float64)
    if len(counts) < 2:
        raise MetaGDError(f"class_counts={list(class_counts)}; pass those of at least two classes that have cases")
    score = min(max(score, 0.0), 1.0)  # a balanced accuracy may be a rounding above 1
    if metric == "accuracy":
        return float(np.sqrt(score * (1 - score) / counts.sum()))
    if metric == "balanced_accuracy":
        return float(np.sqrt(np.sum(score * (1 - score) / counts)) / len(counts))
    ours, others = counts, counts.sum() - counts
    first, second = score / (2 - score), 2 * score**2 / (1 + score)
    variances = score * (1 - score) + (ours - 1) * (first - score**2) + (others - 1) * (second - score**2)
    # Of two classes both have the same curve.
    apart = 1 if len(counts) == 2 else len(counts)
    return float(np.sqrt(np.mean(variances / (ours * others)) / apart))


def _checked(outputs: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.int64], Any]:
    """Return outputs (members that are not finite zeroed), labels, and which members are finite."""
    values = np.asarray(outputs, dtype=np.float64)
    classes = np.asarray(labels)
    if values.ndim < 2 or values.shape[-1] < 2 or classes.shape != (values.shape[-2],) or len(classes) == 0:
        raise MetaGDError(
            f"outputs of shape {values.shape} do not fit labels of shape {classes.shape}; pass outputs (..., N, K) "
            "with K >= 2 and labels (N,) with N >= 1"
        )
    if not np.issubdtype(classes.dtype, np.integer):
        raise MetaGDError(f"labels of type {classes.dtype} are not class numbers; pass integers in [0, K)")
    if classes.min() < 0 or classes.max() >= values.shape[-1]:
        raise MetaGDError(
            f"labels from {classes.min()} to {classes.max()} do not fit {values.shape[-1]} classes; "
            f"pass integers from 0 to {values.shape[-1] - 1}"
        )
    finite = np.asarray(np.isfinite(values).all(axis=(-2, -1)))
    if not finite.all():
        values = np.where(finite[..., np.newaxis, np.newaxis], values, 0.0)
    return values, classes.astype(np.int64, copy=False), finite


def _require_probabilities(outputs: FloatArray, finite: Any) -> None:
    sums_to_one = np.abs(outputs.sum(axis=-1) - 1.0).max(axis=-1) < 1e-3
    in_range = (outputs.min(axis=(-2, -1)) >= 0.0) & (outputs.max(axis=(-2, -1)) <= 1.0 + 1e-6)
    if not np.all((sums_to_one & in_range) | ~finite):
        raise MetaGDError(
            "the rows are not probabilities (from 0 to 1, summing to 1), and with more than two classes the AUC of "
            "logits is another number; pass softmax outputs, or from_logits=True"
        )


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _mean_ranks(ordered: FloatArray) -> FloatArray:
    """Ranks from 1 along the last axis of sorted values; tied values share the mean of their ranks."""
    count = ordered.shape[-1]
    changes = ordered[..., 1:] != ordered[..., :-1]
    positions = np.arange(count)
    first = np.zeros(ordered.shape, dtype=np.int64)
    np.multiply(changes, positions[1:], out=first[..., 1:])
    np.maximum.accumulate(first, axis=-1, out=first)
    last = np.full(ordered.shape, count - 1)
    np.copyto(last[..., :-1], positions[:-1], where=changes)
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray((first + last) / 2 + 1)
