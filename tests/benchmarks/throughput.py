"""Training examples per second: the peer, our engine with one member, our engine as it chooses, and the peak."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from sides import Side, seconds, summary

EPOCHS = 5
SAMPLES = 5
MEMBERS = 4
# What the engine computes of the three convolutions: the rest reaches no logit, see training/fused/trimming.py.
TRIMMED = (24, 10, 3)


def peer_side(batch_size: int) -> Callable[..., float]:
    """One sample: one trial of the peer, from building the model to its last validation."""
    import optuna
    from data import load
    from peer import objective_of_rate

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = load("pneumoniamnist")
    train = (task.train_images.astype("float32") / 255, task.train_labels.astype("int32"))
    validation = (task.val_images.astype("float32") / 255, task.val_labels.astype("int32"))
    objective = objective_of_rate(train, validation, batch_size=batch_size, epochs=EPOCHS)
    # A pruned trial would have traced as much for fewer examples.
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.NopPruner()
    )

    def sample() -> float:
        study_epochs = EPOCHS * len(train[1])
        took = seconds(lambda: study.optimize(objective, n_trials=1))
        epochs = len(study.trials[-1].intermediate_values)
        return study_epochs * epochs / EPOCHS / took

    return sample


def engine_side(batch_size: int) -> Callable[..., float]:
    """One sample: some members trained with an evaluation per epoch."""
    from data import load

    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.tuning.settings import StudySpec
    from metagd_optuna.tuning.task_trainer import open_task_trainer

    device = prepare_device()
    task = load("pneumoniamnist")
    n = len(task.train_labels)
    spec = StudySpec(
        name="bench",
        tasks=("pneumoniamnist",),
        batch_size=batch_size,
        examples_per_run=EPOCHS * n,
        evaluations=EPOCHS,
        rate_updates_per_evaluation=24,  # as dense as 40 evaluations with 3 rate updates each
    )
    task_trainer = open_task_trainer(task, spec, device, complexity=0.5)
    from metagd_optuna.policy import default_candidate

    candidate = default_candidate("keras-adam")

    def sample(members: int) -> float:
        names = [str(i) for i in range(members)]
        took = seconds(lambda: task_trainer.train([candidate] * members, names, seed=0))
        return members * task_trainer.plan.steps * batch_size / took

    return sample


def peak_side(lanes: int) -> Callable[..., float]:
    """One sample: fp32 matrix products on all cores, in GFLOP/s, the way TensorFlow is set up in this process."""
    import tensorflow as tf

    if lanes > 1:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    size, products = 2048, 6
    a = tf.constant(np.random.default_rng(0).normal(size=(size, size)), tf.float32)

    @tf.function(autograph=False)
    def multiply(x: Any) -> Any:
        for _ in range(products):
            x = tf.matmul(a, x) / size
        return x

    multiply(a)

    def sample() -> float:
        with ThreadPoolExecutor(lanes) as pool:
            took = seconds(lambda: list(pool.map(lambda _: multiply(a).numpy(), range(lanes))))
        return lanes * products * 2 * size**3 / took / 1e9

    return sample


def megaflop_per_example(sides: tuple[int, int, int] = (26, 11, 3)) -> float:
    """Multiply-adds, counted as two, of forward and backward pass of the article's CNN on 28 x 28 x 1.

    Three products per layer (forward, gradient of weights, gradient of inputs), two for the first.

    Args:
        sides: of what the three convolutions give.
    """
    first, second, third = sides
    convolutions = [(first, 1, 32, 2), (second, 32, 64, 3), (third, 64, 64, 3)]
    flop = sum(passes * 2 * side * side * 9 * i * o for side, i, o, passes in convolutions)
    return (flop + 3 * 2 * (576 * 64 + 64 * 2)) / 1e6


def measure() -> dict[str, Any]:
    """Sample all sides in turn."""
    found: dict[str, Any] = {"epochs": EPOCHS, "unit": "training examples per second"}
    for batch_size in (32, 128):
        with (
            Side(peer_side, ours=False, batch_size=batch_size) as peer,
            Side(engine_side, batch_size=batch_size) as engine,
            Side(peak_side, lanes=1) as peak,
            Side(peak_side, lanes=2) as peak_in_lanes,
        ):
            samples: dict[str, list[float]] = {"peer": [], "one_member": [], "population": [], "peak_gflops": []}
            for turn in range(SAMPLES + 1):
                now = {
                    "peer": peer.sample(),
                    "one_member": engine.sample(members=1),
                    "population": engine.sample(members=MEMBERS),
                    "peak_gflops": max(peak.sample(), peak_in_lanes.sample()),
                }
                if turn:  # the first turn traces and warms up
                    for side, value in now.items():
                        samples[side].append(value)
                print(
                    f"  batch {batch_size}, turn {turn}: " + ", ".join(f"{k} {v:,.0f}" for k, v in now.items()),
                    flush=True,
                )
        part: dict[str, Any] = {side: summary(values) for side, values in samples.items()}
        part["ratio"] = part["population"]["median"] / part["peer"]["median"]
        part["ratio_one_member"] = part["one_member"]["median"] / part["peer"]["median"]
        for share, flop in (("peak_share", megaflop_per_example(TRIMMED)), ("model_share", megaflop_per_example())):
            part[share] = part["population"]["median"] * flop / 1e3 / part["peak_gflops"]["median"]
        found[f"batch_{batch_size}"] = part
    found["megaflop_per_example"] = {"as_built": megaflop_per_example(), "as_run": megaflop_per_example(TRIMMED)}
    return found
