"""Probes of the coming step in ``fit``: the same numbers as the engine's, on whatever backend Keras runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import accumulate, pairwise
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError, Probe
from metagd_optuna.training.probing import probe_of, probe_rows
from metagd_optuna.training.schedule_free import ScheduleFreeAdamW

Tensors = list[Any]
Array = npt.NDArray[Any]
Arrays = list[Array]


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
        weights = _values(model.trainable_variables)
        self._kinds = [(each.shape, str(each.dtype)) for each in weights]
        self._ends = list(accumulate(each.size for each in weights))
        self._origin = _flat(weights)
        self._gradient, self._loss = _compiled(self._gradient_at), _compiled(self._loss_at)
        self._behind = _compiled(self._behind_at)

    def __call__(self, rates: Sequence[float]) -> Probe:
        """Return what the coming step would do at these rates."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by the losses
            return self._probed(rates)

    def _probed(self, rates: Sequence[float]) -> Probe:
        model, optimizer = self._model, _inner(self._model)
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        weights = _flat(_values(model.trainable_variables))
        others = [keras.ops.convert_to_tensor(each) for each in _values(model.non_trainable_variables)]
        examples, half = (self._images, self._labels, self._shares), self._images.shape[0] // 2
        one, other = (
            _array(self._gradient(weights, others, *(each[part] for each in examples)))
            for part in (slice(half), slice(half, None))
        )
        gradient = (one + other) / 2

        # Each loss is a call of its own of one compiled function: all in one would take as long to compile as they are
        # many.
        if isinstance(optimizer, ScheduleFreeAdamW) and optimizer.is_plain:
            still, direction = map(_flat, optimizer.coming_step(self._parts(gradient)))
            tried = (still, *(still - np.float32(rate) * direction for rate in rates))
            losses = [_array(self._loss(each, others, *examples)) for each in tried]
        else:
            slots = [keras.ops.convert_to_tensor(each) for each in _values(optimizer.variables)]
            behind = [
                self._behind(weights, others, slots, gradient, *examples, np.float32(rate)) for rate in (0.0, *rates)
            ]
            losses = [_array(loss) for loss, _ in behind]
            still, first = (_array(stepped) for _, stepped in behind[:2])
            direction = (still - first) / np.float32(rates[0])
        lengths = self._length(one) * self._length(other)
        return probe_of(
            tuple(rates),
            loss=losses[0],
            losses=losses[1:],
            gradient=self._length(gradient),
            direction=self._length(direction),
            slope=self._dot(gradient, direction),
            agreement=self._dot(one, other) / lengths if lengths else 0.0,
            distance=self._length(weights - self._origin),
        )

    def _parts(self, flat: Any) -> list[Any]:
        """Return the values of every variable, as it holds them, out of one vector of all."""
        if isinstance(flat, np.ndarray) or keras.backend.backend() == "jax":
            cut = [flat[begin:end] for begin, end in pairwise([0, *self._ends])]
        else:
            import tensorflow as tf

            cut = tf.split(flat, [end - begin for begin, end in pairwise([0, *self._ends])])  # keras' loses the sizes
        pairs = zip(cut, self._kinds, strict=True)
        if isinstance(flat, np.ndarray):
            return [values.reshape(shape).astype(dtype, copy=False) for values, (shape, dtype) in pairs]
        return [keras.ops.cast(keras.ops.reshape(values, shape), dtype) for values, (shape, dtype) in pairs]

    # In NumPy, because JAX compiles a program for every operation and shape that is not within one.
    def _dot(self, one: Array, other: Array) -> float:
        return float(sum(np.vdot(a, b) for a, b in zip(self._parts(one), self._parts(other), strict=True)))

    def _length(self, vector: Array) -> float:
        return math.sqrt(self._dot(vector, vector))

    def _loss_at(self, flat: Any, others: Tensors, images: Any, labels: Any, shares: Any) -> Any:
        return self._loss_of(self._parts(flat), others, images, labels, shares)

    def _loss_of(self, weights: Tensors, others: Tensors, images: Any, labels: Any, shares: Any) -> Any:
        values = zip(self._model.trainable_variables, weights, strict=True)
        rest = zip(self._model.non_trainable_variables, others, strict=True)
        with keras.StatelessScope(state_mapping=[*values, *rest], collect_losses=True):
            answers = self._model(images, training=True)
            return self._model.compute_loss(x=images, y=labels, y_pred=answers, sample_weight=shares, training=True)

    def _gradient_at(self, flat: Any, others: Tensors, images: Any, labels: Any, shares: Any) -> Any:
        return _joined(_gradients_of(self._loss_of)(self._parts(flat), others, images, labels, shares))

    def _behind_at(
        self,
        flat: Any,
        others: Tensors,
        slots: Tensors,
        gradient: Any,
        images: Any,
        labels: Any,
        shares: Any,
        rate: Any,
    ) -> tuple[Any, Any]:
        """Return the loss behind a step at a rate, and the weights there."""
        weights, along = self._parts(flat), self._parts(gradient)
        stepped = _stepped(_inner(self._model), slots, along, self._model.trainable_variables, weights, rate)
        return self._loss_of(stepped, others, images, labels, shares), _joined(stepped)


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
    return [variable.numpy() for variable in variables]


def _array(tensor: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _flat(values: Arrays) -> Array:
    """Return one vector of the values of all variables: a compiled function takes as long for every argument."""
    return np.concatenate([each.reshape(-1) for each in values])


def _joined(tensors: Tensors) -> Any:
    kind = str(np.result_type(*(keras.backend.standardize_dtype(each.dtype) for each in tensors)))
    return keras.ops.concatenate([keras.ops.cast(keras.ops.reshape(each, (-1,)), kind) for each in tensors])


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
    "xla_cpu_use_fusion_emitters": False,  # half of the time on a CPU
}


@cache
def _known_options() -> dict[str, Any]:
    """Return those options that this version of JAX has, for the device that it runs on."""
    import jax

    def is_known(option: dict[str, Any]) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options=option).lower().compile()
        except jax.errors.JaxRuntimeError:  # "No such compile option"
            return False
        return True

    return {name: value for name, value in _QUICK_TO_COMPILE.items() if is_known({name: value})}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if keras.backend.backend() == "jax":
        import jax

        compiled: Callable[..., Any] = jax.jit(function, compiler_options=_known_options())
        return compiled
    import tensorflow as tf

    # TensorFlow counts functions that share their code as one that is traced over and over, and warns.
    compiled = tf.function(partial(function), autograph=False)
    return compiled
