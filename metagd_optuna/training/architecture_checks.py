"""What of an architecture from a file is refused, before or while Keras makes it, because of the time or memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.variables import Variable
from keras.src.layers.layer import Layer
from keras.src.models import functional
from keras.src.ops.operation import Operation
from keras.src.saving import serialization_lib

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import shortened

_MOST_LEVELS = 100  # of lists and tables in one another; four for each network in a network
# What making a network may take, and in brackets what the largest of keras.applications does.
_MOST_AXES = 50_000  # of all tensors that layers give (11,500)
_MOST_LAYERS = 1_500  # and operations (1,042)
_MOST_VARIABLES = 2_000  # (1,546)
_MOST_WEIGHTS = 10**12  # (348,158,219)
_MOST_TRACED = 60  # layers called where Keras finds shapes by tracing, as in a Pipeline (0); a RandAugment is twelve
_MOST_PARTS = 100_000  # of its configuration (10,500)
_MOST_INPUTS = 20_000  # of layers, each as often as it is tried to call them (1,040)
_MOST_PRODUCTS = 5 * 10**10  # for orthogonal matrices, some seconds; one of 2,048 by 8,192 takes 3 * 10**10 (0)
# What an architecture is made of, as modules below keras or keras.src.
_PARTS = {
    "activations",
    "applications",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "models",
    "ops",
    "quantizers",
    "random",
    "regularizers",
}
# They compute tables of any size as they are built.
_COSTLY = {"MelSpectrogram", "STFTSpectrogram", "IntegerLookup", "StringLookup", "TextVectorization"}

# What layers may be called with, besides texts, numbers and dtypes.
_GIVEN = {"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__"}

_one_at_a_time = Lock()


class Made:
    """What is made while Keras makes a network.

    Args:
        weights: of all variables, those too that are in none of its layers.
        bytes: that they take.
    """

    def __init__(self) -> None:
        self.weights = self.bytes = self.tracing = 0
        self.exceeded = ""
        self._counts: Counter[str] = Counter()

    def count(self, what: str, cost: int, most: int) -> None:
        """Add to what was made so far.

        Raises:
            ValueError: if it is too much.
        """
        self._counts[what] += cost
        if self._counts[what] > most:
            self.exceeded = f"to make it takes more than {most:,} {what}"
            raise ValueError(self.exceeded)

    def add(self, variable: Any) -> None:
        """Count a variable, which holds no values yet."""
        shape, initializer = tuple(variable.shape), variable._initializer
        size = math.prod(shape)
        self.count("weights", size, _MOST_WEIGHTS)
        self.weights += size
        self.bytes += size * (8 if "64" in str(variable.dtype) else 4)
        self.count("variables", 1, _MOST_VARIABLES)
        if isinstance(initializer, keras.initializers.Orthogonal) and size:
            self.count("products for orthogonal matrices", size * min(shape[-1], size // shape[-1]), _MOST_PRODUCTS)


@contextmanager
def limited(path: Path) -> Iterator[Made]:
    """Let Keras make a network in this thread, unless that takes more than some seconds; it says what was made.

    A few bytes may call networks in one another, each of them twice, or list the layers of a graph in reverse, so that
    each is tried as often as there are others, or give a layer a million outputs. So Keras' own steps are counted as it
    takes them.

    Args:
        path: of its file, for the error.

    Raises:
        MetaGDError: if it takes too many of them.
    """
    thread, made = get_ident(), Made()

    def counting(function: Callable[..., Any], what: str, most: int, cost: Callable[..., int]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if get_ident() == thread:
                made.count(what, cost(*args, **kwargs), most)
            return function(*args, **kwargs)

        return counted

    def adding(initialise: Callable[..., None]) -> Callable[..., None]:
        @wraps(initialise)
        def added(variable: Any, *args: Any, **kwargs: Any) -> None:
            initialise(variable, *args, **kwargs)
            if get_ident() == thread:
                made.add(variable)

        return added

    def tracing(infer: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(infer)
        def traced(*args: Any, **kwargs: Any) -> Any:
            if get_ident() != thread:
                return infer(*args, **kwargs)
            made.tracing += 1
            try:
                return infer(*args, **kwargs)
            finally:
                made.tracing -= 1

        return traced

    def calling(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if get_ident() == thread and made.tracing:
                made.count("layers that are traced", len(layer._flatten_layers()), _MOST_TRACED)
            return call(layer, *args, **kwargs)

        return called

    steps: dict[tuple[Any, str], Callable[[Any], Any]] = {
        (keras.KerasTensor, "__init__"): lambda old: counting(old, "axes of tensors", _MOST_AXES, _axes),
        # Not its initialiser, whose arguments Keras inspects.
        (Operation, "__new__"): lambda old: staticmethod(counting(old.__func__, "layers", _MOST_LAYERS, _one)),
        (Variable, "__init__"): adding,
        (Operation, "compute_output_spec"): tracing,
        (Layer, "__call__"): calling,
        (serialization_lib, "deserialize_keras_object"): lambda old: counting(old, "parts", _MOST_PARTS, _one),
        (functional, "deserialize_node"): lambda old: counting(old, "inputs of layers", _MOST_INPUTS, _inputs),
    }
    with _one_at_a_time:
        were = {(owner, name): vars(owner)[name] for owner, name in steps}
        try:
            for (owner, name), replaced in steps.items():
                setattr(owner, name, replaced(were[owner, name]))
            yield made
        except Exception as error:
            if made.exceeded:  # which Keras tells in other words
                raise refused(path, made.exceeded) from error
            raise
        finally:
            for (owner, name), old in were.items():
                setattr(owner, name, old)
    if made.exceeded:
        raise refused(path, made.exceeded)


def _one(*_: Any, **__: Any) -> int:
    return 1


def _axes(_: Any, shape: Any, *__: Any, **___: Any) -> int:
    return 1 + (len(shape) if isinstance(shape, list | tuple) else 0)


def _inputs(call: Any, *_: Any) -> int:
    """Return how many tensors a call is given, if it is one of Keras 2; those of Keras 3 are parts."""
    return 1 + (len(call) if isinstance(call, list) else 0)


def refused(path: Path, why: str) -> MetaGDError:
    """Return the error for the network of a file that is not made."""
    return MetaGDError(
        f"{path}: the network is refused ({shortened(why)}); for one of your own call run_study with build_network="
    )


def countable(value: Any) -> Any:
    """Return a configuration whose weights can be counted before any takes memory.

    ``Normalization`` makes arrays of any size of two numbers as it is built; one of layers has weights of that size.

    Args:
        value: the configuration of a network as Keras writes it, or a part of it; it stays as it is.
    """
    if isinstance(value, list):
        return [countable(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {key: countable(inner) for key, inner in value.items()}
    name, settings = str(found.get("class_name")).rpartition(".")[2], found.get("config")
    if name == "Normalization" and isinstance(settings, dict):
        axis = -1 if settings.get("axis") is None else settings["axis"]
        found |= {"module": "keras.layers", "class_name": "LayerNormalization", "registered_name": None}
        found["config"] = {"name": settings.get("name"), "axis": axis, "dtype": settings.get("dtype")}
    return found


def checked_parts(value: Any, levels: int = _MOST_LEVELS) -> Any:
    """Return a configuration without how its models were compiled: the study sets optimizer and loss.

    Args:
        value: the configuration of a network as Keras writes it, or a part of it.
        levels: of lists and tables in one another that it may have.

    Raises:
        ValueError: for what is no part of an architecture, or would take time or memory that nothing counts.
    """
    if not levels:
        raise ValueError(f"nested more than {_MOST_LEVELS} levels deep")
    if isinstance(value, list):
        return [checked_parts(inner, levels - 1) for inner in value]
    if not isinstance(value, dict):
        return value
    name, module, settings = str(value.get("class_name")), value.get("module"), value.get("config")
    whole = f"{module}.{settings if name == 'function' else name}"  # which is what Keras looks up
    if whole.startswith("keras.") and whole.count(".") > 1:
        part = whole.removeprefix("keras.").removeprefix("src.").removeprefix("_legacy.").partition(".")[0]
        if part not in _PARTS or "_test." in whole:  # modules of tests that come with Keras
            raise ValueError(f"{shortened(whole)} is no part of a network's architecture")
    if name.rpartition(".")[2] in _COSTLY:
        raise ValueError(f"{name} is no layer for images, and may take any memory to be made")
    if isinstance(settings, dict) and settings.get("stateful"):
        raise ValueError(f"{shortened(name)} keeps its state from one batch to the next; save it without stateful=True")
    if "inbound_nodes" in value:
        _check_calls(value["inbound_nodes"])
    if name == "__numpy__" and isinstance(settings, dict):
        _check_numeric(settings.get("dtype"))
    return {key: checked_parts(inner, levels - 1) for key, inner in value.items() if key != "compile_config"}


def _check_calls(calls: object) -> None:
    """Refuse a layer that is called on constants alone, and so would compute before anything is counted.

    Args:
        calls: of one layer, as Keras 3 writes them; Keras 2 wrote a list of names and places of tensors for each.
    """
    if not isinstance(calls, list):
        raise ValueError("calls of a layer that are no list")
    for call in calls:
        given = [call.get("args"), call.get("kwargs")] if isinstance(call, dict) else None
        if not ("__keras_tensor__" in _given(given) if given else isinstance(call, list) and call):
            raise ValueError("a layer is called on constants alone, which would be computed before anything is counted")


def _given(value: object) -> set[str]:
    """Return which objects a layer is called with: where another layer gives one, only shapes are computed.

    Raises:
        ValueError: for one that is no tensor, number or dtype, such as a layer, whose weights nobody asked for.
    """
    if isinstance(value, dict) and "class_name" in value and "config" in value:  # Keras makes of any other a dict
        name = str(value["class_name"])
        if name not in _GIVEN and not name.endswith("DTypePolicy"):
            raise ValueError(f"a layer is called with {shortened(name)}, which is no tensor or number")
        return {name}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(_given, inner))


def _check_numeric(dtype: object) -> None:
    """Refuse an array that is not of numbers: of texts, "S100000000" is a dtype of which each takes 100 MB."""
    kind: str
    try:
        kind = np.dtype(str(dtype)).kind
    except (TypeError, ValueError, SyntaxError):
        kind = "?"
    if kind not in "biuf":
        raise ValueError(f"a constant of dtype {shortened(str(dtype))}, which is none of numbers")
