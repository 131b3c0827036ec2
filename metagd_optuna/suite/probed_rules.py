"""Search for rules that look at probes, judged on networks that had no say in them, from what the exploring half holds.

A rule's rate is constant after a few steps, so what a training would take at it is read off the table of constant
rates: nothing is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metagd_optuna.contracts import FloatArray, MetaGDError
from metagd_optuna.files import make_folder, write_texts
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.policy.coefficients import Coefficients
from metagd_optuna.policy.formula import number_text
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.probes import PROBED_RATES
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.policy.rate_form import MOST_CHANGE
from metagd_optuna.report.blocks import Block, Heading, Prose, Table
from metagd_optuna.report.markdown import markdown
from metagd_optuna.suite.exploration import explored_wholly, log_objective, over, rate_table
from metagd_optuna.suite.rate_settings import PRESENT, RATES
from metagd_optuna.suite.runs import SuiteRun, read_runs, runs_file
from metagd_optuna.suite.signals import PROBES, ProbedRun, probed_wholly, read_probes, signals_file, signals_of
from metagd_optuna.suite.workloads import EXPLORE, workloads_of

FORM = "probed"
# Exponents as fine as the runs can tell: so few rules that all are tried.
EXPONENTS = tuple(round(0.05 * place, 2) for place in range(31))


@dataclass(frozen=True, slots=True)
class Explored:
    """What a rule is judged by.

    Args:
        workloads: names, W of them; networks: theirs.
        times: mean log J at every constant rate, less that at 0.0025, shape (W, R).
        signals: log of the mean of the first n probes, by the name of a rate and n, shape (W, seeds).
    """

    workloads: tuple[str, ...]
    networks: tuple[str, ...]
    times: FloatArray
    signals: Mapping[tuple[str, int], FloatArray]

    @classmethod
    def of(cls, explored: Mapping[str, Sequence[SuiteRun]], probed: Mapping[str, Sequence[ProbedRun]]) -> Explored:
        """Return it for the runs and probed trainings of some workloads."""
        table = rate_table(explored, PRESENT.family, log_objective)
        times = (table.choosing + table.judging) / 2
        runs = [probed[name] for name in table.workloads]
        networks = {each.name: each.network for each in workloads_of(EXPLORE)}
        return cls(
            table.workloads,
            tuple(networks[name] for name in table.workloads),
            times - times[:, [RATES.index(PRESENT.rate)]],
            {(name, n): np.log(signals_of(name, n, runs)) for name in PROBED_RATES for n in range(1, PROBES + 1)},
        )

    def rates(self, k: Coefficients) -> FloatArray:
        """Return the rate that a rule holds after its last probe, shape (W, seeds)."""
        name, lr0 = str(k["probed"]), float(k["lr0"])
        low, high = OPTIMIZERS[PRESENT.optimizer].bounds
        rates = np.full_like(self.signals[name, 1], lr0)
        for count in range(1, int(k["probes"]) + 1):
            away = float(k["b"]) * (self.signals[name, count] - np.log(PROBED_RATES[name].usual))
            wanted = lr0 * np.clip(np.exp(away), float(k["least"]), float(k["most"]))
            rates = np.clip(wanted, np.maximum(rates / MOST_CHANGE, low), np.minimum(rates * MOST_CHANGE, high))
        return rates

    def cost(self, k: Coefficients) -> FloatArray:
        """Return the mean log J of a rule on every workload, less that at 0.0025, shape (W,).

        Between the rates of the table it is linear in the logarithm of the rate, and held beyond them.
        """
        rates = np.log(self.rates(k))
        return np.array(
            [np.interp(row, np.log(RATES), times).mean() for row, times in zip(rates, self.times, strict=True)]
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The best rule that looks at one rate that probes tell.

    Args:
        signal: which rate, a key of ``PROBED_RATES``.
        coefficients: found on all workloads; without: those found without each network, by its name.
        cost: log J less that at 0.0025 with the coefficients found on all workloads, shape (W,).
        apart: with those found without the network of the workload itself, shape (W,).
    """

    signal: str
    coefficients: Coefficients
    without: Mapping[str, Coefficients]
    cost: FloatArray
    apart: FloatArray

    @property
    def policy(self) -> MetaPolicy:
        """The rule found on all workloads."""
        return MetaPolicy(PRESENT.optimizer, FORM, self.coefficients)

    def replay(self, explored: Explored) -> MetaPolicy:
        """Return the control of the rule: on every network the rate that it held on average.

        If that is as fast, what the probes told of a network did not matter.
        """
        rate = float(f"{np.exp(np.log(explored.rates(self.coefficients)).mean()):.3g}")
        constant: dict[str, float | int | str] = {"base": "constant", "lr0": rate, "k": 0.0}
        return MetaPolicy(PRESENT.optimizer, "schedule", constant, difficulty="gap")


