"""What trains where the user names no network: the article's CNN on images, a small MLP on rows of a table."""

from __future__ import annotations

import keras
import numpy as np

from metagd_optuna.training.cnn import article_cnn

HIDDEN = (128, 128)


def default_network(input_shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
    """Return the network for images (height, width, channels), or for rows (features,), ending in logits.

    Args:
        input_shape: of one case.
        classes: K, at least 2.
        seed: fixes every initial weight.
    """
    if len(input_shape) == 3:
        height, width, channels = input_shape
        return article_cnn((height, width, channels), classes, seed=seed)
    return table_mlp(input_shape, classes, seed=seed)


def table_mlp(input_shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
    """Return a multi-layer perceptron with two hidden layers of 128 (ReLU), ending in logits.

    Args:
        input_shape: (features,).
        classes: K, at least 2.
        seed: fixes every initial weight.
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(len(HIDDEN) + 1))

    def dense(units: int, activation: str | None = None) -> keras.layers.Layer:
        start = keras.initializers.GlorotUniform(seed=int(next(seeds) >> 1))
        return keras.layers.Dense(units, activation=activation, kernel_initializer=start)

    hidden = [dense(units, "relu") for units in HIDDEN]
    return keras.Sequential([keras.layers.Input(input_shape), *hidden, dense(classes)], name="table_mlp")
