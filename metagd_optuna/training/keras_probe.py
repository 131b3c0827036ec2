"""Probes of the coming step in ``fit``: the same numbers as the engine's, on whatever backend Keras runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from metagd_optuna.contracts import MetaGDError, Probe
from metagd_optuna.training.probing import probe_of, probe_rows

Tensors = list[Any]


class KerasProbe:
    """Probes the coming step of a model that ``fit`` trains, and changes nothing of it.

    Loss, gradient and step are one function, compiled once. The model is called in a ``keras.StatelessScope``. On JAX
    the optimizer takes its steps by ``stateless_apply``, which TensorFlow has not: there it takes them, and all that it
    changed is put back, in the same graph.

    Args:
        model: compiled; its trainable variables at this moment are what distances are measured from.
        images, labels: of training, as ``fit`` gets them, (n, ...) and (n,) or (n, K); up to 32 of them are used.
        class_weight: as ``fit`` gets it, class number to weight; None weighs all alike.

    Raises:
        MetaGDError: for fewer than two images, or another number of labels; for a model without weights, or with some
            of 16 bits; for an optimizer whose steps are scaled, put together of several batches, or on several devices.
    """

    def __init__(
        self, model: keras.Model, images: Any, labels: Any, class_weight: Mapping[int, float] | None = None
    ) -> None:
        count = len(images)
        if count != len(labels) or count < 2:
            raise MetaGDError(
                f"probe has {count} images and {len(labels)} labels; give two or more training images with a label "
                "each, probe=(x, y)"
            )
        _check(model)
        rows = probe_rows(count)
        wanted = np.asarray(labels)[rows]
        self._images = keras.ops.convert_to_tensor(np.asarray(images)[rows])
        self._labels = keras.ops.convert_to_tensor(wanted)
        self._shares = keras.ops.convert_to_tensor(_weights_of(wanted, class_weight))
        self._model = model
        self._origin = _values(model.trainable_variables)
        self._measure: Any = None

    def __call__(self, rates: Sequence[float]) -> Probe:
        """Return what the coming step would do at these rates."""
        model, optimizer = self._model, _inner(self._model)
        if self._measure is None:
            if not optimizer.built:
                optimizer.build(model.trainable_variables)
            self._measure = _compiled(self._measured)
        found = self._measure(
            _values(model.trainable_variables),
            _values(model.non_trainable_variables),
            _values(optimizer.variables),
            self._origin,
            self._images,
            self._labels,
            self._shares,
            keras.ops.convert_to_tensor(np.array([0.0, *rates], np.float32)),
        )
        loss, losses, *lengths = (np.asarray(keras.ops.convert_to_numpy(each)) for each in found)
        return probe_of(tuple(rates), loss, losses, *lengths)

    def _measured(
        self,
        weights: Tensors,
        others: Tensors,
        slots: Tensors,
        origin: Tensors,
        images: Any,
        labels: Any,
        shares: Any,
        rates: Any,
    ) -> tuple[Any, ...]:
        """Return the fields of ``Probe`` but for its rates; ``rates`` begins with 0."""
        ops, half = keras.ops, images.shape[0] // 2

        def loss(weights: Tensors, images: Any, labels: Any, shares: Any) -> Any:
            values = zip(self._model.trainable_variables, weights, strict=True)
            rest = zip(self._model.non_trainable_variables, others, strict=True)
            with keras.StatelessScope(state_mapping=[*values, *rest], collect_losses=True):
                answers = self._model(images, training=True)
                return self._model.compute_loss(x=images, y=labels, y_pred=answers, sample_weight=shares, training=True)

        gradients_of = _gradients_of(loss)
        one = gradients_of(weights, images[:half], labels[:half], shares[:half])
        other = gradients_of(weights, images[half:], labels[half:], shares[half:])
        gradient = [(first + second) / 2 for first, second in zip(one, other, strict=True)]

        def behind(rate: Any) -> Tensors:
            return _stepped(_inner(self._model), slots, gradient, self._model.trainable_variables, weights, rate)

        still, first = behind(rates[0]), behind(rates[1])
        direction = [(a - b) / rates[1] for a, b in zip(still, first, strict=True)]
        losses = [loss(behind(rates[i]), images, labels, shares) for i in range(rates.shape[0])]
        return (
            losses[0],
            ops.stack(losses[1:]),
            _length(gradient),
            _length(direction),
            _dot(gradient, direction),
            ops.divide_no_nan(_dot(one, other), _length(one) * _length(other)),
            _length([a - b for a, b in zip(weights, origin, strict=True)]),
        )


def _check(model: keras.Model) -> None:
    """Refuse what cannot be probed as ``fit`` trains it."""
    optimizer = _inner(model)
    strategy = getattr(optimizer, "_distribution_strategy", None)
    several = getattr(strategy, "num_replicas_in_sync", 1) > 1
    if optimizer.gradient_accumulation_steps or optimizer.loss_scale_factor or several:
        raise MetaGDError(
            "this policy has the coming step probed, and this training scales its steps, puts them together of several "
            "batches, or takes them on several devices; leave gradient_accumulation_steps, loss_scale_factor and "
            "tf.distribute out, or take another policy"
        )
    if not model.trainable_variables:
        raise MetaGDError(
            "the model has no weights before its first step, and this policy has the coming step probed; begin it with "
            "keras.Input(shape), or call model.build(shape) before fit()"
        )
    short = sorted({each.dtype for each in model.trainable_variables} - {"float32", "float64"})
    if short:
        raise MetaGDError(
            f"the model's weights are {', '.join(short)}, in which a small step cannot be told from none, and this "
            "policy has the coming step probed; keep weights in float32, as mixed precision does"
        )


def _weights_of(labels: Any, class_weight: Mapping[int, float] | None) -> Any:
    """Return what every image counts, shape (n,)."""
    if class_weight is None:
        return np.ones(len(labels), np.float32)
    several = labels.ndim > 1 and labels.shape[-1] > 1
    classes = labels.argmax(axis=-1) if several else labels.reshape(-1)
    return np.array([class_weight.get(int(each), 1.0) for each in classes], np.float32)


def _inner(model: keras.Model) -> Any:
    """Return the optimizer that holds the rate; a mixed-precision wrapper only scales the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def _stepped(
    optimizer: Any, slots: Tensors, gradient: Tensors, variables: Sequence[Any], weights: Tensors, rate: Any
) -> Tensors:
    """Return the weights behind a step at a rate, and leave everything as it is."""
    place = next(i for i, each in enumerate(optimizer.variables) if each is optimizer._learning_rate)
    if keras.backend.backend() == "jax":
        held = [keras.ops.cast(rate, each.dtype) if i == place else each for i, each in enumerate(slots)]
        stepped: Tensors = optimizer.stateless_apply(held, gradient, weights)[0]
        return stepped
    optimizer.variables[place].assign(rate)
    optimizer.apply(gradient, variables)
    stepped = [keras.ops.copy(variable.value) for variable in variables]
    for variable, value in zip((*optimizer.variables, *variables), (*slots, *weights), strict=True):
        variable.assign(value)
    return stepped


def _values(variables: Sequence[Any]) -> Tensors:
    """Return copies of what variables hold: on TensorFlow a value is the variable itself."""
    return [keras.ops.copy(variable.value) for variable in variables]


def _dot(one: Tensors, other: Tensors) -> Any:
    return sum(keras.ops.sum(a * b) for a, b in zip(one, other, strict=True))


def _length(vectors: Tensors) -> Any:
    return keras.ops.sqrt(_dot(vectors, vectors))


def _gradients_of(loss: Callable[..., Any]) -> Callable[..., Tensors]:
    """Return the gradient of ``loss(weights, ...)`` in the weights, by the backend's own means."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(loss)
    import tensorflow as tf

    def gradients(weights: Tensors, *rest: Any) -> Tensors:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            found = loss(weights, *rest)
        held = tape.gradient(found, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(each) for each in held]  # an embedding's are slices

    return gradients


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if keras.backend.backend() == "jax":
        import jax

        compiled: Callable[..., Any] = jax.jit(function)
        return compiled
    import tensorflow as tf

    compiled = tf.function(function, autograph=False)
    return compiled
