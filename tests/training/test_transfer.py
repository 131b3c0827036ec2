"""Transfer learning: the frozen layers of a file stay what they are, and only the head trains."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError, TrainingJob
from metagd_optuna.policy import default_candidate
from metagd_optuna.tasks import Task
from metagd_optuna.training.device import prepare_device
from metagd_optuna.training.open_trainer import open_trainer
from metagd_optuna.training.plan import plan_run
from metagd_optuna.training.transfer import head_on


def backbone(channels=3, *, side=None, top=None, pooled=False):
    layers = [
        keras.layers.Input((side, side, channels)),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.BatchNormalization(),
    ]
    layers += [keras.layers.GlobalAveragePooling2D()] if pooled or top else []
    return keras.Sequential([*layers, *([top] if top else [])])


def saved(tmp_path, model):
    model.save(tmp_path / "backbone.keras")
    return tmp_path / "backbone.keras"


@pytest.mark.parametrize(
    ("model", "trained"),
    [
        (lambda: backbone(), 4 * 3 + 3),
        (lambda: backbone(pooled=True), 4 * 3 + 3),
        (lambda: backbone(top=keras.layers.Dense(10, activation="softmax")), 4 * 3 + 3),
        (lambda: backbone(top=keras.layers.Dense(3)), 4 * 3 + 3),
        (lambda: backbone(top=keras.layers.Dense(7, activation="relu")), 7 * 3 + 3),  # an embedding, not a classifier
    ],
    ids=["maps", "features", "softmax of other classes", "logits of as many classes", "embedding"],
)
def test_a_head_is_all_that_trains(tmp_path, model, trained):
    original = model()
    made = head_on(saved(tmp_path, original))((12, 12, 1), 3, seed=5)
    assert sum(int(np.prod(weight.shape)) for weight in made.trainable_variables) == trained
    assert made.output_shape == (None, 3)
    [kernel] = [weight for weight in made.weights if weight.shape == (3, 3, 3, 4)]
    np.testing.assert_array_equal(kernel.numpy(), original.layers[0].kernel.numpy())


def test_heads_are_drawn_from_the_seed_and_grey_is_given_three_times(tmp_path):
    original = backbone(pooled=True)
    build = head_on(saved(tmp_path, original))
    first, again, other = (build((12, 12, 1), 2, seed=seed) for seed in (1, 1, 2))
    images = np.random.default_rng(0).random((5, 12, 12, 1), dtype=np.float32)
    np.testing.assert_array_equal(first.predict(images, verbose=0), again.predict(images, verbose=0))
    assert not np.allclose(first.predict(images, verbose=0), other.predict(images, verbose=0))
    kernel, bias = (weight.numpy() for weight in first.trainable_variables)
    expected = original.predict(np.repeat(images, 3, axis=3), verbose=0) @ kernel + bias
    np.testing.assert_allclose(first.predict(images, verbose=0), expected, atol=1e-5)


def test_the_engine_trains_the_head_and_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 2
    images = rng.integers(0, 120, (32, 12, 12, 1), dtype=np.uint8) + np.uint8(100) * labels[:, None, None, None]
    task = Task("t", *[images.astype(np.uint8), labels] * 3, ("a", "b"))
    plan = plan_run(train_examples=32, epochs=4, batch_size=8, evaluations=4, rate_updates_per_evaluation=1)
    build = head_on(saved(tmp_path, backbone(pooled=True)))
    engine = open_trainer(task, plan, prepare_device(), complexity=0.5, population=1, build_network=build)
    assert engine.start(0).weights.shape == (4 * 2 + 2,)
    candidate = default_candidate("keras-adam")
    [record] = engine.train([TrainingJob("a", candidate.controller, candidate.optimizer)], seed=0)
    losses = record.validation.loss
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("model", "shape", "text"),
    [
        (lambda: backbone(side=16), (12, 12, 3), r"takes \(16, 16, 3\), and the task has \(12, 12, 3\).*image_size"),
        (lambda: backbone(), (5,), r"takes \(None, None, 3\), and the task has \(5,\)"),
        (
            lambda: keras.Sequential(
                [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 9), keras.layers.Conv2D(4, 9)]
            ),
            (12, 12, 3),
            r"cannot be called on images of \(12, 12, 3\) \(Computed output size would be.*image_size",
        ),
        (lambda: backbone(1), (12, 12, 3), r"takes \(None, None, 1\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, model, shape, text):
    build = head_on(saved(tmp_path, model()))
    with pytest.raises(MetaGDError, match=text):
        build(shape, 2, seed=0)


def test_a_network_without_weights_is_one(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Rescaling(0.5)])
    assert head_on(saved(tmp_path, model))((12, 12, 3), 2, seed=0).output_shape == (None, 2)


def test_files_that_are_no_network_are_refused(tmp_path):
    (tmp_path / "a.keras").write_bytes(b"no network")
    with pytest.raises(MetaGDError, match="not a Keras 3 model file"):
        head_on(tmp_path / "a.keras")
    keras.Sequential([keras.layers.Input((4, 4, 1)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "b.keras")
    with pytest.raises(MetaGDError, match="no Lambda"):
        head_on(tmp_path / "b.keras")
