"""What the callback sees of loss and accuracy: exactly the examples since the last update, however it is trained."""

import keras
import numpy as np
import pytest
from small_training import X, Y, callback_of, compiled, fit, one_backend, policy_of

from metagd_optuna import MetaGDError

# So small that the loss of a batch is, to 1e-3, what the network had at the beginning.
STILL = policy_of(lr0=1e-5, b=0.01)
LOSSES_DIFFER = 2e-2
MORE = [(12, 4, 1), (12, 2, 2), (32, 2, 1), (7, 7, 1), (7, 1, 2)]


def expected(sizes, *, updates, weights=None):
    """Mean loss and accuracy of the untrained network over the examples of every update, whose batches have sizes."""
    model = compiled()
    chances = model.predict(X, verbose=0)
    losses, hits = -np.log(chances[np.arange(len(Y)), Y]), chances.argmax(axis=1) == Y
    losses = losses if weights is None else losses * weights
    ends = np.cumsum(sizes)
    last = [ends[round(i * len(sizes) / updates) - 1] for i in range(1, updates + 1)]
    parts = list(zip([0, *last[:-1]], last, strict=True))
    return [(losses[a:b].mean(), hits[a:b].mean()) for a, b in parts]


def seen_by(callback):
    return [(seen.train_loss, seen.train_accuracy) for seen in callback.observations]


@pytest.mark.parametrize(
    ("batch", "updates", "at_once"),
    [(20, 3, 1), (20, 1, 3), *(pytest.param(*case, marks=one_backend) for case in MORE)],
)
def test_the_last_batch_counts_for_as_much_as_it_holds(batch, updates, at_once):
    sizes = [min(batch, 48 - begin) for begin in range(0, 48, batch)]
    callback = callback_of(STILL, rate_updates=updates)
    fit(compiled(steps_per_execution=at_once), callback, batch_size=batch)
    want = expected(sizes, updates=updates)
    np.testing.assert_allclose(seen_by(callback), want, atol=1e-3)
    if updates > 1:
        assert np.ptp([loss for loss, _ in want]) > LOSSES_DIFFER  # so that a mean over other examples would be noticed


def own_loop(model, callback, sizes, *, epochs=2, logs_of=lambda logs: logs, resets=False):
    """Train as those do who write the loop themselves."""
    every = keras.callbacks.CallbackList([callback], model=model, epochs=epochs, steps=len(sizes), verbose=0)
    every.on_train_begin()
    for epoch in range(epochs):
        if resets:
            model.reset_metrics()
        every.on_epoch_begin(epoch)
        begin = 0
        for batch, size in enumerate(sizes):
            every.on_train_batch_begin(batch)
            rows = slice(begin, begin + size)
            logs = model.train_on_batch(X[rows], Y[rows], return_dict=True)
            every.on_train_batch_end(batch, logs_of(logs))
            begin += size
        every.on_epoch_end(epoch, {})
    every.on_train_end()


@pytest.mark.parametrize(
    ("sizes", "logs_of", "resets"),
    [
        ([12] * 4, dict, False),
        ([20, 20, 8], dict, False),
        ([8, 8, 20, 12], lambda logs: None, False),
        ([20, 20, 8], lambda logs: None, True),
    ],
)
def test_a_loop_of_ones_own_over_train_on_batch(sizes, logs_of, resets):
    callback = callback_of(STILL, rate_updates=2 * len(sizes))
    own_loop(compiled(), callback, sizes, logs_of=logs_of, resets=resets)
    want = expected(sizes, updates=len(sizes))
    np.testing.assert_allclose(seen_by(callback), [*want, *want], atol=1e-3)
    assert len(callback.rates) == 2 * len(sizes)


def test_examples_that_weigh_more_count_as_keras_counts_them():
    weights = np.where(Y == 0, 0.5, 1.5)
    callback = callback_of(STILL, rate_updates=3, class_weight={0: 0.5, 1: 1.5})
    fit(compiled(), callback, batch_size=20, class_weight={0: 0.5, 1: 1.5})
    want = [loss for loss, _ in expected([20, 20, 8], updates=3, weights=weights)]
    np.testing.assert_allclose([loss for loss, _ in seen_by(callback)], want, atol=1e-3)


