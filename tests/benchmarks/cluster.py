"""What a cluster is worth: efficiency with more workers, and what the coordinator costs.

Trainings that sleep take no core, so that sixteen workers fit on a machine of two; everything else is real: Dask's
scheduler and processes, asks, pruning, storage, pictures and notes. What more workers would do follows from what a job
costs the coordinator, which does not depend on how long it trains.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
# Workers, seconds of a training, and trials per method; a search has four methods, so with fewer than four workers jobs
# wait for one another.
SLEEPS = (
    (1, 5.0, 4),
    (2, 5.0, 4),
    (4, 5.0, 6),
    (8, 5.0, 12),
    (16, 5.0, 24),
    (4, 30.0, 4),
    (8, 30.0, 4),
    (16, 30.0, 8),
    (16, 300.0, 4),
)
LONG = 300.0
AT_ONCE, MOST = 64, 16
STUDY = """
tasks = ["breast_cancer"]
baselines = ["adam-constant", "adam-cosine"]
trials = 8
trials_at_once = 4
max_train = 200
examples_per_run = 8000
calibration_seeds = 2
shortlist_trials = 2
shortlist_seeds = 2
confirmation_seeds = 4
evaluations = 20
"""


def measure(parts: dict[str, Any]) -> dict[str, Any]:
    """Return efficiencies, the coordinator's share, bytes of a job, and the time of a real study."""
    import optuna

    sys.path.insert(0, str(TESTS))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sleeping = [_sleeping(*each) for each in SLEEPS]
    cost, idle = _coordinator([each for each in sleeping if each["workers"] == MOST])
    return {
        "sleeping": sleeping,
        "coordinator_cpu_seconds_per_job": cost,
        "coordinator_cpu_seconds_per_local_worker_and_second": idle / MOST,
        "coordinator_share_at_64_jobs_of_300_s": AT_ONCE * cost / LONG,
        "jobs_at_once_that_saturate_the_coordinator": {f"{each:g} s": each / cost for each in (5.0, 30.0, LONG)},
        "bytes": _bytes(),
        "real_study_seconds": {str(count): _real(count) for count in (0, 1, 2)},
    }


def _coordinator(sleeping: Sequence[Mapping[str, float]]) -> list[float]:
    """Return what a job costs the coordinator, and a second in which local workers are there, in CPU seconds.

    Of jobs and seconds as many as were measured with one number of workers, by least squares.
    """
    import numpy as np

    measured = np.array([[each["jobs"], each["wall_seconds"]] for each in sleeping])
    cost = np.linalg.lstsq(measured, np.array([each["coordinator_cpu"] for each in sleeping]), rcond=None)[0]
    return [float(each) for each in cost]


def _sleeping(workers: int, seconds: float, trials: int) -> dict[str, float]:
    """Search with four methods side by side, a run per trial.

    Args:
        workers: processes.
        seconds: that each training sleeps.
        trials: per method.
    """
    from made_up_cluster import Faults, Folder, processes, searched_on

    with tempfile.TemporaryDirectory() as folder, processes(workers) as client:
        kept = Folder(Path(folder), database=True)
        jobs, wall, cpu = searched_on(client, kept, trials, max(1, workers // 4), Faults(seconds=seconds))
    return {
        "workers": workers,
        "seconds_per_training": seconds,
        "jobs": jobs,
        "wall_seconds": wall,
        "efficiency": jobs * seconds / (workers * wall),
        "coordinator_cpu": cpu,
    }


def _bytes() -> dict[str, int]:
    """Return what travels for a job of a search, and back."""
    from made_up_cluster import travelling

    return {name: len(pickle.dumps(each)) for name, each in travelling().items()}


def _real(workers: int) -> float:
    """Return the wall-clock of a study with real trainings, start and end of workers included."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.toml"
        file.write_text(STUDY, encoding="utf-8")
        command = [sys.executable, "-m", "metagd_optuna.cli", "run", str(file), "--out", f"{folder}/out"]
        began = time.perf_counter()
        subprocess.run([*command, "--workers", str(workers)], check=True, capture_output=True, env=os.environ)
        return time.perf_counter() - began
