"""Share of a search's wall-clock outside compiled training: policies, Optuna, storage; evaluation apart."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sides import Side

MEMBERS = (1, 8, 64)
TASKS = ("breastmnist", "pneumoniamnist")


class Stopwatch:
    """Adds up the seconds that calls of functions take, over all threads."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                result = function(*arguments, **options)
                # A GPU answers before it is done; what is read right afterwards counts as training, too.
                for tensor in result[-2:] if isinstance(result, tuple) else ():
                    tensor.numpy()
                return result
            finally:
                took = time.perf_counter() - began
                with self._lock:
                    self.seconds += took

        return timed


def search_side(name: str) -> Callable[..., dict[str, float]]:
    """One sample: a search of ``members`` trials at once, on a real database."""
    import optuna
    from data import load

    from metagd_optuna.analysis.convergence import targets_up_to
    from metagd_optuna.training import population
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.tuning.flow import to_the_end
    from metagd_optuna.tuning.methods import META_POLICY, methods_of
    from metagd_optuna.tuning.phases.search import Search
    from metagd_optuna.tuning.progress import Progress
    from metagd_optuna.tuning.runner import versions
    from metagd_optuna.tuning.seeds import phase_seeds
    from metagd_optuna.tuning.settings import StudySpec
    from metagd_optuna.tuning.storage import open_storage
    from metagd_optuna.tuning.store import Identity, StudyStore
    from metagd_optuna.tuning.task_trainer import open_task_trainer
    from metagd_optuna.tuning.tuner import Tuner
    from metagd_optuna.tuning.write_ahead import write_ahead

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    device = prepare_device()
    task = load(name)
    training, evaluating = Stopwatch(), Stopwatch()
    # Timed at the two places where a population calls what is compiled.
    population.Population._evaluate = evaluating.around(population.Population._evaluate)  # type: ignore[method-assign]

    def sample(members: int) -> dict[str, float]:
        whole_spec = StudySpec(
            name="overhead",
            tasks=(name,),
            trials=max(members, 4),
            trials_at_once=members,
            shortlist_trials=2,
            seeds_per_trial=1,
            pruning=False,
            examples_per_run=12_000,  # all of make bench is to end within an hour
            optimizers=("adam",),
        )
        task_trainer = open_task_trainer(task, whole_spec, device, complexity=0.5)
        engine: Any = task_trainer.trainer
        train_steps = engine.programs.train_steps
        timed: dict[tuple[str, int], Any] = {}

        def timed_steps(optimizer: str, batch_size: int) -> Any:
            if (optimizer, batch_size) not in timed:
                timed[optimizer, batch_size] = training.around(train_steps(optimizer, batch_size))
            return timed[optimizer, batch_size]

        engine.programs.train_steps = timed_steps
        [method] = [method for method in methods_of(whole_spec) if method.name == META_POLICY]
        walls = []
        few = StudySpec(**dict(whole_spec) | {"trials": 4, "trials_at_once": min(4, members)})
        for turn, spec in (("traces", few), ("counts", whole_spec)):
            training.seconds = evaluating.seconds = 0.0
            with tempfile.TemporaryDirectory() as folder:
                storage = open_storage(Path(folder) / "optuna.db", must_exist=False)
                write_ahead(storage)  # as in a run
                identity = Identity(turn, spec.to_dict(), versions(), device.name, tuple(spec.task_locations))
                store = StudyStore(storage, identity).task(name)
                seeds = phase_seeds(spec.seed, Search.first_seed, spec.seeds_per_trial)
                targets = targets_up_to(0.5, 2.0)
                tuner = Tuner(store, store.open(META_POLICY), method, spec, task_trainer, targets, seeds)
                began = time.perf_counter()
                to_the_end(tuner.run(Progress()))
                walls.append(time.perf_counter() - began)
        busy = walls[-1] * min(device.lanes, members)
        return {
            "wall_seconds": walls[-1],
            "training": training.seconds / busy,
            "evaluation": evaluating.seconds / busy,
            "other": 1 - (training.seconds + evaluating.seconds) / busy,
        }

    return sample


def measure() -> dict[str, Any]:
    """Measure both tasks at every number of members."""
    found: dict[str, Any] = {"unit": "share of the wall-clock of the lanes in use"}
    for name in TASKS:
        found[name] = {}
        with Side(search_side, name=name) as side:
            for members in MEMBERS:
                shares = side.sample(members=members)
                found[name][str(members)] = shares
                print(
                    f"  {name}, {members} at once: " + ", ".join(f"{k} {v:.3f}" for k, v in shares.items()), flush=True
                )
    return found
