import contextlib
import math

import keras
import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy import BASELINES, MetaPolicy, article_contender
from metagd_optuna.training.callback import MetaPolicyCallback
from metagd_optuna.training.controller_callback import ControllerCallback
from metagd_optuna.training.schedule_free import ScheduleFreeAdamW

SHARES = (0.5, 0.5)
X = np.random.default_rng(0).normal(size=(48, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)


def network(optimizer, metrics=("accuracy",), **compile_options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=list(metrics), **compile_options)
    return model


def policy_of(**coefficients):
    return MetaPolicy(
        optimizer="adam",
        difficulty="mix",
        difficulty_coefficients={"w": 0.3},
        rate="power",
        rate_coefficients={"lr0": 1e-2, "a": 0.0, "b": 0.0} | coefficients,
    )


class RateRecorder(keras.callbacks.Callback):
    """The rate that the optimizer really used at every step."""

    def on_train_begin(self, logs=None):
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def rates_of(callback, optimizer, *, epochs=4, validation=None, **fit_options):
    model = network(optimizer)
    recorder = RateRecorder()
    model.fit(
        X, Y, epochs=epochs, batch_size=12, verbose=0, validation_data=validation, callbacks=[callback, recorder],
        **fit_options,
    )  # fmt: skip
    return recorder.rates, model


def controller_callback(name, coefficients, **options):
    contender = BASELINES[name].contender(coefficients)
    return ControllerCallback(
        contender.controller, optimizer=contender.optimizer, complexity=0.5, class_shares=SHARES, **options
    )


@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_cosine_with_warmup_is_keras_own_in_a_real_fit(warmup):
    ours, model = rates_of(
        controller_callback("adam-cosine", {"lr0": 0.01, "horizon": 1.0, "warmup": warmup}), keras.optimizers.Adam(1.0)
    )
    warm = round(16 * warmup)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warm else 0.01, 16 - warm, warmup_target=0.01 if warm else None, warmup_steps=warm
    )
    theirs = network(keras.optimizers.Adam(schedule))
    theirs.fit(X, Y, epochs=4, batch_size=12, verbose=0)
    np.testing.assert_allclose(ours, [float(schedule(step)) for step in range(16)], rtol=1e-5, atol=1e-9)
    for mine, their in zip(model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, their, atol=1e-5)


@pytest.mark.parametrize(("patience", "cooldown"), [(1, 0), (2, 1)])
def test_plateau_is_keras_own_in_a_real_fit(patience, cooldown):
    validation = (X[:12], 1 - Y[:12])  # wrong labels, so that its loss rises
    ours, _ = rates_of(
        controller_callback(
            "adam-plateau", {"lr0": 0.02, "factor": 0.5, "patience": patience, "cooldown": cooldown}, ticks=1000
        ),
        keras.optimizers.Adam(1.0),
        epochs=8,
        validation=validation,
    )
    plateau = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=patience, cooldown=cooldown, min_lr=1e-5)
    theirs, _ = rates_of(plateau, keras.optimizers.Adam(0.02), epochs=8, validation=validation)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert len(set(theirs)) > 2


def test_article_changes_its_rate_once_per_epoch():
    contender = article_contender("article-as-printed")
    callback = ControllerCallback(contender.controller, optimizer="adam", complexity=0.5, class_shares=SHARES)
    rates, _ = rates_of(callback, keras.optimizers.Adam(1.0), validation=(X, Y))
    assert rates[:4] == pytest.approx([1e-3] * 4)
    assert all(len(set(rates[begin : begin + 4])) == 1 for begin in (4, 8, 12))
    assert 0.2 < rates[4] < 0.51


def test_policy_sees_the_training_loss():
    callback = MetaPolicyCallback(policy_of(b=-0.5), complexity=0.5, class_shares=SHARES, ticks=32)
    rates, _ = rates_of(callback, keras.optimizers.Adam(1.0), epochs=16)
    assert callback.rates == pytest.approx(rates)
    assert [o.step for o in callback.observations] == list(range(2, 65, 2))
    assert all(len(set(rates[i : i + 2])) == 1 for i in range(0, 64, 2))
    assert rates[0] == pytest.approx(0.03)  # nothing seen yet: as if guessing, at the optimizer's bound
    assert rates[-1] < 0.02


