"""Complexity c of a task in [0, 1], measured on its training part before any training."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, nearest
from metagd_optuna.tasks.stratify import stratified_part
from metagd_optuna.tasks.validation import as_array, check_contiguous, check_labels

COMPLEXITY_METHODS = ("knn", "linear-probe", "constant")
COMPONENTS = 50
LARGEST_SAMPLE = 5000
FOLDS = 5
SAMPLE_SEED = 0
SMALLEST_DEVIATION = 1e-5


def measure_complexity(images: npt.ArrayLike, labels: npt.ArrayLike, method: str = "knn") -> float:
    r"""Complexity of telling the classes apart: 0 is trivial, 1 is chance level.

    Balanced error over its chance level, with K classes of n_k images,

    .. math:: c = \mathrm{clip}\left(\frac{1}{1 - 1/K}\,\frac{1}{K}\sum_k \frac{\text{wrong}_k}{n_k}, 0, 1\right),

    where 1 - 1/K is the balanced error at chance level, however unbalanced the classes are. The error is
    measured on 50 principal components: for ``knn``, that of the nearest other image; for ``linear-probe``,
    that of a class-weighted logistic regression over five stratified folds. ``constant`` is always 0.5.

    Deterministic. More than 5,000 images are represented by a stratified sample of 5,000. Identical
    images have complexity 1.

    Args:
        images: training images, shape (n, h, w), (n, h, w, c) or (n, features); any real dtype, finite.
        labels: class indices 0 to K-1, shape (n,) or (n, 1); every class occurs.
        method: one of ``COMPLEXITY_METHODS``.

    Raises:
        MetaGDError: for an unknown method, or arrays that break these rules; ``linear-probe`` needs two
            images of every class.

    >>> two_blobs = np.repeat([[0.0, 0.0], [9.0, 9.0]], 4, axis=0) + np.arange(8)[:, None] / 10
    >>> measure_complexity(two_blobs, [0, 0, 0, 0, 1, 1, 1, 1])
    0.0
    """
    from threadpoolctl import threadpool_limits

    if not isinstance(method, str) or method not in COMPLEXITY_METHODS:
        near = nearest(method, COMPLEXITY_METHODS) if isinstance(method, str) else None
        guess = f"; did you mean {near!r}?" if near else ""
        raise MetaGDError(
            f"unknown complexity method {as_given(method)}; allowed are {', '.join(COMPLEXITY_METHODS)}{guess}"
        )
    classes = check_labels(labels, "labels")
    class_count = check_contiguous(classes, "labels")
    features = _features(images, len(classes))
    if method == "constant":
        return 0.5
    rows = stratified_part(classes, LARGEST_SAMPLE, seed=SAMPLE_SEED)
    classes = classes[rows]
    features = _centred(features[rows])
    if not features.any():
        return 1.0
    predict = _neighbour_labels if method == "knn" else _probe_labels
    # one thread: the sums then have one order on every machine, and small problems are faster for it
    with threadpool_limits(limits=1):
        predicted = predict(_principal_components(features), classes)
    counts = np.bincount(classes, minlength=class_count)
    wrong = np.bincount(classes, weights=predicted != classes, minlength=class_count)
    return float(np.clip(np.mean(wrong / counts) / (1.0 - 1.0 / class_count), 0.0, 1.0))


def class_frequencies(labels: npt.ArrayLike) -> tuple[float, ...]:
    """Share of every class among the labels, shape (K,), summing to 1.

    Args:
        labels: class indices 0 to K-1, shape (n,) or (n, 1); every class occurs.

    Raises:
        MetaGDError: for labels that are not such indices.

    >>> class_frequencies([0, 1, 1, 1])
    (0.25, 0.75)
    """
    classes = check_labels(labels, "labels")
    check_contiguous(classes, "labels")
    return tuple(float(count) / len(classes) for count in np.bincount(classes))


def _features(images: npt.ArrayLike, expected: int) -> npt.NDArray[Any]:
    array = as_array(images, "images")
    if array.ndim not in (2, 3, 4) or array.dtype.kind not in "iufb":
        raise MetaGDError(
            f"images have shape {array.shape} and dtype {array.dtype}; allowed are real numbers of shape "
            "(n, h, w), (n, h, w, c) or (n, features)"
        )
    if len(array) != expected or array.size == 0:
        raise MetaGDError(
            f"images have shape {array.shape} and there are {expected} labels; give one label per image and "
            "at least one value per image"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise MetaGDError("images hold missing values (NaN or infinite); fill them or leave those images out")
    return array.reshape(len(array), -1)


def _centred(features: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return features (n, F) with means of 0 and a largest magnitude of 1, or zeros if all images are alike.

    One array of float64 is made, and worked on in place, because images may be gigabytes as such.
    """
    values = features.astype(np.float64)
    if np.all(values == values[0]):
        return np.zeros(values.shape, np.float32)
    # By a power of two, which rounds nothing: sums of the largest numbers there are would overflow.
    np.ldexp(values, -np.frexp(_magnitude(values))[1], out=values)
    values -= values.mean(axis=0)
    values /= _magnitude(values)
    return values.astype(np.float32)


def _magnitude(values: npt.NDArray[np.float64]) -> float:
    return float(max(values.max(), -values.min()))


def _principal_components(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, features.shape[0] - 1, features.shape[1])
    reduce = PCA(count, svd_solver="randomized", random_state=SAMPLE_SEED, copy=False)  # features are nobody else's
    return np.asarray(reduce.fit_transform(features))


def _neighbour_labels(components: npt.NDArray[np.float32], classes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    from sklearn.neighbors import NearestNeighbors

    # without an argument, kneighbors() leaves every point out of its own neighbours
    nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(components).kneighbors(return_distance=False)
    return np.asarray(classes[nearest[:, 0]])


def _probe_labels(components: npt.NDArray[np.float32], classes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    from sklearn.linear_model import LogisticRegression

    counts = np.bincount(classes)
    if counts.min() < 2:
        raise MetaGDError(
            f"linear-probe needs two images of every class; class {int(counts.argmin())} has one: use method='knn'"
        )
    # unit variance makes the regression converge in tens of steps; components of rounding noise stay out
    deviations = components.std(axis=0, dtype=np.float64)
    kept = deviations > SMALLEST_DEVIATION * deviations.max()
    scaled = components[:, kept] / deviations[kept]
    folds = _stratified_folds(classes)
    predicted = np.empty_like(classes)
    for fold in range(min(FOLDS, int(counts.max()))):
        held_out = folds == fold
        probe = LogisticRegression(class_weight="balanced", max_iter=2000)
        predicted[held_out] = probe.fit(scaled[~held_out], classes[~held_out]).predict(scaled[held_out])
    return predicted


def _stratified_folds(classes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Deal the members of every class over the folds; unlike scikit-learn's, fine with two members."""
    rng = np.random.default_rng(SAMPLE_SEED)
    folds = np.empty(len(classes), dtype=np.int64)
    for value in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == value))
        folds[members] = np.arange(len(members)) % FOLDS
    return folds
