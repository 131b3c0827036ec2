"""What the loss of the user's own training has to be, so that performance can be read off it."""

from __future__ import annotations

from typing import Any

import keras

from metagd_optuna.contracts import MetaGDError


def check_loss(model: keras.Model, classes: int) -> None:
    """Refuse a loss that cannot be the mean cross-entropy over classes that performance is read off.

    Args:
        model: compiled.
        classes: how many class shares the entropy H of p = 1 - L/H is computed from.

    Raises:
        MetaGDError: for another of Keras' own losses, several outputs or losses, weights, a sum in place of the mean,
            or a number of outputs that does not fit the classes.
    """
    outputs = getattr(model, "outputs", None) or [None]
    losses = [keras.losses.get(loss) for loss in keras.tree.flatten(model.loss)]
    names = [getattr(loss, "__name__", type(loss).__name__) for loss in losses]
    # A loss of the user's own may well be a cross-entropy, whatever its name.
    others = [
        _is_keras_own(loss) and "crossentropy" not in name.lower() for loss, name in zip(losses, names, strict=True)
    ]
    if len(outputs) > 1 or len(losses) > 1 or any(others):
        raise MetaGDError(
            "the policy reads performance off the training loss, which has to be one cross-entropy, but the model "
            f"has {len(outputs)} outputs and the loss {', '.join(names)}; compile it with a cross-entropy, or use a "
            "policy with the signal train-accuracy or one of validation"
        )
    # Keras keeps the weights of losses in no public place.
    weights = getattr(model._compile_loss, "_user_loss_weights", None)
    reductions = [getattr(loss, "reduction", "mean") for loss in losses]
    if {"sum", "none", None} & {*reductions} or any(weight not in (None, 1) for weight in keras.tree.flatten(weights)):
        raise MetaGDError(
            "the policy reads performance off the mean of the cross-entropy, but the model is compiled with "
            f"reduction={reductions[0]!r} and loss_weights={weights!r}; leave both out, or use a policy with the "
            "signal train-accuracy or one of validation"
        )
    if losses and _is_keras_own(losses[0]) and outputs[0] is not None:
        _check_classes(names[0], outputs[0].shape[-1], classes)


def _check_classes(loss: str, outputs: int | None, classes: int) -> None:
    if outputs is not None and outputs > 2 and loss.lower().startswith("binary"):
        raise MetaGDError(
            f"{loss} over {outputs} outputs is the mean of {outputs} losses of two classes, and the policy reads "
            "performance off one over all classes; compile the model with categorical_crossentropy for one-hot labels, "
            "or sparse_categorical_crossentropy for class numbers"
        )
    if outputs is not None and max(outputs, 2) != classes:
        raise MetaGDError(
            f"the model has {outputs} outputs, but class_shares are those of {classes} classes; pass one share per "
            "output (two for a single output): metagd_optuna.class_shares(labels) computes them, and for classes that "
            "no label belongs to a share of 0 has to be added"
        )


def _is_keras_own(loss: Any) -> bool:
    return getattr(loss, "__module__", "").startswith("keras.")
