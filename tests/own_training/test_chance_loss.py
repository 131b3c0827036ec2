"""What chance level costs under a loss is measured under that loss, so that chance level is performance 0."""

import math

import keras
import numpy as np
import pytest
from small_training import BATCH, X, Y, callback_of, compiled, fit, network, one_backend, policy_of

from metagd_optuna import MetaGDError, MetaGDWarning
from metagd_optuna.training.chance_loss import measure_chance_loss

FOLLOWS = policy_of(lr0=1e-5, b=0.01)
LOSSES = keras.losses
THREE = np.arange(48) % 3
SHARES = (1 / 3,) * 3


def own_cross_entropy(truth, chances):
    return keras.losses.sparse_categorical_crossentropy(truth, chances)


def own_focal(truth, chances):
    """The formula that people copy, on one-hot labels; with class numbers it fails."""
    return keras.ops.sum(-truth * (1 - chances) ** 2 * keras.ops.log(chances + 1e-7), axis=-1)


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return 3 * keras.losses.categorical_crossentropy(y_true, y_pred, from_logits=True)


ONE_HOT, NUMBERS = np.eye(3)[THREE], THREE
CASES = {
    "cross-entropy": ("categorical_crossentropy", "softmax", ONE_HOT),
    "of-logits": (LOSSES.SparseCategoricalCrossentropy(from_logits=True), "linear", NUMBERS),
    "smoothed": (LOSSES.CategoricalCrossentropy(label_smoothing=0.3), "softmax", ONE_HOT),
    "focal": (LOSSES.CategoricalFocalCrossentropy(), "softmax", ONE_HOT),
    "focal-logits": (LOSSES.CategoricalFocalCrossentropy(gamma=3, from_logits=True), "linear", ONE_HOT),
    "generalised": (LOSSES.CategoricalGeneralizedCrossEntropy(), "softmax", NUMBERS),
    "own-function": (own_cross_entropy, "softmax", NUMBERS),
    "own-focal": (own_focal, "softmax", ONE_HOT),
    "own-class": (OwnLoss(), "linear", ONE_HOT),
}


def guesser(loss, activation, outputs=3, **options):
    """A network that answers the same for every image and every class."""
    model = network(outputs, activation)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"], **options)
    return model


@one_backend
@pytest.mark.parametrize("name", ["smoothed", "focal", "generalised", "own-class"])
def test_a_network_that_guesses_has_no_performance(name):
    loss, activation, labels = CASES[name]
    callback = callback_of(FOLLOWS, class_frequencies=SHARES, rate_updates=2)
    history = fit(guesser(loss, activation), callback, y=labels).history
    assert history["performance"] == [pytest.approx(0, abs=1e-3)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("focal", "own-focal") else one_backend) for name in CASES]
)
def test_performance_is_one_minus_the_loss_over_that_of_guessing(name):
    """With frequencies that differ: worked out with the loss itself on the whole set, not class by class."""
    loss, activation, labels = CASES[name]
    rows = np.concatenate([np.flatnonzero(k == THREE)[:n] for k, n in enumerate((8, 12, 4))])
    shares = np.array([8, 12, 4]) / 24
    answer = np.log(shares) if activation == "linear" else shares
    guess = keras.ops.convert_to_tensor(np.tile(answer, (24, 1)).astype("float32"))
    reference = float(np.mean(keras.ops.convert_to_numpy(LOSSES.get(loss)(labels[rows], guess))))
    model = guesser(loss, activation)
    assert measure_chance_loss(model, tuple(shares)) == pytest.approx(reference, rel=1e-4)
    callback = callback_of(FOLLOWS, class_frequencies=tuple(shares), rate_updates=2)
    history = fit(model, callback, x=X[rows], y=labels[rows], batch_size=12).history
    want = max(1 - callback.observations[0].train_loss / reference, 0)
    assert history["performance"][0] == pytest.approx(want, abs=1e-3)


@one_backend
@pytest.mark.parametrize(
    ("loss", "activation", "outputs"),
    [("bce", "sigmoid", 1), (LOSSES.BinaryFocalCrossentropy(), "sigmoid", 1), ("binary_crossentropy", "sigmoid", 2)],
)
def test_two_classes_of_one_output_or_of_two(loss, activation, outputs):
    labels = np.eye(2)[Y] if outputs == 2 else Y[:, None].astype("float32")
    shares = (1 - Y.mean(), Y.mean())
    model = guesser(loss, activation, outputs)
    logit = np.log(shares[1] / shares[0])
    model.set_weights([np.zeros((6, outputs)), np.array([-logit, logit][-outputs:])])
    history = fit(model, callback_of(FOLLOWS, class_frequencies=shares, rate_updates=2), y=labels).history
    losses = [float(np.mean(keras.ops.convert_to_numpy(LOSSES.get(loss)(labels, model(X)))))]
    assert losses[0] == pytest.approx(measure_chance_loss(model, shares), rel=1e-3)
    assert history["performance"][0] < 0.1


