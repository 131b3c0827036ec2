"""A rule whose complexity is a property of the network: measured on the model, in `fit` and in the engine alike."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers

from metagd_optuna import MetaGDError, MetaPolicy, MetaPolicyCallback, ScheduleFreeAdamW
from metagd_optuna.contracts import Context, TrainingJob
from metagd_optuna.policy import policy_from_json
from metagd_optuna.suite.networks import NETWORKS
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.network_complexity import normalised_share
from metagd_optuna.training.plan import plan_run

NAME = "schedule-free-adamw-r1"
# d is c alone; 0.01 at c = 1 and 0.0025 at c = 0, nearly: f clips c to [0.01, 0.99].
RULE = MetaPolicy(
    NAME, "exponential", {"lr0": 0.0025, "kd": -1.386, "kp": 0.0}, "mix", {"w": 1.0}, complexity="batch-norm"
)


def built(*stack, shape=(8, 8, 1)):
    model = keras.Sequential([layers.Input(shape), *stack])
    return model


LAST = (layers.Flatten(), layers.Dense(3))


def frozen(layer):
    layer.trainable = False
    return layer


@pytest.mark.parametrize(
    ("stack", "share"),
    [
        ([layers.Flatten(), layers.Dense(3)], 0.0),  # nothing hidden
        ([layers.Flatten(), layers.Dense(8), layers.Dense(3)], 0.0),
        ([layers.Flatten(), layers.Dense(8), layers.BatchNormalization(), layers.Dense(3)], 1.0),
        ([layers.Flatten(), layers.Dense(8), layers.BatchNormalization(), layers.Dense(24), layers.Dense(3)], 0.25),
        ([layers.Flatten(), layers.Dense(8), frozen(layers.BatchNormalization()), layers.Dense(3)], 0.0),
        ([layers.Conv2D(4, 3), layers.LayerNormalization(), layers.Flatten(), layers.Dense(3)], 0.0),
        ([layers.DepthwiseConv2D(3, depth_multiplier=4), layers.BatchNormalization(), *LAST], 1.0),
        ([layers.BatchNormalization(), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)], 0.25),
        ([frozen(layers.Conv2D(4, 3)), layers.Flatten(), layers.Dense(3)], 0.0),
        ([layers.BatchNormalization()] * 1, 0.0),
    ],
)  # fmt: skip
def test_it_is_the_share_of_channels_that_are_normalised(stack, share):
    assert normalised_share(built(*stack)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("name", "share"), [(name, float(name in ("resnet-batch", "depthwise-batch"))) for name in NETWORKS]
)
def test_networks_of_the_suite_have_all_of_it_or_none(name, share):
    assert normalised_share(NETWORKS[name]((28, 28, 1), 2, seed=0)) == share


def small(input_shape, classes, *, seed, normalised):
    """A network of one convolution, with or without batch normalisation."""
    between = [layers.BatchNormalization()] if normalised else []
    start = keras.initializers.GlorotUniform(seed=seed)
    return built(layers.Conv2D(4, 3, kernel_initializer=start), *between, *LAST[:1], layers.Dense(classes))


@pytest.mark.parametrize(("normalised", "rate"), [(False, 0.0025), (True, 0.01)])
def test_the_callback_measures_it_and_the_engine_sets_the_same_rate(normalised, rate):
    build = partial(small, normalised=normalised)
    rng = np.random.default_rng(0)
    x, y = rng.random((16, 8, 8, 1), dtype=np.float32), np.arange(16, dtype=np.int32) % 2
    model = build((8, 8, 1), 2, seed=0)
    model.compile(ScheduleFreeAdamW(1e-3, r=1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = MetaPolicyCallback(RULE, class_frequencies=(0.5, 0.5), batch_norm_data=x)
    model.fit(x, y, batch_size=8, callbacks=[callback], verbose=0)
    assert callback.rates == pytest.approx([rate] * 2, rel=0.02)
    engine = Engine(
        Images((x, y), (x, y), (x, y)),
        classes=2,
        class_frequencies=(0.5, 0.5),
        complexity=0.3,
        plan=plan_run(train_examples=16, epochs=1, batch_size=8, evaluations=1, rate_updates_per_evaluation=2),
        build_network=build,
    )
    [record] = engine.train([TrainingJob("rule", RULE.controller(), NAME)], seed=0)
    assert record.rates == pytest.approx(callback.rates)


def test_its_document_its_formula_and_its_parameters_say_so():
    assert policy_from_json(RULE.to_json()) == RULE
    assert RULE.formula == (
        "d = 1 c + 0 (1 - p); lr = 0.0025 exp(-(-1.386 d + 0 p)); c from batch-norm; schedule-free-adamw-r1"
    )
    assert MetaPolicy.from_params(RULE.to_params()) == RULE
    assert "complexity" not in MetaPolicy("adam", "power", {"lr0": 1e-3, "a": 1.0, "b": 0.0}, "gap").to_dict()
    with pytest.raises(MetaGDError, match=r"complexity is 'batch-nrom'.*Did you mean 'batch-norm'"):
        MetaPolicy.from_dict(RULE.to_dict() | {"complexity": "batch-nrom"})


def test_whoever_trains_has_to_measure_it():
    with pytest.raises(
        MetaGDError, match="depends on batch-norm of the network, which whoever trains has not measured"
    ):
        RULE.controller().start(Context(0.5, (0.5, 0.5), NAME, 10, 5.0))
    with pytest.raises(MetaGDError, match="measure_complexity"):
        MetaPolicyCallback(
            MetaPolicy("adam", "power", {"lr0": 1e-3, "a": 1.0, "b": 0.0}, "rational", {"k": 1.0}),
            class_frequencies=[0.5] * 2,
        )