def test_means_since_the_last_tick_are_those_of_the_batches():
    class BatchLoss(keras.callbacks.Callback):
        losses = ()

        def on_train_batch_end(self, batch, logs=None):
            done = batch + 1
            before = 0.0 if batch == 0 else self.mean * batch
            self.mean = logs["loss"]
            self.losses = (*self.losses, self.mean * done - before)

    watcher = BatchLoss()
    callback = MetaPolicyCallback(policy_of(), complexity=0.5, class_shares=SHARES, ticks=4)
    model = network(keras.optimizers.Adam(1.0))
    model.fit(X, Y, epochs=4, batch_size=12, verbose=0, callbacks=[callback, watcher])
    expected = np.reshape(watcher.losses, (4, 4)).mean(axis=1)
    np.testing.assert_allclose([o.train_loss for o in callback.observations], expected, rtol=1e-5)


def test_state_is_forgotten_between_trainings():
    callback = MetaPolicyCallback(policy_of(b=1.0), complexity=0.5, class_shares=SHARES, ticks=8)
    first, _ = rates_of(callback, keras.optimizers.Adam(1.0), shuffle=False)
    second, _ = rates_of(callback, keras.optimizers.Adam(1.0), shuffle=False)
    assert first == second


def test_ticks_travel_with_the_policy():
    from dataclasses import replace

    travelled = replace(policy_of(), provenance={"ticks": 4})
    assert MetaPolicyCallback(travelled, complexity=0.5, class_shares=SHARES).ticks == 4
    assert MetaPolicyCallback(policy_of(), complexity=0.5, class_shares=SHARES).ticks == 120


def test_steps_per_execution_holds_the_rate():
    model = network(keras.optimizers.Adam(1.0), steps_per_execution=2)
    callback = MetaPolicyCallback(policy_of(b=1.0), complexity=0.5, class_shares=SHARES, ticks=16)
    model.fit(X, Y, epochs=2, batch_size=12, verbose=0, callbacks=[callback])
    assert len(callback.rates) == 8


def test_steps_at_once_may_reach_past_the_end_of_an_epoch():
    """Keras then counts 6 steps where there are 4."""
    model = network(keras.optimizers.Adam(1.0), steps_per_execution=3)
    callback = controller_callback("adam-cosine", {"lr0": 0.01, "horizon": 1.0, "warmup": 0.0})
    model.fit(X, Y, epochs=5, batch_size=12, verbose=0, callbacks=[callback])
    assert len(callback.rates) == int(model.optimizer.iterations) == 20
    assert 0 < callback.rates[-1] < 0.02 * callback.rates[0]


def test_mixed_precision_wrapper_is_seen_through():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1.0))
    callback = MetaPolicyCallback(policy_of(), complexity=0.5, class_shares=SHARES)
    model = network(optimizer)
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[callback])
    assert float(optimizer.inner_optimizer.learning_rate) == pytest.approx(callback.rates[-1])


@pytest.mark.parametrize(
    ("optimizer", "text"),
    [
        (keras.optimizers.SGD, "SGD"),
        (lambda rate: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 10)), "CosineDecay"),
    ],
)
def test_optimizer_that_cannot_be_steered_is_refused(optimizer, text):
    callback = MetaPolicyCallback(policy_of(), complexity=0.5, class_shares=SHARES)
    with pytest.raises(MetaGDError, match=text):
        network(optimizer(1e-3)).fit(X, Y, verbose=0, callbacks=[callback])


def test_a_training_that_is_gone_on_with_goes_on_in_its_schedule():
    """Keras trains the epochs from initial_epoch to epochs; the budget is all of them."""
    cosine = {"lr0": 0.01, "horizon": 1.0, "warmup": 0.0}
    whole, _ = rates_of(controller_callback("adam-cosine", cosine), keras.optimizers.Adam(1.0), epochs=6)
    callback = controller_callback("adam-cosine", cosine)
    rest, _ = rates_of(callback, keras.optimizers.Adam(1.0), epochs=6, initial_epoch=4)
    assert rest == whole[16:]
    assert callback.rates == pytest.approx(rest)
    assert callback.observations[-1].step == 24
    again, _ = rates_of(callback, keras.optimizers.Adam(1.0), epochs=6)
    assert again == whole