@pytest.mark.parametrize("weights", [{0: 0.5, 1: 1.5}, {0: 7.0, 1: 7.0}, {1: 3.0}])
def test_class_weights_are_part_of_the_reference(weights):
    """The guess is the best constant one, which answers the weighted frequencies; any scale of the weights will do."""
    labels = (np.arange(48) % 4 == 0).astype("int32")
    shares = np.array([0.75, 0.25])
    w = np.array([weights.get(0, 1.0), weights.get(1, 1.0)])
    answer = shares * w / (shares * w).sum()
    model = guesser("sparse_categorical_crossentropy", "softmax", 2)
    model.set_weights([np.zeros((6, 2)), np.log(answer)])
    callback = callback_of(FOLLOWS, class_frequencies=shares, class_weight=weights, rate_updates=2)
    history = fit(model, callback, y=labels, epochs=2, class_weight=weights).history
    assert history["performance"] == [pytest.approx(math.nan, nan_ok=True), pytest.approx(0, abs=2e-3)]
    assert callback.observations[0].train_loss == pytest.approx(-(shares * w * np.log(answer)).sum(), abs=2e-3)


def test_penalties_of_weights_are_told_from_the_cross_entropy():
    keras.utils.set_random_seed(1)
    inputs = keras.layers.Input((6,))
    penalty = keras.regularizers.L2(0.5)
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax", kernel_regularizer=penalty)(inputs))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    plain = compiled(hidden=0)
    plain.set_weights(model.get_weights())
    callback = callback_of(FOLLOWS, rate_updates=2)
    history = fit(model, callback, batch_size=24).history
    want = plain.evaluate(X, Y, verbose=0)[0]
    assert history["loss"][0] > want + 0.1
    assert np.mean([seen.train_loss for seen in callback.observations]) == pytest.approx(want, abs=2e-3)


def test_a_train_step_of_ones_own_and_penalties_are_refused():
    class Own(keras.Model):
        def train_step(self, *args):
            return super().train_step(*args)

    keras.utils.set_random_seed(1)
    inputs = keras.layers.Input((6,))
    outputs = keras.layers.Dense(2, "softmax", kernel_regularizer="l2")(inputs)
    model = Own(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    with pytest.raises(MetaGDError, match=r"Own has a train_step of its own and regularizers.*pass chance_loss="):
        fit(model, callback_of(FOLLOWS))
    fit(model, callback_of(FOLLOWS, chance_loss=0.7))


class AddsALoss(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs**2))
        return inputs


@pytest.mark.parametrize("how", ["add_loss", "activity"])
def test_losses_of_images_that_a_model_adds_are_refused(how):
    inputs = keras.layers.Input((6,))
    hidden = keras.layers.Dense(4, activity_regularizer="l2" if how == "activity" else None)(inputs)
    hidden = AddsALoss()(hidden) if how == "add_loss" else hidden
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(hidden))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    with pytest.raises(
        MetaGDError, match=r"adds losses of its own \(add_loss, or an activity regularizer\).*chance_loss="
    ):
        fit(model, callback_of(FOLLOWS))


class WithAComputeLoss(keras.Model):
    def compute_loss(self, *args, **options):
        return 2 * super().compute_loss(*args, **options)


def ambiguous(truth, chances):
    """Takes anything."""
    return keras.ops.mean((keras.ops.mean(keras.ops.cast(truth, "float32")) - chances) ** 2, axis=-1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: compiled(kind=WithAComputeLoss), "WithAComputeLoss has a compute_loss of its own"),
        (lambda: compiled(loss=ambiguous), "takes class numbers and one-hot labels, with different values"),
        (lambda: compiled(loss=own_cross_entropy, activation="tanh"), "cannot be told from the network's last layer"),
        (lambda: compiled(loss="mse"), "has to be one cross-entropy"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_a_remedy(model, message):
    with pytest.raises(MetaGDError, match=rf"{message}.*(chance_loss=|signal)"):
        fit(model(), callback_of(FOLLOWS), y=np.eye(2)[Y] if message.startswith("has") else Y)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        return self.out(inputs)


@one_backend
def test_what_is_not_known_before_the_first_step_is_refused():
    model = Subclassed()
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    with pytest.raises(MetaGDError, match=r"how many outputs the network has is not known.*keras\.Input\(shape\)"):
        fit(model, callback_of(FOLLOWS))


def summed(truth, chances):
    return keras.ops.sum(keras.losses.sparse_categorical_crossentropy(truth, chances))


@one_backend
@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (summed, "it grows with the number of images in a batch"),
        (LOSSES.SparseCategoricalCrossentropy(ignore_class=0), "leaves out class 0, so its scale is not known"),
    ],
)
def test_losses_on_a_scale_of_their_own_are_refused(loss, message):
    with pytest.raises(MetaGDError, match=message):
        fit(compiled(loss=loss), callback_of(FOLLOWS))


