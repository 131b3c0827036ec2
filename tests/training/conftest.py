import numpy as np
import pytest

from metagd_optuna.training.engine import Engine, Images
from metagd_optuna.training.plan import plan_run

CLASSES = 3
SHARES = (0.5, 0.3, 0.2)


class LossDriven:
    """A controller with feedback: its rate follows the training loss, so that errors in observations show."""

    def __init__(self, rate):
        self.rate = rate

    def start(self, context):
        return ()

    def rates(self, state, observation, steps):
        loss = 1.0 if observation.train_loss is None else min(observation.train_loss, 2.0)
        accuracy = 0.5 if observation.validation is None else observation.validation.accuracy
        return np.linspace(1.0, 1.1, steps) * self.rate * loss * (0.5 + accuracy), state


def _part(count, seed):
    """Noisy bright squares whose place tells the class; bytes, 18x19, one channel."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, size=count, p=SHARES).astype(np.int32)
    images = rng.integers(0, 120, size=(count, 18, 19, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 5 * label : 6 + 5 * label, 4:12] += 100
    return images, labels


@pytest.fixture(scope="session")
def images():
    return Images(_part(90, 1), _part(40, 2), _part(30, 3))


@pytest.fixture(scope="session")
def plan():
    """Three epochs in batches of 16, so that batches straddle epochs."""
    return plan_run(train_examples=90, epochs=3, batch_size=16, evaluations=6, rate_updates_per_evaluation=2)


@pytest.fixture(scope="session")
def engine(images, plan):
    return Engine(images, classes=CLASSES, class_frequencies=SHARES, complexity=0.4, plan=plan, population=5)


@pytest.fixture(scope="session")
def loss_driven():
    return LossDriven
