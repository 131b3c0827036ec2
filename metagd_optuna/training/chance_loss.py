"""What a network that answers the class frequencies gets under a compiled loss: the H of p = 1 - L/H."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import FloatArray, MetaGDError

_TINY = 1e-7  # in place of the frequency 0, whose logarithm is none
_ROWS = 4  # of every class; what is measured is a mean
_MEASUREMENTS = 32  # of the penalty between two updates
_OTHER_SIGNALS = "use a policy with the signal train-accuracy or one of validation"
_OWN_REFERENCE = (
    "pass chance_loss= to the callback, the loss that fit() logs for a network which answers the class frequencies, or "
    + _OTHER_SIGNALS
)


def measure_chance_loss(
    model: keras.Model, class_frequencies: tuple[float, ...], class_weight: dict[int, float] | None = None
) -> float:
    r"""Return the compiled loss of a network that answers the class frequencies whatever it sees.

    .. math:: H = \sum_k s_k w_k\, \ell(k, q), \quad q_k = s_k w_k / \textstyle\sum_j s_j w_j,

    with the frequencies s, the class weights w (1 without any) and the compiled loss l. For the plain cross-entropy
    this is the entropy of s. The loss is called with four rows of every class.

    Args:
        model: compiled, with one output.
        class_frequencies: share of every class among the training labels, shape (K,), summing to 1.
        class_weight: as given to ``fit``.

    Raises:
        MetaGDError: for another of Keras' own losses than a cross-entropy, several outputs or losses, loss weights, a
            sum in place of the mean, a number of outputs that does not fit the classes, several labels per image,
            losses that the model adds itself, or a loss that cannot be measured so.
    """
    loss, name = _the_one_loss(model)
    _check_scale(model, loss)
    outputs = _outputs(model)
    if outputs is not None:
        _check_classes(name, loss, outputs, len(class_frequencies))
    check_added_losses(model)
    if type(model).compute_loss is not keras.Model.compute_loss:
        raise MetaGDError(
            f"{type(model).__name__} has a compute_loss of its own, so its loss is not the compiled one; "
            f"{_OWN_REFERENCE}"
        )
    if outputs is None and _is_keras_own(loss) and _is_binary(name):
        raise MetaGDError(
            f"how many outputs the network has is not known before its first step, and {name} is another loss for each "
            f"number of them; begin the model with keras.Input(shape), or {_OWN_REFERENCE}"
        )
    if getattr(loss, "ignore_class", None) is not None:
        raise MetaGDError(f"{name} leaves out class {loss.ignore_class}, so its scale is not known; {_OWN_REFERENCE}")
    shares = np.asarray(class_frequencies)
    weights = shares * [1.0 if class_weight is None else class_weight.get(k, 1.0) for k in range(len(shares))]
    answer = np.clip(weights / weights.sum(), _TINY, 1 - _TINY)
    single = outputs == 1
    if _is_keras_own(loss):
        losses = _losses(loss, name, answer, _has_logits(loss), _takes_numbers(name), single=single)
    else:
        losses = _losses_of_a_function(model, loss, name, answer, single=single)
    if getattr(loss, "reduction", "") == "mean_with_sample_weight":
        weights = weights / weights.sum()
    found = float(np.sum(weights * losses))
    # Where it is the plain cross-entropy, the formula is the same on every machine.
    plain = -float(np.sum(weights * np.log(answer)))
    if np.isclose(found, plain, rtol=1e-5):
        return plain
    if not np.isfinite(found) or found <= 0:
        raise MetaGDError(
            f"a network that answers the class frequencies gets {found:.3g} under the loss {name}, which is no "
            f"reference for performance; {_OWN_REFERENCE}"
        )
    return found


def check_added_losses(model: keras.Model) -> None:
    """Refuse losses that a model adds itself, which depend on the images and cannot be told from the compiled one.

    Penalties of weights can: see ``Penalty``. What a model adds in a ``call`` of its own is only seen after
    its first step.

    Raises:
        MetaGDError: for ``add_loss`` and activity regularizers.
    """
    # On JAX, what a compiled step adds is in no list afterwards, but the layers keep who added something.
    added = any(getattr(layer, "_loss_ids", ()) for layer in model._flatten_layers())
    if added or len(model.losses) > len(_regularized(model)):
        raise MetaGDError(
            "the model adds losses of its own (add_loss, or an activity regularizer), which depend on the images, so "
            f"the cross-entropy cannot be told from the training loss; leave them out, or {_OWN_REFERENCE}"
        )


class Penalty:
    """What the regularizers of a model's weights add to its loss, in the mean over the steps since the last update.

    It is measured before the first step, after the last, and after up to 32 in between, which stand for the others.

    Args:
        model: compiled.

    Raises:
        MetaGDError: if the model has such penalties and a ``train_step`` of its own, which may add them or not.
    """

    def __init__(self, model: keras.Model) -> None:
        self._regularized = bool(_regularized(model))
        if type(model).train_step is not keras.Model.train_step and self._regularized:
            raise MetaGDError(
                f"{type(model).__name__} has a train_step of its own and regularizers, and whether its loss holds "
                f"their penalties cannot be known; leave one of the two out, or {_OWN_REFERENCE}"
            )
        self._steps: list[int] = []
        self._values: list[float] = []
        self._step = 0
        self._every = 1

    def begin(self, model: keras.Model, steps: int) -> None:
        """Take note of the penalty before the first of ``steps`` steps."""
        self._steps, self._values, self._step, self._every = [], [], 0, max(1, steps // _MEASUREMENTS)
        self._add(model)

    def after_steps(self, model: keras.Model, taken: int) -> None:
        """Take note of the penalty after ``taken`` more steps, now and then."""
        self._step += taken
        if self._step - self._steps[-1] >= self._every:
            self._add(model)

    def mean(self, model: keras.Model) -> float:
        """Return the mean penalty over the steps, after the last of them."""
        if self._step > self._steps[-1]:
            self._add(model)
        # The loss of a step holds the penalty of the weights before it.
        return float(np.interp(np.arange(self._step), self._steps, self._values).mean())

    def _add(self, model: keras.Model) -> None:
        self._steps.append(self._step)
        self._values.append(_weight_penalty(model) if self._regularized else 0.0)


def _weight_penalty(model: keras.Model) -> float:
    penalties = (variable.regularizer(variable) for variable in _regularized(model))
    return sum(float(keras.ops.convert_to_numpy(penalty)) for penalty in penalties)


def _regularized(model: keras.Model) -> list[Any]:
    return [variable for variable in model.trainable_variables if variable.regularizer is not None]


def _the_one_loss(model: keras.Model) -> tuple[Any, str]:
    outputs = getattr(model, "outputs", None) or [None]
    losses = [keras.losses.get(loss) for loss in keras.tree.flatten(model.loss)]
    losses = [loss for loss in losses if loss is not None]
    names = [getattr(loss, "__name__", type(loss).__name__) for loss in losses]
    if not losses:
        raise MetaGDError(
            f"the model is compiled without a loss, so what chance level costs is not known; {_OWN_REFERENCE}"
        )
    # A loss of the user's own may well be a cross-entropy, whatever its name.
    others = [
        _is_keras_own(loss) and "crossentropy" not in name.lower().replace("_", "")
        for loss, name in zip(losses, names, strict=True)
    ]
    if len(outputs) > 1 or len(losses) > 1 or any(others):
        raise MetaGDError(
            "the policy reads performance off the training loss, which has to be one cross-entropy, but the model "
            f"has {len(outputs)} outputs and the loss {', '.join(names)}; compile it with a cross-entropy, or "
            f"{_OTHER_SIGNALS}"
        )
    return losses[0], names[0]


def _check_scale(model: keras.Model, loss: Any) -> None:
    # Keras keeps the weights of losses in no public place.
    weights = getattr(model._compile_loss, "_user_loss_weights", None)
    reduction = getattr(loss, "reduction", "mean")
    if reduction in ("sum", "none", None) or any(weight not in (None, 1) for weight in keras.tree.flatten(weights)):
        raise MetaGDError(
            "the policy reads performance off the mean of the cross-entropy, but the model is compiled with "
            f"reduction={reduction!r} and loss_weights={weights!r}; leave both out, or {_OTHER_SIGNALS}"
        )


def _check_classes(name: str, loss: Any, outputs: int, classes: int) -> None:
    if outputs > 2 and _is_keras_own(loss) and _is_binary(name):
        raise MetaGDError(_several_labels(name, outputs))
    if max(outputs, 2) != classes:
        raise MetaGDError(
            f"the model has {outputs} outputs, but class_frequencies are those of {classes} classes; pass one share "
            "per output (two for a single output): metagd_optuna.class_frequencies(labels) computes them, and for "
            "classes that no label belongs to a share of 0 has to be added"
        )


def _several_labels(name: str, outputs: int) -> str:
    return (
        f"{name} over {outputs} outputs is the mean of {outputs} losses of two classes, as for images that may "
        "have several labels at once, and this policy reads performance off one loss over classes that exclude one "
        "another. If an image may have several labels, train one label at a time, or use a policy with the signal "
        "val-auc; if it has exactly one, compile the model with categorical_crossentropy for one-hot labels, or "
        "sparse_categorical_crossentropy for class numbers"
    )


def _outputs(model: keras.Model) -> int | None:
    tensors = getattr(model, "outputs", None)
    size = tensors[0].shape[-1] if tensors else None
    return None if size is None else int(size)


def _is_binary(name: str) -> bool:
    return name.lower().startswith(("binary", "bce"))


def _takes_numbers(name: str) -> bool:
    """Return whether a loss of Keras takes class numbers, not one-hot labels."""
    return name.lower().startswith(("sparse", "categoricalgeneralized", "categorical_generalized"))


def _has_logits(loss: Any) -> bool:
    """Return whether a loss of Keras takes logits: only the classes can be told to, the functions never are."""
    return bool(loss.get_config().get("from_logits", False)) if isinstance(loss, keras.losses.Loss) else False


def _losses(
    loss: Any, name: str, answer: FloatArray, logits: bool, numbers: bool, *, single: bool, rows: int = _ROWS
) -> FloatArray:
    """Return the loss of the answer where each class is the truth, shape (K,).

    Args:
        answer: probability of every class, shape (K,), between 0 and 1.
        logits, numbers: whether the loss takes logits, and class numbers.
        single: whether the network has one output, the probability of class 1.
        rows: how many images of every class.
    """
    classes = len(answer)
    independent = _is_binary(name) or single  # a sigmoid for each output
    given = np.log(answer / (1 - answer)) if logits and independent else np.log(answer) if logits else answer
    given = np.tile(given[1:] if single else given, (rows, 1)).astype(np.float32)
    values = []
    for k in range(classes):
        labels: npt.NDArray[Any] = np.full(rows, k, np.int32)
        if single:
            labels = labels[:, None].astype(np.float32)
        elif not numbers:
            labels = np.eye(classes, dtype=np.float32)[labels]
        value = loss(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(given))
        values.append(float(np.mean(keras.ops.convert_to_numpy(value))))
    return np.array(values)


def _losses_of_a_function(model: keras.Model, loss: Any, name: str, answer: FloatArray, *, single: bool) -> FloatArray:
    """Return the losses of a function or class that is not Keras' own, which says nothing about what it takes.

    Its labels are tried as class numbers and as one-hot rows, and one of the two has to be the only one that works.
    """
    activation = _last_activation(model)
    if activation not in ("softmax", "sigmoid", "linear"):
        raise MetaGDError(
            f"whether the loss {name} takes probabilities or logits cannot be told from the network's last layer; "
            f"{_OWN_REFERENCE}"
        )
    if activation == "sigmoid" and len(answer) > 2:
        raise MetaGDError(_several_labels(name, len(answer)))
    found: list[FloatArray] = []
    reasons = []
    for numbers in (True, False):
        try:
            values, doubled = (
                _losses(loss, name, answer, activation == "linear", numbers, single=single, rows=rows)
                for rows in (_ROWS, 2 * _ROWS)
            )
        except Exception as error:  # whatever a function says to labels that are not of its kind
            reasons.append(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:100]}")
            continue
        if not np.allclose(values, doubled, rtol=1e-4):
            reasons.append("it grows with the number of images in a batch")
            continue
        if activation == "linear" and len(answer) > 2:
            # Logits of one class among several may all be raised alike; those of several labels at once may not.
            raised = _losses(loss, name, 2 * answer, True, numbers, single=single)
            if not np.allclose(values, raised, rtol=1e-3):
                raise MetaGDError(_several_labels(name, len(answer)))
        if np.all(np.isfinite(values)) and not any(np.allclose(values, other, rtol=1e-5) for other in found):
            found.append(values)
    if len(found) == 1:
        return found[0]
    ambiguous = "it takes class numbers and one-hot labels, with different values"
    raise MetaGDError(
        f"what chance level costs under the loss {name} cannot be measured: "
        f"{ambiguous if found else '; '.join(reasons) or 'its values are not finite'}; {_OWN_REFERENCE}"
    )


def _last_activation(model: keras.Model) -> str:
    if not getattr(model, "outputs", None):
        return ""
    layer = model.layers[-1]
    while isinstance(layer, keras.Model) and layer.layers:
        layer = layer.layers[-1]
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))


def _is_keras_own(loss: Any) -> bool:
    return getattr(loss, "__module__", "").startswith("keras.")