def searched(explored: Explored, rows: Sequence[int], signal: str) -> Coefficients:
    """Return the coefficients of the form ``probed`` that take least time, by the mean log J, on some workloads.

    Of rules that take the same, the one with fewer probes and the smaller exponent.

    Args:
        explored: what is known of all of them.
        rows: places of those that count.
        signal: the rate that the rule looks at.
    """
    rules = [_rule(signal, b, probes) for probes in range(1, PROBES + 1) for b in EXPONENTS]
    return min(rules, key=lambda rule: float(explored.cost(rule)[list(rows)].mean()))


def _rule(signal: str, b: float, probes: int) -> dict[str, float | int | str]:
    """Return coefficients of a rule that begins at the constant that is there, raises it, and never falls below it.

    So it trains as the probed trainings did until it has seen its probes, and as the constant wherever it raises
    nothing. Nothing but the optimizer's own bound limits how far.
    """
    return {"lr0": PRESENT.rate, "probed": signal, "b": b, "probes": probes, "least": 1.0, "most": 100.0}


def found_with(explored: Explored, signal: str) -> Found:
    """Return the best rule that looks at one rate, found on all workloads and without each network in turn."""
    without, apart = {}, np.empty(len(explored.workloads))
    for network in dict.fromkeys(explored.networks):
        others = [row for row, name in enumerate(explored.networks) if name != network]
        without[network] = searched(explored, others, signal)
        own = [row for row, name in enumerate(explored.networks) if name == network]
        apart[own] = explored.cost(without[network])[own]
    coefficients = searched(explored, range(len(explored.workloads)), signal)
    return Found(signal, coefficients, without, explored.cost(coefficients), apart)


def search_rules(out: Path) -> Path:
    """Search rules that look at probes, one for each rate that they tell, and report what they are worth.

    Args:
        out: folder that holds what ``run_suite("explore")`` and ``run_signals`` left. The rules found on all workloads
            are written there, as ``rules/probed-<signal>.json``, and their controls as ``rules/replay-<signal>.json``.

    Returns:
        the path of the page, in Markdown.

    Raises:
        MetaGDError: if a workload was not explored or not probed, or not on all seeds.
    """
    names = [each.name for each in workloads_of(EXPLORE)]
    runs = {name: read_runs(runs_file(out, name)) for name in names}
    probed = {name: read_probes(signals_file(out, name)) for name in names}
    lacking = [name for name in names if not (explored_wholly(runs[name]) and probed_wholly(probed[name]))]
    if lacking:
        raise MetaGDError(
            f"{out} lacks runs or probes of {', '.join(lacking)}; run metagd suite run explore and metagd suite "
            "signals with this folder first"
        )
    explored = Explored.of(runs, probed)
    found = [found_with(explored, signal) for signal in PROBED_RATES]
    make_folder(out / "rules")
    for each in found:
        each.policy.save(out / "rules" / f"{FORM}-{each.signal}.json")
        each.replay(explored).save(out / "rules" / f"replay-{each.signal}.json")
    write_texts({out / "probed.md": f"# Rules that look at probes\n\n{markdown(_blocks(explored, found))}"})
    return out / "probed.md"


def _blocks(explored: Explored, found: Sequence[Found]) -> list[Block]:
    names, best = tuple(RATE_FORMS[FORM].coefficients), explored.times.min(axis=1)
    worth = [
        [each.signal, _in_brackets(each.apart), _in_brackets(each.cost), f"{np.exp(-each.apart.max()):.2f}"]
        for each in found
    ]
    worth.append(["best constant of each workload", "", _in_brackets(best), ""])
    by_workload = [
        [name, f"{np.exp(-best[row]):.2f}", *(f"{np.exp(-each.apart[row]):.2f}" for each in found)]
        for row, name in enumerate(explored.workloads)
    ]
    coefficients = [
        [each.signal, network, *(_shown(of[name]) for name in names if name != "probed")]
        for each in found
        for network, of in ({"": each.coefficients} | dict(each.without)).items()
    ]
    return [
        Prose(
            "Rules lr0 (X / X0)^b within bounds, X what the first probes tell, that raise the constant 0.0025 and "
            f"never fall below it, the best of {PROBES * len(EXPONENTS)} on {len(explored.workloads)} workloads: what "
            "a training takes is read off the table of constant rates, at the rate that the rule holds after its last "
            "probe. Speed-up: mean time to the targets at the constant 0.0025 over the rule's; in brackets the 95% "
            "interval over workloads. The best constant of a workload is the best of the table's six, by the same "
            "runs. X0 is that of all workloads."
        ),
        Heading(2, "What they are worth", "worth"),
        Table(
            ["X", "found without the network", "found on all workloads", "worst workload, found without it"],
            worth,
            numbers_from=1,
        ),
        Heading(2, "By workload, found without its network", "workloads"),
        Table(["workload", "best constant", *(each.signal for each in found)], by_workload, numbers_from=1),
        Heading(2, "What was found", "coefficients"),
        Table(["X", "without", *(name for name in names if name != "probed")], coefficients, numbers_from=2),
    ]


def _in_brackets(costs: FloatArray) -> str:
    mean = over(-costs)
    return f"{mean.speedup:.2f} ({mean.ci95[0]:.2f} to {mean.ci95[1]:.2f})"


def _shown(value: float | int | str) -> str:
    return value if isinstance(value, str) else number_text(float(value))