class Evaluates(keras.callbacks.Callback):
    """Evaluates the model on other data after a step."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch:
            self.model.evaluate(100 * X, 1 - Y, batch_size=5, verbose=0)


class EvaluatesAtFirst(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.evaluate(100 * X, 1 - Y, batch_size=5, verbose=0)


@pytest.mark.parametrize(
    ("other", "ours_first", "validation"),
    [(Evaluates(2), True, None), (Evaluates(2), False, (100 * X, Y)), (EvaluatesAtFirst(), True, None)],
)
def test_evaluations_in_between_do_not_disturb(other, ours_first, validation):
    callback = callback_of(STILL, rate_updates=8)
    fit(compiled(), *([callback, other] if ours_first else [other, callback]), epochs=2, validation_data=validation)
    want = expected([12] * 4, updates=4)
    np.testing.assert_allclose(seen_by(callback), [*want, *want], atol=1e-3)


def test_where_the_examples_cannot_be_known_that_is_said():
    """The last batch may be smaller, and its totals are gone."""
    with pytest.raises(MetaGDError, match=r"not known how many examples that step had; put this callback first"):
        fit(compiled(), Evaluates(3), callback_of(STILL, rate_updates=4))
    callback = callback_of(policy_of())  # whose rate does not depend on it
    fit(compiled(), Evaluates(3), callback)
    assert len(callback.rates) == 4


@one_backend
def test_several_outputs_have_one_loss_that_may_fall():
    keras.utils.set_random_seed(1)
    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, [keras.layers.Dense(2, "softmax")(inputs), keras.layers.Dense(2, "softmax")(inputs)])
    model.compile(keras.optimizers.Adam(1e-3), ["sparse_categorical_crossentropy"] * 2)
    callback = callback_of(policy_of(signal="improvement", improvement_scale=0.01, lr0=1e-5, b=0.01), rate_updates=3)
    total = model.evaluate(X, [Y, Y], batch_size=20, verbose=0)[0]
    fit(model, callback, y=[Y, Y], batch_size=20)
    means = [loss for loss, _ in seen_by(callback)]
    assert np.average(means, weights=[20, 20, 8]) == pytest.approx(total, abs=1e-3)


def test_accuracy_is_what_the_policy_sees():
    callback = callback_of(policy_of(signal="train-accuracy", lr0=1e-5, b=0.01), rate_updates=3)
    history = fit(compiled(), callback, batch_size=20).history
    want = [accuracy for _, accuracy in expected([20, 20, 8], updates=3)]
    np.testing.assert_allclose([accuracy for _, accuracy in seen_by(callback)], want, atol=1e-6)
    assert history["performance"][-1] == pytest.approx(max((want[1] - 0.5) / 0.5, 0.0), abs=1e-6)


class EvaluatesAtTheBeginning(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        self.model.evaluate(100 * X, 1 - Y, batch_size=5, verbose=0)


def test_an_evaluation_as_a_step_begins_is_refused():
    """Keras goes on with the totals of the evaluation."""
    with pytest.raises(MetaGDError, match=r"evaluates the model as a step begins, .* evaluate it at the end of a step"):
        fit(compiled(), callback_of(STILL, rate_updates=4), EvaluatesAtTheBeginning())


@pytest.mark.parametrize("sizes", [[4, 8, 12, 16], [2, 3, 20, 4, 19]])
def test_batches_that_grow_are_no_totals_that_grow(sizes):
    callback = callback_of(STILL, rate_updates=len(sizes))
    own_loop(compiled(), callback, sizes, epochs=1)
    np.testing.assert_allclose(seen_by(callback), expected(sizes, updates=len(sizes)), atol=1e-3)


def test_a_loop_that_logs_what_no_metric_keeps_is_refused():
    """It may be the loss of the batch, or a mean that is kept elsewhere."""
    model, callback = compiled(), callback_of(STILL, rate_updates=4)
    every = keras.callbacks.CallbackList([callback], model=model, epochs=1, steps=4, verbose=0)
    every.on_train_begin()
    every.on_epoch_begin(0)
    every.on_train_batch_begin(0)
    with pytest.raises(MetaGDError, match="no metric of the model keeps the loss that this loop logs"):
        every.on_train_batch_end(0, {"loss": 0.7})


def test_what_is_logged_within_an_epoch_stays_what_keras_logs():
    class Logs(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(float(logs["loss"]))

    alone, beside = Logs(), Logs()
    histories = [fit(compiled(), *c).history["loss"] for c in ([alone], [callback_of(policy_of(lr0=1e-3)), beside])]
    np.testing.assert_allclose(beside.seen, alone.seen, rtol=1e-5)
    assert histories[0] == pytest.approx(histories[1], rel=1e-6)


@one_backend
def test_each_accuracy_is_paired_with_its_own_log():
    metrics = [keras.metrics.BinaryAccuracy(), keras.metrics.CategoricalAccuracy()]
    model = compiled(loss="categorical_crossentropy", metrics=metrics)
    callback = callback_of(policy_of(signal="train-accuracy", lr0=1e-5, b=0.01), rate_updates=4)
    fit(model, callback, y=np.eye(2)[Y])
    np.testing.assert_allclose([a for _, a in seen_by(callback)], [a for _, a in expected([12] * 4, updates=4)])
