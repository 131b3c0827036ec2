"""What a long search holds: memory, open descriptors and threads of its process, and the size of its database.

Once with trainings that are made up but leave records of real size, which is the coordinator alone, and once with real
trainings that are short.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memory import slope
from sides import Side

TRIALS = {"made up": 2_000, "real": 300}
EVERY = 50


def held(database: Path) -> dict[str, float]:
    """Return what this process holds now, and how large a database is with its write-ahead log, both in MB."""
    status = Path("/proc/self/status").read_text().splitlines()
    [resident] = [int(line.split()[1]) for line in status if line.startswith("VmRSS:")]
    return {
        "resident": resident / 1024,
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "database": sum(path.stat().st_size for path in database.parent.glob(f"{database.name}*")) / 2**20,
    }


def soak_side(kind: str) -> Callable[..., list[dict[str, float]]]:
    """One sample: a whole search, looked at every so many trials."""
    import optuna
    from made_up_search import MadeUpTrainer, method_of, open_store, search

    from metagd_optuna.tuning.progress import Progress
    from metagd_optuna.tuning.settings import StudySpec

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    class Watched(Progress):
        """Looks where a search says how far it is."""

        def __init__(self, database: Path) -> None:
            super().__init__()
            self.database = database
            self.seen: list[dict[str, float]] = []

        def trials(self, task: str, method: str, done: int, total: int, best: float) -> None:
            if done >= EVERY * len(self.seen) or done == total:
                self.seen.append({"trials": done, **held(self.database)})

    def sample(trials: int) -> list[dict[str, float]]:
        made_up = kind == "made up"
        settings = StudySpec(
            name="soak",
            tasks=("breast_cancer",),
            trials=trials,
            pruning=False,  # so that every trial stores all of its runs
            **({} if made_up else {"seeds_per_trial": 1, "examples_per_run": 400}),
        )
        trainer = MadeUpTrainer() if made_up else real_trainer(settings)
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(Path(folder), settings)
            progress = Watched(Path(folder) / "optuna.db")
            search(store, store.open("meta-policy"), method_of(settings), settings, trainer, progress)
        return progress.seen

    return sample


def real_trainer(settings: Any) -> Any:
    """Return what trains on the embedded table."""
    from data import load

    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.tuning.task_trainer import open_task_trainer

    return open_task_trainer(load("breast_cancer"), settings, prepare_device(), complexity=0.5).trainer


def measure(parts: dict[str, Any]) -> dict[str, Any]:
    """Run both searches, each in a process of its own."""
    found: dict[str, Any] = {"unit": "MB"}
    for kind, trials in TRIALS.items():
        with Side(soak_side, ours=kind == "real", kind=kind) as side:
            seen = side.sample(trials=trials)
        growth = slope([each["resident"] for each in seen]) / EVERY
        found[kind] = {"seen": seen, "mb_per_trial": growth}
        print(f"  {kind}: {growth:.4f} MB per trial over {trials}, {seen[0]} to {seen[-1]}", flush=True)
    return found