class EvaluatesWithin(keras.callbacks.Callback):
    """Evaluates the model on other data after the third step of every epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            self.model.evaluate(100 * X, 1 - Y, batch_size=5, verbose=0)


class EvaluatesAtFirst(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.evaluate(100 * X, Y, verbose=0)


def test_an_evaluation_within_an_epoch_does_not_disturb_the_training_loss():
    seen = []
    orders = (([], []), ([], [EvaluatesWithin()]), ([EvaluatesWithin()], []), ([], [EvaluatesAtFirst()]))
    for before, after in orders:
        callback = MetaPolicyCallback(policy_of(), complexity=0.5, class_shares=SHARES, ticks=12)
        model = network(keras.optimizers.Adam(1.0))
        model.fit(X, Y, epochs=2, batch_size=8, shuffle=False, verbose=0, callbacks=[*before, callback, *after])
        seen.append([(o.train_loss, o.train_accuracy) for o in callback.observations])
    for disturbed in seen[1:]:
        np.testing.assert_allclose(disturbed, seen[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "loss", ["mse", keras.losses.MeanSquaredError(), keras.losses.mean_squared_error, {"out": "categorical_hinge"}]
)
def test_a_loss_that_is_no_cross_entropy_is_refused(loss):
    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="out")(inputs))
    model.compile(keras.optimizers.Adam(1e-3), loss)
    targets = np.eye(2)[Y]
    callback = MetaPolicyCallback(policy_of(b=1.0), complexity=0.5, class_shares=SHARES)
    with pytest.raises(MetaGDError, match=r"has to be one cross-entropy.*1 outputs and the loss"):
        model.fit(X, targets, verbose=0, callbacks=[callback])
    open_loop = MetaPolicyCallback(policy_of(), complexity=0.5, class_shares=SHARES)
    model.fit(X, targets, verbose=0, callbacks=[open_loop])
    assert len(open_loop.rates) == 2


@pytest.mark.parametrize(
    ("reduction", "weights"),
    [("sum", None), ("none", None), (None, None), ("sum_over_batch_size", [0.1]), ("mean", {"out": 2.0})],
)
def test_a_cross_entropy_on_another_scale_is_refused(reduction, weights):
    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax", name="out")(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(reduction=reduction)
    model.compile(keras.optimizers.Adam(1e-3), {"out": loss}, loss_weights=weights)
    callback = MetaPolicyCallback(policy_of(b=1.0), complexity=0.5, class_shares=SHARES)
    with pytest.raises(MetaGDError, match=rf"compiled with reduction={reduction!r} and loss_weights=.*leave both out"):
        model.fit(X, Y, verbose=0, callbacks=[callback])


def own_loss(truth, chances):
    return keras.losses.sparse_categorical_crossentropy(truth, chances)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        keras.losses.sparse_categorical_crossentropy,
        keras.losses.SparseCategoricalCrossentropy(name="mine"),
        {"out": keras.losses.SparseCategoricalCrossentropy()},
        ["sparse_categorical_crossentropy"],
        own_loss,
    ],
)
def test_a_cross_entropy_may_be_given_in_any_way(loss):
    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax", name="out")(inputs))
    model.compile(keras.optimizers.Adam(1e-3), loss)
    callback = MetaPolicyCallback(policy_of(b=1.0), complexity=0.5, class_shares=SHARES)
    model.fit(X, Y, verbose=0, callbacks=[callback])
    assert len(callback.rates) == 2


def test_a_loss_that_the_model_adds_itself_needs_a_reference():
    class Adds(keras.layers.Layer):
        def call(self, chances):
            self.add_loss(keras.ops.mean(-keras.ops.log(chances[:, 0])))
            return chances

    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, Adds()(keras.layers.Dense(2, "softmax")(inputs)))
    model.compile(keras.optimizers.Adam(1e-3))
    with pytest.raises(MetaGDError, match=r"compiled without a loss.*pass chance_loss="):
        model.fit(
            X, Y, verbose=0, callbacks=[MetaPolicyCallback(policy_of(b=1.0), complexity=0.5, class_shares=SHARES)]
        )
    callback = MetaPolicyCallback(policy_of(b=1.0), complexity=0.5, class_shares=SHARES, chance_loss=math.log(2))
    model.fit(X, Y, verbose=0, callbacks=[callback])
    assert len(callback.rates) == 2


def test_two_outputs_are_refused():
    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = MetaPolicyCallback(policy_of(b=1.0), complexity=0.5, class_shares=SHARES)
    with pytest.raises(MetaGDError, match="2 outputs"):
        model.fit(X, [Y, Y], verbose=0, callbacks=[callback])


def test_unknown_length_is_refused():
    def endless():
        while True:
            yield X[:4], Y[:4]

    callback = MetaPolicyCallback(policy_of(), complexity=0.5, class_shares=SHARES)
    model = network(keras.optimizers.Adam(1e-3))
    import tensorflow as tf

    data = tf.data.Dataset.from_generator(
        endless, output_signature=(tf.TensorSpec((4, 6)), tf.TensorSpec((4,), tf.int32))
    )
    with pytest.raises(MetaGDError, match="steps_per_epoch"):
        model.fit(data, shuffle=False, verbose=0, callbacks=[callback])


@pytest.mark.parametrize(
    ("given", "family", "fits"),
    [
        ({"momentum": 0.9, "nesterov": True}, "sgd-nesterov", True),
        ({}, "sgd-nesterov", False),
        ({"momentum": 0.9}, "sgd-nesterov", False),
        ({}, "sgd", True),
        ({"momentum": 0.9, "nesterov": True}, "sgd", False),
    ],
)
def test_momentum_is_part_of_the_optimizer(given, family, fits):
    from metagd_optuna.policy.open_loop import ScheduleController

    callback = ControllerCallback(
        ScheduleController("constant", 1e-2), optimizer=family, complexity=0.5, class_shares=SHARES
    )
    model = network(keras.optimizers.SGD(1e-2, **given))
    if fits:
        model.fit(X, Y, verbose=0, callbacks=[callback])
    else:
        with pytest.raises(MetaGDError, match="momentum"):
            model.fit(X, Y, verbose=0, callbacks=[callback])


@pytest.mark.parametrize(
    ("signal", "text"), [("train-accuracy", "accuracy"), ("val-auc", "val_auc"), ("val-accuracy", "val_accuracy")]
)
def test_a_signal_that_fit_does_not_measure_is_an_error(signal, text):
    from dataclasses import replace

    callback = MetaPolicyCallback(replace(policy_of(b=1.0), signal=signal), complexity=0.5, class_shares=SHARES)
    model = network(keras.optimizers.Adam(1e-3), metrics=())
    with pytest.raises(MetaGDError, match=text):
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[callback])


def test_a_validation_signal_that_fit_measures_is_used():
    from dataclasses import replace

    callback = MetaPolicyCallback(replace(policy_of(b=0.5), signal="val-accuracy"), complexity=0.5, class_shares=SHARES)
    rates, _ = rates_of(callback, keras.optimizers.Adam(1e-3), validation=(X, Y))
    assert len(set(rates[:4])) == 1
    assert rates[4] != rates[3]


def val_accuracy_callback(**options):
    from dataclasses import replace

    policy = replace(policy_of(b=0.5), signal="val-accuracy")
    return MetaPolicyCallback(policy, complexity=0.5, class_shares=SHARES, **options)


def test_a_validation_every_other_epoch_is_waited_for():
    callback = val_accuracy_callback(validation_freq=2)
    rates, _ = rates_of(
        callback, keras.optimizers.Adam(1e-3), epochs=6, validation=(X, Y), validation_freq=2, shuffle=False
    )
    assert len(set(rates[:8])) == 1
    assert rates[8] != rates[7]
    with pytest.raises(MetaGDError, match="validation_freq, if fit"):
        rates_of(val_accuracy_callback(), keras.optimizers.Adam(1e-3), validation=(X, Y), validation_freq=2)
    with pytest.raises(MetaGDError, match="validation_freq"):
        rates_of(val_accuracy_callback(validation_freq=2), keras.optimizers.Adam(1e-3), epochs=3)


def test_validation_metrics_from_elsewhere_are_enough():
    """With no validation in fit, and with one that does not measure what the policy looks at."""
    from metagd_optuna.contracts import Validation

    class Elsewhere(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            values = {"loss": 0.5, "accuracy": 0.7, "balanced_accuracy": 0.7, "auc": 0.8}
            steering.observe_validation(Validation(step=4 * (epoch + 1), **values))

    seen = []
    for validation in (None, (X, Y)):
        steering = val_accuracy_callback()
        model = network(keras.optimizers.Adam(1e-3), metrics=())
        model.fit(
            X, Y, epochs=3, batch_size=12, verbose=0, validation_data=validation, callbacks=[Elsewhere(), steering]
        )
        seen.append(steering.rates)
    assert seen[0] == seen[1]
    assert seen[0][4] != seen[0][3]
    assert seen[0][5] == pytest.approx(1e-2 * (0.4 + 0.01) ** 0.5)  # p = (0.7 - 0.5) / (1 - 0.5)


@pytest.mark.parametrize("ticks", ["many", None, 2.5, True])
def test_bad_ticks_in_a_policy_file_are_named(ticks):
    from dataclasses import replace

    with pytest.raises(MetaGDError, match="ticks"):
        MetaPolicyCallback(replace(policy_of(), provenance={"ticks": ticks}), complexity=0.5, class_shares=SHARES)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"complexity": 1.5}, "complexity"),
        ({"complexity": float("nan")}, "complexity"),
        ({"complexity": None}, "complexity=None"),
        ({"class_shares": (0.5, 0.6)}, "class_shares"),
        ({"class_shares": (1.0,)}, "class_shares"),
        ({"class_shares": (1.5, -0.5)}, "class_shares"),
        ({"ticks": 0}, "ticks"),
        ({"ticks": 2.5}, r"ticks=2\.5 must be a whole number"),
        ({"validation_freq": 0}, "validation_freq"),
        ({"validation_freq": [1, 2]}, r"validation_freq=\[1, 2\] must be a whole number"),
    ],
)
def test_bad_arguments_are_named(options, text):
    with pytest.raises(MetaGDError, match=text):
        MetaPolicyCallback(policy_of(), **({"complexity": 0.5, "class_shares": SHARES} | options))


class Averages(keras.callbacks.Callback):
    """What ScheduleFreeAdamW's average scores after every epoch, worked out beside the training."""

    def on_train_begin(self, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        pairs = zip(self.model.trainable_variables, self.model.optimizer._z, strict=True)
        self.average = [(y.numpy() - 0.1 * z.numpy()) / 0.9 for y, z in pairs]

    def on_epoch_end(self, epoch, logs=None):
        kernel, bias = self.average
        logits = X @ kernel + bias
        shifted = logits - logits.max(axis=1, keepdims=True)
        self.losses.append(float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(Y)), Y])))


