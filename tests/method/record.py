"""Record the curves that the method is verified with: Adam at 1e-3 on many seeds, under a study's default settings.

python tests/method/record.py breast_cancer breastmnist     (with METAGD_DATA_DIR, where the files need it)
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from pools import Pool

RUNS = 100
# Far from the seeds of any study of this repository.
FIRST_SEED = 900_000


def main() -> None:
    """Train and write the pools of the tasks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+")
    names = parser.parse_args().tasks
    from metagd_optuna.training.startup import load_tensorflow

    load_tensorflow()
    for name in names:
        began = time.perf_counter()
        record(name).save()
        print(f"{name}: {RUNS} runs in {time.perf_counter() - began:.0f} s", flush=True)


def record(name: str) -> Pool:
    """Return the curves of one task."""
    from metagd_optuna import load_task, measure_complexity
    from metagd_optuna.contracts import RunRecord
    from metagd_optuna.policy import baseline_from_params
    from metagd_optuna.training.device import prepare_device, repeatable
    from metagd_optuna.tuning.settings import StudySpec
    from metagd_optuna.tuning.task_trainer import open_task_trainer

    device = prepare_device()
    task = load_task(name, data_dir=os.environ.get("METAGD_DATA_DIR"))
    spec = StudySpec(name="record", tasks=(name,))
    complexity = measure_complexity(task.train_images, task.train_labels)
    with repeatable(device):
        task_trainer = open_task_trainer(task, spec, device, complexity=complexity)
        adam = baseline_from_params("adam-constant", {"adam-constant.lr0": 1e-3})

        def run(seed: int) -> RunRecord:
            [finished] = task_trainer.train([adam], [f"seed {seed}"], seed=seed, test=True)
            return finished

        # The engine fills its lanes with members of one seed, and here every member has a seed of its own.
        with ThreadPoolExecutor(device.lanes) as lanes:
            runs = list(lanes.map(run, range(FIRST_SEED, FIRST_SEED + RUNS)))
    tests = [run.test for run in runs if run.test is not None]
    return Pool(
        task=name,
        chance=task_trainer.chance,
        budget=task_trainer.plan.budget_epochs,
        epochs=task_trainer.plan.epochs(runs[0].validation.steps),
        validation=np.array([run.validation.metric(spec.metric) for run in runs]),
        test=np.array([curve.metric(spec.metric) for curve in tests]),
    )


if __name__ == "__main__":
    main()
