"""Which of Keras' backends the callback and the optimizer work on."""

from __future__ import annotations

import keras

from metagd_optuna.contracts import MetaGDError

BACKENDS = ("tensorflow", "jax")


def check_backend() -> None:
    """Refuse a backend that callback and optimizer were never run on.

    Raises:
        MetaGDError: if Keras runs on another one than TensorFlow or JAX.
    """
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise MetaGDError(
            f"Keras runs on {backend} here, and the callback and ScheduleFreeAdamW work on {' and '.join(BACKENDS)}: "
            "set the environment variable KERAS_BACKEND to one of them before keras is imported"
        )
