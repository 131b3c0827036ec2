"""Host memory: growth per trial over many trials of ours and of the peer, and its peak by population size."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sides import Side

OUR_TRIALS = 500
PEER_TRIALS = 40
SIZES = (1, 2, 4, 8, 16, 32)


def resident_mb() -> float:
    """Return this process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def slope(values: list[float]) -> float:
    """Return the growth per trial by least squares, without the first fifth, in which caches fill."""
    later = np.asarray(values[len(values) // 5 :])
    return float(np.polyfit(np.arange(len(later)), later, 1)[0])


def our_side() -> Callable[..., list[float]]:
    """Resident memory after every batch of trials of a search, its database included."""
    import optuna
    from data import load

    from metagd_optuna.analysis.convergence import targets_up_to
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

    class Watched(Progress):
        """Notes the memory where a search says how far it is."""

        seen: list[tuple[int, float]]

        def trials(self, task: str, method: str, done: int, total: int, best: float) -> None:
            self.seen.append((done, resident_mb()))

    def sample(trials: int) -> list[float]:
        task = load("breast_cancer")
        spec = StudySpec(
            name="memory", tasks=("breast_cancer",), trials=trials, seeds_per_trial=1, examples_per_run=4, pruning=False
        )
        task_trainer = open_task_trainer(task, spec, prepare_device(), complexity=0.5)
        progress = Watched()
        progress.seen = []
        with tempfile.TemporaryDirectory() as folder:
            storage = open_storage(Path(folder) / "optuna.db", must_exist=False)
            write_ahead(storage)  # as in a run
            identity = Identity("memory", spec.to_dict(), versions(), "benchmark", tuple(spec.task_locations))
            store = StudyStore(storage, identity).task("breast_cancer")
            [method] = [method for method in methods_of(spec) if method.name == META_POLICY]
            seeds = phase_seeds(spec.seed, Search.first_seed, spec.seeds_per_trial)
            targets = targets_up_to(0.5, 0.9)
            to_the_end(Tuner(store, store.open(META_POLICY), method, spec, task_trainer, targets, seeds).run(progress))
        done, memory = zip(*progress.seen, strict=True)
        return [float(value) for value in np.interp(np.arange(1, trials + 1), done, memory)]

    return sample


def peer_side() -> Callable[..., list[float]]:
    """Resident memory after every trial of the peer, on the same data for the same number of examples."""
    import optuna
    from data import load
    from peer import objective_of_rate

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = load("breast_cancer")
    train = (task.train_images.astype("float32"), task.train_labels.astype("int32"))
    validation = (task.val_images.astype("float32"), task.val_labels.astype("int32"))

    def sample(trials: int) -> list[float]:
        seen = []
        study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
        objective = objective_of_rate(train, validation, batch_size=32, epochs=4)
        study.optimize(objective, n_trials=trials, callbacks=[lambda *_: seen.append(resident_mb())])
        return seen

    return sample


def peak_side(size: int) -> Callable[..., float]:
    """Peak of the memory that a population of ``size`` adds, in a process of its own."""
    import os

    from data import load

    from metagd_optuna.policy import default_candidate
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.tuning.settings import StudySpec
    from metagd_optuna.tuning.task_trainer import open_task_trainer

    os.environ["OMP_NUM_THREADS"] = "1"
    task = load("pneumoniamnist")
    spec = StudySpec(
        name="peak",
        tasks=("pneumoniamnist",),
        max_train=640,
        examples_per_run=4,
        evaluations=4,  # what counts is the largest rate update and the largest evaluation, not how many
        population=size,
    )
    task_trainer = open_task_trainer(task, spec, prepare_device(), complexity=0.5)
    before = resident_mb()

    def sample() -> float:
        candidate = default_candidate("keras-adam")
        task_trainer.train([candidate] * size, [str(i) for i in range(size)], seed=0)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before

    return sample


def measure() -> dict[str, Any]:
    """Run both searches, then every population size."""
    found: dict[str, Any] = {"unit": "MB"}
    with Side(our_side) as ours:
        values = ours.sample(trials=OUR_TRIALS)
        found["ours"] = {"trials": OUR_TRIALS, "mb_per_trial": slope(values), "resident": values}
    print(f"  ours: {found['ours']['mb_per_trial']:.4f} MB per trial over {OUR_TRIALS}", flush=True)
    with Side(peer_side, ours=False) as peer:
        values = peer.sample(trials=PEER_TRIALS)
        found["peer"] = {"trials": PEER_TRIALS, "mb_per_trial": slope(values), "resident": values}
    print(f"  peer: {found['peer']['mb_per_trial']:.3f} MB per trial over {PEER_TRIALS}", flush=True)
    found["peak_mb_by_population"] = {}
    for size in SIZES:
        with Side(peak_side, size=size) as side:
            found["peak_mb_by_population"][str(size)] = side.sample()
    print(f"  peak by population: {found['peak_mb_by_population']}", flush=True)
    return found
