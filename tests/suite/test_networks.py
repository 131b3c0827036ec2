"""The networks of the suite: drawn from a seed, and trained by the engine as a plain ``fit`` trains them."""

import random

import keras
import numpy as np
import pytest
import reference

from metagd_optuna.contracts import TrainingJob
from metagd_optuna.policy import ScheduleController
from metagd_optuna.suite.networks import NETWORKS
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.plan import plan_run

SHAPE, CLASSES = (12, 13, 1), 3


def part(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=count).astype(np.int32)
    pixels = rng.normal(size=(count, *SHAPE)) + labels[:, None, None, None] * np.linspace(-1, 1, SHAPE[1])[:, None]
    return pixels.astype(np.float32), labels


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_engine_trains_it_as_fit_does(name):
    images = Images(part(64, 1), part(24, 2), part(24, 3))
    plan = plan_run(train_examples=64, epochs=1, batch_size=8, evaluations=2, rate_updates_per_evaluation=2)
    settings = {
        "classes": CLASSES,
        "class_frequencies": (0.4, 0.3, 0.3),
        "complexity": 0.5,
        "plan": plan,
        "build_network": NETWORKS[name],
    }
    # Two rates, so that with two members to a program one cannot pass for the other.
    jobs = [
        TrainingJob(f"{rate:g}", ScheduleController("constant", rate), "schedule-free-adamw-r1")
        for rate in (1e-3, 5e-4)
    ]
    records = Engine(images, population=2, **settings).train(jobs, seed=4)
    expected = reference.train(images, jobs[1], seed=4, **settings)
    np.testing.assert_allclose(records[1].train_loss, expected.train_loss, atol=1e-3)
    np.testing.assert_allclose(records[1].validation.loss, expected.validation.loss, atol=1e-3)
    assert records[0].train_loss[-1] != pytest.approx(expected.train_loss[-1], abs=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_its_weights_are_from_the_seed_alone(name):
    state = random.getstate()
    one, same, other = (NETWORKS[name](SHAPE, CLASSES, seed=seed) for seed in (1, 1, 2))
    assert random.getstate() == state  # Keras draws a seed from there where it is given none
    kernels = [i for i, weight in enumerate(one.get_weights()) if weight.std() > 0]
    assert len({one.get_weights()[i].tobytes() for i in kernels}) == len(kernels)
    for i in kernels:
        assert np.array_equal(one.get_weights()[i], same.get_weights()[i])
        assert not np.array_equal(one.get_weights()[i], other.get_weights()[i])


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_one_of_a_plain_keras_model(name, tmp_path):
    model = NETWORKS[name]((28, 28, 3), 6, seed=0)
    assert model.output_shape == (None, 6)
    assert model.layers[-1].activation is keras.activations.linear
    model.save(tmp_path / "network.keras")
    restored = keras.models.load_model(tmp_path / "network.keras")
    images = np.random.default_rng(0).random((2, 28, 28, 3), dtype=np.float32)
    np.testing.assert_array_equal(model(images), restored(images))
