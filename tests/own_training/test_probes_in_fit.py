"""A policy that has the coming step probed, in the user's own ``fit``, on any backend."""

import keras
import numpy as np
import pytest
from small_training import one_backend

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.training.callback import MetaPolicyCallback
from metagd_optuna.training.keras_probe import KerasProbe
from metagd_optuna.training.probing import probe_rows
from metagd_optuna.training.schedule_free import ScheduleFreeAdamW


def policy_of(optimizer="adam", lr0=0.004):
    given = {"lr0": lr0, "probed": "critical", "b": 0.7, "probes": 3, "least": 0.01, "most": 100.0}
    return MetaPolicy(optimizer=optimizer, rate="probed", rate_coefficients=given)


def network(shape, classes, *, seed, dropout=0.25):
    """Batch normalisation, dropout and a penalty: all that training mode is about."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(8, kernel_regularizer=keras.regularizers.L2(1e-3)),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(classes),
        ]
    )


def test_a_probe_is_what_it_says():
    """Plain gradient descent on one dense layer, by hand."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, size=90)
    pixels = rng.uniform(size=(90, 9, 8, 1)).astype(np.float32) + labels[:, None, None, None] / 4
    model = keras.Sequential([keras.Input(pixels.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rows = probe_rows(len(pixels))
    x, y = pixels[rows].reshape(32, -1).astype(float), np.eye(3)[labels[rows]]
    kernel, bias = (np.asarray(each, float) for each in model.get_weights())

    def loss_and_gradient(kernel, bias, x, y):
        logits = x @ kernel + bias
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        error = (chances - y) / len(x)
        return -np.mean(np.log((chances * y).sum(axis=1))), np.concatenate([(x.T @ error).ravel(), error.sum(axis=0)])

    rates = (0.001, 0.01, 0.1, 1.0, 10.0)
    found = KerasProbe(model, pixels, labels)(rates)
    loss, gradient = loss_and_gradient(kernel, bias, x, y)
    one, other = (loss_and_gradient(kernel, bias, x[part], y[part])[1] for part in (slice(16), slice(16, 32)))
    steps = [(kernel - r * gradient[:-3].reshape(kernel.shape), bias - r * gradient[-3:]) for r in rates]
    assert found.loss == pytest.approx(loss, rel=1e-4)
    assert found.losses == pytest.approx([loss_and_gradient(*each, x, y)[0] for each in steps], rel=1e-3)
    length = np.linalg.norm(gradient)
    assert (found.gradient, found.direction) == pytest.approx((length, length), rel=1e-3)
    assert found.slope == pytest.approx(length**2, rel=1e-3)
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    assert found.agreement == pytest.approx(cosine, abs=1e-3)
    assert found.distance == 0


def _fit(policy, epochs, *, model=None, batch_size=4, others=(), **options):
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 3
    images = rng.normal(size=(96, 8, 8, 1)) + labels[:, None, None, None]
    if model is None:
        model = network((8, 8, 1), 3, seed=2)
        model.compile(
            OPTIMIZERS[policy.optimizer].build(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
    callback = MetaPolicyCallback(
        policy,
        complexity=0.5,
        class_frequencies=(1 / 3,) * 3,
        probe=(images, labels),
        batch_norm_data=images,
        **options,
    )
    callbacks = [callback, *others]
    try:
        model.fit(images, labels, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    except InterruptedError:
        assert others
    return callback, model


class CutsOff(keras.callbacks.Callback):
    """Ends the process, so to say, as the third epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise InterruptedError


@pytest.mark.parametrize("stands", ["at its average", "where it trains", "somewhere else", "at its start"])
@pytest.mark.parametrize("options", [{}, {"r": 1}, {"r": 1, "weight_decay": 0.1, "beta_1": 0.8}])
def test_schedule_free_says_what_its_coming_step_is(options, stands):
    """The formula in NumPy against the step that Keras takes."""
    rng = np.random.default_rng(0)
    model = network((4, 4, 1), 3, seed=1)
    optimizer = ScheduleFreeAdamW(0.01, **options)
    if "weight_decay" in options:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    optimizer.build(model.trainable_variables)
    if stands != "at its start":
        images = rng.normal(size=(24, 4, 4, 1)).astype(np.float32)
        model.fit(images, np.arange(24) % 3, batch_size=4, verbose=0)
        assert optimizer.at_average
    if stands == "where it trains":
        optimizer.leave_average()
    elif stands == "somewhere else":
        for variable in model.trainable_variables:
            variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    gradients = [rng.normal(size=variable.shape).astype(np.float32) for variable in model.trainable_variables]
    still, direction = optimizer.coming_step(gradients)
    before = [np.array(variable) for variable in model.trainable_variables]
    optimizer.learning_rate = 0.03
    optimizer.apply([keras.ops.convert_to_tensor(each) for each in gradients], model.trainable_variables)
    assert {each.dtype for each in (*still, *direction)} == {np.dtype(np.float32)}
    for now, was, at_0, along in zip(model.trainable_variables, before, still, direction, strict=True):
        assert at_0 - np.float32(0.03) * along == pytest.approx(np.array(now), rel=1e-4, abs=1e-6)
        assert np.abs(np.array(now) - was).max() > 1e-3


@pytest.mark.parametrize("options", [{"clipnorm": 1.0}, {"clipvalue": 1.0}, {"global_clipnorm": 1.0}])
def test_a_step_that_is_more_than_the_formula_is_taken_by_keras(options):
    """A clipped gradient's length, where the plain formula would have another."""
    x, y = _rows()
    found = []
    for given in ({}, options):
        model = _classifier(keras.layers.Dense(3))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(ScheduleFreeAdamW(0.01, epsilon=1.0, **given), loss)
        found.append(KerasProbe(model, 100 * x, y)((1e-3, 1e-2, 1e-1, 1.0, 10.0)).direction)
        assert model.optimizer.is_plain is (not given)
    assert found[1] < 0.9 * found[0]


def test_the_rule_needs_no_horizon():
    """Half as long again, stopped early, or resumed: the same rates up to then."""
    policy = policy_of("schedule-free-adamw-r1")
    short, _ = _fit(policy, 2)
    long, _ = _fit(policy, 3)
    assert len(set(short.rates)) >= 3
    assert long.rates[: len(short.rates)] == pytest.approx(short.rates, rel=1e-6)
    first, model = _fit(policy, 2, budget=3)
    again, _ = _fit(policy, 1, model=model, budget=3)
    assert first.rates + again.rates == pytest.approx(long.rates, rel=1e-3)


def test_a_training_that_was_restored_has_the_same_rates(tmp_path):
    """Three steps an epoch, so that a probe is on either side of the cut: after 2 and 4, and after 8.

    Without dropout, because what Keras restores does not hold where its random numbers stood.
    """
    policy = policy_of("schedule-free-adamw-r1", lr0=0.0005)

    def fitted(*others):
        model = network((8, 8, 1), 3, seed=2, dropout=0.0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(OPTIMIZERS[policy.optimizer].build(1e-3), loss)
        return _fit(policy, 4, model=model, batch_size=32, others=others)[0]

    whole = fitted()
    assert len(set(whole.rates)) == 4
    first = fitted(keras.callbacks.BackupAndRestore(tmp_path), CutsOff())
    second = fitted(keras.callbacks.BackupAndRestore(tmp_path))
    assert first.rates + second.rates == pytest.approx(whole.rates, rel=1e-3)


def test_a_rule_without_f_needs_no_complexity():
    callback = MetaPolicyCallback(policy_of(), class_frequencies=(1 / 3,) * 3)
    assert callback.complexity == 0.0


def test_a_policy_that_probes_needs_images():
    model = network((8, 8, 1), 3, seed=2)
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = MetaPolicyCallback(policy_of(), complexity=0.5, class_frequencies=(1 / 3,) * 3)
    with pytest.raises(MetaGDError, match=r"give the callback probe=\(x, y\): 32 training images or more"):
        model.fit(np.zeros((8, 8, 8, 1)), np.zeros(8), verbose=0, callbacks=[callback])


@pytest.mark.parametrize("given", [5, (np.zeros(3),), "ab", (1, 2)])
def test_what_is_no_pair_of_arrays_is_refused(given):
    with pytest.raises(MetaGDError, match=r"probe is .*probe=\(x, y\)"):
        MetaPolicyCallback(policy_of(), complexity=0.5, class_frequencies=(0.5, 0.5), probe=given)


@pytest.mark.parametrize(("images", "labels"), [(1, 1), (4, 5)])
def test_too_few_images_or_labels_are_refused(images, labels):
    model = network((8, 8, 1), 3, seed=2)
    model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
    with pytest.raises(MetaGDError, match=f"probe has {images} images and {labels} labels"):
        KerasProbe(model, np.zeros((images, 8, 8, 1)), np.zeros(labels))


@pytest.mark.parametrize("options", [{"gradient_accumulation_steps": 4}, {"loss_scale_factor": 128}])
def test_a_step_that_is_put_together_is_refused(options):
    model = network((8, 8, 1), 3, seed=2)
    model.compile(keras.optimizers.Adam(**options), "sparse_categorical_crossentropy")
    with pytest.raises(MetaGDError, match="leave gradient_accumulation_steps, loss_scale_factor"):
        KerasProbe(model, np.zeros((8, 8, 8, 1)), np.zeros(8))


def test_weights_that_are_not_there_or_too_short_are_refused():
    later = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    short = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, dtype="bfloat16")])
    for model, told in ((later, "no weights before its first step"), (short, "weights are bfloat16")):
        model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
        with pytest.raises(MetaGDError, match=told):
            KerasProbe(model, np.zeros((8, 8)), np.zeros(8))


def _classifier(*stack):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((6,)), *stack])
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _rows(classes=3):
    rng = np.random.default_rng(2)
    return rng.uniform(size=(32, 6)).astype(np.float32), rng.integers(classes, size=32)


def test_penalties_of_activations_count():
    x, y = _rows()
    model = _classifier(keras.layers.Dense(3, activity_regularizer=keras.regularizers.L2(1.0)))
    loss = KerasProbe(model, x, y)((1e-6, 1e-5, 1e-4, 1e-3, 1e-2)).loss
    assert loss == pytest.approx(model.evaluate(x, y, batch_size=32, verbose=0), rel=1e-4)


def test_class_weights_count():
    x, y = _rows()
    model = _classifier(keras.layers.Dense(3))
    weights = {0: 5.0, 1: 1.0, 2: 0.5}
    loss = KerasProbe(model, x, y, weights)((1e-6, 1e-5, 1e-4, 1e-3, 1e-2)).loss
    each = np.array([weights[label] for label in y], np.float32)
    assert loss == pytest.approx(model.evaluate(x, y, sample_weight=each, batch_size=32, verbose=0), rel=1e-4)


def test_an_embedding_is_probed():
    x, y = _rows()
    layers = keras.layers
    model = _classifier(layers.Embedding(10, 4), layers.Flatten(), layers.Dense(3))
    found = KerasProbe(model, (x * 10).astype(int), y)((1e-3, 1e-2, 1e-1, 1.0, 10.0))
    assert found.gradient > 0
    assert found.slope == pytest.approx(found.gradient**2, rel=1e-3)


@one_backend
def test_a_model_is_probed_where_functions_are_run_eagerly():
    import tensorflow as tf

    x, y = _rows()
    rates = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    model = _classifier(keras.layers.Dense(3))
    expected = KerasProbe(model, x, y)(rates)
    tf.config.run_functions_eagerly(True)
    try:
        found = KerasProbe(model, x, y)(rates)
    finally:
        tf.config.run_functions_eagerly(False)
    assert found.losses == pytest.approx(expected.losses, rel=1e-5)
