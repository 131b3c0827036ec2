"""Any Keras model in the engine, against ``fit`` on the same batches from the same weights."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import reference
from keras import layers

from metagd_optuna.contracts import MetaGDError, TrainingJob
from metagd_optuna.policy import default_candidate
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.fused import grouped
from metagd_optuna.training.network import Start, own_random_numbers, split_values
from metagd_optuna.training.plan import plan_run

SHAPE, CLASSES = (12, 10, 2), 3


def part(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=count).astype(np.int32)
    pixels = rng.normal(size=(count, *SHAPE)) + labels[:, None, None, None] * np.linspace(-1, 1, SHAPE[1])[:, None]
    return pixels.astype(np.float32), labels


@pytest.fixture(scope="module")
def images():
    return Images(part(48, 1), part(12, 2), part(12, 3))


@pytest.fixture(scope="module")
def plan():
    return plan_run(train_examples=48, epochs=3, batch_size=8, evaluations=3, rate_updates_per_evaluation=2)


def chain(x, *stack):
    for layer in stack:
        x = layer(x)
    return x


def residual(x):
    x = layers.Conv2D(6, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    y = layers.Conv2D(6, 3, padding="same")(x)
    y = layers.LayerNormalization()(y)
    return layers.Flatten()(layers.MaxPooling2D()(layers.Add()([x, y])))


def branches(x):
    a = layers.Conv2D(4, 3, padding="same", activation="silu")(x)
    b = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.Concatenate()([a, b])
    x = layers.Concatenate()([x, layers.UpSampling2D()(layers.MaxPooling2D()(x))])
    return layers.Concatenate()([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)])


def squeeze_and_excite(x):
    x = layers.Conv2D(6, 3)(x)
    gate = layers.Dense(6, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 6))(gate)])
    x = layers.Maximum()([x, layers.Cropping2D(1)(layers.ZeroPadding2D(1)(layers.LeakyReLU()(x)))])
    return layers.GlobalAveragePooling2D()(layers.Dense(5, activation="gelu")(x))


def twice_the_same_layer(x):
    shared = layers.Conv2D(2, 3, padding="same", activation="tanh")
    x = layers.Subtract()([shared(shared(x)), x])
    return layers.Flatten()(layers.Average()([layers.Minimum()([x, shared(x)]), x]))


def global_context(x):
    x = layers.Conv2D(4, 3)(x)
    context = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Average()([layers.Add()([x, context]), context])
    return layers.Flatten()(layers.MaxPooling2D()(x))


# Every kind of layer that can be fused is in one of these.
FUSED = {
    "residual": residual,
    "branches": branches,
    "squeeze and excite": squeeze_and_excite,
    "the same layer twice": twice_the_same_layer,
    "depthwise": lambda x: chain(
        x,
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
        layers.SeparableConv2D(5, 3, strides=2, padding="same", activation="elu"),
        layers.GroupNormalization(5),
        layers.Conv2D(4, 3, groups=1, dilation_rate=2, padding="same"),
        layers.Conv2D(4, 1, groups=2),
        layers.Activation("softplus"),
        layers.Flatten(),
    ),
    "groups from the first layer on": lambda x: chain(x, layers.Conv2D(4, 3, groups=2), layers.ELU(), layers.Flatten()),
    "vectors": lambda x: chain(
        x,
        layers.Flatten(),
        layers.Dense(8),
        layers.BatchNormalization(),
        layers.Dense(8, "relu"),
        layers.GroupNormalization(2),
    ),
    "first flatten": lambda x: chain(x, layers.Flatten(), layers.Identity()),
    "normalisation first": lambda x: chain(
        x, layers.BatchNormalization(), layers.LayerNormalization(), layers.Flatten()
    ),
    "sums that broadcast": global_context,
    # Without weights of their own these give all members the same.
    "standardised images first": lambda x: chain(
        x,
        layers.GroupNormalization(1, scale=False, center=False),
        layers.LayerNormalization(scale=False, center=False),
        layers.Dropout(0.2, seed=1),
        layers.Conv2D(4, 3, groups=2),
        layers.Flatten(),
    ),
    "noise": lambda x: chain(
        x,
        layers.GaussianNoise(0.1, seed=5),
        layers.Conv2D(6, 3, activation="relu"),
        layers.SpatialDropout2D(0.3, seed=1),
        layers.GaussianNoise(0.1, seed=2),
        layers.MaxPooling2D(),
        layers.Dropout(0.2, seed=6),
        layers.Flatten(),
        layers.GaussianDropout(0.2, seed=3),
        layers.Dense(8, activation="relu"),
        layers.Dropout(0.4, seed=4),
    ),
    "augmentation": lambda x: chain(
        x,
        keras.Sequential([layers.RandomFlip(seed=1), layers.RandomTranslation(0.1, 0.1, seed=2)]),
        layers.Rescaling(0.5, offset=0.1),
        layers.RandomContrast(0.2, value_range=(-4, 4), seed=3),
        layers.Resizing(9, 9),
        layers.Conv2D(4, 3),
        layers.Rescaling(2.0),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Flatten(),
    ),
}


class Doubled(layers.Layer):
    """A layer of the user's own."""

    def call(self, inputs):
        return inputs * 2.0


