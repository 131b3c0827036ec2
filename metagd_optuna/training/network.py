"""What the engine needs of a network: one forward pass for a whole population."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import active_count, get_ident
from time import sleep
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import MetaGDError

Tensor = Any  # TensorFlow ships no types


class BuildNetwork(Protocol):
    """Makes a network for a task."""

    def __call__(self, input_shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        """Return a built model from (height, width, channels) to K logits, its random choices all from ``seed``."""


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Let this thread alone draw from Python's random generator; what others draw meanwhile comes from elsewhere.

    Seeds that a layer is not given come from there, once ``keras.utils.set_random_seed`` has set it. On a worker Dask's
    threads draw samples of what they measure the size of, and without this every eighth network was another one.
    """
    own, drawn_by = get_ident(), random.seed.__self__  # type: ignore[attr-defined]
    elsewhere = random.Random()
    kept = {name: each for name, each in vars(random).items() if getattr(each, "__self__", None) is drawn_by}

    def shared(name: str) -> Callable[..., Any]:
        mine, others = kept[name], getattr(elsewhere, name)
        return lambda *given, **named: (mine if get_ident() == own else others)(*given, **named)

    for name in kept:
        setattr(random, name, shared(name))
    if active_count() > 1:
        sleep(0.01)  # in which whoever is in the middle of a draw ends it
    try:
        yield
    finally:
        for name, each in kept.items():
            setattr(random, name, each)


@dataclass(frozen=True, slots=True)
class Variables:
    """A model's variables, parted by how a population holds them.

    Args:
        weights: trained, with rates of each member's own.
        state: floats that change without a gradient, such as moving averages; each member's own.
        noise: states of random generators, and counters; the same for all members, as they would be in a training
            of one's own.
    """

    weights: tuple[keras.Variable, ...]
    state: tuple[keras.Variable, ...]
    noise: tuple[keras.Variable, ...]

    @classmethod
    def of(cls, model: keras.Model) -> Variables:
        """Return the variables of a built model."""
        fixed = model.non_trainable_variables
        return cls(
            tuple(model.trainable_variables),
            tuple(variable for variable in fixed if _is_float(variable)),
            tuple(variable for variable in fixed if not _is_float(variable)),
        )


def _is_float(variable: keras.Variable) -> bool:
    return bool(keras.backend.is_float_dtype(variable.dtype))


def has_floats(layer: keras.Layer) -> bool:
    """Return whether a layer has weights or float state, so that members differ after it."""
    return any(_is_float(variable) for variable in layer.variables)


@dataclass(frozen=True, slots=True)
class Start:
    """Where all members of a population begin.

    Args:
        weights: float32 (D,); ``state``: float32 (S,); ``noise``: one array per random generator.
    """

    weights: npt.NDArray[np.float32]
    state: npt.NDArray[np.float32]
    noise: tuple[npt.NDArray[Any], ...]

    @classmethod
    def of(cls, model: keras.Model) -> Start:
        """Return a built model's present values."""
        variables = Variables.of(model)
        return cls(
            _end_to_end(variables.weights),
            _end_to_end(variables.state),
            tuple(np.asarray(variable.numpy()) for variable in variables.noise),
        )


def _end_to_end(variables: Sequence[keras.Variable]) -> npt.NDArray[np.float32]:
    pieces = [np.ravel(variable.numpy()) for variable in variables]
    return np.concatenate([np.zeros(0), *pieces]).astype(np.float32)


def split_values(variables: Sequence[keras.Variable], values: Tensor) -> dict[int, Tensor]:
    """Return every variable's values (P, *shape) out of (P, all of them end to end), by the variable's id."""
    if not variables:
        return {}
    import tensorflow as tf  # not above: on JAX the callback reads this module, and has no need of TensorFlow

    sizes = [int(np.prod(variable.shape, dtype=int)) for variable in variables]
    pieces = tf.split(values, sizes, axis=1)
    return {id(v): tf.reshape(piece, (-1, *v.shape)) for v, piece in zip(variables, pieces, strict=True)}


