"""Search a policy on a made-up objective, and write its figures as pages that open offline."""

from pathlib import Path

import optuna
import optunahub

from metagd_optuna import MetaPolicy

REGISTRY = str(Path(__file__).parents[2])


def objective(trial: optuna.Trial) -> float:
    """Return how far the rate is from 0.003 when performance is at one half."""
    trial.suggest_categorical("optimizer", ["adam"])
    trial.suggest_categorical("f", ["mix"])
    trial.suggest_float("f.mix.w", 0, 1)
    trial.suggest_categorical("g", ["power"])
    trial.suggest_float("g.power.lr0.adam", 1e-5, 3e-2, log=True)
    trial.suggest_float("g.power.a", -1, 3)
    trial.suggest_float("g.power.b", -1, 3)
    policy = MetaPolicy.from_trial(trial)
    return abs(policy.rate_at(policy.difficulty_at(0.3, 0.5), 0.5) - 0.003)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=30)
    plots = optunahub.load_local_module("visualization/plot_learning_rate_policies", registry_root=REGISTRY)
    plots.plot_rate_surfaces(study, complexity=0.3).write_html("rates.html")
    plots.plot_policy_table(study).write_html("policies.html")
    print(f"best of {len(study.trials)} trials: {study.best_value:.2g}; see rates.html and policies.html")
