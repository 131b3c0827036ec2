"""Training examples per second with ScheduleFreeAdamW beside Adam: in the engine of a study, and in the user's own fit.

Reports count epochs. What a rule that needs fewer of them saves in seconds depends on what its steps cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sides import Side, seconds, summary

EPOCHS = 2
SAMPLES = 7
MEMBERS = 4
BATCH_SIZE = 32


def engine_side() -> Callable[..., float]:
    """One sample: four members of one rule, with an evaluation per epoch."""
    from data import open_pneumonia

    from metagd_optuna.policy import baseline_from_params, default_candidate

    task_trainer = open_pneumonia(BATCH_SIZE, epochs=5)
    rates = {"schedule-free-r1.lr0": 2.5e-3, "schedule-free-r1.warmup": 0.0}
    rules = {"adam": default_candidate("keras-adam"), "schedule_free": baseline_from_params("schedule-free-r1", rates)}

    def sample(rule: str) -> float:
        names = [str(i) for i in range(MEMBERS)]
        took = seconds(lambda: task_trainer.train([rules[rule]] * MEMBERS, names, seed=0))
        return MEMBERS * task_trainer.plan.steps * BATCH_SIZE / took

    return sample


def fit_side(rule: str) -> Callable[..., float]:
    """One sample: some epochs of ``fit`` with a validation each; Keras' Adam alone, or the stored universal policy."""
    import keras
    from data import pneumonia_for_fit

    from metagd_optuna import MetaPolicyCallback, ScheduleFreeAdamW, class_frequencies, load_policy
    from metagd_optuna.training.cnn import article_cnn

    train, validation, classes = pneumonia_for_fit()
    model = article_cnn(train[0].shape[1:], classes, seed=0)
    optimizer: keras.optimizers.Optimizer = keras.optimizers.Adam(1e-3)
    callbacks = []
    if rule == "schedule_free":
        optimizer = ScheduleFreeAdamW(2.5e-3, r=1)
        policy = load_policy("universal-constant")
        callbacks = [MetaPolicyCallback(policy, complexity=0.5, class_frequencies=class_frequencies(train[1]))]
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

    def fit() -> None:
        model.fit(
            *train, epochs=EPOCHS, batch_size=BATCH_SIZE, verbose=0, validation_data=validation, callbacks=callbacks
        )

    def sample() -> float:
        return EPOCHS * len(train[1]) / seconds(fit)

    return sample


def measure() -> dict[str, Any]:
    """Sample all sides in turn."""
    samples: dict[str, list[float]] = {
        f"{place}_{rule}": [] for place in ("engine", "fit") for rule in ("adam", "schedule_free")
    }
    with (
        Side(engine_side) as engine,
        Side(fit_side, rule="adam") as adam,
        Side(fit_side, rule="schedule_free") as schedule_free,
    ):
        for turn in range(SAMPLES + 1):
            now = {
                "engine_adam": engine.sample(rule="adam"),
                "engine_schedule_free": engine.sample(rule="schedule_free"),
                "fit_adam": adam.sample(),
                "fit_schedule_free": schedule_free.sample(),
            }
            if turn:  # the first turn traces and warms up
                for side, value in now.items():
                    samples[side].append(value)
            print(f"  turn {turn}: " + ", ".join(f"{k} {v:,.0f}" for k, v in now.items()), flush=True)
    ratios = {
        place: summary(
            [b / a for a, b in zip(samples[f"{place}_adam"], samples[f"{place}_schedule_free"], strict=True)]
        )
        for place in ("engine", "fit")
    }
    return {
        "unit": "training examples per second",
        **{side: summary(values) for side, values in samples.items()},
        "ratio": ratios,
    }
