"""Training examples per second of every network of the suite: a plain ``fit``, one member, and two in two lanes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from sides import Side, seconds, summary

SAMPLES = 5
EXAMPLES, BATCH_SIZE, CLASSES, SHAPE = 1600, 32, 6, (28, 28, 3)


def _part(count: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.random((count, *SHAPE), dtype=np.float32), rng.integers(0, CLASSES, count).astype(np.int32)


def fit_side(network: str) -> Callable[..., float]:
    """One sample: an epoch of ``fit`` with Adam."""
    import keras

    from metagd_optuna.suite.networks import NETWORKS

    model = NETWORKS[network](SHAPE, CLASSES, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    images, labels = _part(EXAMPLES)

    def sample() -> float:
        return EXAMPLES / seconds(lambda: model.fit(images, labels, batch_size=BATCH_SIZE, verbose=0))

    return sample


def engine_side(network: str) -> Callable[..., float]:
    """One sample: the same examples by one member in one lane, or by one in each of two."""
    from metagd_optuna.contracts import TrainingJob
    from metagd_optuna.policy import default_candidate
    from metagd_optuna.suite.networks import NETWORKS
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.training.engine import Engine, Images
    from metagd_optuna.training.plan import plan_run

    prepare_device()
    engine = Engine(
        Images(_part(EXAMPLES), _part(BATCH_SIZE), _part(BATCH_SIZE)),
        classes=CLASSES,
        class_frequencies=(1 / CLASSES,) * CLASSES,
        complexity=0.5,
        plan=plan_run(
            train_examples=EXAMPLES, epochs=1, batch_size=BATCH_SIZE, evaluations=1, rate_updates_per_evaluation=5
        ),
        lanes=2,
        build_network=NETWORKS[network],
    )
    rule = default_candidate("keras-adam")

    def sample(members: int) -> float:
        jobs = [TrainingJob(str(i), rule.controller, rule.optimizer) for i in range(members)]
        return members * EXAMPLES / seconds(lambda: engine.train(jobs, seed=0))

    return sample


def measure() -> dict[str, Any]:
    """Sample the three sides of every network in turn."""
    from metagd_optuna.suite.networks import NETWORKS

    found: dict[str, Any] = {"unit": "training examples per second", "networks": {}}
    for network in NETWORKS:
        samples: dict[str, list[float]] = {"fit": [], "one": [], "two": []}
        with Side(fit_side, ours=False, network=network) as fit, Side(engine_side, network=network) as engine:
            for turn in range(SAMPLES + 1):
                now = {"fit": fit.sample(), "one": engine.sample(members=1), "two": engine.sample(members=2)}
                if turn:  # the first turn traces
                    for side, value in now.items():
                        samples[side].append(value)
        ratios = {
            side: summary([ours / fit for ours, fit in zip(samples[side], samples["fit"], strict=True)])
            for side in ("one", "two")
        }
        found["networks"][network] = {side: summary(values) for side, values in samples.items()} | {"ratio": ratios}
        print(f"  {network}: " + ", ".join(f"{side} {ratios[side]['median']:.2f}" for side in ratios), flush=True)
    found["ratio"] = {
        side: math.exp(np.mean([math.log(each["ratio"][side]["median"]) for each in found["networks"].values()]))
        for side in ("one", "two")
    }
    return found