class Network(Protocol):
    """A forward pass for P members at once.

    Args:
        most_members: the largest P it can do, None for any.
    """

    most_members: int | None

    def logits(
        self, weights: Tensor, state: Tensor, noise: tuple[Tensor, ...], images: Tensor, *, training: bool
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """Return logits (P, N, K), penalties (P,) to add to the loss, and what follows ``state`` and ``noise``.

        Args:
            weights: float32 (P, D).
            state: float32 (P, S).
            noise: one tensor per random generator.
            images: float32 (N, H, W, C), the same for all members.
            training: whether dropout, augmentation and batch statistics are on.
        """


def not_compilable(model: keras.Model) -> str:
    """Return which layer of a model XLA cannot compile, as Keras says it; nothing if it can compile all of them."""
    for layer in model._flatten_layers():
        # Keras forgets to say it of this one, which warps images by the same operation as those that it does say it of.
        if not layer.supports_jit or type(layer).__name__ == "RandomElasticTransform":
            return f"layer {layer.name!r} ({type(layer).__name__}) cannot be compiled by XLA"
    return ""


def _last_operation(answer: Any) -> Any:
    """Return the last operation that makes the numbers of a tensor, within the models that it comes through."""
    operation, node, _ = answer._keras_history
    if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        return _last_operation(operation.outputs[0])
    if isinstance(operation, keras.layers.Reshape | keras.layers.Flatten | keras.layers.Identity):
        return _last_operation(operation._inbound_nodes[node].input_tensors[0])
    return operation


def _answers_sum_to_one(model: keras.Model, input_shape: tuple[int, ...]) -> bool:
    """Return whether what a model answers are shares, wherever in it they are made."""
    images = np.random.default_rng(0).random((4, *input_shape), dtype=np.float32)
    answer = model(images, training=False)
    if keras.tree.is_nested(answer):
        raise MetaGDError(
            f"model {model.name!r} answers with a {type(answer).__name__}; it must be one tensor of logits"
        )
    answers = keras.ops.convert_to_numpy(answer)
    # A last layer that begins with no weights answers with its biases, whatever they sum to.
    return bool(np.all(answers >= 0) and np.allclose(answers.sum(axis=-1), 1, atol=1e-4) and np.ptp(answers, 0).any())


def check_classifier(model: keras.Model, input_shape: tuple[int, ...], classes: int) -> None:
    """Raise MetaGDError unless a model takes one image and answers with one logit per class."""
    ends = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if not model.built or list(map(len, ends)) != [1, 1]:
        raise MetaGDError(
            f"model {model.name!r}: it must be built, with one input and one output; wrap a model of a class of your "
            "own as keras.Model(inputs, model(inputs))"
        )
    if model.inputs[0].dtype != "float32":
        raise MetaGDError(
            f"model {model.name!r} takes {model.inputs[0].dtype}, and is given float32: bytes are divided by 255 for "
            "it; leave dtype out of keras.Input, and the rescaling of bytes with it"
        )
    moving = [layer.name for layer in model._flatten_layers() if isinstance(layer, keras.layers.SpectralNormalization)]
    if moving:
        raise MetaGDError(
            f"model {model.name!r}: layer {moving[0]!r} sets trained weights while it predicts, which the engine does "
            "not keep; leave SpectralNormalization out"
        )
    given, answer = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    if given != input_shape or answer != (classes,):
        raise MetaGDError(
            f"model {model.name!r} maps {given} to {answer}; this task needs {input_shape} to ({classes},)"
        )
    last = _last_operation(model.outputs[0])
    activation = getattr(last, "activation", None)
    squashed = type(last).__name__ in ("Softmax", "Sigmoid") or activation in (
        keras.activations.softmax,
        keras.activations.sigmoid,
    )
    if squashed or _answers_sum_to_one(model, input_shape):
        raise MetaGDError(
            f"model {model.name!r} ends in probabilities (its last layer is {last.name!r}); the engine's loss takes "
            "logits: leave the last activation out"
        )
    dtypes = {model.outputs[0].dtype} | {v.dtype for v in model.variables if _is_float(v)}
    if dtypes != {"float32"}:
        raise MetaGDError(
            f"model {model.name!r} has weights or logits of {', '.join(sorted(dtypes - {'float32'}))}; "
            "only float32 is allowed"
        )
    constrained = [v.path for v in model.trainable_variables if v.constraint is not None]
    if constrained:
        raise MetaGDError(f"model {model.name!r}: weights with constraints cannot be trained here: {constrained}")
