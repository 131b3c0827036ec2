"""What of an architecture from a file is refused before Keras makes any of it, because it would take time or memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from metagd_optuna.given import shortened

_MOST_LEVELS = 100  # of lists and tables in one another; four for each network in a network
_MOST_CALLS = 10_000  # of layers, while a network is made, for some milliseconds each
# What an architecture is made of, as modules below keras or keras.src.
_LAYERS = {"activations", "applications", "layers", "models", "ops", "random"}
_OF_LAYERS = {"constraints", "dtype_policies", "initializers", "quantizers", "regularizers"}
# They compute tables of any size as they are built, or have any number of outputs.
_COSTLY = {"MelSpectrogram", "STFTSpectrogram", "IntegerLookup", "StringLookup", "TextVectorization", "Unstack"}
_SPLITS = 30  # outputs of one layer take as long as a call
_REBUILDS = 2  # calls of layers that are made already take as long as one of a new one
_TRIALS = 10  # calls of layers whose inputs are not there yet


def checked_parts(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without how its models were compiled: the study sets optimizer and loss.

    Args:
        config: of a whole network, as Keras writes it.

    Raises:
        ValueError: for what is no part of an architecture, or would take any time or memory to be made.
    """
    found: dict[str, Any] = _parts_only(config)
    calls = _calls(found)[1]
    if calls > _MOST_CALLS:
        raise ValueError(f"to make it takes {shortened(str(calls))} calls of layers; {_MOST_CALLS:,} are allowed")
    return found


def countable(value: Any) -> Any:
    """Return a configuration whose weights can be counted before any takes memory.

    ``Normalization`` makes arrays of any size of two numbers as it is built; one of layers has weights of that size.
    """
    if isinstance(value, list):
        return [countable(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {key: countable(inner) for key, inner in value.items()}
    if found.get("class_name") == "Normalization" and isinstance(settings := found.get("config"), dict):
        axis = -1 if settings.get("axis") is None else settings["axis"]
        found |= {"module": "keras.layers", "class_name": "LayerNormalization", "registered_name": None}
        found["config"] = {"name": settings.get("name"), "axis": axis}
    return found


def _looked_up(value: dict[str, Any]) -> str:
    """Return what Keras looks up for a part of a configuration."""
    name = value.get("class_name")
    return f"{value.get('module')}.{value.get('config') if name == 'function' else name}"


def _part(value: dict[str, Any]) -> str:
    """Return the module of Keras that a part of a configuration is of, below keras or keras.src; "" for another."""
    whole = _looked_up(value)
    if not whole.startswith("keras.") or whole.count(".") < 2:
        return ""
    return whole.removeprefix("keras.").removeprefix("src.").removeprefix("_legacy.").partition(".")[0]


def _parts_only(value: Any, levels: int = _MOST_LEVELS) -> Any:
    """Return a configuration without how its models were compiled: the study sets optimizer and loss.

    Raises:
        ValueError: for what is no part of an architecture, and would be made before anything of it is counted.
    """
    if not levels:
        raise ValueError(f"nested more than {_MOST_LEVELS} levels deep")
    if isinstance(value, list):
        return [_parts_only(inner, levels - 1) for inner in value]
    if not isinstance(value, dict):
        return value
    name, settings, part = value.get("class_name"), value.get("config"), _part(value)
    if part not in _LAYERS | _OF_LAYERS | {""}:
        raise ValueError(f"{shortened(_looked_up(value))} is no part of a network's architecture")
    if str(name) in _COSTLY:
        raise ValueError(f"{name} is no layer for images, and may take any memory to be made")
    if "inbound_nodes" in value:
        _check_calls(value["inbound_nodes"])
    if name == "__numpy__" and isinstance(settings, dict):
        _check_numeric(settings.get("dtype"))
    return {key: _parts_only(inner, levels - 1) for key, inner in value.items() if key != "compile_config"}


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


def _calls(value: Any) -> tuple[int, int]:
    """Return how many layers are called when something is, and until it is made.

    A network in a network is called as a whole, so of those that are called twice in one another there are two to the
    power of their depth. A ``Sequential`` is made anew with each layer that is added. A layer of a graph that is listed
    before its inputs is tried again and again.
    """
    if isinstance(value, list):
        found = [_calls(inner) for inner in value]
        return sum(called for called, _ in found), sum(made for _, made in found)
    if not isinstance(value, dict):
        return 0, 0
    if "class_name" not in value or _part(value) in _OF_LAYERS:
        return _calls(list(value.values()))
    settings = value.get("config")
    layers = settings.get("layers") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(layers, list):
        called, made = _calls(settings)
        outputs = settings.get("indices_or_sections") if isinstance(settings, dict) else None
        return 1 + called + (abs(outputs) // _SPLITS if isinstance(outputs, int) else 0), 1 + made
    nodes = [inner.get("inbound_nodes") if isinstance(inner, dict) else None for inner in layers]
    times = [max(len(calls) if isinstance(calls, list) else 1, 1) for calls in nodes]
    found = [_calls(inner) for inner in layers]
    called = sum(often * each for often, (each, _) in zip(times, found, strict=True))
    made = sum(each for _, each in found) + called
    if value["class_name"] == "Sequential":
        made += len(layers) * called // _REBUILDS
    return called, made + _early(layers, nodes) * sum(times) // _TRIALS


def _early(layers: list[Any], nodes: list[Any]) -> int:
    """Return how many calls of layers are listed before one of their inputs."""
    places = {str(inner.get("name")): place for place, inner in enumerate(layers) if isinstance(inner, dict)}
    return sum(
        any(places.get(name, 0) > place for name in _inputs(call))
        for place, calls in enumerate(nodes)
        if isinstance(calls, list)
        for call in calls
    )


def _inputs(given: Any) -> Iterator[str]:
    """Yield the names of the layers whose outputs a call is given, as Keras 3 or Keras 2 writes them."""
    if isinstance(given, dict) and given.get("class_name") == "__keras_tensor__":
        history = given["config"].get("keras_history") if isinstance(given.get("config"), dict) else None
        yield str(history[0] if isinstance(history, list) and history else "")
    elif isinstance(given, list) and len(given) > 2 and isinstance(given[0], str):
        yield given[0]
    elif isinstance(given, (dict, list)):
        for inner in given.values() if isinstance(given, dict) else given:
            yield from _inputs(inner)
