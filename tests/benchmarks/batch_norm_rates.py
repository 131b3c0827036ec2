"""What one rate costs on networks with batch normalisation, judged with moving statistics and with statistics anew."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sides import Side


def engine_side(workload: str) -> Callable[..., Any]:
    """One sample: every constant rate of ScheduleFreeAdamW from one seed; curves of validation AUC, and the plan."""
    from metagd_optuna.suite.opened import METRIC, open_workload
    from metagd_optuna.suite.rate_settings import CONSTANTS, SCHEDULE_FREE
    from metagd_optuna.suite.workloads import EXPLORE, workloads_of
    from metagd_optuna.training.batch_norm import BatchStatistics
    from metagd_optuna.training.device import prepare_device

    [found] = workloads_of(EXPLORE, [workload])
    data = os.environ.get("METAGD_DATA_DIR")
    out = Path(tempfile.mkdtemp())
    opened = open_workload(found, prepare_device(), out, data_dir=Path(data) if data else None, log=print)
    jobs = [each.job(found.batch_size) for each in CONSTANTS if each.optimizer == SCHEDULE_FREE]
    programs, plan = opened.engine.programs, opened.engine.plan

    def sample(seed: int, anew: bool) -> dict[str, Any]:
        programs.statistics = BatchStatistics.of(opened.engine.model) if anew else None
        records = opened.engine.train(jobs, seed=seed)
        return {
            "epochs": [list(plan.epochs(record.validation.steps)) for record in records],
            "scores": [list(record.validation.metric(METRIC)) for record in records],
            "budget": plan.budget_epochs,
            "chance": opened.chance,
        }

    return sample


def measure(parts: dict[str, Any]) -> dict[str, Any]:
    """Train every exploring workload whose network has batch normalisation, both ways."""
    from metagd_optuna.suite.rate_settings import RATES
    from metagd_optuna.suite.seeds import CHOOSING
    from metagd_optuna.suite.workloads import EXPLORE, workloads_of

    found: dict[str, Any] = {"rates": list(RATES), "seeds": list(CHOOSING), "workloads": {}}
    for each in workloads_of(EXPLORE):
        if not each.network.endswith("-batch") or each.frozen:
            continue
        with Side(engine_side, workload=each.name) as side:
            samples = {anew: [side.sample(seed=seed, anew=anew) for seed in CHOOSING] for anew in (False, True)}
        found["workloads"][each.name] = relative_times(samples)
        print(f"  {each.name}: {found['workloads'][each.name]}", flush=True)
    return found


def relative_times(samples: dict[bool, list[dict[str, Any]]]) -> dict[str, list[float]]:
    """Return the mean time to the targets of every rate, times that of the best with statistics anew.

    Args:
        samples: whether statistics are taken anew -> one sample per seed. The targets are those of the best rate with
            statistics anew.
    """
    from metagd_optuna.analysis import final_best, mean_time_to_targets, search_target, targets_up_to

    chance = samples[True][0]["chance"]
    best = {
        float(rate): [max(final_best(sample["scores"][rate]), chance) for sample in samples[True]]
        for rate in range(len(samples[True][0]["scores"]))
    }
    targets = targets_up_to(chance, search_target(chance, best))
    logs = {
        anew: np.mean(
            [
                [
                    np.log(mean_time_to_targets(epochs, scores, targets, sample["budget"]))
                    for epochs, scores in zip(sample["epochs"], sample["scores"], strict=True)
                ]
                for sample in taken
            ],
            axis=0,
        )
        for anew, taken in samples.items()
    }
    return {
        "anew" if anew else "moving": [round(float(value), 4) for value in np.exp(own - logs[True].min())]
        for anew, own in logs.items()
    }
