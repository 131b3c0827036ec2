"""Statistics of batch normalisation at the weights that a model has."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError, MetaGDWarning
from metagd_optuna.training.network import Variables

# Images a batch, and batches for one evaluation among many; docs/benchmarks.md says what more of them would change.
BATCH, BATCHES = 128, 2
_UNTOUCHED = 2.0**15  # no mean of what a layer is given comes near it, and every dtype holds it


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """Where the moving statistics of a network lie among its float state, laid end to end.

    Args:
        means, variances: their places, int32 (C,), C channels in all.
        momentum: of the layer that each belongs to, float32 (C,).
    """

    means: npt.NDArray[np.int32]
    variances: npt.NDArray[np.int32]
    momentum: npt.NDArray[np.float32]

    @classmethod
    def of(cls, model: keras.Model) -> BatchStatistics | None:
        """Return those that training moves; None where there are none."""
        places: dict[int, npt.NDArray[np.int32]] = {}
        begin = 0
        for variable in Variables.of(model).state:
            size = int(np.prod(variable.shape, dtype=int))
            places[id(variable)] = np.arange(begin, begin + size, dtype=np.int32)
            begin += size
        layers = [layer for layer in batch_norm_layers(model) if layer.momentum < 1]
        if not layers:
            return None
        return cls(
            np.concatenate([places[id(layer.moving_mean)] for layer in layers]),
            np.concatenate([places[id(layer.moving_variance)] for layer in layers]),
            np.concatenate([np.full(layer.moving_mean.shape, layer.momentum, np.float32) for layer in layers]),
        )


def batch_norm_layers(model: keras.Model) -> list[Any]:
    """Return the layers of batch normalisation that take statistics while the model trains."""
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def mixed_rows(count: int) -> npt.NDArray[np.int64]:
    """Return the rows of a data set in an order that is mixed, so that no batch is of one class."""
    return np.random.default_rng(0).permutation(count)


def recalibrate_batch_norm(
    model: keras.Model, data: Any, *, batch_size: int = BATCH, batches: int | None = None
) -> None:
    r"""Set the moving statistics of batch normalisation to those of ``data`` at the weights that the model has.

    While a network trains, Keras keeps a moving average of the mean and the variance of every batch. They are those of
    the network that trains; an average of weights, such as ScheduleFreeAdamW's, sees its images otherwise. With batches
    of :math:`n_b` images of mean :math:`\mu_b` and variance :math:`\sigma_b^2`,

    .. math:: \mu = \sum_b n_b \mu_b / N, \quad \sigma^2 = \sum_b n_b (\sigma_b^2 + \mu_b^2) / N - \mu^2.

    Nothing else of the model changes. Layers that are frozen keep their statistics. A network without batch
    normalisation stays as it is.

    Args:
        model: built. One forward pass over the data is made, batch by batch as in training, dropout included.
        data: training images in any order, an array of shape (n, ...) or what the model takes in its place (a list or
            dict of arrays), also as the tuple (images, labels); or batches of that: a ``tf.data.Dataset``, a
            ``keras.utils.PyDataset`` or another iterable that ends. A few thousand images are enough.
        batch_size: images a batch, for arrays. The larger, the nearer to what the whole set would give.
        batches: the most that are taken; None for all.

    Raises:
        MetaGDError: for data without an image, a batch size below 2, or no batch.

    Source: Izmailov et al. 2018, arXiv 1803.05407, section 3.2; Defazio et al. 2024, arXiv 2405.15682, advise it too.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 2:
        raise MetaGDError(f"batch_size={batch_size!r} must be a whole number of at least 2")
    if batches is not None and (isinstance(batches, bool) or not isinstance(batches, int) or batches < 1):
        raise MetaGDError(f"batches={batches!r} must be a whole number of at least 1, or None for all")
    layers = batch_norm_layers(model)
    if not layers:
        return
    if not model.built or not all(layer.built for layer in layers):
        raise MetaGDError(
            "the model is not built and has no weights; begin it with keras.Input(shape), or train it first"
        )
    to_numpy = keras.ops.convert_to_numpy
    kept = [np.array(to_numpy(variable)) for variable in model.variables]
    momenta = [layer.momentum for layer in layers]
    sums = [(np.zeros(layer.moving_mean.shape), np.zeros(layer.moving_mean.shape)) for layer in layers]
    seen = [0] * len(layers)
    images = 0
    try:
        for layer in layers:
            layer.momentum = 0.0  # the moving statistics are then those of the last batch
        for batch in islice(_batches(data, batch_size), batches):
            count = len(keras.tree.flatten(batch)[0])
            for layer in layers:
                layer.moving_mean.assign(np.full(layer.moving_mean.shape, _UNTOUCHED))
            model(batch, training=True)
            images += count
            for number, layer in enumerate(layers):
                moving = layer.moving_mean, layer.moving_variance
                mean, variance = (np.asarray(to_numpy(variable), np.float64) for variable in moving)
                if np.any(mean > _UNTOUCHED / 2):
                    continue  # called as if not training, or compiled with the momentum that it had
                sums[number] = sums[number][0] + count * mean, sums[number][1] + count * (variance + mean**2)
                seen[number] += count
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        # Random generators too, and what layers set while they train, such as kernels under spectral normalisation.
        for variable, value in zip(model.variables, kept, strict=True):
            variable.assign(value)
    if images == 0:
        raise MetaGDError("there is no image to take the statistics of batch normalisation from; pass training images")
    if not any(seen):
        warnings.warn(
            "no layer of batch normalisation takes statistics where the model is called to train (it is called "
            "with training=False, or under tf.function), so all of them keep those that they had",
            MetaGDWarning,
            stacklevel=2,
        )
    for layer, (first, second), count in zip(layers, sums, seen, strict=True):
        if count:
            layer.moving_mean.assign(first / count)
            layer.moving_variance.assign(np.maximum(second / count - (first / count) ** 2, 0.0))


def _batches(data: Any, batch_size: int) -> Iterator[Any]:
    """Yield batches of images, those of arrays in an order that is mixed, so that no batch is of one class."""
    data = data[0] if isinstance(data, tuple) and data else data  # (images, labels)
    leaves = keras.tree.flatten(data) if isinstance(data, np.ndarray | list | dict) or _is_tensor(data) else []
    if leaves and all(isinstance(leaf, np.ndarray) or _is_tensor(leaf) for leaf in leaves):
        arrays = keras.tree.map_structure(keras.ops.convert_to_numpy, data)
        count = len(keras.tree.flatten(arrays)[0])
        order = mixed_rows(count)
        for begin in range(0, count, batch_size):
            rows = order[begin : begin + batch_size]
            yield keras.tree.map_structure(lambda array, rows=rows: array[rows], arrays)
        return
    if isinstance(data, keras.utils.PyDataset):
        batches: Iterable[Any] = map(data.__getitem__, range(len(data)))
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        batches = data
    else:
        raise MetaGDError(
            f"data is a {type(data).__name__}; pass training images as an array, or batches of them as a dataset"
        )
    for batch in batches:
        yield batch[0] if isinstance(batch, tuple) else batch


def _is_tensor(value: Any) -> bool:
    return bool(keras.ops.is_tensor(value))
