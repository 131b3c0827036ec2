"""What statistics of batch normalisation do to a network judged at its average, and how many images they need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sides import Side, seconds

NETWORKS = {"depthwise-batch, RetinaMNIST, batch 32": ("depthwise-batch", "retinamnist", 32)}
NETWORKS["resnet-batch, BreastMNIST, batch 8"] = ("resnet-batch", "breastmnist", 8)
RATES = (0.0008, 0.0025, 0.008, 0.026)
BATCHES = (0, 1, 2, 4, 8)  # of 128 images; 0 leaves the moving statistics of the network that trains


def engine_side(network: str, task: str, batch_size: int) -> Callable[..., Any]:
    """One sample: four constant rates from the same seed, judged with statistics of so many batches."""
    import tensorflow as tf
    from data import load

    from metagd_optuna.contracts import TrainingJob
    from metagd_optuna.policy import ScheduleController
    from metagd_optuna.suite.networks import NETWORKS as BUILD
    from metagd_optuna.training.batch_norm import BATCH, BatchStatistics, mixed_rows
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.training.open_trainer import open_trainer
    from metagd_optuna.training.plan import plan_run

    loaded = load(task)
    n = len(loaded.train_labels)
    plan = plan_run(
        train_examples=n, epochs=10_000 / n, batch_size=batch_size, evaluations=10, rate_updates_per_evaluation=1
    )
    engine = open_trainer(loaded, plan, prepare_device(), complexity=0.5, population=1, build_network=BUILD[network])
    jobs = [TrainingJob(f"{r:g}", ScheduleController("constant", r), "schedule-free-adamw-r1") for r in RATES]
    rows = mixed_rows(n)

    def sample(batches: int) -> tuple[list[list[float]], float] | None:
        if batches * BATCH > n:
            return None
        engine.programs.statistics = BatchStatistics.of(engine.model) if batches else None
        count = max(batches, 1)
        engine.programs.statistics_rows = tf.constant(rows[: count * BATCH].reshape(count, BATCH), tf.int32)
        records: list[Any] = []
        took = seconds(lambda: records.extend(engine.train(jobs, seed=5)))
        return [list(record.validation.auc) for record in records], took

    return sample


def measure() -> dict[str, Any]:
    """Judge the same trainings with statistics of more and more images."""
    found: dict[str, Any] = {"rates": RATES, "networks": {}}
    for name, (network, task, batch_size) in NETWORKS.items():
        with Side(engine_side, network=network, task=task, batch_size=batch_size) as engine:
            engine.sample(batches=1)  # traces
            sampled = {batches: engine.sample(batches=batches) for batches in BATCHES}
        curves = {batches: found for batches, found in sampled.items() if found is not None}
        all_images = np.array(curves[max(curves)][0])
        found["networks"][name] = {
            str(batches): {
                "seconds": took,
                "auc_difference": float(np.abs(np.array(auc) - all_images).mean()),
                "first_auc": float(np.array(auc)[:, 0].mean()),
                "last_auc": float(np.array(auc)[:, -1].mean()),
            }
            for batches, (auc, took) in curves.items()
        }
        print(f"  {name}: {found['networks'][name]}", flush=True)
    return found
