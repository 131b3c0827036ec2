import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from metagd_optuna.policy.optimizers import OPTIMIZERS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_equals_keras_with_one_rate_per_member(name):
    rng = np.random.default_rng(3)
    rates = np.array([[0.01], [0.002], [0.3]], np.float32)
    start = rng.normal(size=(3, 6)).astype(np.float32)
    gradients = rng.normal(size=(5, 3, 6)).astype(np.float32)
    rule = OPTIMIZERS[name].rule()

    weights = tf.constant(start)
    slots = rule.slots(weights)
    for step, gradient in enumerate(gradients, start=1):
        weights, slots = rule.update(
            weights, slots, tf.constant(gradient), tf.constant(rates), tf.constant(float(step))
        )

    for member in range(3):
        variable = keras.Variable(start[member])
        optimizer = OPTIMIZERS[name].build(float(rates[member, 0]))
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply_gradients([(tf.constant(gradient[member]), variable)])
        np.testing.assert_allclose(weights[member], variable.numpy(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "r"), [("schedule-free-adamw", 0), ("schedule-free-adamw-r1", 1)])
def test_schedule_free_follows_its_paper(name, r):
    """Equations of arXiv 2405.15682 worked in double precision on f(w) = w^2 from w = 1.

    x is worked as what it means: the mean of all z, each with the weight (t + 1) ... (t + r), which is t^r but for
    lower powers; with r = 0 the plain mean.
    """
    z = y = 1.0
    v = 0.0
    weights = tf.constant([[1.0]])
    rule = OPTIMIZERS[name].rule()
    slots = rule.slots(weights)
    iterates = []
    for t in range(1, 6):
        g = 2 * y
        v = 0.999 * v + 0.001 * g * g
        z -= 0.1 * g / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        iterates.append(z)
        x = np.average(iterates, weights=[math.comb(s + r - 1, r) for s in range(1, t + 1)])
        weights, slots = rule.update(weights, slots, 2 * weights, tf.constant([[0.1]]), tf.constant(float(t)))
        y = 0.1 * z + 0.9 * x
        np.testing.assert_allclose(weights, [[y]], rtol=1e-5)
        np.testing.assert_allclose(rule.evaluation_point(weights, slots), [[x]], rtol=1e-5)
