"""Statistics of batch normalisation, re-estimated where a model stands, and in the callback where training ends."""

from contextlib import nullcontext

import keras
import numpy as np
import pytest
from small_training import X, Y, callback_of, distance, fit, one_backend, policy_of

from metagd_optuna import MetaGDError, MetaGDWarning, ScheduleFreeAdamW, recalibrate_batch_norm

LAYERS = keras.layers
IMAGES = np.random.default_rng(1).normal(2.0, 3.0, size=(300, 6)).astype("float32")


def normalized(optimizer=None, frozen=False, dropout=0.0):
    keras.utils.set_random_seed(1)
    first, second = LAYERS.BatchNormalization(name="first"), LAYERS.BatchNormalization(name="second")
    inside = keras.Sequential([LAYERS.Input((4,)), second], name="inside")
    first.trainable = not frozen
    layers = [LAYERS.Input((6,)), first, LAYERS.Dense(4), LAYERS.Dropout(dropout), inside, LAYERS.Dense(2, "softmax")]
    model = keras.Sequential(layers)
    model.compile(optimizer or keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    return model, first, second


def statistics(layer):
    return np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)


@pytest.mark.parametrize("batch_size", [300, pytest.param(64, marks=one_backend)])
def test_the_statistics_are_those_of_the_data(batch_size):
    model, first, second = normalized()
    recalibrate_batch_norm(model, IMAGES, batch_size=batch_size)
    mean, variance = statistics(first)
    np.testing.assert_allclose(mean, IMAGES.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(variance, IMAGES.var(axis=0), rtol=1e-4)  # whatever the batches, to the last image
    if batch_size == 300:
        hidden = (IMAGES - mean) / np.sqrt(variance + first.epsilon) @ np.asarray(model.layers[1].kernel)
        np.testing.assert_allclose(statistics(second)[1], hidden.var(axis=0), rtol=1e-3)
    np.testing.assert_allclose(statistics(second)[0], 0.0, atol=0.2)


@one_backend
def test_nothing_else_of_the_model_changes():
    model, first, second = normalized(dropout=0.5)
    fit(model)
    moving = {id(v) for layer in (first, second) for v in (layer.moving_mean, layer.moving_variance)}
    others = [variable for variable in model.variables if id(variable) not in moving]
    before, momentum = [np.array(variable) for variable in others], first.momentum
    recalibrate_batch_norm(model, IMAGES)
    assert distance(before, [np.array(variable) for variable in others]) == 0
    assert first.momentum == momentum
    history = fit(model).history  # the programs that were traced before go on
    assert np.isfinite(history["loss"][0])


def test_frozen_layers_keep_theirs():
    model, first, second = normalized(frozen=True)
    before = statistics(first)
    recalibrate_batch_norm(model, IMAGES)
    assert distance(before, statistics(first)) == 0
    assert np.abs(statistics(second)[0]).max() > 0.1


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(100 * index, 100 * index + 100)
        return IMAGES[rows], np.zeros(100)


@one_backend
@pytest.mark.parametrize(
    "data",
    [
        lambda: (IMAGES, np.zeros(300)),
        lambda: keras.ops.convert_to_tensor(IMAGES),
        lambda: (IMAGES[i : i + 50] for i in range(0, 300, 50)),
        lambda: Batches(workers=1),
    ],
    ids=["with-labels", "tensor", "generator", "py-dataset"],
)
def test_data_of_any_kind(data):
    model, first, _ = normalized()
    recalibrate_batch_norm(model, data())
    np.testing.assert_allclose(statistics(first)[0], IMAGES.mean(axis=0), rtol=1e-4)


@one_backend
def test_a_dataset_of_tensorflow():
    import tensorflow as tf

    model, first, _ = normalized()
    recalibrate_batch_norm(model, tf.data.Dataset.from_tensor_slices((IMAGES, np.zeros(300))).batch(60))
    np.testing.assert_allclose(statistics(first)[0], IMAGES.mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (IMAGES[:0], {}, "no image to take the statistics"),
        (iter(()), {}, "no image to take the statistics"),
        (7, {}, "data is a int; pass training images as an array"),
        ("images", {}, "data is a str"),
        (IMAGES, {"batch_size": 1}, "batch_size=1 must be a whole number of at least 2"),
        (IMAGES, {"batch_size": 2.5}, "batch_size=2.5"),
    ],
)
def test_wrong_use_is_named_and_changes_nothing(data, options, message):
    model, first, _ = normalized()
    before, momentum = statistics(first), first.momentum
    with pytest.raises(MetaGDError, match=message):
        recalibrate_batch_norm(model, data, **options)
    assert distance(before, statistics(first)) == 0
    assert first.momentum == momentum


@one_backend
def test_layers_that_take_no_statistics_are_told():
    class HoldsStill(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = LAYERS.BatchNormalization()

        def call(self, inputs):
            return self.norm(inputs, training=False)

    model = HoldsStill()
    model(IMAGES)
    norm = model.norm
    before = statistics(norm)
    with pytest.warns(MetaGDWarning, match=r"no layer of batch normalisation takes statistics"):
        recalibrate_batch_norm(model, IMAGES)
    assert distance(before, statistics(norm)) == 0


def test_a_network_without_batch_normalisation_stays_as_it_is():
    model = keras.Sequential([LAYERS.Input((6,)), LAYERS.Dense(2)])
    before = model.get_weights()
    recalibrate_batch_norm(model, IMAGES)
    assert distance(before, model.get_weights()) == 0


def test_the_callback_does_it_at_the_average():
    """In few steps the moving statistics still hold their beginning, so that the average is judged worse than it is."""
    labels = (X[:, 0] > 0).astype("int32")
    x, histories = 3 * X + 2, []
    for data in (None, x):
        model, first, _ = normalized(ScheduleFreeAdamW(1e-2, r=1))
        ours = callback_of(policy_of("schedule-free-adamw-r1", lr0=0.03), batch_norm_data=data)
        said = (
            nullcontext() if data is not None else pytest.warns(MetaGDWarning, match="batch_norm_data=, some hundred")
        )
        with said:
            history = fit(model, ours, x=x, y=labels, epochs=5, validation_data=(x, labels)).history
        assert model.optimizer.at_average
        histories.append(history["val_loss"])
    np.testing.assert_allclose(statistics(first)[0], x.mean(axis=0), rtol=1e-3, atol=1e-3)
    moving, estimated = np.array(histories)[:, 2:]  # at first either may be lower, by chance
    assert np.all(estimated < moving - 0.02)
    assert model.evaluate(x, labels, verbose=0) == pytest.approx(histories[1][-1], abs=1e-2)
    assert set(Y) == set(labels)
