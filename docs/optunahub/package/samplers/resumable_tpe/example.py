"""A study that is cut off after every trial, and one that is not, propose the same."""

from pathlib import Path

import optuna
import optunahub

REGISTRY = str(Path(__file__).parents[2])


def objective(trial: optuna.Trial) -> float:
    """Return a function of two parameters."""
    return (trial.suggest_float("x", -5, 5) - 2) ** 2 + trial.suggest_float("y", -5, 5) ** 2


def best_value(sittings: int) -> float:
    """Return the best value of 40 trials, made in some sittings with a new sampler each."""
    sampler = optunahub.load_local_module("samplers/resumable_tpe", registry_root=REGISTRY).ResumableTPESampler
    storage = optuna.storages.InMemoryStorage()
    for _ in range(sittings):
        study = optuna.create_study(study_name="example", storage=storage, sampler=sampler(seed=0), load_if_exists=True)
        study.optimize(objective, n_trials=40 // sittings)
    return study.best_value


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"in one sitting: {best_value(1):.6f}; in forty: {best_value(40):.6f}")
