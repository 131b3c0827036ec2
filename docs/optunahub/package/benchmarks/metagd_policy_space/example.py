"""How well the surrogate orders held-out trials, and what two samplers find in 100 evaluations."""

from pathlib import Path

import numpy as np
import optuna
import optunahub
from scipy.stats import spearmanr

REGISTRY = str(Path(__file__).parents[2])

if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    benchmark = optunahub.load_local_module("benchmarks/metagd_policy_space", registry_root=REGISTRY)
    problem = benchmark.Problem()

    recorded = problem.objectives
    predicted = benchmark.held_out_predictions(problem.policies, recorded, problem.complexity)
    better = recorded <= np.median(recorded)
    print(f"rank correlation on held-out trials: {spearmanr(predicted, recorded).statistic:.2f} of {len(recorded)}")
    print(f"within the better half: {spearmanr(predicted[better], recorded[better]).statistic:.2f} of {better.sum()}")

    for sampler in (optuna.samplers.RandomSampler, optuna.samplers.TPESampler):
        values = []
        for seed in range(5):
            study = optuna.create_study(directions=problem.directions, sampler=sampler(seed=seed))
            study.optimize(problem, n_trials=100)
            values.append([trial.value for trial in study.trials])
        best, middle = np.min(values, axis=1).mean(), np.median(values, axis=1).mean()
        print(f"{sampler.__name__}, 100 evaluations: best {best:.2f} epochs, median {middle:.2f}; means of 5 seeds")