SCHEDULE_FREE = {"lr0": 0.02, "warmup": 0.0}


def test_fit_validates_the_average_and_ends_there():
    averages = Averages()
    model = network(ScheduleFreeAdamW(1.0))
    callback = controller_callback("schedule-free", SCHEDULE_FREE)
    options = {"epochs": 3, "batch_size": 12, "verbose": 0, "shuffle": False, "validation_data": (X, Y)}
    history = model.fit(X, Y, callbacks=[callback, averages], **options)
    np.testing.assert_allclose(history.history["val_loss"], averages.losses, rtol=1e-5)
    for variable, average in zip(model.trainable_variables, averages.average, strict=True):
        np.testing.assert_allclose(variable.numpy(), average, rtol=1e-5, atol=1e-7)
    assert len(set(averages.losses)) == 3


def test_validating_changes_nothing_and_training_can_go_on():
    """Once with and once without validation, and in two calls of fit instead of one."""
    weights = []
    for parts, validation in (((4,), None), ((4,), (X, Y)), ((1, 3), None)):
        model = network(ScheduleFreeAdamW(1.0))
        for epochs in parts:
            callback = controller_callback("schedule-free", SCHEDULE_FREE)
            options = {"batch_size": 12, "verbose": 0, "shuffle": False, "validation_data": validation}
            model.fit(X, Y, epochs=epochs, callbacks=[callback], **options)
        weights.append(model.get_weights())
    for one, other, continued in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, continued, rtol=1e-4, atol=1e-6)


