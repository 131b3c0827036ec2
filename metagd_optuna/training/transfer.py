"""Transfer learning: the layers of a saved network as they are, frozen, and a new head that trains."""

from __future__ import annotations

import math
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from metagd_optuna.archives import check_members
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import shortened
from metagd_optuna.tasks.memory import check_memory
from metagd_optuna.training.network import BuildNetwork
from metagd_optuna.training.saved_network import checked_architecture, deserialized

COLOURS = 3
_SMALL = 2**20  # numbers, as many as what a file may hold beside weights: the states of metrics
_LARGEST = 8  # bytes of a number
_WEIGHTS = "model.weights.h5"  # where Keras puts them in a .keras file


def head_on(path: str | Path) -> BuildNetwork:
    """Return what builds the network of a ``.keras`` file with its weights, frozen, under a head drawn from a seed.

    The head is one dense layer of logits. A last layer that classifies already is left out: one that ends in a softmax
    or sigmoid, or that has as many outputs as there are classes. Features of shape (h, w, c) are averaged over h and w.
    A grey image is given to a network for colours three times.

    Args:
        path: a file that ``model.save("backbone.keras")`` wrote.

    Raises:
        MetaGDError: if it cannot be read, or holds code or layers that are not Keras' own.
    """
    path = Path(path)
    loaded = _loaded(path)
    weights = loaded.get_weights()
    config = keras.saving.serialize_keras_object(loaded)

    def build(input_shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        model: Any = keras.saving.deserialize_keras_object(config, safe_mode=True)
        model.set_weights(weights)
        backbone = _without_head(model, classes)
        backbone.trainable = False
        inputs = keras.Input(input_shape)
        fitting = _fitting(inputs, backbone, input_shape, path)
        try:
            features = backbone(fitting)
        except Exception as error:  # what Keras raises is not documented
            raise MetaGDError(
                f"{path}: cannot be called on images of {input_shape} ({shortened(_said(error))}); give another "
                "image_size"
            ) from error
        if len(features.shape) == 4:
            features = keras.layers.GlobalAveragePooling2D()(features)
        if len(features.shape) != 2:
            raise MetaGDError(
                f"{path}: its features have the shape {tuple(features.shape[1:])}; a head takes (n,) or (h, w, c)"
            )
        start = keras.initializers.GlorotUniform(seed=seed)
        logits = keras.layers.Dense(classes, kernel_initializer=start, name="head")(features)
        return keras.Model(inputs, logits, name=f"head_on_{path.stem}")

    return build


def _loaded(path: Path) -> Any:
    model: Any = deserialized(checked_architecture(path), path)
    try:
        # From a file of its own: in an archive every step backwards of HDF5 unpacks it from its beginning again.
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            member = archive.getinfo(_WEIGHTS)
            check_members([member])
            check_memory(member.file_size, f"{path}: its weights", "use a smaller network")
            weights = Path(archive.extract(member, folder))
            _check_weights(weights, max([_SMALL, *(math.prod(each.shape) for each in model.variables)]))
            model.load_weights(weights)
    except MetaGDError:
        raise
    except Exception as error:  # what Keras and zipfile raise on damaged files is not documented
        reason = shortened(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
        raise MetaGDError(
            f"{path}: the network cannot be read with its weights ({reason}); it has to be a file that "
            "model.save(...) wrote, of Keras' own layers and without Lambda"
        ) from error
    ends = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if list(map(len, ends)) != [1, 1]:
        raise MetaGDError(f"{path}: holds no network with one input and one output")
    return model


def _check_weights(file: Path, most: int) -> None:
    """Refuse arrays that take more than any variable: what was never written of one takes no byte in the file."""
    import h5py

    def check(name: str, found: Any) -> None:
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            return
        if found.dtype.hasobject or found.nbytes > most * _LARGEST:
            raise ValueError(
                f"{shortened(name)} holds {found.size:,} values of {found.dtype}, and the largest of its weights "
                f"{most:,} numbers"
            )

    with h5py.File(file) as held:
        held.visititems(check)


def _said(error: Exception) -> str:
    """Return what Keras says of a call: first of all which, then between marks for a terminal why."""
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith("Exception encountered")), type(error).__name__)


def _without_head(model: Any, classes: int) -> Any:
    """Return a network that ends in features."""
    last = model.layers[-1]
    squashes = getattr(last, "activation", None) in (keras.activations.softmax, keras.activations.sigmoid)
    if len(model.layers) > 1 and (
        squashes or (isinstance(last, keras.layers.Dense) and model.outputs[0].shape[1:] == (classes,))
    ):
        return keras.Model(model.inputs, last.input)
    return model


def _fitting(inputs: Any, backbone: Any, input_shape: tuple[int, ...], path: Path) -> Any:
    """Return the inputs as a network takes them."""
    wanted = tuple(backbone.inputs[0].shape[1:])
    if len(wanted) == len(input_shape) == 3 and wanted[2] == COLOURS and input_shape[2] == 1:
        inputs, input_shape = keras.layers.Concatenate()([inputs] * COLOURS), (*input_shape[:2], COLOURS)
    fits = len(wanted) == len(input_shape) and all(
        want in (None, size) for want, size in zip(wanted, input_shape, strict=True)
    )
    if not fits:
        raise MetaGDError(
            f"{path}: takes {wanted}, and the task has {input_shape}; for another size give image_size, or save the "
            "network with keras.Input((None, None, 3))"
        )
    return inputs