@one_backend
def test_a_mean_by_weights_has_another_scale():
    loss = LOSSES.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")
    given = {0: 0.2, 1: 3.0}
    callback = callback_of(FOLLOWS, class_frequencies=(0.5, 0.5), class_weight=given, rate_updates=2)
    model = guesser(loss, "softmax", 2)
    labels = np.arange(48) % 2
    model.set_weights([np.zeros((6, 2)), np.log([0.2 / 3.2, 3.0 / 3.2])])
    history = fit(model, callback, y=labels, epochs=2, class_weight=given).history
    assert history["performance"][1] == pytest.approx(0, abs=2e-3)


def test_weights_that_the_callback_was_not_given_are_told():
    callback = callback_of(FOLLOWS, rate_updates=2)
    with pytest.warns(MetaGDWarning, match=r"loss .* is too low for an accuracy of .*class_weight= that fit"):
        fit(compiled(), callback, class_weight={0: 0.01, 1: 0.01})


def test_a_penalty_that_falls_is_followed_between_updates():
    """With few updates, the mean of its two ends would be far from the mean over the steps."""
    keras.utils.set_random_seed(1)
    inputs = keras.layers.Input((6,))
    penalty = keras.regularizers.L2(1.0)
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax", kernel_regularizer=penalty)(inputs))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])

    class Watches(keras.callbacks.Callback):
        penalties = ()

        def on_train_batch_begin(self, batch, logs=None):
            value = penalty(self.model.trainable_variables[0])
            self.penalties = (*self.penalties, float(keras.ops.convert_to_numpy(value)))

    watch, callback = Watches(), callback_of(policy_of(lr0=0.03, b=0.01), rate_updates=1)
    history = fit(model, callback, watch, epochs=10).history
    assert max(watch.penalties) > 2 * np.mean(watch.penalties)
    want = np.mean(history["loss"]) - np.mean(watch.penalties)
    assert callback.observations[0].train_loss == pytest.approx(want, abs=0.01)


def test_a_reference_that_is_given_is_taken():
    history = fit(compiled(kind=WithAComputeLoss), callback_of(FOLLOWS, chance_loss=100.0)).history
    assert history["performance"][0] == pytest.approx(1 - history["loss"][0] / 100, abs=1e-2)


def own_binary(truth, chances):
    return keras.losses.binary_crossentropy(truth, chances)


def own_binary_of_logits(truth, logits):
    return keras.losses.binary_crossentropy(truth, logits, from_logits=True)


class OwnBinary(keras.losses.BinaryCrossentropy):
    pass


@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        ("binary_crossentropy", "sigmoid"),
        (own_binary, "sigmoid"),
        pytest.param(own_binary_of_logits, "linear", marks=one_backend),
        pytest.param(OwnBinary(), "sigmoid", marks=one_backend),
    ],
)
def test_several_labels_per_image_get_the_right_advice(loss, activation):
    labels = np.random.default_rng(0).integers(0, 2, (48, 4)).astype("float32")
    model = compiled(loss=loss, outputs=4, activation=activation)
    with pytest.raises(
        MetaGDError, match=r"several labels, train one label at a time, or .* signal val-auc; if it has exactly"
    ):
        fit(model, callback_of(FOLLOWS, class_frequencies=(0.25,) * 4), y=labels)


# Running a notebook's cell twice is enough for Keras to call it auc_1.
@pytest.mark.parametrize(
    ("curve", "name", "fits"),
    [("PR", "auc_1", False), *(pytest.param("ROC", name, True, marks=one_backend) for name in ("auc", "AUC", "auc_1"))],
)
def test_an_area_under_another_curve_is_not_taken_for_an_auc(curve, name, fits):
    labels = np.eye(2)[Y]
    model = compiled(loss="categorical_crossentropy", metrics=[keras.metrics.AUC(curve=curve, name=name)])
    callback = callback_of(policy_of(signal="val-auc", b=0.5))
    if fits:
        history = fit(model, callback, y=labels, epochs=2, validation_data=(X, labels)).history
        assert callback.observations[-1].validation.auc == pytest.approx(history[f"val_{name}"][0])
    else:
        with pytest.raises(MetaGDError, match=rf"ROC curve, and val_{name} is that under the precision-recall curve"):
            fit(model, callback, y=labels, epochs=2, validation_data=(X, labels))


@one_backend
def test_of_two_areas_the_right_one_is_taken_whatever_its_name():
    labels = np.eye(2)[Y]
    areas = [keras.metrics.AUC(curve="PR", name="auc"), keras.metrics.AUC(name="receiver")]
    model = compiled(loss="categorical_crossentropy", metrics=areas)
    callback = callback_of(policy_of(signal="val-auc", b=0.5))
    history = fit(model, callback, y=labels, epochs=2, validation_data=(X, labels), batch_size=BATCH).history
    assert callback.observations[-1].validation.auc == pytest.approx(history["val_receiver"][0])
