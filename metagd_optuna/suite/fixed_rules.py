"""Rules that need no feedback, chosen without the workload that they are judged on.

Everything is read off tables of log J by workload and rate, J the mean time to the targets or the time to one target.
Half of the seeds choose, the other half judge, so that nobody gains from luck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from metagd_optuna.contracts import FloatArray, MetaGDError

REFERENCE_BATCH = 32
# Exponents of the batch size that have been proposed: none, the square root (Adam), and linear (SGD), and between.
EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class RateTable:
    """How long every workload took at every rate.

    Args:
        workloads: names, W of them.
        rates: learning rates, rising, shape (R,).
        choosing: mean log J over the seeds that choose, shape (W, R).
        judging: the same over the seeds that judge.
        batch_sizes: of the workloads, shape (W,).
        groups: a property of the networks by its name, a value for every workload, shape (W,).
    """

    workloads: tuple[str, ...]
    rates: FloatArray
    choosing: FloatArray
    judging: FloatArray
    batch_sizes: FloatArray
    groups: Mapping[str, npt.NDArray[np.int64]]

    def __post_init__(self) -> None:
        shape = (len(self.workloads), len(self.rates))
        if self.choosing.shape != shape or self.judging.shape != shape or np.any(np.diff(self.rates) <= 0):
            raise MetaGDError(
                f"a table of {shape[0]} workloads and {shape[1]} rates, which must rise, has the shapes "
                f"{self.choosing.shape} and {self.judging.shape}"
            )

    @property
    def tuned(self) -> FloatArray:
        """Log J, judged, of the rate that was best for each workload itself, shape (W,)."""
        return np.asarray(self.judging[np.arange(len(self.workloads)), self.choosing.argmin(axis=1)])

    def at(self, table: FloatArray, row: int, rate: float) -> float:
        """Return log J of a workload at any rate, linear in log rate between those of the table, held beyond them."""
        return float(np.interp(math.log(rate), np.log(self.rates), table[row]))


@dataclass(frozen=True, slots=True)
class FixedRule:
    """A rate that depends on the network's kind and the batch size: lr0[kind] (B / 32)^a.

    Args:
        group: a property of networks, or none.
        scaled: whether a is chosen, too; otherwise it is 0.
    """

    group: str = ""
    scaled: bool = False

    @property
    def name(self) -> str:
        """What it is called.

        >>> FixedRule().name, FixedRule("batch normalisation", scaled=True).name
        ('one constant', 'a constant by batch normalisation, times (B/32)^a')
        """
        text = f"a constant by {self.group}" if self.group else "one constant"
        return f"{text}, times (B/32)^a" if self.scaled else text

    def chosen(self, table: RateTable, rows: Sequence[int]) -> tuple[dict[int, float], float]:
        """Return the constant of every kind and the exponent that take least time, by the mean log J, on some rows."""
        kinds = self._kinds(table)
        best: tuple[float, dict[int, float], float] | None = None
        for exponent in EXPONENTS if self.scaled else (0.0,):
            constants, total = {}, 0.0
            for kind in sorted({int(kinds[row]) for row in rows}):
                own = [row for row in rows if kinds[row] == kind]
                sums = [
                    sum(table.at(table.choosing, row, rate * self._factor(table, row, exponent)) for row in own)
                    for rate in table.rates
                ]
                constants[kind] = float(table.rates[int(np.argmin(sums))])
                total += min(sums)
            if best is None or total < best[0]:
                best = total, constants, exponent
        assert best is not None
        return best[1], best[2]

    def judged(self, table: RateTable) -> FloatArray:
        """Return log J of every workload at the rate that the other workloads choose for it, shape (W,).

        A kind of which the others have none takes the constant that is best for all of them.
        """
        kinds = self._kinds(table)
        found = []
        for row in range(len(table.workloads)):
            others = [other for other in range(len(table.workloads)) if other != row]
            constants, exponent = self.chosen(table, others)
            rate = constants.get(int(kinds[row]))
            if rate is None:
                [rate] = FixedRule(scaled=self.scaled).chosen(table, others)[0].values()
            found.append(table.at(table.judging, row, rate * self._factor(table, row, exponent)))
        return np.array(found)

    def _kinds(self, table: RateTable) -> npt.NDArray[np.int64]:
        return table.groups[self.group] if self.group else np.zeros(len(table.workloads), np.int64)

    @staticmethod
    def _factor(table: RateTable, row: int, exponent: float) -> float:
        return float((table.batch_sizes[row] / REFERENCE_BATCH) ** exponent)


@dataclass(frozen=True, slots=True)
class GivenConstant:
    """A constant that was there before, and that no workload has chosen.

    Args:
        rate: the constant, one of the table's.
    """

    rate: float
    scaled: bool = False

    @property
    def name(self) -> str:
        """What it is called.

        >>> GivenConstant(0.0025).name
        'the constant 0.0025, as it was'
        """
        return f"the constant {self.rate:g}, as it was"

    def judged(self, table: RateTable) -> FloatArray:
        """Return log J of every workload at the constant, shape (W,)."""
        return np.array([table.at(table.judging, row, self.rate) for row in range(len(table.workloads))])


def fixed_rules(groups: Sequence[str]) -> list[FixedRule]:
    """Return every combination of a property, or none, with and without the batch size."""
    return [FixedRule(group, scaled) for group, scaled in product(("", *groups), (False, True))]
