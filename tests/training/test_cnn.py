import keras
import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.training.cnn import article_cnn
from metagd_optuna.training.fused import FusedNetwork, flat_weights


def test_article_layers_at_its_own_size():
    """The article's CIFAR-10 network has 122,570 weights (Keras' own count for the printed model)."""
    model = article_cnn((32, 32, 3), 10, seed=0)
    assert model.count_params() == 122_570
    assert model.layers[-1].activation is keras.activations.linear


@pytest.mark.parametrize("side", [8, 9, 12, 17, 18, 19, 28, 64])
@pytest.mark.parametrize("classes", [2, 12])
def test_fits_any_input(side, classes):
    assert article_cnn((side, side + 3, 1), classes, seed=0).output_shape == (None, classes)


@pytest.mark.parametrize(("shape", "classes", "text"), [((7, 9, 1), 2, "7 x 9"), ((28, 28, 1), 1, "2 classes")])
def test_refuses_what_cannot_work(shape, classes, text):
    with pytest.raises(MetaGDError, match=text):
        article_cnn(shape, classes, seed=0)


def test_seed_fixes_the_weights_and_layers_differ():
    same, again, other = (flat_weights(article_cnn((20, 20, 1), 2, seed=s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(same, again)
    assert not np.array_equal(same, other)
    kernels = [layer.kernel.numpy().ravel()[:5] for layer in article_cnn((20, 20, 64), 64, seed=1).layers[:3:2]]
    assert not np.array_equal(*kernels)


@pytest.mark.parametrize("shape", [(8, 8, 3), (20, 21, 1)])
def test_fused_logits_equal_each_model_on_its_own(shape):
    models = [article_cnn(shape, 3, seed=s) for s in (1, 2, 3)]
    images = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    weights = np.stack([flat_weights(model) for model in models])
    fused = FusedNetwork(models[0]).logits(weights, images)
    for member, model in enumerate(models):
        np.testing.assert_allclose(fused[member], model(images), atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([keras.layers.Flatten(), keras.layers.Dropout(0.5), keras.layers.Dense(2)], "Dropout"),
        ([keras.layers.Flatten(), keras.layers.Dense(2, activation="gelu")], "gelu"),
        ([keras.layers.Conv2D(4, 3, groups=2), keras.layers.Flatten(), keras.layers.Dense(2)], "groups"),
    ],
)
def test_layers_that_cannot_be_fused_are_named(layers, text):
    model = keras.Sequential([keras.layers.Input((8, 8, 2)), *layers])
    images = np.zeros((1, 8, 8, 2), np.float32)
    with pytest.raises(MetaGDError, match=text):
        FusedNetwork(model).logits(flat_weights(model)[None], images)


def test_a_network_may_begin_with_flatten():
    model = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    logits = FusedNetwork(model).logits(np.stack([flat_weights(model)] * 2), images)
    np.testing.assert_allclose(logits[1], model(images), atol=1e-5)
