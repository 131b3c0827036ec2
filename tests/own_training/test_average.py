"""ScheduleFreeAdamW's state, whatever else writes the weights: against a slow reference, and against Keras' Adam."""

import math
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_training import BATCH, X, Y, callback_of, compiled, distance, fit, one_backend, policy_of

from metagd_optuna import MetaGDError, MetaGDWarning, ScheduleFreeAdamW, save_average

RATE = 0.02
ON_JAX = keras.backend.backend() == "jax"


class Stopped(Exception):  # noqa: N818 - no error of the program
    """A training that ends there."""


class StopsBefore(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.step:
            raise Stopped


class Reference:
    """ScheduleFreeAdamW on a regression of logits, in float64 and as its paper has it, one parameter after the other.

    What is in the parameters is compared with what was put there, so that it knows exactly who wrote them.
    """

    def __init__(self, weights, r, decay=0.0):
        self.weights = [np.array(w, np.float64) for w in weights]
        self.r, self.decay, self.steps = r, decay, 0
        self.v = [np.zeros_like(w) for w in self.weights]
        self.z: list = [None] * len(self.weights)  # None: nothing was averaged yet
        self.x: list = [None] * len(self.weights)
        self.count = [0] * len(self.weights)
        self.there = [False] * len(self.weights)  # at x

    def write(self, number, values):
        self.weights[number] = np.array(values, np.float64)
        self.z[number] = self.x[number] = None
        self.there[number] = False

    def go(self, there):
        for i, z in enumerate(self.z):
            if z is not None and self.there[i] != there:
                self.weights[i] = self.x[i] if there else 0.1 * z + 0.9 * self.x[i]
                self.there[i] = there

    def step(self, x, y):
        kernel, bias = self.weights
        logits = x @ kernel + bias
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        wrong = (chances / chances.sum(axis=1, keepdims=True) - np.eye(2)[y]) / len(y)
        self.steps += 1
        for i, gradient in enumerate((x.T @ wrong, wrong.sum(axis=0))):
            if self.z[i] is None:
                self.z[i], self.x[i], self.count[i] = self.weights[i], self.weights[i], 0
            self.count[i] += 1
            self.v[i] = 0.999 * self.v[i] + 0.001 * gradient**2
            scale = np.sqrt(self.v[i] / (1 - 0.999**self.steps)) + 1e-8
            self.z[i] = self.z[i] - RATE * (gradient / scale + self.decay * self.weights[i])
            share = (self.r + 1) / (self.count[i] + self.r)
            self.x[i] = (1 - share) * self.x[i] + share * self.z[i]
            self.weights[i] = 0.1 * self.z[i] + 0.9 * self.x[i]
            self.there[i] = False


def batches(epochs=1, until=None):
    for _ in range(epochs):
        for begin in range(0, len(X), BATCH)[:until]:
            yield X[begin : begin + BATCH].astype(np.float64), Y[begin : begin + BATCH]


ACTIONS = st.one_of(
    st.tuples(st.just("fit"), st.booleans(), st.integers(1, 2)),
    st.tuples(st.just("interrupt"), st.booleans(), st.integers(0, 3)),
    st.tuples(st.just("set"), st.sampled_from([(0,), (1,), (0, 1)]), st.integers(0, 99)),
    st.tuples(st.just("nudge"), st.sampled_from([0, 1]), st.sampled_from([1e-3, -1e-4])),
    st.tuples(st.just("evaluate"), st.booleans()),
    st.tuples(st.just("go"), st.booleans()),
    st.tuples(st.just("reload")),
)


def with_callback(r):
    return callback_of(policy_of("schedule-free-adamw-r1" if r else "schedule-free-adamw", lr0=RATE), rate_updates=2)


@pytest.fixture(scope="module", params=[(0, None), (1, 0.1)], ids=["r0", "r1-decay"])
def trained(request, tmp_path_factory):
    r, decay = request.param
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = compiled(ScheduleFreeAdamW(RATE, r=r, weight_decay=decay), loss, activation="linear")
    fit(model)  # so that there is something to begin anew
    return model, r, decay or 0.0, tmp_path_factory.mktemp("weights") / "all.weights.h5"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, min_size=2, max_size=7), seed=st.integers(0, 99))