class Block(keras.Model):
    """A model of a class of the user's own, which is no graph of layers."""

    def __init__(self):
        super().__init__()
        self.convolution = layers.Conv2D(3, 3)

    def call(self, inputs):
        return self.convolution(inputs)


class Halved(keras.Sequential):
    """A graph of layers with a call of its own."""

    def call(self, inputs, training=None, mask=None):
        return 0.5 * super().call(inputs, training=training, mask=mask)


def through_itself(x):
    inner = keras.Input(x.shape[1:])
    return layers.Flatten()(keras.Model(inner, inner)(layers.Conv2D(3, 3, padding="same")(x)[..., :2]))


SINGLE = {
    "a layer of one's own": lambda x: chain(x, Doubled(), layers.Flatten(), layers.Dropout(0.2, seed=1)),
    # Both leave rows and columns out before they come to what has no rule.
    "a layer of one's own after pooling": lambda x: chain(
        x, layers.Conv2D(3, 3), layers.MaxPooling2D(3), Doubled(), layers.Flatten()
    ),
    "arithmetic": lambda x: layers.Flatten()(chain(x, layers.Conv2D(3, 3), layers.MaxPooling2D(3)) * 2.0),
    "softmax inside": lambda x: chain(
        x, layers.Conv2D(3, 3, activation="softmax"), layers.BatchNormalization(), layers.Flatten()
    ),
    "augmentation after weights": lambda x: chain(x, layers.Conv2D(3, 3), layers.RandomFlip(seed=1), layers.Flatten()),
    "regularizer": lambda x: chain(x, layers.Flatten(), layers.Dense(4, kernel_regularizer="l2")),
    "a block of a class of one's own": lambda x: layers.Flatten()(Block()(x)),
    "a graph with a call of its own": lambda x: layers.Flatten()(
        Halved([layers.Input(x.shape[1:]), layers.Conv2D(3, 3)])(x)
    ),
    "a model that answers with its input": through_itself,
    "a constant among the inputs": lambda x: chain(
        layers.Multiply()([x, np.full((1, 1, 1, 2), 2.0, np.float32)]), layers.Conv2D(3, 3), layers.Flatten()
    ),
    "renorm": lambda x: chain(x, layers.Conv2D(3, 3), layers.BatchNormalization(renorm=True), layers.Flatten()),
    "channels first": lambda x: chain(x, layers.Conv2D(3, 3), layers.Flatten(data_format="channels_first")),
    "LoRA": lambda x: chain(x, layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(4), layers.Dense(4, lora_rank=2)),
    "PReLU": lambda x: chain(x, layers.Conv2D(3, 3), layers.PReLU(), layers.Flatten()),
}


def builder(body):
    """Makes the network anew, with weights from the seed alone."""

    def build(input_shape, classes, *, seed):
        inputs = keras.Input(input_shape)
        model = keras.Model(inputs, layers.Dense(classes)(body(inputs)))
        rng = np.random.default_rng(seed)
        for variable in model.weights:
            if len(variable.shape) > 1:
                variable.assign(rng.normal(size=variable.shape) / np.sqrt(np.prod(variable.shape[:-1])))
        return model

    return build


def check_against_fit(body, images, plan, loss_driven, *, fused):
    build = builder(body)
    settings = {"classes": CLASSES, "class_frequencies": (0.4, 0.3, 0.3), "complexity": 0.5, "plan": plan}
    engine = Engine(images, population=3, build_network=build, **settings)
    assert bool(engine.unfused) != fused, engine.unfused
    jobs = [TrainingJob(f"m{i}", loss_driven(0.004 * (1 + i)), "sgd-nesterov") for i in range(3)]
    records = engine.train(jobs, seed=4)
    # Whatever of another member came into the last one's weights, rates or noise would show there.
    expected = reference.train(images, jobs[2], seed=4, build_network=build, **settings)
    np.testing.assert_allclose(records[2].train_loss, expected.train_loss, atol=1e-3)
    np.testing.assert_allclose(records[2].validation.loss, expected.validation.loss, atol=1e-3)
    assert records[2].train_loss[-1] != pytest.approx(records[0].train_loss[-1], abs=1e-3)


