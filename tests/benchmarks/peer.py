"""The peer: what a competent user of Optuna and Keras writes today, one ``fit`` per trial with KerasPruningCallback.

    python tests/benchmarks/peer.py        searches the rate of Adam on PneumoniaMNIST, 5 trials

It follows the pattern of Optuna's Keras examples: a model per trial, the session cleared between trials, silent
training, the integration's own pruning callback, Optuna's default sampler and pruner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import optuna
from optuna_integration import KerasPruningCallback

Arrays = tuple[np.ndarray, np.ndarray]


def article_cnn(shape: tuple[int, ...], classes: int) -> keras.Model:
    """The article's network, ending in logits."""
    return keras.Sequential(
        [
            keras.layers.Input(shape),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(classes),
        ]
    )


def objective_of_rate(
    train: Arrays, validation: Arrays, *, batch_size: int, epochs: int
) -> Callable[[optuna.Trial], float]:
    """Return the objective: best validation accuracy of one training."""
    classes = int(train[1].max()) + 1

    def objective(trial: optuna.Trial) -> float:
        keras.backend.clear_session()
        model = article_cnn(train[0].shape[1:], classes)
        model.compile(
            optimizer=keras.optimizers.Adam(trial.suggest_float("rate", 1e-5, 3e-2, log=True)),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        history = model.fit(
            *train,
            batch_size=batch_size,
            epochs=epochs,
            validation_data=validation,
            callbacks=[KerasPruningCallback(trial, "val_accuracy")],
            verbose=0,
        )
        return max(history.history["val_accuracy"])

    return objective


class Score(keras.callbacks.Callback):
    """After every epoch put a score into the logs, where KerasPruningCallback finds it.

    Args:
        validation: images and labels.
        score: logits (N, K) -> the number to log as ``score``.
    """

    def __init__(self, validation: Arrays, score: Callable[[np.ndarray], float]) -> None:
        super().__init__()
        self._images = validation[0]
        self._score = score

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Score the validation part."""
        logits = self.model.predict(self._images, batch_size=512, verbose=0)
        assert isinstance(logs, dict)
        logs["score"] = self._score(logits)


def main() -> None:
    """Search the rate of Adam on PneumoniaMNIST."""
    from data import load

    task = load("pneumoniamnist")
    train = (task.train_images.astype("float32") / 255, task.train_labels.astype("int32"))
    validation = (task.val_images.astype("float32") / 255, task.val_labels.astype("int32"))
    study = optuna.create_study(direction="maximize")
    began = time.perf_counter()
    study.optimize(objective_of_rate(train, validation, batch_size=32, epochs=5), n_trials=5)
    print(f"best rate {study.best_params['rate']:.2e}, {time.perf_counter() - began:.1f} s for 5 trials")


if __name__ == "__main__":
    main()
