"""Training examples per second by how many members share a program on a CPU, each against one member per lane."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sides import Side, seconds, summary

SIZES = (1, 2, 4, 8)
MEMBERS = 16  # the same in every sample, so that two lanes are full at every size
SAMPLES = 9
# The network, side of the images, batch, steps of a run.
CASES = {
    "article_cnn_28": ("article_cnn", 28, 32, 20),
    "article_cnn_12": ("article_cnn", 12, 32, 60),
    "small_cnn_12": ("small_cnn", 12, 8, 100),
    "dense_8": ("dense", 8, 4, 300),
}


def engine_side(case: str) -> Callable[..., tuple[float, float]]:
    """One sample: 16 members of Adam on random images, trained to the end with four evaluations.

    It answers with the examples per second, and per second that a core worked for them, which other work on the
    machine disturbs less.
    """
    from metagd_optuna.contracts import TrainingJob
    from metagd_optuna.policy import default_candidate
    from metagd_optuna.training.cnn import article_cnn
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.training.engine import Engine, Images
    from metagd_optuna.training.plan import plan_run

    network, side, batch_size, steps = CASES[case]
    rng = np.random.default_rng(0)

    def part(count: int) -> tuple[Any, Any]:
        return rng.integers(0, 256, size=(count, side, side, 1), dtype=np.uint8), np.arange(count, dtype=np.int32) % 2

    images = Images(part(steps * batch_size), part(64), part(64))
    plan = plan_run(
        train_examples=steps * batch_size, epochs=1, batch_size=batch_size, evaluations=4, rate_updates_per_evaluation=3
    )
    engine = Engine(
        images,
        classes=2,
        class_frequencies=(0.5, 0.5),
        complexity=0.5,
        plan=plan,
        lanes=prepare_device().lanes,
        build_network={"article_cnn": article_cnn, "small_cnn": small_cnn, "dense": dense}[network],
    )
    rule = default_candidate("keras-adam")
    jobs = [TrainingJob(str(i), rule.controller, rule.optimizer) for i in range(MEMBERS)]

    def sample(population: int) -> tuple[float, float]:
        engine.population = population
        began = time.process_time()
        took = seconds(lambda: engine.train(jobs, seed=0))
        examples = MEMBERS * steps * batch_size
        return examples / took, examples / (time.process_time() - began)

    return sample


def small_cnn(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> Any:
    """Return a network of 2,000 weights with one convolution."""
    from keras import Sequential, layers, utils

    utils.set_random_seed(seed)
    return Sequential(
        [
            layers.Input(input_shape),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dense(classes),
        ]
    )


def dense(input_shape: tuple[int, int, int], classes: int, *, seed: int) -> Any:
    """Return a network of 1,000 weights without a convolution, whose steps are all overhead."""
    from keras import Sequential, layers, utils

    utils.set_random_seed(seed)
    return Sequential(
        [layers.Input(input_shape), layers.Flatten(), layers.Dense(16, activation="relu"), layers.Dense(classes)]
    )


def measure() -> dict[str, Any]:
    """Sample all sizes of a case in turn, one case after the other."""
    found: dict[str, Any] = {"unit": "training examples per second, and per second of a core", "members": MEMBERS}
    for case in CASES:
        samples: dict[int, list[tuple[float, float]]] = {size: [] for size in SIZES}
        with Side(engine_side, case=case) as engine:
            for turn in range(SAMPLES + 1):
                now = {size: engine.sample(population=size) for size in (SIZES if turn % 2 else SIZES[::-1])}
                if turn:  # the first turn traces and warms up
                    for size, value in now.items():
                        samples[size].append(value)
                print(
                    f"  {case}, turn {turn}: " + ", ".join(f"{k}: {v:,.0f} {c:,.0f}" for k, (v, c) in now.items()),
                    flush=True,
                )
        found[case] = {
            f"members_{size}": summary([value for value, _ in values])
            | {
                key: summary([b[place] / a[place] for a, b in zip(samples[1], values, strict=True)])
                for place, key in enumerate(("ratio", "ratio_of_core_seconds"))
            }
            for size, values in samples.items()
        }
    return found
