"""The article's convolutional network."""

from __future__ import annotations

import keras
import numpy as np

from metagd_optuna.contracts import MetaGDError

SMALLEST_SIDE = 8
# Two rounds of (3x3 convolution, 2x2 pooling) and a last 3x3 convolution without padding:
# 18 -> 16 -> 8 -> 6 -> 3 -> 1 is the smallest side that leaves a pixel.
SMALLEST_UNPADDED_SIDE = 18


def article_cnn(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> keras.Sequential:
    """Return the article's network, ending in logits, with weights drawn from ``seed``.

    Conv 32, max-pool 2, conv 64, max-pool 2, conv 64 (3x3, relu), flatten, dense 64 relu, dense K.
    Images with a side under 18 pixels are padded ("same"), because the unpadded network has nothing left of them.

    Args:
        input_shape: height, width, channels; height and width at least 8.
        classes: K, at least 2.
        seed: fixes every initial weight.

    Raises:
        MetaGDError: if the images are too small or there are fewer than two classes.

    Source: the article's example; logits instead of its softmax, because its loss asks for logits.
    """
    height, width, _ = input_shape
    if min(height, width) < SMALLEST_SIDE:
        raise MetaGDError(
            f"images of {height} x {width} pixels are too small for the CNN: it needs at least {SMALLEST_SIDE} x "
            f"{SMALLEST_SIDE}; enlarge them first"
        )
    if classes < 2:
        raise MetaGDError(f"a classifier needs at least 2 classes, not {classes}")
    padding = "valid" if min(height, width) >= SMALLEST_UNPADDED_SIDE else "same"
    seeds = iter(np.random.SeedSequence(seed).generate_state(5))

    def initializer() -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=int(next(seeds) >> 1))

    def conv(filters: int) -> keras.layers.Layer:
        return keras.layers.Conv2D(filters, 3, activation="relu", padding=padding, kernel_initializer=initializer())

    return keras.Sequential(
        [
            keras.layers.Input(input_shape),
            conv(32),
            keras.layers.MaxPooling2D(2, padding=padding),
            conv(64),
            keras.layers.MaxPooling2D(2, padding=padding),
            conv(64),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu", kernel_initializer=initializer()),
            keras.layers.Dense(classes, kernel_initializer=initializer()),
        ],
        name="article_cnn",
    )
