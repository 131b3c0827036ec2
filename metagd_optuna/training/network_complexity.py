"""Properties of a network that a rule for the rate may depend on, measured on the model that trains."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import keras

from metagd_optuna.policy.complexities import BATCH_NORM
from metagd_optuna.training.batch_norm import batch_norm_layers

_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def network_complexity(model: keras.Model) -> dict[str, float]:
    """Return every property of a built model by its name in ``policy.complexities``, each in [0, 1]."""
    return {BATCH_NORM: normalised_share(model)}


def normalised_share(model: keras.Model) -> float:
    r"""Return the share of the hidden channels that train which batch normalisation normalises.

    .. math:: s = \min\Bigl(1, \sum_b C_b \Big/ \sum_k C_k\Bigr)

    over layers b of batch normalisation that train, with :math:`C_b` channels, and over kernels k that train, with
    :math:`C_k` output channels, all but the last. It is 0 for a network without either.

    Args:
        model: built.
    """
    kernels = [_outputs(variable) for layer in model._flatten_layers() for variable in _kernels(layer)]
    normalised = sum(int(layer.moving_mean.shape[0]) for layer in batch_norm_layers(model))
    hidden = sum(kernels[:-1])
    return min(1.0, normalised / hidden) if hidden else 0.0


def _kernels(layer: keras.Layer) -> Iterable[keras.Variable]:
    own = (getattr(layer, name, None) for name in _KERNELS)
    return [variable for variable in own if isinstance(variable, keras.Variable) and variable.trainable]


def _outputs(kernel: keras.Variable) -> int:
    """Return how many channels a kernel makes; that of a depthwise convolution some of every channel."""
    size = prod(kernel.shape[-2:]) if kernel.path.endswith("depthwise_kernel") else kernel.shape[-1]
    return int(size)