def test_the_first_step_begins_at_the_networks_weights():
    """fit builds the optimizer where the copy of the weights is lost, and a lost one would reset the network."""
    model = network(ScheduleFreeAdamW(1.0))
    before = model.get_weights()
    model.fit(X, Y, epochs=1, batch_size=48, verbose=0, callbacks=[controller_callback("schedule-free", SCHEDULE_FREE)])
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.abs(new - old).max() <= 0.02 * 1.01  # one step of Adam is at most the rate


def test_keras_own_schedule_free_is_refused():
    with pytest.raises(
        MetaGDError, match=r"departs from the paper in two ways; compile it with metagd_optuna.ScheduleFreeAdamW"
    ):
        rates_of(controller_callback("schedule-free", SCHEDULE_FREE), keras.optimizers.ScheduleFreeAdamW(1e-3))


@pytest.mark.parametrize(
    ("baseline", "given", "wanted"),
    [
        ("schedule-free", {"r": 1}, r"has r=0, .* compiled with r=1, .*ScheduleFreeAdamW\(0.0005, r=0\)"),
        ("schedule-free-r1", {}, r"has r=1, .* compiled with r=0, .*ScheduleFreeAdamW\(0.0005, r=1\)"),
    ],
)
def test_an_average_of_another_power_is_refused(baseline, given, wanted):
    with pytest.raises(MetaGDError, match=wanted):
        rates_of(controller_callback(baseline, SCHEDULE_FREE), ScheduleFreeAdamW(1e-3, **given))