def test_any_sequence_of_uses_is_that_of_the_reference(trained, actions, seed):
    model, r, decay, file = trained
    optimizer = model.optimizer
    for variable in optimizer.variables:
        variable.assign(np.zeros(variable.shape))
    optimizer.learning_rate = RATE
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(scale=0.3, size=w.shape) for w in model.get_weights()])
    slow = Reference(model.get_weights(), r, decay)
    for name, *values in actions:
        if name in ("fit", "interrupt"):
            steered, count = values
            callbacks = [with_callback(r)] if steered else []
            if steered:
                slow.go(there=False)
            if name == "fit":
                fit(model, *callbacks, epochs=count)
                for _ in range(count):
                    slow.go(there=False) if steered else None
                    for batch in batches():
                        slow.step(*batch)
                    slow.go(there=True) if steered else None
                slow.go(there=True)
            else:
                with pytest.raises(Stopped):
                    fit(model, *callbacks, StopsBefore(count))
                for batch in batches(until=count):
                    slow.step(*batch)
                if ON_JAX:  # which ends fit the same way whether it was cut off or not
                    slow.go(there=True)
        elif name == "set":
            numbers, seed_of_values = values
            weights = model.get_weights()
            for number in numbers:
                weights[number] = np.random.default_rng(seed_of_values).normal(scale=0.3, size=weights[number].shape)
                slow.write(number, weights[number].astype(np.float32))
            model.set_weights(weights)
        elif name == "nudge":
            number, by = values
            weights = model.get_weights()
            weights[number] = weights[number] + np.float32(by)
            slow.write(number, weights[number])
            model.set_weights(weights)
        elif name == "evaluate":
            fit_side = [with_callback(r)] if values[0] else []
            model.evaluate(X, Y, verbose=0, callbacks=fit_side)
            if fit_side:
                slow.go(there=True)
        elif name == "go":
            optimizer.enter_average() if values[0] else optimizer.leave_average()
            slow.go(there=values[0])
        else:
            model.save_weights(file, overwrite=True)
            for variable in (*model.variables, *optimizer.variables):
                variable.assign(np.full(variable.shape, 7))
            model.load_weights(file)
        for variable, expected in zip(model.trainable_variables, slow.weights, strict=True):
            np.testing.assert_allclose(np.asarray(variable), expected, rtol=2e-3, atol=2e-4)
    optimizer.enter_average()
    slow.go(there=True)
    for variable, expected in zip(model.trainable_variables, slow.weights, strict=True):
        np.testing.assert_allclose(np.asarray(variable), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("builds_first", [False, True])
def test_a_trained_network_is_gone_on_with_from_where_it_is(builds_first):
    model = compiled(keras.optimizers.Adam(0.05))
    fit(model, epochs=20)
    before = model.get_weights()
    optimizer = ScheduleFreeAdamW(1e-4)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    if builds_first:
        optimizer.build(model.trainable_variables)
    fit(model)
    assert 0 < distance(before, model.get_weights()) <= 4 * 1e-4 * 1.01  # a step is at most the rate


class FirstWeights(keras.callbacks.Callback):
    seen = None

    def on_train_batch_begin(self, batch, logs=None):
        self.seen = self.seen or self.model.get_weights()


@pytest.mark.parametrize("steered", [True, False])
def test_the_next_fold_begins_at_the_weights_that_are_set(steered):
    model = compiled(ScheduleFreeAdamW(1e-2))
    start = model.get_weights()
    fit(model, *([with_callback(r=0)] if steered else []), epochs=5)
    model.set_weights(start)
    first = FirstWeights()
    fit(model, *([with_callback(r=0)] if steered else []), first, y=1 - Y)
    assert distance(first.seen, start) == 0


class GoesBack(keras.callbacks.Callback):
    """Sets other weights at the end of the second epoch, as one does that goes back to better ones."""

    def __init__(self, weights):
        super().__init__()
        self.weights, self.after, self.waits = weights, None, False

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            self.model.set_weights(self.weights)
            self.waits = True

    def on_train_batch_begin(self, batch, logs=None):
        if self.waits and self.after is None:
            self.after = self.model.get_weights()


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("validation", [None, pytest.param((X, Y), marks=one_backend)])
def test_weights_that_another_callback_restores_are_trained_from(last, validation):
    model = compiled(ScheduleFreeAdamW(1e-2))
    back, ours = GoesBack(model.get_weights()), callback_of(policy_of("schedule-free-adamw", lr0=RATE))
    fit(model, *([ours, back] if last else [back, ours]), epochs=3, validation_data=validation)
    assert distance(back.after, back.weights) == 0
    assert set(model.optimizer.averaged_steps().values()) == {4}  # the average is that of the third epoch alone


def test_weights_restored_where_training_ends_stay_and_are_trained_from():
    model = compiled(ScheduleFreeAdamW(1e-2))
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", mode="max", patience=1, restore_best_weights=True)
    ours = callback_of(policy_of("schedule-free-adamw", lr0=RATE))
    fit(model, ours, stopping, epochs=5, validation_data=(X, Y))
    restored = model.get_weights()
    first = FirstWeights()
    fit(model, callback_of(policy_of("schedule-free-adamw", lr0=RATE)), first)
    assert distance(first.seen, restored) == 0


def test_constrained_weights_are_averaged_within_their_constraint():
    """The average of iterates that are projected: as good as what trains, and as Adam's."""
    norms = keras.constraints.MaxNorm(0.25), keras.constraints.MinMaxNorm(0.2, 0.5), keras.constraints.UnitNorm(axis=0)
    constraints = (*norms, keras.constraints.NonNeg())

    def trained(optimizer):
        keras.utils.set_random_seed(1)
        inputs = keras.layers.Input((6,))
        hidden = keras.layers.Dense(8, "relu")(inputs)
        heads = [keras.layers.Dense(2, kernel_constraint=constraint)(hidden) for constraint in constraints]
        model = keras.Model(inputs, keras.layers.Add()(heads))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"])
        return model, heads, fit(model, epochs=20).history

    model, heads, history = trained(ScheduleFreeAdamW(5e-2, r=1))
    for constraint, head in zip(constraints, heads, strict=True):
        kernel = head._keras_history.operation.kernel
        np.testing.assert_allclose(np.asarray(kernel), np.asarray(constraint(kernel)), atol=1e-5)
    assert set(model.optimizer.averaged_steps().values()) == {80}
    adam, _, _ = trained(keras.optimizers.Adam(5e-2))
    loss, accuracy = model.evaluate(X, Y, verbose=0)
    assert accuracy >= adam.evaluate(X, Y, verbose=0)[1] - 0.05
    assert loss < history["loss"][-1] + 0.1  # the average is as good as what trains


@one_backend
def test_a_layer_that_sets_its_own_kernel_is_trained_and_told():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    normalized = layers.SpectralNormalization(layers.Dense(8, "relu"))
    model = keras.Sequential([layers.Input((6,)), normalized, layers.Dense(2, "softmax")])
    model.compile(ScheduleFreeAdamW(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"])
    ours = callback_of(policy_of("schedule-free-adamw", lr0=RATE))
    # On JAX, Keras drops what a layer assigns to a trainable weight, so there is nothing to tell.
    with pytest.warns(MetaGDWarning, match=r"kernel are set at every step") as told:
        history = fit(model, ours, epochs=15).history
    assert len([one for one in told if one.category is MetaGDWarning]) == 1
    assert history["accuracy"][-1] > 0.9
    assert model.evaluate(X, Y, verbose=0)[1] > 0.9


def test_weights_that_were_not_finite_and_are_again_are_trained_from():
    model = compiled(ScheduleFreeAdamW(1e-2))
    start = model.get_weights()
    fit(model)
    model.set_weights([np.full_like(w, np.nan) for w in start])
    optimizer = model.optimizer
    optimizer.leave_average()
    model.set_weights(start)
    fit(model)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert set(optimizer.averaged_steps().values()) == {4}


@pytest.mark.parametrize(
    "dtype",
    # JAX has float64 only where it is switched on for the whole process.
    [
        "bfloat16",
        "mixed_float16",
        *(pytest.param(d, marks=one_backend) for d in ("float16", "mixed_bfloat16", "float64")),
    ],
)
def test_every_dtype_that_adam_trains_on(dtype, request):
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
    keras.config.set_dtype_policy(dtype)
    model = compiled(ScheduleFreeAdamW(1e-3))
    history = fit(model, callback_of(policy_of("schedule-free-adamw", lr0=0.01), rate_updates=4), epochs=12).history[
        "loss"
    ]
    assert history[-1] < 0.9 * history[0]
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    # Rounding is not taken for somebody else's weights; a loss scale skips a step where it is too large.
    assert set(optimizer.averaged_steps().values()) == {int(optimizer.iterations)}
    assert int(optimizer.iterations) >= 40


def test_an_average_of_16_bits_moves_by_less_than_16_bits_can_tell():
    """After many steps an average moves by a hundredth of a step, which bfloat16 would round away."""
    keras.config.set_dtype_policy("bfloat16")
    try:
        model = compiled(ScheduleFreeAdamW(1e-3))
        fit(model, epochs=30)
        coarse = [np.asarray(x) for x in model.optimizer._x]
    finally:
        keras.config.set_dtype_policy("float32")
    assert {x.dtype for x in coarse} == {np.dtype("float32")}


def test_weight_decay_is_decoupled_and_can_leave_weights_out():
    """Without a gradient only the decay moves the weights: z by rate * decay of y in each step."""
    kernels = {}
    for decay, excluded in ((None, None), (0.5, None), (0.5, ["kernel"])):
        optimizer = ScheduleFreeAdamW(0.1, weight_decay=decay, beta_1=0.0)
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded)
        model = compiled(optimizer, activation="linear", loss=lambda y, logits: 0.0 * logits[:, 0])
        start = model.get_weights()[0]
        model.train_on_batch(X, Y)
        kernels[decay, bool(excluded)] = np.asarray(model.trainable_variables[0]) / start
    np.testing.assert_allclose(kernels[None, False], 1.0, rtol=1e-6)
    np.testing.assert_allclose(kernels[0.5, True], 1.0, rtol=1e-6)
    np.testing.assert_allclose(kernels[0.5, False], 1.0 - 0.1 * 0.5, rtol=1e-5)


def test_accumulated_gradients_are_those_of_the_larger_batch():
    large = compiled(ScheduleFreeAdamW(1e-2))
    fit(large, batch_size=24, epochs=3)
    small = compiled(ScheduleFreeAdamW(1e-2, gradient_accumulation_steps=2))
    fit(small, batch_size=12, epochs=3)
    assert distance(large.get_weights(), small.get_weights()) < 1e-5
    assert small.optimizer.averaged_steps() != {}
    assert set(small.optimizer.averaged_steps().values()) == {6}


@one_backend
@pytest.mark.parametrize("clipping", [{"clipnorm": 1e-9}, {"clipvalue": 1e-9}, {"global_clipnorm": 1e-9}])
def test_gradients_are_clipped(clipping):
    """Gradients below epsilon make steps that are far smaller than the rate."""
    weights = keras.Variable(np.ones(3))
    ScheduleFreeAdamW(1e-2, epsilon=1e-3, **clipping).apply([keras.ops.ones((3,))], [weights])
    np.testing.assert_allclose(np.asarray(weights), 1.0, atol=1e-6)


def test_all_that_it_was_made_with_is_saved(tmp_path):
    given = {"r": 1, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6, "weight_decay": 0.1, "clipvalue": 1.0}
    model = compiled(ScheduleFreeAdamW(3e-3, **given, gradient_accumulation_steps=2, name="mine"))
    fit(model, epochs=2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").optimizer
    assert again.get_config() == model.optimizer.get_config()
    for ours, theirs in zip(model.optimizer.variables, again.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"beta_1": 1.0}, "beta_1=1.0 is not allowed; pass a number of at least 0 and below 1"),
        ({"beta_2": -0.1}, "beta_2=-0.1 is not allowed"),
        ({"epsilon": 0.0}, "epsilon=0.0 is not allowed; pass a small number above 0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 is not allowed; pass None"),
        ({"r": True}, "r=True is not allowed; pass a finite number of at least 0"),
        ({"r": -1}, "r=-1 is not allowed"),
        ({"r": math.nan}, "r=nan is not allowed"),
        ({"r": math.inf}, "r=inf is not allowed"),
        ({"r": "1"}, "r='1' is not allowed"),
        ({"r": None}, "r=None is not allowed"),
        ({"beta_1": math.nan}, "beta_1=nan is not allowed"),
    ],
)
def test_arguments_out_of_range_are_named(given, message):
    with pytest.raises(MetaGDError, match=message):
        ScheduleFreeAdamW(1e-3, **given)


