"""Any Keras model in the same fast loop, one member at a time."""

from __future__ import annotations

from threading import Lock

import keras
import tensorflow as tf

from metagd_optuna.training.network import Tensor, Variables, split_values


class SingleNetwork:
    """The forward pass of any built Keras model for one set of weights.

    Args:
        model: a built classifier.
    """

    most_members: int | None = 1

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._variables = Variables.of(model)
        # Keras keeps the losses of a call on the layers, where lanes that trace two programs at once would mix them.
        self._tracing = Lock()

    def logits(
        self, weights: Tensor, state: Tensor, noise: tuple[Tensor, ...], images: Tensor, *, training: bool
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Return logits (1, N, K), penalties (1,), and what follows ``state`` and ``noise``; see ``Network``."""
        parts = self._variables
        values = {key: value[0] for key, value in split_values(parts.weights, weights).items()}
        values |= {key: value[0] for key, value in split_values(parts.state, state).items()}
        values |= {id(variable): value for variable, value in zip(parts.noise, noise, strict=True)}
        fixed = self._model.non_trainable_variables
        with self._tracing:
            logits, after, losses = self._model.stateless_call(
                [values[id(variable)] for variable in self._model.trainable_variables],
                [values[id(variable)] for variable in fixed],
                images,
                training=training,
                return_losses=True,
            )
        following = {id(variable): value for variable, value in zip(fixed, after, strict=True)}
        states = [tf.reshape(following[id(v)], (1, v.value.shape.num_elements())) for v in parts.state]
        return (
            logits[None],
            tf.reshape(tf.add_n(losses) if losses else 0.0, (1,)),
            tf.concat(states, axis=1) if states else state,
            tuple(following[id(variable)] for variable in parts.noise),
        )
