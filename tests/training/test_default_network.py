"""Rows of a table train in the engine as in a plain ``fit``."""

import numpy as np
import pytest
import reference

from metagd_optuna.contracts import TrainingJob
from metagd_optuna.policy import ScheduleController
from metagd_optuna.training.default_network import default_network
from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.plan import plan_run


def part(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=count).astype(np.int32)
    return (rng.normal(size=(count, 7)) + labels[:, None]).astype(np.float32), labels


@pytest.mark.parametrize("population", [1, 2])
def test_a_table_trains_as_fit_does(population):
    images = Images(part(64, 1), part(24, 2), part(24, 3))
    plan = plan_run(train_examples=64, epochs=2, batch_size=16, evaluations=2, rate_updates_per_evaluation=2)
    settings = {"classes": 2, "class_frequencies": (0.5, 0.5), "complexity": 0.5, "plan": plan}
    settings["build_network"] = default_network
    jobs = [TrainingJob(f"{rate:g}", ScheduleController("constant", rate), "adam") for rate in (3e-3, 1e-2)]
    records = Engine(images, population=population, **settings).train(jobs, seed=4)
    for job, found in zip(jobs, records, strict=True):
        expected = reference.train(images, job, seed=4, **settings)
        np.testing.assert_allclose(found.train_loss, expected.train_loss, atol=1e-3)
        np.testing.assert_allclose(found.validation.loss, expected.validation.loss, atol=1e-3)
    assert records[0].train_loss[-1] != pytest.approx(records[1].train_loss[-1], abs=1e-3)


def test_images_get_the_articles_network_and_rows_a_perceptron():
    assert [layer.units for layer in default_network((7,), 3, seed=0).layers] == [128, 128, 3]
    assert default_network((20, 20, 1), 3, seed=0).name != "table_mlp"
    one, same, other = (default_network((7,), 3, seed=seed).get_weights()[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
