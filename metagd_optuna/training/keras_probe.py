"""Probes of the coming step in ``fit``: the same numbers as the engine's, on whatever backend Keras runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError, Probe
from metagd_optuna.training.probing import probe_of, probe_rows
from metagd_optuna.training.schedule_free import ScheduleFreeAdamW

Tensors = list[Any]
Arrays = list[npt.NDArray[Any]]


class KerasProbe:
    """Probes the coming step of a model that ``fit`` trains, and changes nothing of it.

    The gradient is one compiled function, the loss another, of the model in a ``keras.StatelessScope``.
    ``ScheduleFreeAdamW`` says what its coming step is. Of other optimizers a step with the loss behind it is one
    compiled function: on JAX by ``stateless_apply``, which TensorFlow has not; there the optimizer takes the step, and
    all that it changed is put back, in the same graph.

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
        self._gradients, self._losses = _compiled(self._gradients_at), _compiled(self._loss)
        self._behind = _compiled(self._behind_at)

    def __call__(self, rates: Sequence[float]) -> Probe:
        """Return what the coming step would do at these rates."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by the losses
            return self._probed(rates)

    def _probed(self, rates: Sequence[float]) -> Probe:
        model, optimizer = self._model, _inner(self._model)
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        weights, others = _values(model.trainable_variables), _values(model.non_trainable_variables)
        slots, half = _values(optimizer.variables), self._images.shape[0] // 2
        examples = self._images, self._labels, self._shares
        one = _arrays(self._gradients(weights, others, *(each[:half] for each in examples)))
        other = _arrays(self._gradients(weights, others, *(each[half:] for each in examples)))
        gradient = [(first + second) / 2 for first, second in zip(one, other, strict=True)]

        # Each loss is a call of its own of one compiled function: all in one would take as long to compile as they are
        # many.
        if isinstance(optimizer, ScheduleFreeAdamW) and optimizer.is_plain:
            still, direction = optimizer.coming_step(gradient)
            tried = [[a - np.float32(rate) * b for a, b in zip(still, direction, strict=True)] for rate in rates]
            losses = _arrays([self._losses(each, others, *examples) for each in (still, *tried)])
        else:
            behind = [
                self._behind(weights, others, slots, gradient, *examples, np.float32(rate)) for rate in (0.0, *rates)
            ]
            losses = _arrays([loss for loss, _ in behind])
            still, first = (_arrays(stepped) for _, stepped in behind[:2])
            direction = [(a - b) / rates[0] for a, b in zip(still, first, strict=True)]
        lengths = _length(one) * _length(other)
        return probe_of(
            tuple(rates),
            loss=losses[0],
            losses=losses[1:],
            gradient=_length(gradient),
            direction=_length(direction),
            slope=_dot(gradient, direction),
            agreement=_dot(one, other) / lengths if lengths else 0.0,
            distance=_length([a - b for a, b in zip(weights, self._origin, strict=True)]),
        )

    def _loss(self, weights: Tensors, others: Tensors, images: Any, labels: Any, shares: Any) -> Any:
        values = zip(self._model.trainable_variables, weights, strict=True)
        rest = zip(self._model.non_trainable_variables, others, strict=True)
        with keras.StatelessScope(state_mapping=[*values, *rest], collect_losses=True):
            answers = self._model(images, training=True)
            return self._model.compute_loss(x=images, y=labels, y_pred=answers, sample_weight=shares, training=True)

    def _gradients_at(self, weights: Tensors, others: Tensors, images: Any, labels: Any, shares: Any) -> Tensors:
        return _gradients_of(self._loss)(weights, others, images, labels, shares)

    def _behind_at(
        self,
        weights: Tensors,
        others: Tensors,
        slots: Tensors,
        gradient: Tensors,
        images: Any,
        labels: Any,
        shares: Any,
        rate: Any,
    ) -> tuple[Any, Tensors]:
        """Return the loss behind a step at a rate, and the weights there."""
        stepped = _stepped(_inner(self._model), slots, gradient, self._model.trainable_variables, weights, rate)
        return self._loss(stepped, others, images, labels, shares), stepped


def opened_probe(
    model: keras.Model, given: tuple[Any, Any] | None, class_weight: Mapping[int, float] | None
) -> KerasProbe:
    """Return what probes the coming step of a model on training images and labels.

    Raises:
        MetaGDError: if none are given, or they or the model cannot be probed.
    """
    if given is None:
        raise MetaGDError(
            "this policy looks at what some training images say of the coming step, and fit() shows a callback none; "
            "give the callback probe=(x, y): 32 training images or more with their labels, as fit() gets them, and "
            "none of validation"
        )
    return KerasProbe(model, *given, class_weight)


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


def _values(variables: Sequence[Any]) -> Arrays:
    """Return copies of what variables hold: on TensorFlow a value is the variable itself."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


# In NumPy, because JAX compiles a program for every operation and shape that is not within one.
def _arrays(tensors: Tensors) -> Arrays:
    return [np.asarray(keras.ops.convert_to_numpy(each)) for each in tensors]


def _dot(one: Arrays, other: Arrays) -> float:
    return float(sum(np.vdot(a, b) for a, b in zip(one, other, strict=True)))


def _length(vectors: Arrays) -> float:
    return math.sqrt(_dot(vectors, vectors))


def _gradients_of(loss: Callable[..., Any]) -> Callable[..., Tensors]:
    """Return the gradient of ``loss(weights, ...)`` in the weights, by the backend's own means."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(loss)
    import tensorflow as tf

    def gradients(weights: Tensors, *rest: Any) -> Tensors:
        weights = [tf.convert_to_tensor(each) for each in weights]  # where functions are run eagerly, arrays come here
        with tf.GradientTape() as tape:
            tape.watch(weights)
            found = loss(weights, *rest)
        held = tape.gradient(found, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(each) for each in held]  # an embedding's are slices

    return gradients


# What runs a few dozen times on 32 images is not worth the compiler's best, which would take longer than all the runs.
_QUICK_TO_COMPILE = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_gpu_autotune_level": 0,
}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if keras.backend.backend() == "jax":
        import jax

        # Each kind of device has options of its own; these are known on the two that most people have.
        known = jax.default_backend() in ("cpu", "gpu")
        compiled: Callable[..., Any] = jax.jit(function, compiler_options=_QUICK_TO_COMPILE if known else None)
        return compiled
    import tensorflow as tf

    # TensorFlow counts functions that share their code as one that is traced over and over, and warns.
    compiled = tf.function(partial(function), autograph=False)
    return compiled
