"""Wall-clock until a meta-policy is found that is as good as the best that the peer finds in 64 trials.

Both sides search the same space (forms, coefficients and optimizers of a default study) on RetinaMNIST with the same
batch size and examples per run, and minimise the same objective: the mean time to 26 validation targets, in epochs.
The targets are fixed beforehand, and their calibration counts for neither side. The peer is plain Optuna (its default
sampler and pruner, KerasPruningCallback), with one ``fit`` per trial under ``MetaPolicyCallback``, scored after each
epoch. What each side believes to be its best is confirmed on the same 10 fresh seeds with 40 evaluations per run; that
confirmation counts for neither.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sides import Side, summary

TASK = "retinamnist"
EXAMPLES = 8640
PEER_TRIALS = 64
SEARCH_SEEDS = (1, 2, 3, 4, 5)
CONFIRMATION_SEEDS = 10


def _spec(**changes: Any) -> Any:
    from metagd_optuna.search.study_file import StudySpec

    return StudySpec(name="quality", tasks=(TASK,), examples_per_run=EXAMPLES, trials=PEER_TRIALS, **changes)


def peer_side(t_search: float) -> Callable[..., dict[str, Any]]:
    """One sample: the peer's whole search from one seed."""
    import keras
    import optuna
    from data import load
    from optuna_integration import KerasPruningCallback
    from peer import Score, article_cnn

    from metagd_optuna import MetaPolicyCallback, measure_complexity
    from metagd_optuna.analysis.convergence import ladder_bound, ladder_objective, ladder_targets
    from metagd_optuna.analysis.scores import chance_level
    from metagd_optuna.policy import suggest_meta_policy
    from metagd_optuna.search.methods import suggest_with
    from metagd_optuna.training.evaluation import evaluate_logits

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = load(TASK)
    spec = _spec()
    x, y = task.train_images.astype("float32") / 255, task.train_labels.astype("int32")
    validation = (task.val_images.astype("float32") / 255, task.val_labels.astype("int32"))
    classes = len(task.classes)
    epochs = spec.epochs_for(len(y))
    targets = ladder_targets(chance_level("auc", task.class_shares), t_search)
    complexity = measure_complexity(task.train_images, task.train_labels)

    def objective(trial: optuna.Trial) -> float:
        keras.backend.clear_session()
        policy = suggest_meta_policy(
            suggest_with(trial),
            difficulty_forms=spec.difficulty_forms,
            rate_forms=spec.rate_forms,
            optimizers=spec.optimizers,
            signal=spec.signal,
        )
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
            return float(ladder_bound(np.arange(1, len(aucs) + 1), aucs, targets, len(aucs)))

        model.fit(
            x,
            y,
            batch_size=spec.batch_size,
            epochs=epochs,
            callbacks=[
                MetaPolicyCallback(policy, complexity=complexity, class_shares=task.class_shares, ticks=120),
                Score(validation, score),
                KerasPruningCallback(trial, "score"),
            ],
            verbose=0,
        )
        return float(ladder_objective(np.arange(1, epochs + 1), aucs, targets, epochs))

    def sample(seed: int) -> dict[str, Any]:
        keras.utils.set_random_seed(seed)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        began = time.perf_counter()
        study.optimize(objective, n_trials=PEER_TRIALS)
        took = time.perf_counter() - began
        pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
        return {"seconds": took, "params": study.best_params, "pruned": pruned, "claimed": study.best_value}

    return sample


