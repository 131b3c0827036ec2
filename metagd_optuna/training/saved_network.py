"""A study's own network: an architecture that Keras saved, with fresh weights for every seed."""

from __future__ import annotations

import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from metagd_optuna.archives import check_members
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import shortened
from metagd_optuna.tasks.memory import check_memory
from metagd_optuna.training.architecture_checks import checked_parts, countable, limited, refused
from metagd_optuna.training.network import BuildNetwork, Variables

# Where Keras puts the architecture in a .keras file, which is a zip archive.
_ARCHITECTURE = "config.json"
_MOST_ARCHITECTURE = 2**22  # bytes; the largest of keras.applications takes a quarter


def read_network(path: str | Path) -> BuildNetwork:
    """Return what builds the network of a ``.keras`` file anew, its weights, dropout and augmentation all from a seed.

    Only the architecture is read: no weights, no optimizer, and no code, so nothing in the file can be executed.

    Args:
        path: a file that ``model.save("network.keras")`` wrote.

    Raises:
        MetaGDError: if it cannot be read, holds classes that are not Keras' own, or relies on stored weights.
    """
    path = Path(path)
    config = checked_architecture(path)

    def build(input_shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        return _rebuilt(config, seed, path)

    _check_no_weights_needed(_rebuilt(config, 0, path), path)
    return build


def checked_architecture(path: Path) -> dict[str, Any]:
    """Return the architecture of a file, whose weights fit into memory.

    Raises:
        MetaGDError: if it cannot be read, holds classes that are not Keras' own, or is too large.
    """
    config = _architecture(path)
    with limited(path) as made, keras.StatelessScope(initialize_variables=False):  # in which no variable takes memory
        deserialized(countable(config), path)
    check_memory(made.bytes, f"{path}: a network of {made.weights:,} weights", "use a smaller one")
    return config


def _architecture(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(_ARCHITECTURE)
            check_members([member])
            if member.file_size > _MOST_ARCHITECTURE:
                raise ValueError(f"{_ARCHITECTURE} of {member.file_size:,} bytes")
            config = json.loads(archive.read(member))
        if not isinstance(config, dict):
            raise ValueError(f"{_ARCHITECTURE} holds a {type(config).__name__}")
    except OSError as error:
        raise MetaGDError(f"{path}: the network cannot be read: {error.strerror or error}") from error
    # What zipfile raises for damaged, cut-off and encrypted members has no base class of its own.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, LookupError, ValueError) as error:
        raise MetaGDError(
            f'{path}: not a Keras 3 model file ({shortened(str(error))}); write it with model.save("network.keras")'
        ) from error
    try:
        found: dict[str, Any] = checked_parts(config)
    except ValueError as error:
        raise refused(path, str(error)) from error
    return found


def _rebuilt(config: dict[str, Any], seed: int, path: Path) -> keras.Model:
    random = np.random.default_rng(seed)
    seeds = iter(lambda: int(random.integers(2**31)), -1)
    model = deserialized(_seeded(config, seeds), path)
    _draw_apart(model, seeds)
    for counter in Variables.of(model).noise:
        if counter.name == "seed_generator_state":  # not every random layer has its seed in its configuration
            counter.assign([next(seeds), 0])
    return model


def deserialized(config: dict[str, Any], path: Path) -> keras.Model:
    """Return the network of a checked architecture, with weights that nobody has trained.

    Raises:
        MetaGDError: if it holds classes that are not Keras' own, or is no network.
    """
    try:
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    except Exception as error:  # what Keras raises on odd configurations is not documented
        reason = shortened(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise MetaGDError(
            f"{path}: the network cannot be built from its file ({reason}). Only Keras' own layers, and no Lambda, can "
            "be; for any other network call run_study with build_network="
        ) from error
    if not isinstance(model, keras.Model):
        raise MetaGDError(f"{path}: holds a {type(model).__name__}, not a keras.Model")
    return model


def _draw_apart(model: keras.Model, seeds: Iterator[int]) -> None:
    """Draw the weights of attention anew: its parts copy one initializer, and with a seed would all begin alike."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.MultiHeadAttention | keras.layers.GroupQueryAttention):
            for part in layer._flatten_layers(include_self=False):
                draw: Any = getattr(part, "kernel_initializer", None)
                if hasattr(draw, "seed"):
                    again = type(draw).from_config({**draw.get_config(), "seed": next(seeds)})
                    part.kernel.assign(again(part.kernel.shape))


def _seeded(value: Any, seeds: Iterator[int]) -> Any:
    """Return a configuration with a seed of its own for every initializer and every random layer."""
    if isinstance(value, dict):
        return {key: next(seeds) if key == "seed" else _seeded(inner, seeds) for key, inner in value.items()}
    return [_seeded(inner, seeds) for inner in value] if isinstance(value, list) else value


def _check_no_weights_needed(model: keras.Model, path: Path) -> None:
    """Raise MetaGDError for layers that mean nothing with fresh weights."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            raise MetaGDError(
                f"{path}: layer {layer.name!r} was adapted to data, which is no part of an architecture; build it with "
                "Normalization(mean=..., variance=...)"
            )
        if type(layer).__name__ == "AugMix":
            raise MetaGDError(
                f"{path}: layer {layer.name!r} draws from Python's own generator, which no seed of a run sets; use "
                "other layers for augmentation"
            )
        if not layer.trainable and layer.weights:
            raise MetaGDError(
                f"{path}: layer {layer.name!r} is frozen, but a study begins with fresh weights; set trainable to True "
                "or call run_study with build_network= and load the weights there"
            )