@one_backend
def test_layers_that_are_frozen_stay_and_embeddings_are_averaged():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((5,)), layers.Embedding(9, 4), layers.Flatten(), layers.Dense(3), layers.Dense(2, "softmax")]
    )
    model.layers[2].trainable = False
    model.compile(ScheduleFreeAdamW(1e-2), "sparse_categorical_crossentropy")
    frozen, words = np.asarray(model.layers[2].kernel), np.random.default_rng(0).integers(0, 9, (48, 5))
    fit(model, x=words, epochs=2)
    np.testing.assert_array_equal(np.asarray(model.layers[2].kernel), frozen)
    assert len(model.optimizer.averaged_steps()) == 3
    assert set(model.optimizer.averaged_steps().values()) == {8}


@pytest.mark.parametrize(
    "options",
    [
        {"steps_per_execution": 4},
        pytest.param({"jit_compile": True}, marks=one_backend),
        pytest.param({"run_eagerly": True}, marks=one_backend),
    ],
)
def test_compiled_otherwise_it_is_the_same(options):
    weights = []
    for how in ({"jit_compile": False}, options):
        model = compiled(ScheduleFreeAdamW(1e-2), **how)
        fit(model, callback_of(policy_of("schedule-free-adamw", lr0=RATE), rate_updates=1), epochs=3)
        assert set(model.optimizer.averaged_steps().values()) == {12}
        weights.append(model.get_weights())
    assert distance(*weights) < 1e-4


