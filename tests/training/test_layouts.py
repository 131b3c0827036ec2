"""The layout of patches and matrix products against the grouped one, and bfloat16 against float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.training.cnn import article_cnn
from metagd_optuna.training.fused import patches
from metagd_optuna.training.fused.network import LAYOUTS, FusedNetwork
from metagd_optuna.training.network import Start, Variables
from metagd_optuna.training.programs import steps_of

CLASSES = 3


def examples(shape, count=24):
    """Noise and a bright stripe whose place tells the class; bytes.

    The frame is black, so that many numbers which a pooling compares are equal.
    """
    rng = np.random.default_rng(1)
    images = np.zeros((count, *shape), np.uint8)
    images[:, 2:-2, 2:-2] = rng.integers(0, 128, size=(count, shape[0] - 4, shape[1] - 4, shape[2]))
    labels = rng.integers(CLASSES, size=count).astype(np.int32)
    for image, label in zip(images, labels, strict=True):
        image[2:-2, 2 + 3 * label : 5 + 3 * label] += 100
    return images, labels


def members(model, population):
    """Return weights (P, D): the model's own, with noise of each member's own."""
    start = Start.of(model)
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(population, len(start.weights))) * 0.03
    state = np.repeat(start.state[None], population, axis=0)
    return (start.weights + noise).astype(np.float32), state, start.noise


def outcome(model, population, shape, **options):
    """Return logits (P, N, K) and gradients (P, D) of a network; a step of plain descent at rate 1 shows them."""
    network = FusedNetwork(model, **options)
    images, labels = examples(shape)
    weights, state, noise = members(model, population)
    step = tf.function(steps_of(network, OPTIMIZERS["sgd"].rule()), autograph=False)
    everyone = np.arange(len(images), dtype=np.int32)[None]
    after = step(images, labels, weights, (), state, noise, 0, everyone, np.ones((1, population), np.float32))
    logits = network.logits(weights, state, noise, tf.cast(images, tf.float32) / 255, training=False)[0]
    assert after[0].dtype == logits.dtype == tf.float32
    return logits.numpy(), weights - after[0].numpy()


@pytest.mark.parametrize("population", [1, 3])
@pytest.mark.parametrize("shape", [(20, 19, 1), (12, 13, 2)], ids=["valid", "same"])
def test_article_cnn_is_the_same_in_both_layouts(shape, population):
    model = article_cnn(shape, CLASSES, seed=0)
    logits, gradients = outcome(model, population, shape, layout="grouped")
    patched_logits, patched_gradients = outcome(model, population, shape, layout="patches")
    assert np.abs(gradients).max() > 0.01
    np.testing.assert_allclose(patched_logits, logits, atol=1e-4)
    np.testing.assert_allclose(patched_gradients, gradients, atol=1e-4)


def strided(x):
    x = layers.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.Conv2D(5, 3, dilation_rate=2, padding="same", use_bias=False)(x)
    return layers.Conv2D(3, 2, strides=2, activation="tanh")(x)


def residual(x):
    x = layers.Conv2D(4, 3, activation="silu")(x)
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)))
    x = layers.Subtract()([layers.Average()([layers.Add()([x, y]), x]), y])
    gate = layers.Reshape((1, 1, 4))(layers.Dense(4, "sigmoid")(layers.GlobalAveragePooling2D()(x)))
    return layers.Concatenate()([layers.Multiply()([x, gate]), layers.Identity()(y)])


def sizes(x):
    x = layers.Conv2D(4, 3, groups=2, activation="gelu")(layers.MaxPooling2D(2, strides=1)(x))
    x = layers.UpSampling2D()(layers.MaxPooling2D(3)(layers.ELU()(x)))
    x = layers.Conv2D(4, 2, groups=2)(layers.Cropping2D(1)(layers.ZeroPadding2D(2)(x)))
    y = layers.LeakyReLU()(layers.AveragePooling2D(3, strides=1, padding="same")(x))
    x = layers.Maximum()([layers.Activation("elu")(x), y])
    return layers.Conv2D(2, 1)(layers.Dropout(0.3, seed=1)(layers.Minimum()([x, y])))


def before_any_weights(x):
    y = layers.AveragePooling2D(2)(layers.Add()([layers.ReLU()(x), layers.Activation("tanh")(x)]))
    return layers.Add()([layers.MaxPooling2D(2)(x), layers.Conv2D(2, 3, padding="same")(y)])


BODIES = {"strided": strided, "residual": residual, "sizes": sizes, "before any weights": before_any_weights}
SHAPE = (14, 13, 2)


def network(name):
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(BODIES[name](inputs))))
    rng = np.random.default_rng(3)
    for variable in Variables.of(model).weights:
        if len(variable.shape) > 1:
            variable.assign(rng.normal(size=variable.shape) / np.sqrt(np.prod(variable.shape[:-1])))
    return model


@pytest.mark.parametrize("name", BODIES)
def test_any_network_is_the_same_in_both_layouts(name):
    model = network(name)
    logits, gradients = outcome(model, 3, SHAPE, layout="grouped")
    patched_logits, patched_gradients = outcome(model, 3, SHAPE, layout="patches")
    assert np.abs(gradients).max() > 0.01
    np.testing.assert_allclose(patched_logits, logits, atol=1e-4)
    np.testing.assert_allclose(patched_gradients, gradients, atol=1e-4)


def test_every_layer_that_is_done_members_first_is_tested():
    tested = {type(layer) for name in BODIES for layer in network(name).layers}
    assert set(patches.MEMBERS_FIRST) <= tested


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_is_float32_to_its_rounding(layout):
    """bfloat16 keeps 8 significant bits: an error of up to 1/512 per number, five layers deep.

    Gradients are farther off, because a unit near zero that is rounded to its other side gets none, or all of it. A CPU
    without instructions for bfloat16 rounds sums as well, and has no gradient of a grouped convolution in it: hence
    one member, which is what is measured to be best there.
    """
    shape = (20, 19, 1)
    model = article_cnn(shape, CLASSES, seed=0)
    exact = outcome(model, 1, shape, layout=layout)
    rounded = outcome(model, 1, shape, layout=layout, compute="bfloat16")
    for values, expected, most in zip(rounded, exact, (0.03, 0.2), strict=True):
        off = np.linalg.norm(values - expected) / np.linalg.norm(expected)
        assert 5e-4 < off < most


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_patches_leave_only_products_to_xla(compute):
    """XLA's own gradient of max-pooling scatters, and has no deterministic form on GPUs."""
    model = article_cnn((20, 19, 1), CLASSES, seed=0)
    images, labels = examples((20, 19, 1))
    weights, state, noise = members(model, 2)
    program = tf.function(
        steps_of(FusedNetwork(model, layout="patches", compute=compute), OPTIMIZERS["sgd"].rule()),
        autograph=False,
        jit_compile=True,
    )
    everyone = tf.range(len(images))[None]
    given = (images, labels, weights, (), state, noise, tf.constant(0), everyone, tf.ones((1, 2)))
    given = tf.nest.map_structure(tf.convert_to_tensor, given)
    text = program.experimental_get_compiler_ir(*given)(stage="hlo")
    products = [line for line in text.splitlines() if " dot(" in line]
    assert " convolution(" not in text
    assert "select-and-scatter" not in text
    # Five layers, each with a product forwards, one for its kernels and one for its inputs. The first layer's inputs
    # are the images, which need no gradient; XLA drops that product later.
    assert len(products) == 3 * 5
    assert all(("bf16[" in line) == (compute == "bfloat16") for line in products)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"layout": "patchs"}, "layout is 'patchs'; allowed: grouped, patches. Did you mean 'patches'"),
        ({"compute": "float16"}, "compute is 'float16'; allowed: float32, bfloat16"),
    ],
)
def test_unknown_options_are_refused(option, text):
    with pytest.raises(MetaGDError, match=text):
        FusedNetwork(article_cnn((8, 8, 1), CLASSES, seed=0), **option)
