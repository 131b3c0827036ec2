"""Recorded learning curves of one rule on many seeds, to resample studies from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from metagd_optuna.contracts import FloatArray

CURVES = Path(__file__).parent / "curves"
# Scores are kept as whole numbers of this size: finer than one validation image can tell.
PER_SCORE = 10_000


@dataclass(frozen=True, slots=True)
class Pool:
    """The runs of one task.

    Args:
        task: its name.
        chance: the metric's value at chance level.
        budget: epochs of a run.
        epochs: at every evaluation, shape (E,).
        validation, test: scores of N runs, shape (N, E).
    """

    task: str
    chance: float
    budget: float
    epochs: FloatArray
    validation: FloatArray
    test: FloatArray

    @property
    def runs(self) -> int:
        """How many runs were recorded."""
        return len(self.validation)

    def save(self) -> None:
        """Write the pool into the folder of curves."""
        table = {
            "task": self.task,
            "chance": self.chance,
            "budget": self.budget,
            "epochs": self.epochs.tolist(),
            "validation": _whole(self.validation),
            "test": _whole(self.test),
        }
        CURVES.mkdir(exist_ok=True)
        (CURVES / f"{self.task}.json").write_text(json.dumps(table, separators=(",", ":")) + "\n", encoding="utf-8")


def load_pools() -> tuple[Pool, ...]:
    """Return all recorded pools by the names of their tasks."""
    pools = []
    for file in sorted(CURVES.glob("*.json")):
        table = json.loads(file.read_text(encoding="utf-8"))
        scores = {part: np.array(table[part]) / PER_SCORE for part in ("validation", "test")}
        pools.append(Pool(table["task"], table["chance"], table["budget"], np.array(table["epochs"]), **scores))
    return tuple(pools)


def accelerated(pool: Pool, speedup: float) -> Pool:
    """Return the pool as a rule would have left it that gets everywhere ``speedup`` times as fast.

    A curve's score at epoch e is that of the recorded run at epoch e x speedup, interpolated; after the recorded end it
    stays where it was.
    """

    def faster(curves: FloatArray) -> FloatArray:
        return np.array([np.interp(pool.epochs * speedup, pool.epochs, curve) for curve in curves])

    return replace(pool, validation=faster(pool.validation), test=faster(pool.test))


def _whole(scores: FloatArray) -> list[list[int]]:
    return np.rint(scores * PER_SCORE).astype(int).tolist()
