"""Optimizers with beta_2 by the batch size: the engine's equals Keras'."""

import numpy as np
import pytest
import tensorflow as tf

from metagd_optuna.policy import OPTIMIZERS
from metagd_optuna.suite.rate_settings import RateSetting
from metagd_optuna.suite.second_moment import optimizer_at


@pytest.mark.parametrize(("batch_size", "beta_2"), [(8, 0.999**0.25), (128, 0.999**4)])
@pytest.mark.parametrize("name", ["adam", "schedule-free-adamw-r1"])
def test_memory_counts_examples_and_the_engine_equals_keras(name, batch_size, beta_2):
    optimizer = OPTIMIZERS[optimizer_at(name, batch_size)]
    assert optimizer_at(name, batch_size) == optimizer.name  # registered once
    assert not optimizer.searched
    keras_one, rule = optimizer.build(0.01), optimizer.rule()
    assert keras_one.beta_2 == pytest.approx(beta_2)
    rng = np.random.default_rng(3)
    weights = tf.constant(rng.normal(size=(1, 6)), tf.float32)
    variable, slots, rates = tf.Variable(weights[0]), rule.slots(weights), tf.constant([[0.01]])
    plain, plain_slots, plain_rule = weights, rule.slots(weights), OPTIMIZERS[name].rule()
    for step in range(1, 30):
        gradients = tf.constant(rng.normal(size=(1, 6)) * step, tf.float32)
        keras_one.apply([gradients[0]], [variable])
        weights, slots = rule.update(weights, slots, gradients, rates, tf.constant(float(step)))
        plain, plain_slots = plain_rule.update(plain, plain_slots, gradients, rates, tf.constant(float(step)))
    np.testing.assert_allclose(weights[0], variable.numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(plain - weights).max() > 1e-4  # with 0.999


def test_at_the_batch_of_reference_it_is_the_optimizer_itself():
    setting = RateSetting("adam", "constant", 0.01, scaled_memory=True)
    assert optimizer_at("adam", 32) == "adam"
    assert setting.at(32) == RateSetting("adam", "constant", 0.01)
    assert setting.at(8) is setting
    assert setting.job(8).optimizer == "adam-memory-of-batch-8"
    assert setting.job(8).name == "adam constant beta_2^(B/32) 0.01"
