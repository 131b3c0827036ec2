"""Training examples per second with smaller batches: in the engine of a study, and in the user's own fit.

Reports count epochs. What a smaller batch that needs fewer of them saves in seconds depends on what its epochs cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sides import Side, seconds, summary

SIZES = (32, 16, 8, 4)
EPOCHS = 1
SAMPLES = 5
MEMBERS = 2


def engine_side() -> Callable[..., float]:
    """One sample: two members with one batch size, one per lane on two cores, with an evaluation per epoch."""
    from data import open_pneumonia

    from metagd_optuna.policy import baseline_from_params

    task_trainer = open_pneumonia(SIZES[0], epochs=4)
    rates = {"schedule-free-r1.lr0": 2e-3, "schedule-free-r1.warmup": 0.0}

    def sample(batch_size: int) -> float:
        rule = baseline_from_params("schedule-free-r1", {**rates, "schedule-free-r1.batch_size": batch_size})
        names = [str(i) for i in range(MEMBERS)]
        took = seconds(lambda: task_trainer.train([rule] * MEMBERS, names, seed=0))
        return MEMBERS * task_trainer.plan.steps * SIZES[0] / took

    return sample


def fit_side() -> Callable[..., float]:
    """One sample: an epoch of Keras' ``fit`` with a validation."""
    import keras
    from data import pneumonia_for_fit

    from metagd_optuna.training.cnn import article_cnn

    train, validation, classes = pneumonia_for_fit()
    model = article_cnn(train[0].shape[1:], classes, seed=0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

    def sample(batch_size: int) -> float:
        options = {"epochs": EPOCHS, "batch_size": batch_size, "verbose": 0}
        options |= {"validation_data": validation, "validation_batch_size": SIZES[0]}
        return EPOCHS * len(train[1]) / seconds(lambda: model.fit(*train, **options))

    return sample


def measure() -> dict[str, Any]:
    """Sample all sizes in turn, in both places."""
    samples: dict[str, dict[int, list[float]]] = {place: {size: [] for size in SIZES} for place in ("engine", "fit")}
    with Side(engine_side) as engine, Side(fit_side) as fit:
        for turn in range(SAMPLES + 1):
            for size in SIZES:
                now = {"engine": engine.sample(batch_size=size), "fit": fit.sample(batch_size=size)}
                if turn:  # the first turn traces and warms up
                    for place, value in now.items():
                        samples[place][size].append(value)
                print(f"  turn {turn}, {size}: " + ", ".join(f"{k} {v:,.0f}" for k, v in now.items()), flush=True)
    return {
        "unit": "training examples per second",
        **{
            place: {
                f"batch_{size}": summary(values)
                | {"ratio": summary([b / a for a, b in zip(found[SIZES[0]], values, strict=True)])}
                for size, values in found.items()
            }
            for place, found in samples.items()
        },
    }