def test_an_interrupted_training_can_be_taken_to_its_average():
    whole = compiled(ScheduleFreeAdamW(1e-2))
    fit(whole, steps_per_epoch=3, x=X[:36], y=Y[:36])
    cut = compiled(ScheduleFreeAdamW(1e-2))
    with pytest.raises(Stopped):
        fit(cut, StopsBefore(3))
    cut.optimizer.enter_average()
    assert cut.optimizer.at_average
    assert distance(whole.get_weights(), cut.get_weights()) < 1e-6


WITHOUT_THE_PACKAGE = """
import sys
sys.modules["metagd_optuna"] = None  # importing it is an error
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
np.save(sys.argv[2], model.predict(np.load(sys.argv[3]), verbose=0))
"""


@one_backend
@pytest.mark.parametrize("at_average", [True, False])
def test_an_average_that_is_saved_loads_without_the_package(tmp_path, at_average):
    model = compiled(ScheduleFreeAdamW(1e-2), hidden=4)
    fit(model, epochs=2)
    average = model.predict(X, verbose=0)
    if not at_average:
        model.optimizer.leave_average()
    before = model.get_weights()
    save_average(model, tmp_path / "plain.keras")
    assert distance(before, model.get_weights()) < 1e-7  # it can be trained on
    assert model.optimizer.at_average == at_average
    if at_average:
        np.save(tmp_path / "x.npy", X)
        files = [str(tmp_path / name) for name in ("plain.keras", "answers.npy", "x.npy")]
        subprocess.run([sys.executable, "-c", WITHOUT_THE_PACKAGE, *files], check=True, capture_output=True)
        np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), average, atol=1e-6)
    again = keras.models.load_model(tmp_path / "plain.keras")
    np.testing.assert_allclose(again.predict(X, verbose=0), average, atol=1e-6)
    with pytest.raises(MetaGDError, match=r"model\.h5: a model is saved as a file whose name ends in \.keras"):
        save_average(model, "model.h5")