@pytest.mark.parametrize("name", FUSED)
def test_fused_network_matches_fit(name, images, plan, loss_driven):
    check_against_fit(FUSED[name], images, plan, loss_driven, fused=True)


def test_every_kind_of_layer_that_can_be_fused_is_tested():
    def kinds(model):
        for layer in model.layers:
            yield from kinds(layer) if isinstance(layer, keras.Model) else [type(layer)]

    tested = {kind for body in FUSED.values() for kind in kinds(builder(body)(SHAPE, CLASSES, seed=0))}
    assert set(grouped.FUSED) <= tested


@pytest.mark.parametrize("name", SINGLE)
def test_any_other_network_matches_fit_one_member_at_a_time(name, images, plan, loss_driven):
    check_against_fit(SINGLE[name], images, plan, loss_driven, fused=False)


class SoftmaxByHand(layers.Layer):
    def call(self, logits):
        return keras.ops.softmax(logits)


@pytest.mark.parametrize(
    ("stack", "text"),
    [
        ([layers.Flatten(), layers.Dense(CLASSES, "softmax")], "ends in probabilities"),
        ([layers.Flatten(), layers.Dense(CLASSES), layers.Softmax()], "ends in probabilities"),
        ([keras.Sequential([layers.Flatten(), layers.Dense(CLASSES, "softmax")])], "ends in probabilities .*'dense"),
        ([keras.Sequential([layers.Flatten(), layers.Dense(CLASSES, "sigmoid")])], "ends in probabilities .*'dense"),
        ([layers.Flatten(), layers.Dense(CLASSES, "softmax"), layers.Reshape((CLASSES,))], "ends in probabilities"),
        ([layers.Flatten(), layers.Dense(CLASSES, "sigmoid"), layers.Reshape((CLASSES,))], "ends in probabilities"),
        ([layers.Flatten(), layers.Dense(CLASSES), SoftmaxByHand()], "ends in probabilities .*'softmax_by_hand'"),
        ([layers.Flatten(), layers.Dense(5)], r"this task needs \(12, 10, 2\) to \(3,\)"),
        ([layers.Flatten(), layers.Dense(CLASSES, kernel_constraint="non_neg")], "constraints"),
        ([layers.Flatten(dtype="float16"), layers.Dense(CLASSES, dtype="float16")], "float32"),
        ([layers.SpectralNormalization(layers.Conv2D(3, 3)), layers.Flatten(), layers.Dense(CLASSES)], "while it pred"),
    ],
)
def test_no_classifier_of_the_task_is_refused(stack, text, images, plan):
    def build(input_shape, classes, *, seed):
        return keras.Sequential([layers.Input(input_shape), *stack])

    with pytest.raises(MetaGDError, match=text):
        Engine(images, classes=CLASSES, class_frequencies=(1 / 3,) * 3, complexity=0.5, plan=plan, build_network=build)


class Built(keras.Model):
    def __init__(self, classes):
        super().__init__()
        self.dense = layers.Dense(classes)

    def build(self, shape):
        self.dense.build((None, 240))

    def call(self, inputs):
        return self.dense(keras.ops.reshape(inputs, (-1, 240)))


def of_bytes(input_shape, classes):
    inputs = layers.Input(input_shape, dtype="uint8")
    return keras.Model(inputs, layers.Dense(classes)(layers.Flatten()(layers.Rescaling(1 / 255)(inputs))))


def with_names(input_shape, classes):
    inputs = layers.Input(input_shape)
    return keras.Model(inputs, {"logits": layers.Dense(classes)(layers.Flatten()(inputs))})


def of_its_own_class(input_shape, classes):
    model = Built(classes)
    model.build((None, *input_shape))
    return model


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (of_bytes, "takes uint8, and is given float32: bytes are divided by 255 for it"),
        (with_names, "answers with a dict; it must be one tensor"),
        (of_its_own_class, r"with one input and one output; wrap .* keras.Model\(inputs, model\(inputs\)\)"),
    ],
)
def test_other_models_than_images_to_logits_are_refused(make, text, images, plan):
    def build(input_shape, classes, *, seed):
        return make(input_shape, classes)

    with pytest.raises(MetaGDError, match=text):
        Engine(images, classes=CLASSES, class_frequencies=(1 / 3,) * 3, complexity=0.5, plan=plan, build_network=build)