def our_side() -> Callable[..., Any]:
    """Samples of ours: the target, a search with the times of its best so far, a confirmation."""
    import optuna
    from data import load

    from metagd_optuna.analysis.convergence import ladder_targets
    from metagd_optuna.policy import contender_of, suggest_meta_policy
    from metagd_optuna.search import trial_store
    from metagd_optuna.search.methods import META_POLICY, methods_of, suggest_with
    from metagd_optuna.search.phases import TaskPhases
    from metagd_optuna.search.progress import Progress
    from metagd_optuna.search.runner import versions
    from metagd_optuna.search.seeds import phase_seeds
    from metagd_optuna.search.storage import open_storage
    from metagd_optuna.search.tuning import Tuner
    from metagd_optuna.search.workshop import open_workshop
    from metagd_optuna.search.write_ahead import write_ahead
    from metagd_optuna.tasks import measure_complexity
    from metagd_optuna.training.device import prepare_device

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    device = prepare_device()
    task = load(TASK)
    complexity = measure_complexity(task.train_images, task.train_labels)
    folder = tempfile.mkdtemp(prefix="metagd-bench-")

    def opened(seed: int) -> tuple[Any, Any, Any]:
        spec = _spec(seed=seed)
        identity = trial_store.Identity(f"quality-{seed}-{time.time_ns()}", spec.to_dict(), versions(), device.name)
        storage = open_storage(Path(folder) / f"{identity.name}.db", must_exist=False)
        write_ahead(storage)  # as in a run
        return spec, identity, storage

    def calibrate(seed: int) -> tuple[float, float]:
        spec, identity, storage = opened(seed)
        began = time.perf_counter()
        workshop = open_workshop(task, spec, device, complexity=complexity)
        t_search = TaskPhases(storage, identity, spec, workshop, {}, Progress())._calibrate()
        return t_search, time.perf_counter() - began

    class Watched(Progress):
        """Notes the time and the best trial after every batch."""

        def begin(self, study: optuna.Study) -> None:
            self._study, self._began = study, time.perf_counter()
            self.seen: list[dict[str, Any]] = []

        def trials(self, method: str, done: int, total: int, best: float) -> None:
            if np.isfinite(best):
                self.seen.append(
                    {
                        "seconds": time.perf_counter() - self._began,
                        "trials": done,
                        "number": self._study.best_trial.number,
                        "params": self._study.best_params,
                    }
                )

    def search(seed: int, t_search: float, trials: int) -> list[dict[str, Any]]:
        spec, identity, storage = opened(seed)
        progress = Watched()
        began = time.perf_counter()
        workshop = open_workshop(task, spec, device, complexity=complexity)  # compiles anew: it counts
        targets = ladder_targets(workshop.chance, t_search)
        study = trial_store.open_study(storage, identity, TASK, META_POLICY, value="objective")
        progress.begin(study)
        progress._began = began
        from dataclasses import replace

        [method] = [method for method in methods_of(spec) if method.name == META_POLICY]
        Tuner(study, storage, identity, method, replace(spec, trials=trials), workshop, targets).run(progress)
        return progress.seen

    def confirm(params: list[dict[str, Any]], t_search: float, seed: int) -> list[float]:
        spec = _spec(seed=seed)
        workshop = open_workshop(task, spec, device, complexity=complexity)
        targets = ladder_targets(workshop.chance, t_search)
        contenders = [
            contender_of(
                suggest_meta_policy(
                    suggest_with(optuna.trial.FixedTrial(given)),  # type: ignore[arg-type]
                    difficulty_forms=spec.difficulty_forms,
                    rate_forms=spec.rate_forms,
                    optimizers=spec.optimizers,
                    signal=spec.signal,
                ),
                META_POLICY,
            )
            for given in params
        ]
        names = [str(i) for i in range(len(params))]
        runs = [
            workshop.train(contenders, names, seed=one) for one in phase_seeds(spec.seed, "confirm", CONFIRMATION_SEEDS)
        ]
        values = [[workshop.objective(record.validation, targets) for record in records] for records in runs]
        return [float(value) for value in np.mean(values, axis=0)]

    actions = {"calibrate": calibrate, "search": search, "confirm": confirm}
    return lambda action, **arguments: actions[action](**arguments)


def measure() -> dict[str, Any]:
    """Search from every seed with both sides, confirm, and divide."""
    found: dict[str, Any] = {"task": TASK, "examples_per_run": EXAMPLES, "peer_trials": PEER_TRIALS, "seeds": []}
    with Side(our_side) as ours:
        t_search, calibration = ours.sample(action="calibrate", seed=0)
        found |= {"t_search": t_search, "calibration_seconds": calibration}
        with Side(peer_side, t_search=t_search) as peer:
            for seed in SEARCH_SEEDS:
                theirs = peer.sample(seed=seed)
                batches = ours.sample(action="search", seed=seed, t_search=t_search, trials=PEER_TRIALS)
                bests = {batch["number"]: batch["params"] for batch in batches}
                confirmed = ours.sample(
                    action="confirm", params=[theirs["params"], *bests.values()], t_search=t_search, seed=seed
                )
                level, values = confirmed[0], dict(zip(bests, confirmed[1:], strict=True))
                first = next((b for b in batches if values[b["number"]] <= level), None)
                row = {
                    "seed": seed,
                    "peer": theirs | {"confirmed": level},
                    "ours": [batch | {"confirmed": values[batch["number"]]} for batch in batches],
                    "seconds": first["seconds"] if first else None,
                    "trials": first["trials"] if first else None,
                    # A search that does not get there in as many trials took at least all of its time.
                    "ratio": theirs["seconds"] / (first or batches[-1])["seconds"],
                    "reached": first is not None,
                    "ratio_with_calibration": theirs["seconds"] / ((first or batches[-1])["seconds"] + calibration),
                }
                found["seeds"].append(row)
                print(
                    f"  seed {seed}: peer {theirs['seconds']:.0f} s to {level:.3f}; "
                    f"ours {row['seconds'] or float('nan'):.1f} s, {row['trials']} trials, ratio {row['ratio']:.1f}; "
                    f"all trials {batches[-1]['seconds']:.0f} s to {values[batches[-1]['number']]:.3f}",
                    flush=True,
                )
    found["ratio"] = summary([row["ratio"] for row in found["seeds"]])
    found["ratio_with_calibration"] = summary([row["ratio_with_calibration"] for row in found["seeds"]])
    return found
