"""A network read from a .keras file: its architecture, with fresh random choices for every seed."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.training.cnn import article_cnn
from metagd_optuna.training.saved_network import read_network

SHAPE, CLASSES = (12, 10, 1), 3


def sequential(*stack):
    return keras.Sequential([layers.Input(SHAPE), *stack, layers.Flatten(), layers.Dense(CLASSES)])


def residual():
    entrance = layers.Input(SHAPE)
    x = layers.RandomFlip("horizontal")(entrance)
    x = layers.Conv2D(4, 3, padding="same")(x)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", activation="silu")(x))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(layers.Add()([x, y])))
    return keras.Model(entrance, layers.Dense(CLASSES)(x))


def saved(model, tmp_path):
    model.save(tmp_path / "network.keras")
    return tmp_path / "network.keras"


def values(model):
    return [np.asarray(variable.numpy()) for variable in model.variables]


@pytest.mark.parametrize(
    "make",
    [residual, lambda: sequential(layers.Conv2D(4, 3)), lambda: article_cnn(SHAPE, CLASSES, seed=5)],
    ids=["residual", "sequential", "article"],
)
def test_all_random_choices_follow_the_seed(make, tmp_path):
    build = read_network(saved(make(), tmp_path))
    one, same, other = (build(SHAPE, CLASSES, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(values(one), values(same), strict=True))
    drawn = [np.asarray(a).std() > 0 or a.dtype == np.uint32 for a in values(one)]
    assert any(drawn)
    for a, b, random in zip(values(one), values(other), drawn, strict=True):
        assert np.array_equal(a, b) != random
    images = np.random.default_rng(0).normal(size=(6, *SHAPE)).astype(np.float32)
    assert np.array_equal(one(images, training=True), same(images, training=True))


def attention():
    entrance = layers.Input(SHAPE)
    x = layers.Reshape((12, 10))(layers.RandomGrayscale(0.5)(entrance))
    x = layers.MultiHeadAttention(2, 5)(x, x)
    x = layers.GroupQueryAttention(4, 4, 2)(x, x)
    return keras.Model(entrance, layers.Dense(CLASSES)(layers.Flatten()(x)))


def test_the_parts_of_attention_begin_apart_and_each_from_the_seed(tmp_path):
    """Keras gives all of them copies of one initializer, which with a seed would draw the same."""
    build = read_network(saved(attention(), tmp_path))
    one, again, other = (build(SHAPE, CLASSES, seed=seed) for seed in (1, 1, 2))
    kernels = [value for value in values(one) if value.ndim == 3]
    assert len(kernels) == 8
    for place, kernel in enumerate(kernels):
        assert not any(kernel.shape == after.shape and np.array_equal(kernel, after) for after in kernels[place + 1 :])
    assert all(map(np.array_equal, values(one), values(again)))
    changed = [not np.array_equal(a, b) for a, b in zip(values(one), values(other), strict=True) if a.any() or b.any()]
    assert all(changed)


def test_no_two_weights_begin_alike(tmp_path):
    model = read_network(saved(sequential(*(layers.Conv2D(4, 3, padding="same") for _ in range(3))), tmp_path))(
        SHAPE, CLASSES, seed=0
    )
    second, third = (model.layers[place].kernel.numpy() for place in (1, 2))
    assert not np.array_equal(second, third)


def test_what_was_compiled_and_trained_does_not_matter(tmp_path):
    model = sequential(layers.Conv2D(4, 3))
    plain = read_network(saved(model, tmp_path))(SHAPE, CLASSES, seed=0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(np.ones((4, *SHAPE), np.float32), np.zeros(4), verbose=0)
    again = read_network(saved(model, tmp_path))(SHAPE, CLASSES, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(values(plain), values(again), strict=True))
    assert not again.compiled


def frozen():
    model = sequential(layers.Conv2D(4, 3))
    model.layers[0].trainable = False
    return model


def adapted():
    layer = layers.Normalization()
    layer.adapt(np.ones((2, *SHAPE), np.float32))
    return sequential(layer)


class Own(layers.Layer):
    """A layer of a user's own."""

    def call(self, x):
        """Return its input."""
        return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (frozen, "is frozen, but a study begins with fresh weights"),
        (adapted, "was adapted to data"),
        (lambda: sequential(layers.AugMix()), "draws from Python's own generator"),
        (lambda: sequential(Own()), "call run_study with build_network="),
        (lambda: sequential(layers.Lambda(lambda x: x)), "call run_study with build_network="),
    ],
    ids=["frozen", "adapted", "AugMix", "own layer", "lambda"],
)
def test_refused_networks(make, message, tmp_path):
    with pytest.raises(MetaGDError, match=message):
        read_network(saved(make(), tmp_path))


def test_refused_files(tmp_path):
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"no archive")
    with pytest.raises(MetaGDError, match=r"not a Keras 3 model file .*model\.save"):
        read_network(broken)
    for content in ({"config.json": "{"}, {"other": ""}, {"config.json": "[]"}, {"config.json": "null"}):
        with zipfile.ZipFile(broken, "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
        with pytest.raises(MetaGDError, match="not a Keras 3 model file"):
            read_network(broken)
    with zipfile.ZipFile(broken, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional"}))
    content = bytearray(broken.read_bytes())
    content[content.index(b"config.json") + len("config.json")] = 0xFF  # the first byte of what is compressed
    broken.write_bytes(content)
    with pytest.raises(MetaGDError, match="not a Keras 3 model file"):
        read_network(broken)
    layer = keras.saving.serialize_keras_object(layers.Dense(2))
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("config.json", json.dumps(layer))
    with pytest.raises(MetaGDError, match="holds a Dense, not a"):
        read_network(broken)
    with pytest.raises(MetaGDError, match="cannot be read: No such file"):
        read_network(tmp_path / "missing.keras")
