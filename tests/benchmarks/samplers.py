"""Which sampler finds the better policy: hundreds of searches of the default space, on trainings of milliseconds.

Each search is one of a study's: initial points, batches of four, two seeds per trial, pruning, then a shortlist on new
seeds. What counts is the chosen trial's objective on seeds that neither has seen. Every sampler searches from the same
study seeds, which fix the training seeds, so ratios are paired.
"""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np

TASKS = ("quadratic", "logistic")
# What is searched: a default study's forms, choices among conditional parameters; or one form with three numbers.
SPACES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "default space": {},
    "one form": {"difficulty_forms": ("gap",), "rate_forms": ("schedule",), "optimizers": ("adam",)},
}
TRIALS = (24, 64)
SEEDS = range(100, 140)
SAMPLERS = ("TPE", "TPE and mutation", "mutation", "TPE, independent", "TPE, grouped", "random")
BATCH, TRUE_SEEDS = 4, 16


@cache
def task_of(name: str) -> Any:
    """Return a task, calibrated once per process."""
    from analytic import Logistic, Quadratic, Task

    return Task({"quadratic": Quadratic, "logistic": Logistic}[name]())


@cache
def _method(space: str) -> Any:
    from metagd_optuna.tuning.methods import methods_of
    from metagd_optuna.tuning.study_file import StudySpec

    return methods_of(StudySpec(name="samplers", tasks=("breast_cancer",), **SPACES[space]))[-1]


