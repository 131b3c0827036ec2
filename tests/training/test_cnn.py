import keras
import numpy as np
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.training.cnn import article_cnn
from metagd_optuna.training.network import Start


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
    same, again, other = (Start.of(article_cnn((20, 20, 1), 2, seed=s)).weights for s in (1, 1, 2))
    np.testing.assert_array_equal(same, again)
    assert not np.array_equal(same, other)
    kernels = [layer.kernel.numpy().ravel()[:5] for layer in article_cnn((20, 20, 64), 64, seed=1).layers[:3:2]]
    assert not np.array_equal(*kernels)
