"""Choose settings for a task from what they did on other tasks, without a leak, and what that choice costs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import FloatArray, MetaGDError


@dataclass(frozen=True, slots=True)
class HeldOutChoice:
    """What the other tasks say.

    Args:
        settings: for every method the number of its best setting.
        scores: for every method the geometric mean of that setting's objective over the other tasks, in epochs.
        best_baseline: the baseline with the lowest of these scores.
    """

    settings: Mapping[str, int]
    scores: Mapping[str, float]
    best_baseline: str


def geometric_means(columns: Sequence[npt.ArrayLike]) -> FloatArray:
    r"""Score of every setting over some tasks, in epochs; lower is better.

    .. math:: S_j = \exp\Bigl(\frac{1}{T} \sum_{t=1}^{T} \log J_{tj}\Bigr)

    A task whose runs take longer weighs no more than another, because a factor counts the same everywhere.

    Args:
        columns: for every task the objective of every setting, above 0, shape (n,); ``inf`` if it was stopped there.

    Returns:
        Scores, shape (n,); ``inf`` for a setting that was stopped on any of the tasks.

    Raises:
        MetaGDError: if there is no task, tasks have different numbers of settings, or an objective is not above 0.

    >>> geometric_means([[1.0, 4.0], [4.0, 4.0]]).tolist()
    [2.0, 4.0]
    """
    sizes = {np.asarray(column).shape for column in columns}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1 or 0 in next(iter(sizes)):
        raise MetaGDError(f"objectives of shapes {sorted(sizes)}; pass the same settings, at least one, for every task")
    table = np.array(columns, dtype=np.float64)
    if not np.all(table > 0):
        raise MetaGDError("an objective is not a number above 0; a target never reached counts twice the budget")
    return np.asarray(np.exp(np.log(table).mean(axis=0)))


def best_elsewhere(
    columns: Mapping[str, Mapping[str, npt.ArrayLike]], left_out: str | None, baselines: Sequence[str]
) -> HeldOutChoice:
    """Return every method's best setting over all tasks but one, and the best baseline by the same measure.

    Args:
        columns: for every task, for every method, the objective of every setting, shape (n of the method,). All
            tasks have the same methods and settings.
        left_out: the task that has no say; None to choose over all of them.
        baselines: the methods that are baselines, at least one.

    Raises:
        MetaGDError: if no task is left, tasks differ in their settings, or all settings of a method were stopped on
            some task.

    >>> columns = {"a": {"p": [1.0, 2.0], "b": [3.0]}, "b": {"p": [2.0, 1.0], "b": [3.0]}}
    >>> best_elsewhere(columns, "a", ["b"]).settings
    {'p': 1, 'b': 0}
    """
    others = [column for task, column in columns.items() if task != left_out]
    if not others:
        raise MetaGDError(f"without {left_out!r} no task is left to choose from; a universal scope needs two or more")
    settings: dict[str, int] = {}
    scores: dict[str, float] = {}
    for method in others[0]:
        means = geometric_means([column[method] for column in others])
        if not np.isfinite(means).any():
            raise MetaGDError(
                f"every setting of {method} was stopped on some task, so there is none to choose; turn pruning off"
            )
        settings[method] = int(np.argmin(means))
        scores[method] = float(means.min())
    return HeldOutChoice(settings, scores, min(baselines, key=lambda name: scores[name]))


def regrets(
    objectives: Mapping[str, npt.ArrayLike], at_least: Mapping[str, npt.ArrayLike] | None = None
) -> dict[str, float]:
    """Return for every task how many times as long the setting takes that is best over the other tasks.

    1 is the best setting that was tried on the task itself.

    Args:
        objectives: for every task the objective of every setting of a shared design, in epochs, shape (n,); ``inf`` if
            it was stopped there, so that no other task chooses it.
        at_least: as ``objectives``, with the best that a stopped setting could still have had; its factor is then at
            least what is returned. By default there was none.

    Raises:
        MetaGDError: if there are fewer than three tasks, or the arguments are about different tasks.

    >>> regrets({"a": [1.0, 2.0], "b": [1.0, 3.0], "c": [8.0, 4.0]})
    {'a': 1.0, 'b': 1.0, 'c': 2.0}
    """
    known = objectives if at_least is None else at_least
    if len(objectives) < 3 or objectives.keys() != known.keys():
        raise MetaGDError("pass the objectives of the same three tasks or more")
    found = {}
    for task, column in known.items():
        own = np.asarray(column, dtype=np.float64)
        best = np.argmin(geometric_means([row for name, row in objectives.items() if name != task]))
        found[task] = float(own[best] / own.min())
    return found
