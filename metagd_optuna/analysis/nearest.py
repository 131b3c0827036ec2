"""Which stored rule a new task should get: the one of the most similar task, or the one for all; judged by regret."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metagd_optuna.analysis.folds import geometric_means
from metagd_optuna.contracts import MetaGDError

NEAREST, UNIVERSAL = "nearest", "universal"

# Properties are of the order of 1; whatever differs by less does not differ.
LEAST_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Regrets:
    """How much longer a choice takes than the best setting of the design would, by leaving out one task at a time.

    Args:
        nearest: for every task the factor, at least 1, of the setting that is best on the most similar other task.
        universal: the same of the setting that is best over all other tasks.
        neighbours: for every task the most similar other one.
    """

    nearest: Mapping[str, float]
    universal: Mapping[str, float]
    neighbours: Mapping[str, str]

    @property
    def better(self) -> str:
        """The way to choose with the lower geometric mean of the factors; the universal one if they are equal."""
        means = [math.fsum(map(math.log, factors.values())) for factors in (self.nearest, self.universal)]
        return NEAREST if means[0] < means[1] else UNIVERSAL


def distances(properties: Mapping[str, Sequence[float]], new: Sequence[float]) -> dict[str, float]:
    r"""Distance of a new task from every known one, nearest first.

    .. math:: \delta_t = \sqrt{\frac{1}{F} \sum_f \Bigl(\frac{x_f - x_{tf}}{s_f}\Bigr)^2}

    with :math:`s_f` the standard deviation of property f over the known tasks; one that is the same everywhere, or
    nearly (a standard deviation of at most 1e-9), has no say.

    Args:
        properties: for every known task its F properties.
        new: the same of the new task, shape (F,).

    Raises:
        MetaGDError: if no task is known, or tasks have different numbers of properties.

    >>> distances({"a": [0.0, 5.0], "b": [2.0, 5.0]}, [1.5, 7.0])
    {'b': 0.5, 'a': 1.5}
    """
    if not properties or len({len(row) for row in (*properties.values(), new)}) != 1:
        raise MetaGDError("pass the same properties, at least one, of every known task and of the new one")
    table = np.array(list(properties.values()), dtype=np.float64)
    spread = table.std(axis=0)
    # Rounding can leave a standard deviation where all are equal.
    telling = (np.ptp(table, axis=0) > 0) & (spread > LEAST_SPREAD)
    if not telling.any():
        return dict.fromkeys(properties, 0.0)
    steps = (np.asarray(new, dtype=np.float64) - table)[:, telling] / spread[telling]
    found = {name: float(np.sqrt(np.mean(row**2))) for name, row in zip(properties, steps, strict=True)}
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def regrets(
    objectives: Mapping[str, npt.ArrayLike],
    properties: Mapping[str, Sequence[float]],
    at_least: Mapping[str, npt.ArrayLike] | None = None,
) -> Regrets:
    """Leave out one task at a time, choose for it by both ways, and compare with the best setting on it.

    Args:
        objectives: for every task the objective of every setting of a shared design, in epochs, shape (n,); ``inf`` if
            it was stopped there, so that neither way chooses it.
        properties: for every task its properties.
        at_least: as ``objectives``, with the best that a stopped setting could still have had; its factor is then at
            least what is returned. By default there was none.

    Raises:
        MetaGDError: if there are fewer than three tasks, or the arguments are about different tasks.

    >>> objectives = {"a": [1.0, 2.0], "b": [1.0, 3.0], "c": [8.0, 4.0]}
    >>> found = regrets(objectives, {"a": [0.0], "b": [0.1], "c": [9.0]})
    >>> found.nearest["c"], found.better
    (2.0, 'universal')
    """
    known = objectives if at_least is None else at_least
    if len(objectives) < 3 or not objectives.keys() == properties.keys() == known.keys():
        raise MetaGDError("pass objectives and properties of the same three tasks or more")
    nearest: dict[str, float] = {}
    universal: dict[str, float] = {}
    neighbours: dict[str, str] = {}
    for task, column in known.items():
        own = np.asarray(column, dtype=np.float64)
        others = {name: row for name, row in properties.items() if name != task}
        neighbours[task] = next(iter(distances(others, properties[task])))
        nearest[task] = float(own[np.argmin(objectives[neighbours[task]])] / own.min())
        best = np.argmin(geometric_means([objectives[name] for name in others]))
        universal[task] = float(own[best] / own.min())
    return Regrets(nearest, universal, neighbours)
