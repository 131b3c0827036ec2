"""Which optimizers of a model a policy's rates are for."""

import keras
import pytest
from small_training import SHARES, callback_of, compiled, fit

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.policy.open_loop import ScheduleController
from metagd_optuna.training.controller_callback import ControllerCallback
from metagd_optuna.training.schedule_free import ScheduleFreeAdamW

SGD, ADAM = keras.optimizers.SGD, keras.optimizers.Adam


def steered(model, family):
    """Fit at a constant rate that is meant for an optimizer of this name."""
    controller = ScheduleController("constant", 1e-2)
    callback = ControllerCallback(controller, optimizer=family, complexity=0.5, class_frequencies=SHARES)
    fit(model, callback)
    return callback


@pytest.mark.parametrize(
    ("optimizer", "family"),
    [
        (lambda: SGD(1.0, momentum=0.9, nesterov=True), "sgd-nesterov"),
        (lambda: SGD(1.0), "sgd"),
        (lambda: keras.optimizers.Nadam(1.0), "adam"),
        (lambda: ScheduleFreeAdamW(1.0, r=1), "schedule-free-adamw-r1"),
    ],
)
def test_the_optimizer_that_the_rates_are_for_is_steered(optimizer, family):
    model = compiled(optimizer())
    assert steered(model, family).rates == pytest.approx([1e-2] * 4)
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-2)


@pytest.mark.parametrize(
    ("optimizer", "family", "text"),
    [
        (lambda: SGD(1.0), "adam", r"compiled with SGD; compile it with Adam\(0.0005\) or AdamW or Nadam$"),
        (lambda: ADAM(1.0), "schedule-free-adamw", r"compiled with Adam; .*metagd_optuna.ScheduleFreeAdamW\("),
        (lambda: SGD(1.0), "sgd-nesterov", r"has momentum=0.9, nesterov=True, .* momentum=0.0, nesterov=False, "),
        (lambda: SGD(1.0, momentum=0.9), "sgd-nesterov", "nesterov=True, .* momentum=0.9, nesterov=False, "),
        (lambda: SGD(1.0, momentum=0.9, nesterov=True), "sgd", r"compile it with SGD\(0.01, momentum=0.0, nest"),
        (
            lambda: keras.optimizers.ScheduleFreeAdamW(1e-3),
            "schedule-free-adamw",
            r"of another package, keras\..*: Keras' own departs from the paper in two ways; compile it with metagd_opt",
        ),
        (
            lambda: ScheduleFreeAdamW(1e-3, r=1),
            "schedule-free-adamw",
            r"has r=0, .* compiled with r=1, .*ScheduleFreeAdamW\(0.0005, r=0\)",
        ),
        (
            lambda: ScheduleFreeAdamW(1e-3),
            "schedule-free-adamw-r1",
            r"has r=1, .* compiled with r=0, .*ScheduleFreeAdamW\(0.0005, r=1\)",
        ),
        (
            lambda: ADAM(keras.optimizers.schedules.CosineDecay(1e-3, 10)),
            "adam",
            "learning_rate is a CosineDecay, which a callback cannot steer",
        ),
        (lambda: ADAM(1.0), "adm", "optimizer is 'adm'; allowed: adam, .*Did you mean 'adam'"),
    ],
)
def test_another_optimizer_is_refused(optimizer, family, text):
    with pytest.raises(MetaGDError, match=text):
        steered(compiled(optimizer()), family)


def test_a_model_without_weights_is_refused():
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile(ScheduleFreeAdamW(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(MetaGDError, match=r"begin it with keras.Input\(shape\), or call model.build"):
        steered(model, "schedule-free-adamw")


def test_a_model_that_is_not_compiled_is_refused():
    callback = callback_of()
    callback.set_model(keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(2)]))
    callback.set_params({"epochs": 1, "steps": 4})
    with pytest.raises(MetaGDError, match=r"the model is not compiled; compile it with Adam\("):
        callback.on_train_begin()
