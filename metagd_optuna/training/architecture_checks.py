"""What of an architecture from a file is refused, before or while Keras makes it, because of the time or memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import keras
import numpy as np
from keras.src.saving import serialization_lib

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import shortened

_MOST_LEVELS = 100  # of lists and tables in one another; four for each network in a network
_MOST_TENSORS = 10_000  # that layers give while a network is made; NASNet has 1,700, and takes seconds
_MOST_PARTS = 100_000  # of its configuration; NASNet has 7,700
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

_one_at_a_time = Lock()


@contextmanager
def limited(path: Path) -> Iterator[None]:
    """Let Keras make a network in this thread, unless that takes more than some seconds.

    A few bytes may call networks in one another, each of them twice, or list the layers of a graph in reverse, so that
    each is tried as often as there are others, or give a layer a million outputs. So Keras' own steps are counted as it
    takes them.

    Args:
        path: of its file, for the error.

    Raises:
        MetaGDError: if it takes too many of them.
    """
    thread, exceeded = get_ident(), []

    def counting(function: Callable[..., Any], what: str, most: int) -> Callable[..., Any]:
        made = 0

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            if get_ident() == thread:
                made += 1
                if made > most:
                    exceeded.append(f"to make it takes more than {most:,} {what}")
                    raise ValueError(exceeded[0])
            return function(*args, **kwargs)

        return counted

    with _one_at_a_time:
        initialise, deserialise = keras.KerasTensor.__init__, serialization_lib.deserialize_keras_object
        keras.KerasTensor.__init__ = counting(initialise, "tensors", _MOST_TENSORS)
        serialization_lib.deserialize_keras_object = counting(deserialise, "parts", _MOST_PARTS)
        try:
            yield
        except Exception as error:
            if exceeded:  # which Keras tells in other words
                raise refused(path, exceeded[0]) from error
            raise
        finally:
            keras.KerasTensor.__init__ = initialise
            serialization_lib.deserialize_keras_object = deserialise
    if exceeded:
        raise refused(path, exceeded[0])


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
        if part not in _PARTS:
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
        if not (_has_tensor(given) if given else isinstance(call, list) and call):
            raise ValueError("a layer is called on constants alone, which would be computed before anything is counted")


def _has_tensor(given: object) -> bool:
    """Return whether there is what another layer gives: with that, only shapes are computed."""
    if isinstance(given, dict) and "class_name" in given and "config" in given:  # Keras makes of any other a dict
        return bool(given["class_name"] == "__keras_tensor__")
    inner = given.values() if isinstance(given, dict) else given if isinstance(given, list) else ()
    return any(map(_has_tensor, inner))


def _check_numeric(dtype: object) -> None:
    """Refuse an array that is not of numbers: of texts, "S100000000" is a dtype of which each takes 100 MB."""
    kind: str
    try:
        kind = np.dtype(str(dtype)).kind
    except (TypeError, ValueError, SyntaxError):
        kind = "?"
    if kind not in "biuf":
        raise ValueError(f"a constant of dtype {shortened(str(dtype))}, which is none of numbers")
