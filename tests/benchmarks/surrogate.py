"""How well a surrogate of recorded trials orders trials that it has not seen.

The trials are those of the meta-policy in docs/results: 64 per task, with parameters and objective. A trial that was
stopped counts with the best objective that it could still have had. Below a rank correlation of 0.7 a surrogate cannot
stand in for the task.
"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDS, RESAMPLES = 8, 2000


def rank_correlations() -> dict[str, dict[str, Any]]:
    """Return Spearman's correlation on held-out trials of the better of two surrogates, by study and task."""
    return {
        f"{path.parts[-3]}, {path.stem}": _correlation(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(RESULTS.glob("*/snapshots/*.json"))
    }


def _correlation(column: dict[str, Any]) -> dict[str, Any]:
    from scipy.stats import spearmanr
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
    from sklearn.model_selection import KFold, cross_val_predict

    rows = column["trials"]["meta-policy"]
    x, y = encoded([row[4] for row in rows]), np.log([row[1] for row in rows])
    kernel = ConstantKernel() * Matern(np.full(x.shape[1], 0.5), (0.05, 20), nu=2.5) + WhiteKernel(0.05, (1e-4, 2))
    models = {
        "Gaussian process": GaussianProcessRegressor(kernel, normalize_y=True, random_state=0),
        "extra trees": ExtraTreesRegressor(200, min_samples_leaf=2, random_state=0),
    }
    predicted = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length scale at its bound says that a parameter does not matter
        for name, model in models.items():
            predicted[name] = cross_val_predict(model, x, y, cv=KFold(FOLDS, shuffle=True, random_state=0))
    best = max(models, key=lambda name: spearmanr(predicted[name], y).statistic)
    rng = np.random.default_rng(0)
    draws = [
        spearmanr(*np.stack((predicted[best], y))[:, rng.integers(len(y), size=len(y))]).statistic
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(draws, (0.025, 0.975))
    correlation = float(spearmanr(predicted[best], y).statistic)
    return {"model": best, "correlation": correlation, "low": float(low), "high": float(high)}


def encoded(params: list[dict[str, Any]]) -> Any:
    """Return the parameters that differ between trials on a scale of 0 to 1, shape (trials, parameters).

    Positive numbers over more than two powers of ten go by their logarithm.

    >>> encoded([{"lr0": 1e-4, "f": "mix"}, {"lr0": 1e-2, "f": "mix"}, {"lr0": 1e-3, "f": "mix"}]).tolist()
    [[0.0], [1.0], [0.5]]
    """
    columns = []
    for name in params[0]:
        values = [row[name] for row in params]
        if len(set(values)) == 1:
            continue
        if min(values) > 0 and max(values) >= 100 * min(values):
            values = [math.log(value) for value in values]
        columns.append((np.array(values) - min(values)) / (max(values) - min(values)))
    return np.stack(columns, axis=1).round(12)
