"""From ``metagd run`` to the first training step, and what compiling costs by population size."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sides import Side, seconds, summary

SIZES = (1, 2, 4, 8, 16)
RUNS = 5

# Runs the command line and says when the first rate update has been trained.
FIRST_STEP = """
import os, sys, time
from metagd_optuna.cli import main
from metagd_optuna.training import population
advance = population.Population.advance
def first(*arguments, **options):
    advance(*arguments, **options)
    os.write(1, f"FIRST {time.time()}\\n".encode())  # in one piece: another lane may be about to write the same
    os._exit(0)
population.Population.advance = first
sys.argv = ["metagd", "run", *sys.argv[1:]]
main()
"""

STUDY = 'tasks = ["breast_cancer"]\ntrials = 4\n'


def first_step(cache: Path) -> float:
    """Return the seconds from starting the command to the end of the first evaluation period."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "startup.toml"
        study.write_text(STUDY, encoding="utf-8")
        began = time.time()
        done = subprocess.run(
            [sys.executable, "-c", FIRST_STEP, str(study), "--out", f"{folder}/out"],
            env=os.environ | {"METAGD_CACHE_DIR": str(cache)},
            capture_output=True,
            text=True,
            check=False,
        )
        line, *_ = [line for line in done.stdout.splitlines() if line.startswith("FIRST")]
        return float(line.split()[1]) - began


def compile_side(size: int) -> Callable[..., dict[str, float]]:
    """One sample: the first call of the program for a population of ``size``, and the second, of one step each."""
    import numpy as np
    import tensorflow as tf
    from data import load

    from metagd_optuna.policy.optimizers import OPTIMIZERS
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.tuning.settings import StudySpec
    from metagd_optuna.tuning.task_trainer import open_task_trainer

    task = load("pneumoniamnist")
    spec = StudySpec(name="compile", tasks=("pneumoniamnist",), population=size)
    engine: Any = open_task_trainer(task, spec, prepare_device(), complexity=0.5).trainer
    start = engine.start(0)

    def step() -> None:
        weights = tf.repeat(start.weights[None], size, axis=0)
        state = tf.repeat(start.state[None], size, axis=0)
        batch = tf.constant(engine.plan.batches(0)[:1])
        slots, rates = OPTIMIZERS["adam"].rule().slots(weights), tf.constant(np.full((1, size), 1e-3), tf.float32)
        train_steps = engine.programs.train_steps("adam", engine.plan.batch_size)
        train_steps(weights, slots, state, (), tf.constant(0), batch, rates)[-1].numpy()

    return lambda: {"first": seconds(step), "second": seconds(step)}


def measure() -> dict[str, Any]:
    """Time starts with an empty and a filled cache, then the first use of every population size."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = [first_step(Path(folder) / str(i)) for i in range(RUNS)]
        first_step(Path(folder) / "kept")
        kept = [first_step(Path(folder) / "kept") for _ in range(RUNS)]
    found: dict[str, Any] = {"unit": "seconds", "first_use": summary(fresh), "later": summary(kept)}
    print(
        f"  to the first step: {found['first_use']['median']:.1f} s, later {found['later']['median']:.1f} s", flush=True
    )
    found["compile_by_population"] = {}
    for size in SIZES:
        with Side(compile_side, size=size) as side:
            times = side.sample()
        found["compile_by_population"][str(size)] = times | {"compile": times["first"] - times["second"]}
    print(f"  compile: {found['compile_by_population']}", flush=True)
    return found
