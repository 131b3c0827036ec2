"""What makes two networks the same, whatever they are called and wherever their weights begin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import keras

# Different in every process, or between two networks that differ in their first weights only.
_ACCIDENTAL = frozenset({"name", "seed", "shared_object_id"})
# Where a name is that of a layer; elsewhere it may be an activation's, which layers are called after.
_REFERENCES = frozenset({"keras_history", "input_layers", "output_layers"})


def network_fingerprint(model: keras.Model) -> str:
    """Return the SHA-256 of a model's architecture.

    It covers the classes of all layers, their settings, how they are joined, and the shapes of outputs and
    variables. Names, seeds and weights do not count. A layer or model of a user's own without ``get_config`` counts
    by its class and shapes alone.
    """
    layers = list(_layers(model))
    positions = {layer.name: f"layer {place}" for place, layer in enumerate(layers)}
    lines = [json.dumps(_settings(model, positions), sort_keys=True, default=str)]
    for layer in layers:
        outputs = [tuple(tensor.shape) for tensor in keras.tree.flatten(getattr(layer, "output", []))]
        variables = [tuple(variable.shape) for variable in layer.variables]
        lines.append(f"{type(layer).__module__}.{type(layer).__qualname__} {outputs} {variables}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _layers(layer: Any) -> Iterator[Any]:
    """Yield a layer and all layers inside it."""
    yield layer
    for inner in getattr(layer, "layers", []):
        yield from _layers(inner)


def _settings(model: keras.Model, positions: Mapping[str, str]) -> Any:
    try:
        config = model.get_config()
    except NotImplementedError:  # how Keras says that a class has none
        return "no settings"
    return _without_accidents(config, positions)


def _without_accidents(value: Any, positions: Mapping[str, str], *, refers: bool = False) -> Any:
    """Return settings with the place of every layer instead of its name, and without seeds."""
    if isinstance(value, Mapping):
        return {
            k: _without_accidents(v, positions, refers=refers or k in _REFERENCES)
            for k, v in value.items()
            if k not in _ACCIDENTAL
        }
    if isinstance(value, list | tuple):
        return [_without_accidents(inner, positions, refers=refers) for inner in value]
    return positions.get(value, value) if refers and isinstance(value, str) else value