@pytest.mark.parametrize("kind", [layers.RandomRotation, layers.RandomElasticTransform])
def test_what_xla_cannot_compile_is_not_compiled(kind, images, plan):
    """It knows no operation that warps images, and would end the study."""
    build = builder(lambda x: chain(x, kind(0.1, seed=1), layers.Conv2D(3, 3), layers.Flatten()))
    settings = {"classes": CLASSES, "class_frequencies": (1 / 3,) * 3, "complexity": 0.5, "plan": plan}
    jobs = [TrainingJob("one", default_candidate("keras-adam").controller, "adam")]
    engines = [Engine(images, build_network=build, compiled=compiled, **settings) for compiled in (True, False)]
    assert [bool(engine.uncompiled) for engine in engines] == [True, False]
    assert not engines[0].compiled
    losses = [engine.train(jobs, seed=1)[0].train_loss for engine in engines]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert Engine(images, compiled=True, **settings).compiled


def test_lanes_that_trace_at_once_keep_their_penalties(images, plan):
    """Keras collects them on the layers, which the programs of two optimizers share."""

    def body(x):
        return layers.Dense(8, activity_regularizer=keras.regularizers.L2(1.0))(layers.Flatten()(x))

    settings = {"classes": CLASSES, "class_frequencies": (1 / 3,) * 3, "complexity": 0.5, "plan": plan}
    controller = default_candidate("keras-sgd").controller
    jobs = [TrainingJob(name, controller, name) for name in ("adam", "sgd-nesterov", "sgd", "schedule-free-adamw")]
    first = [
        [record.train_loss[0] for record in Engine(images, build_network=builder(body), lanes=lanes, **settings).train(
            jobs, seed=1
        )]
        for lanes in (1, 4, 4, 4)
    ]  # fmt: skip
    for losses in first[1:]:
        np.testing.assert_allclose(losses, first[0], rtol=1e-4)


def test_bfloat16_needs_a_network_that_can_be_fused(images, plan):
    class Unheard(layers.Layer):
        def call(self, x):
            return x

    def build(input_shape, classes, *, seed):
        return keras.Sequential([layers.Input(input_shape), Unheard(), layers.Flatten(), layers.Dense(classes)])

    options = {"classes": CLASSES, "class_frequencies": (1 / 3,) * 3, "complexity": 0.5, "plan": plan}
    with pytest.raises(MetaGDError, match="needs a network that can be fused: layer 'unheard"):
        Engine(images, compute="bfloat16", build_network=build, **options)


def test_engine_takes_layout_and_compute(images, plan):
    """Patches give the same trainings to rounding, bfloat16 nearly so."""
    options = {"classes": CLASSES, "class_frequencies": (1 / 3,) * 3, "complexity": 0.5, "plan": plan, "population": 2}
    jobs = [TrainingJob(name, default_candidate(name).controller, "adam") for name in ("keras-adam", "keras-adam")]
    grouped, patches, rough = (
        [record.validation.loss for record in Engine(images, **options, **chosen).train(jobs, seed=1)]
        for chosen in ({}, {"layout": "patches"}, {"layout": "patches", "compute": "bfloat16"})
    )
    assert np.allclose(grouped, patches, rtol=1e-4)
    assert np.allclose(grouped, rough, rtol=5e-2)
    assert not np.allclose(grouped, rough, rtol=1e-5)


def test_weights_and_state_are_told_apart():
    model = keras.Sequential(
        [layers.Input((8, 8, 2)), layers.BatchNormalization(), layers.Flatten(), layers.Dropout(0.5)]
    )
    start = Start.of(model)
    assert (len(start.weights), len(start.state), len(start.noise)) == (4, 4, 1)


def test_a_network_follows_from_its_seed_whatever_other_threads_draw():
    """Dask's do, on a worker."""
    drawing, through = threading.Event(), threading.Event()

    def draw():
        while not through.is_set():
            random.sample(range(100), 10)
            drawing.set()

    def weights(disturbed):
        keras.utils.set_random_seed(3)
        if disturbed:
            drawing.clear()
            assert drawing.wait(5)
        return keras.Sequential([keras.Input((6,)), layers.Dense(3)]).get_weights()[0].tolist()

    before, wanted = random.seed, weights(disturbed=False)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(draw)
        assert weights(disturbed=True) != wanted
        with own_random_numbers():
            found = weights(disturbed=True)
        through.set()
    assert found == wanted
    assert random.seed is before


@pytest.mark.parametrize("shapes", [[], [(3, 2)], [(3, 2), (), (4,)]])
def test_values_end_to_end_are_split_by_variable(shapes):
    variables = [keras.Variable(np.zeros(shape)) for shape in shapes]
    expected = [np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32) for shape in shapes]
    flat = np.concatenate([np.zeros((2, 0)), *(each.reshape(2, -1) for each in expected)], axis=1).astype(np.float32)
    found = split_values(variables, keras.ops.convert_to_tensor(flat))
    assert len(found) == len(shapes)
    for variable, each in zip(variables, expected, strict=True):
        np.testing.assert_array_equal(found[id(variable)], each)