def sampler_of(name: str, seed: int, startup: int) -> Any:
    """Return a sampler by its name in ``SAMPLERS``."""
    from mutation import Mutation
    from optuna.distributions import BaseDistribution
    from optuna.samplers import RandomSampler, TPESampler

    from metagd_optuna.tuning.resumable_sampler import ResumableTPESampler
    from metagd_optuna.tuning.seeds import sampler_seed

    class Variant(ResumableTPESampler):
        """TPE with other options than Optuna's default."""

        def _tpe(self, study: Any, trial: Any, parameter: str) -> TPESampler:
            number = sampler_seed(seed, f"{study.study_name}/{parameter}", trial.number)
            options = {"group": True} if name == "TPE, grouped" else {"multivariate": False}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of ``group``, that it is experimental
                return TPESampler(seed=number, n_startup_trials=startup, **options)

        def sample_relative(self, study: Any, trial: Any, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
            tpe = self._tpe(study, trial, "")
            tpe.infer_relative_search_space(study, trial)  # it remembers the groups
            return dict(tpe.sample_relative(study, trial, search_space))

    makers = {
        "TPE": lambda: ResumableTPESampler(seed, startup),
        "TPE and mutation": lambda: Mutation(seed, startup, 0.5),
        "mutation": lambda: Mutation(seed, startup, 1.0),
        "TPE, independent": lambda: Variant(seed, startup),
        "TPE, grouped": lambda: Variant(seed, startup),
        "random": lambda: RandomSampler(seed=seed),
    }
    return makers[name]()


def search(task_name: str, space: str, sampler: str, trials: int, seed: int) -> dict[str, float]:
    """Search once, and return what was chosen: its objective as seen by the search, and on fresh seeds."""
    import optuna

    from metagd_optuna.analysis.halving import best_first, halving_rounds
    from metagd_optuna.tuning.pruning import threshold

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task, method = task_of(task_name), _method(space)
    first = 1000 * (seed + 1)
    study = optuna.create_study(study_name="samplers", sampler=sampler_of(sampler, seed, max(4, trials // 6)))
    for point in method.initial_points:
        study.enqueue_trial(dict(point))
    seconds, candidates = 0.0, {}
    done: list[float] = []
    runs: list[float] = []
    for _ in range(0, trials, BATCH):
        began = time.perf_counter()
        batch = [(trial, method.suggest(trial)) for trial in (study.ask() for _ in range(BATCH))]
        seconds += time.perf_counter() - began
        limit, best_run = threshold(done, 4), min(runs, default=0.0)
        for trial, candidate in batch:
            candidates[trial.number] = candidate
            objectives, bounds = task.bounds(candidate, (first, first + 1), limit, best_run)
            end = hopeless_at(objectives, bounds, limit, best_run)
            if end is None:
                study.tell(trial, float(np.mean(objectives)))
                done.append(float(np.mean(objectives)))
                runs += objectives
            else:
                certain = [*bounds[0], *(sum(objectives[:1]) + bounds[1])]
                trial.report(certain[end] / 2, end + 1)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                runs += objectives[: end // bounds.shape[1]]
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    listed = sorted(complete, key=lambda trial: (trial.values[0], trial.number))[:4]
    again: dict[str, list[float]] = {str(trial.number): [] for trial in listed}
    begin = first + 10
    for part in halving_rounds(len(listed), 3):
        for name in best_first(again)[: part.candidates]:
            again[name] += task.objectives(candidates[int(name)], range(begin, begin + part.seeds))
        begin += part.seeds
        again = {name: again[name] for name in best_first(again)[: (part.candidates + 1) // 2]}
    chosen = best_first(again)[0]
    true = task.objectives(candidates[int(chosen)], range(first + 100, first + 100 + TRUE_SEEDS))
    return {"true": float(np.mean(true)), "seen": study.trials[int(chosen)].values[0], "seconds": seconds / trials}


def hopeless_at(objectives: Sequence[float], bounds: Any, limit: float, best_run: float) -> int | None:
    """Return the evaluation, counted over both seeds, at which a study would have stopped the trial; None if never."""
    for row, bound in enumerate(bounds):
        # ``optimistic_objective`` of two seeds, for all evaluations at once
        hopeful = (sum(objectives[:row]) + np.maximum(bound, best_run) + best_run * (1 - row)) / 2
        if (hopeful > limit).any():
            return row * bounds.shape[1] + int(np.argmax(hopeful > limit))
    return None


def compare(task: str, space: str, trials: int) -> dict[str, list[dict[str, float]]]:
    """Search with every sampler from every seed; samplers in turn, so that the machine's moods are shared."""
    # Without conditional parameters there is nothing to group.
    samplers = [name for name in SAMPLERS if space == "default space" or name != "TPE, grouped"]
    jobs = [(sampler, trials, seed) for seed in SEEDS for sampler in samplers]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(partial(search, task, space), *zip(*jobs, strict=True), chunksize=len(samplers)))
    return {name: [row for job, row in zip(jobs, found, strict=True) if job[0] == name] for name in samplers}


def ratio(rows: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the geometric mean of paired ratios of true objectives, its 95% interval, and how often each is lower."""
    logs = np.log([row["true"] / other["true"] for row, other in zip(rows, base, strict=True)])
    means = np.random.default_rng(0).choice(logs, (10_000, len(logs))).mean(axis=1)
    low, high = np.exp(np.quantile(means, (0.025, 0.975)))
    return {
        "ratio": float(np.exp(logs.mean())),
        "low": float(low),
        "high": float(high),
        "wins": int((logs < 0).sum()),
        "losses": int((logs > 0).sum()),
    }


def measure() -> dict[str, Any]:
    """Compare all samplers with the first, on both tasks, in both spaces, with both budgets."""
    from surrogate import rank_correlations

    cases: dict[str, Any] = {}
    for task, space, trials in itertools.product(TASKS, SPACES, TRIALS):
        rows = compare(task, space, trials)
        ratios = {name: ratio(rows[name], rows[SAMPLERS[0]]) for name in rows if name != SAMPLERS[0]}
        case = f"{task}, {space}, {trials} trials"
        cases[case] = {"rows": rows, "ratios": ratios}
        print(f"  {case}: " + "; ".join(f"{name} {row['ratio']:.3f}" for name, row in ratios.items()), flush=True)
    return {"searches": cases, "surrogates": rank_correlations()}