@pytest.mark.parametrize("r", [-1, math.nan, math.inf, "1", None])
def test_an_average_needs_a_power(r):
    with pytest.raises(MetaGDError, match="is not allowed; pass a finite number of at least 0"):
        ScheduleFreeAdamW(1e-3, r=r)


def test_the_best_weights_of_early_stopping_are_an_average():
    model = network(ScheduleFreeAdamW(1.0))
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", mode="max", patience=2, restore_best_weights=True)
    averages = Averages()
    callbacks = [stopping, controller_callback("schedule-free", SCHEDULE_FREE), averages]
    options = {"epochs": 6, "batch_size": 12, "verbose": 0, "shuffle": False, "validation_data": (X, Y)}
    history = model.fit(X, Y, callbacks=callbacks, **options)
    # The loss falls, so in mode "max" the first epoch is the best one, and training stops after two more.
    assert len(history.history["val_loss"]) == 3
    assert model.evaluate(X, Y, verbose=0)[0] == pytest.approx(averages.losses[0], rel=1e-5)


class Cut(Exception):  # noqa: N818 - no error of the program
    """A training that ends there."""


class CutsOff(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise Cut


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_training_that_keras_restores_goes_on(tmp_path, ours_first):
    """BackupAndRestore loads a model that stands at its average after we have made ours ready, or before."""
    weights = []
    for cut in (False, True):
        model = network(ScheduleFreeAdamW(1.0))
        options = {"epochs": 4, "batch_size": 12, "verbose": 0, "shuffle": False}
        for others in ([CutsOff()], []) if cut else ([],):
            backup = keras.callbacks.BackupAndRestore(tmp_path / str(cut))
            ours = controller_callback("schedule-free", SCHEDULE_FREE)
            callbacks = [ours, backup] if ours_first else [backup, ours]
            with pytest.raises(Cut) if others else contextlib.nullcontext():
                model.fit(X, Y, callbacks=[*callbacks, *others], **options)
        weights.append(model.get_weights())
    for whole, restored in zip(*weights, strict=True):
        np.testing.assert_allclose(restored, whole, rtol=1e-4, atol=1e-6)


def test_evaluating_with_the_callback_after_fit_stays_at_the_average():
    model = network(ScheduleFreeAdamW(1.0))
    callback = controller_callback("schedule-free", SCHEDULE_FREE)
    model.fit(X, Y, epochs=1, batch_size=12, verbose=0, callbacks=[callback])
    before = model.get_weights()
    model.evaluate(X, Y, verbose=0, callbacks=[callback])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_model_without_weights_is_refused():
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile(ScheduleFreeAdamW(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(MetaGDError, match=r"begin it with keras.Input\(shape\), or call model.build"):
        model.fit(X, Y, verbose=0, callbacks=[controller_callback("schedule-free", SCHEDULE_FREE)])


def test_a_saved_model_comes_back_with_its_optimizer(tmp_path):
    model = network(ScheduleFreeAdamW(0.003, r=1))
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[controller_callback("schedule-free-r1", SCHEDULE_FREE)])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, ScheduleFreeAdamW)
    assert again.optimizer.r == 1
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_saved_model_is_trained_on_as_the_one_that_was_kept(tmp_path, epochs):
    """It stands at its average, from which the next training has to go back to where the last one ended."""
    model = network(ScheduleFreeAdamW(0.003, r=1))
    options = {"batch_size": 12, "verbose": 0, "shuffle": False}
    model.fit(X, Y, epochs=epochs, callbacks=[controller_callback("schedule-free-r1", SCHEDULE_FREE)], **options)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.fit(X, Y, epochs=1, callbacks=[controller_callback("schedule-free-r1", SCHEDULE_FREE)], **options)
    for kept, loaded in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(loaded, kept, rtol=1e-5, atol=1e-7)
