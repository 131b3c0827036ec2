"""Wall-clock until a meta-policy is found that is as good as the best that the peer finds in 64 trials.

Both sides search the same space (forms, coefficients and optimizers of a default study) on RetinaMNIST with the same
batch size and examples per run, and minimise the same objective: the mean time to 26 validation targets, in epochs.
The targets are fixed beforehand, and their calibration counts for neither side. The peer is plain Optuna (its default
sampler and pruner, KerasPruningCallback), with one ``fit`` per trial under ``MetaPolicyCallback``, scored after each
epoch. What each side believes to be its best is confirmed on the same 10 fresh seeds with 40 evaluations per run; that
confirmation counts for neither: our clock stands still while every new best of our search is confirmed. Our search
begins with opening the task and tracing, and ends as soon as a confirmed best is no worse than the peer's.
How many members share a program is remembered from before, as it is for every study but a device's first.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sides import Side, summary

TASK = "retinamnist"
EXAMPLES = 5400  # 5 epochs
TRIALS = 64
SEARCH_SEEDS = (1, 2, 3, 4, 5)
CONFIRMATION_SEEDS = 10


def _spec(**changes: Any) -> Any:
    from metagd_optuna.tuning.settings import StudySpec

    return StudySpec(name="quality", tasks=(TASK,), examples_per_run=EXAMPLES, trials=TRIALS, **changes)


def _meta_policy(spec: Any) -> Any:
    """Return the method of a study that searches the meta-policy."""
    from metagd_optuna.tuning.methods import META_POLICY, methods_of

    [method] = [method for method in methods_of(spec) if method.name == META_POLICY]
    return method


def peer_side(search_target: float) -> Callable[..., dict[str, Any]]:
    """One sample: the peer's whole search from one seed."""
    import keras
    import optuna
    from data import load
    from optuna_integration import KerasPruningCallback
    from peer import Score, article_cnn

    from metagd_optuna import MetaPolicy, MetaPolicyCallback, measure_complexity
    from metagd_optuna.analysis.convergence import mean_time_to_targets, targets_up_to
    from metagd_optuna.analysis.scores import chance_level
    from metagd_optuna.training.evaluation import evaluate_logits

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = load(TASK)
    spec = _spec()
    method = _meta_policy(spec)
    x, y = task.train_images.astype("float32") / 255, task.train_labels.astype("int32")
    validation = (task.val_images.astype("float32") / 255, task.val_labels.astype("int32"))
    classes = len(task.classes)
    epochs = spec.epochs_for(len(y))
    targets = targets_up_to(chance_level("auc", task.class_frequencies), search_target)
    complexity = measure_complexity(task.train_images, task.train_labels)

    def objective(trial: optuna.Trial) -> float:
        keras.backend.clear_session()
        policy = MetaPolicy.from_dict(method.suggest(trial).settings)
        optimizers = {
            "adam": keras.optimizers.Adam(),
            "sgd-nesterov": keras.optimizers.SGD(momentum=0.9, nesterov=True),
        }
        model = article_cnn(x.shape[1:], classes)
        model.compile(
            optimizer=optimizers[policy.optimizer],
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        aucs: list[float] = []

        def score(logits: np.ndarray) -> float:
            aucs.append(evaluate_logits(logits[None], validation[1])[0][3])
            # The median pruner looks at a trial's best value so far. A bound of the objective only rises, so its best
            # would be that of the first epoch, and nothing would ever be pruned.
            return 1 - aucs[-1]

        model.fit(
            x,
            y,
            batch_size=spec.batch_size,
            epochs=epochs,
            callbacks=[
                MetaPolicyCallback(
                    policy, complexity=complexity, class_frequencies=task.class_frequencies, rate_updates=120
                ),
                Score(validation, score),
                KerasPruningCallback(trial, "score"),
            ],
            verbose=0,
        )
        return float(mean_time_to_targets(np.arange(1, epochs + 1), aucs, targets, epochs))

    def sample(seed: int) -> dict[str, Any]:
        keras.utils.set_random_seed(seed)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        began = time.perf_counter()
        study.optimize(objective, n_trials=TRIALS)
        took = time.perf_counter() - began
        pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
        return {"seconds": took, "params": study.best_params, "pruned": pruned, "claimed": study.best_value}

    return sample


class Reached(Exception):  # noqa: N818 - no error: a search that need not go on
    """A confirmed best is good enough."""


def our_side() -> Callable[..., Any]:
    """Samples of ours: the target, a confirmation, and a search that ends when it has reached a level."""
    import optuna
    from data import load

    from metagd_optuna.analysis.convergence import search_target, targets_up_to
    from metagd_optuna.tasks import measure_complexity
    from metagd_optuna.training.device import prepare_device
    from metagd_optuna.tuning.flow import to_the_end
    from metagd_optuna.tuning.methods import META_POLICY
    from metagd_optuna.tuning.phases.calibrate import calibration_scores
    from metagd_optuna.tuning.phases.confirm import Confirm
    from metagd_optuna.tuning.phases.search import Search
    from metagd_optuna.tuning.progress import Progress
    from metagd_optuna.tuning.runner import versions
    from metagd_optuna.tuning.seeds import phase_seeds
    from metagd_optuna.tuning.storage import open_storage
    from metagd_optuna.tuning.store import Identity, StudyStore
    from metagd_optuna.tuning.task_trainer import open_task_trainer
    from metagd_optuna.tuning.tuner import Tuner
    from metagd_optuna.tuning.write_ahead import write_ahead

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    device = prepare_device()
    task = load(TASK)
    complexity = measure_complexity(task.train_images, task.train_labels)
    folder = tempfile.mkdtemp(prefix="metagd-bench-")
    confirming = open_task_trainer(task, _spec(), device, complexity=complexity)

    def stored(spec: Any) -> Any:
        # One name for all, because what a search proposes follows from its name and seed.
        identity = Identity("quality", spec.to_dict(), versions(), device.name, tuple(spec.task_locations))
        storage = open_storage(Path(folder) / f"{time.time_ns()}.db", must_exist=False)
        write_ahead(storage)  # as in a run
        return StudyStore(storage, identity).task(TASK)

    def calibrate() -> tuple[float, float]:
        spec = _spec()
        store = stored(spec)
        began = time.perf_counter()
        task_trainer = open_task_trainer(task, spec, device, complexity=complexity)
        found = to_the_end(calibration_scores(store, spec, task_trainer, Progress()))
        return search_target(task_trainer.chance, found), time.perf_counter() - began

    def confirm(params: Mapping[str, Any], search_target: float, seed: int) -> float:
        candidate = _meta_policy(_spec()).suggest(optuna.trial.FixedTrial(dict(params)))
        targets = targets_up_to(confirming.chance, search_target)

        def objective(seed: int) -> float:
            [record] = confirming.train([candidate], ["confirmed"], seed=seed)
            return confirming.objective(record.validation, targets)

        with ThreadPoolExecutor(device.lanes) as lanes:
            return float(np.mean(list(lanes.map(objective, phase_seeds(seed, Confirm.first_seed, CONFIRMATION_SEEDS)))))

    class Watched(Progress):
        """Confirms every new best, with the clock standing still, and ends the search when one is good enough."""

        def __init__(self, study: optuna.Study, began: float, level: float, confirm: Callable[..., float]) -> None:
            super().__init__()
            self._study, self._began, self._level, self._confirm = study, began, level, confirm
            self._paused = 0.0
            self.bests: list[dict[str, Any]] = []

        def seconds(self) -> float:
            """Return how long the search has taken so far."""
            return time.perf_counter() - self._began - self._paused

        def trials(self, task: str, method: str, done: int, total: int, best: float) -> None:
            if not np.isfinite(best):
                return
            trial = self._study.best_trial
            if self.bests and self.bests[-1]["number"] == trial.number:
                return
            seconds, stopped = self.seconds(), time.perf_counter()
            confirmed = self._confirm(trial.params)
            self._paused += time.perf_counter() - stopped
            self.bests.append(
                {"seconds": seconds, "trials": done, "number": trial.number, "params": trial.params, "claimed": best}
                | {"confirmed": confirmed}
            )
            if confirmed <= self._level:
                raise Reached

    def search(
        seed: int,
        search_target: float,
        level: float,
        changes: Mapping[str, Any] | None = None,
        known: bool = True,
    ) -> dict[str, Any]:
        spec = _spec(seed=seed, **(changes or {}))
        store = stored(spec)
        began = time.perf_counter()
        task_trainer = open_task_trainer(task, spec, device, complexity=complexity)  # traced anew: it counts
        study = store.open(META_POLICY)
        method = _meta_policy(spec) if known else replace(_meta_policy(spec), known=())
        progress = Watched(study, began, level, lambda params: confirm(params, search_target, seed))
        targets = targets_up_to(task_trainer.chance, search_target)
        reached = False
        seeds = phase_seeds(spec.seed, Search.first_seed, spec.seeds_per_trial)
        tuner = Tuner(store, study, method, spec, task_trainer, targets, seeds)
        try:
            to_the_end(tuner.run(progress))
        except Reached:
            reached = True
        # A search that does not get there in as many trials as the peer has took at least all of its time.
        seconds = progress.bests[-1]["seconds"] if reached else progress.seconds()
        return {"seconds": seconds, "reached": reached, "bests": progress.bests}

    actions: dict[str, Callable[..., Any]] = {"calibrate": calibrate, "confirm": confirm, "search": search}
    return lambda action, **arguments: actions[action](**arguments)


def measure() -> dict[str, Any]:
    """Search from every seed with both sides, confirm, and divide."""
    found: dict[str, Any] = {"task": TASK, "examples_per_run": EXAMPLES, "peer_trials": TRIALS, "seeds": []}
    with Side(our_side) as ours:
        search_target, calibration = ours.sample(action="calibrate")
        found |= {"search_target": search_target, "calibration_seconds": calibration}
        for seed in SEARCH_SEEDS:
            # The peer's process slows down as its memory grows, so every search begins in a new one.
            with Side(peer_side, ours=False, search_target=search_target) as peer:
                theirs = peer.sample(seed=seed)
            level = ours.sample(action="confirm", params=theirs["params"], search_target=search_target, seed=seed)
            search = ours.sample(action="search", seed=seed, search_target=search_target, level=level)
            row = {"seed": seed, "peer": theirs | {"confirmed": level}, "ours": search}
            row["ratio"] = theirs["seconds"] / search["seconds"]
            row["ratio_with_calibration"] = theirs["seconds"] / (search["seconds"] + calibration)
            found["seeds"].append(row)
            print(line(row), flush=True)
    found["ratio"] = summary([row["ratio"] for row in found["seeds"]])
    found["ratio_with_calibration"] = summary([row["ratio_with_calibration"] for row in found["seeds"]])
    return found


def line(row: Mapping[str, Any]) -> str:
    """Return what to print about one seed."""
    search = row["ours"]
    best = min(search["bests"], key=lambda found: found["confirmed"])
    return (
        f"  seed {row['seed']}: peer {row['peer']['seconds']:.0f} s to {row['peer']['confirmed']:.3f}; ours "
        f"{search['seconds']:.1f} s to {best['confirmed']:.3f} after {best['trials']} trials "
        f"({'reached' if search['reached'] else 'not reached'}), ratio {row['ratio']:.1f}"
    )