def test_an_optimizer_is_of_one_model():
    """Keras' Adam says so on TensorFlow, in words of its own, and trains both on JAX."""
    optimizer = ScheduleFreeAdamW(1e-2)
    fit(compiled(optimizer))
    with pytest.raises(MetaGDError, match=r"holds the average of another model.*an optimizer of its own"):
        fit(compiled(optimizer), callback_of(policy_of("schedule-free-adamw")))


@one_backend
def test_empty_weights_are_no_obstacle():
    weights, empty = keras.Variable([1.0, 2.0]), keras.Variable(np.zeros((0, 3)))
    optimizer = ScheduleFreeAdamW(0.1)
    optimizer.apply([keras.ops.ones((2,)), keras.ops.zeros((0, 3))], [weights, empty])
    np.testing.assert_allclose(np.asarray(weights), [0.9, 1.9], atol=1e-5)


@one_backend
def test_layers_that_keras_loads_with_care_only_are_saved_at_their_average(tmp_path):
    """A Lambda layer is not loaded unless one says that it is safe, but saving asks for nothing."""
    inputs = keras.layers.Input((6,))
    outputs = keras.layers.Dense(2, "softmax")(keras.layers.Lambda(lambda x: 2 * x)(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(ScheduleFreeAdamW(1e-2), "sparse_categorical_crossentropy")
    fit(model)
    save_average(model, tmp_path / "plain.keras")
    fit(model)  # it is still compiled
    with pytest.raises(MetaGDError, match="in a folder that is there"):
        save_average(model, tmp_path / "missing" / "plain.keras")


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64:UserWarning")
def test_weights_of_64_bits_are_averaged():
    """Which JAX keeps in 32 bits, unless it is told otherwise."""
    model = keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(2, dtype="float64")])
    model.compile(ScheduleFreeAdamW(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(2):
        model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0)
        assert model.optimizer.at_average
    steps = 4 * -(-len(X) // BATCH)
    assert set(model.optimizer.averaged_steps().values()) == {steps}
