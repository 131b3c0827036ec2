"""Search for a rule that looks at probes, judged on networks that had no say in it, from what the exploring half holds.

The rule's rate is constant after a few steps, so what a training would take at it is read off the table of constant
rates: nothing is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metagd_optuna.analysis import GeometricMean
from metagd_optuna.contracts import FloatArray, MetaGDError
from metagd_optuna.files import write_texts
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.policy.coefficients import Coefficient, Coefficients
from metagd_optuna.policy.formula import number_text
from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.policy.probes import PROBED_RATES
from metagd_optuna.policy.rate import RATE_FORMS
from metagd_optuna.report.blocks import Block, Heading, Prose, Table
from metagd_optuna.report.markdown import markdown
from metagd_optuna.suite.exploration import log_objective, over, rate_table
from metagd_optuna.suite.rate_settings import PRESENT, RATES
from metagd_optuna.suite.runs import SuiteRun, read_runs, runs_file
from metagd_optuna.suite.signals import PROBES, ProbedRun, read_probes, signals_file, signals_of
from metagd_optuna.suite.workloads import EXPLORE, workloads_of

if TYPE_CHECKING:
    import optuna

FORM, SEARCHED, SEED, LOWEST = "probed", 400, 0, 0.1


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
        name = str(k["probed"])
        away = float(k["b"]) * (self.signals[name, int(k["probes"])] - np.log(PROBED_RATES[name].usual))
        factor = np.clip(np.exp(away), float(k["least"]), float(k["most"]))
        return np.asarray(np.clip(float(k["lr0"]) * factor, *OPTIMIZERS[PRESENT.optimizer].bounds))

    def cost(self, k: Coefficients) -> FloatArray:
        """Return the mean log J of a rule on every workload, less that at 0.0025, shape (W,).

        Between the rates of the table it is linear in the logarithm of the rate, and held beyond them.
        """
        rates = np.log(self.rates(k))
        return np.array(
            [np.interp(row, np.log(RATES), times).mean() for row, times in zip(rates, self.times, strict=True)]
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was found without one network.

    Args:
        network: which one; coefficients: what the others chose.
        cost: log J of its workloads less that at 0.0025, by their names.
    """

    network: str
    coefficients: Coefficients
    cost: Mapping[str, float]


def searched(explored: Explored, rows: Sequence[int], trials: int = SEARCHED) -> Coefficients:
    """Return the coefficients of the form ``probed`` that take least time, by the mean log J, on some workloads.

    Args:
        explored: what is known of all of them.
        rows: places of those that count.
        trials: of Optuna's TPE.
    """
    import optuna

    def objective(trial: optuna.Trial) -> float:
        return float(explored.cost(_suggested(trial))[list(rows)].mean())

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED, n_startup_trials=trials // 4))
        study.enqueue_trial({"b": 0.0, "least": 1.0})  # the constant that is there
        study.optimize(objective, n_trials=trials)
    finally:
        optuna.logging.set_verbosity(verbosity)
    # Three digits are more than the runs tell apart.
    best = _suggested(optuna.trial.FixedTrial(study.best_params))
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in best.items()}


def _suggested(trial: optuna.trial.BaseTrial) -> dict[str, float | int | str]:
    """Return coefficients of a rule that raises the constant that is there, and never falls below it."""
    kinds = RATE_FORMS[FORM].coefficients
    b, most = kinds["b"], kinds["most"]
    assert isinstance(b, Coefficient)
    assert isinstance(most, Coefficient)
    least = trial.suggest_float("least", LOWEST, 1.0, log=True)
    return {
        "lr0": PRESENT.rate / least,
        "probed": trial.suggest_categorical("probed", tuple(PROBED_RATES)),
        "b": trial.suggest_float("b", b.low, b.high),
        "probes": trial.suggest_int("probes", 1, PROBES),
        "least": least,
        "most": trial.suggest_float("most", most.low, most.high, log=True),
    }


def leaving_networks_out(explored: Explored, trials: int = SEARCHED) -> list[LeftOut]:
    """Return what is found without each network, and what that costs on its workloads."""
    found = []
    for network in dict.fromkeys(explored.networks):
        others = [row for row, name in enumerate(explored.networks) if name != network]
        coefficients = searched(explored, others, trials)
        cost = explored.cost(coefficients)
        own = {name: float(cost[row]) for row, name in enumerate(explored.workloads) if row not in others}
        found.append(LeftOut(network, coefficients, own))
    return found


def search_rules(out: Path, *, trials: int = SEARCHED) -> Path:
    """Search a rule that looks at probes, and report what it is worth on networks that it was found without.

    Args:
        out: folder that holds what ``run_suite("explore")`` and ``run_signals`` left, where the rule found on all
            workloads is written to ``probed.json``.
        trials: of every search.

    Returns:
        the path of the page, in Markdown.

    Raises:
        MetaGDError: if a workload was not explored or not probed.
    """
    names = [each.name for each in workloads_of(EXPLORE)]
    runs = {name: read_runs(runs_file(out, name)) for name in names}
    probed = {name: read_probes(signals_file(out, name)) for name in names}
    lacking = [name for name in names if not (runs[name] and probed[name])]
    if lacking:
        raise MetaGDError(
            f"{out} has no runs or no probes of {', '.join(lacking)}; run metagd suite run explore and metagd suite "
            "signals with this folder first"
        )
    explored = Explored.of(runs, probed)
    apart = leaving_networks_out(explored, trials)
    coefficients = searched(explored, range(len(names)), trials)
    policy = MetaPolicy(PRESENT.optimizer, FORM, coefficients)
    policy.save(out / "probed.json")
    _write(explored, apart, policy, out)
    return out / "probed.md"


def _write(explored: Explored, apart: Sequence[LeftOut], policy: MetaPolicy, out: Path) -> None:
    cost = {name: value for each in apart for name, value in each.cost.items()}
    inside = dict(zip(explored.workloads, explored.cost(policy.rate_coefficients), strict=True))
    best = dict(zip(explored.workloads, explored.times.min(axis=1), strict=True))
    rates = dict(zip(explored.workloads, explored.rates(policy.rate_coefficients), strict=True))
    heads = ["workload", "rates of the seeds", "best constant", "found without its network", "found on all"]
    rows = [
        [name, _span(rates[name]), *(f"{np.exp(-of[name]):.2f}" for of in (best, cost, inside))]
        for name in explored.workloads
    ]
    means = [over(-np.array([of[name] for name in explored.workloads])) for of in (best, cost, inside)]
    rows.append(["all", "", *map(_in_brackets, means)])
    choices = [
        [each.network, *(_shown(each.coefficients[name]) for name in RATE_FORMS[FORM].coefficients)] for each in apart
    ]
    choices.append(["none", *(_shown(policy.rate_coefficients[name]) for name in RATE_FORMS[FORM].coefficients)])
    parts: list[Block] = [
        Prose(
            "Rules lr0 (X / X0)^b within bounds, X what the first probes tell, searched by Optuna on "
            f"{len(explored.workloads)} workloads: what a training takes is read off the table of constant rates, at "
            "the rate that the rule holds after its last probe. Speed-up: mean time to the targets at the constant "
            "0.0025 over the rule's; in brackets the 95% interval over workloads. The best constant of a workload is "
            "the best of the table's six, so it is better than one that could be known."
        ),
        Heading(2, "What it is worth", "worth"),
        Table(heads, rows, numbers_from=2),
        Heading(2, "What was found without one network", "coefficients"),
        Table(["without", *RATE_FORMS[FORM].coefficients], choices, numbers_from=3),
    ]
    write_texts({out / "probed.md": f"# Rules that look at probes\n\n{markdown(parts)}"})


def _span(rates: FloatArray) -> str:
    low, high = number_text(float(rates.min())), number_text(float(rates.max()))
    return low if low == high else f"{low} to {high}"


def _in_brackets(mean: GeometricMean) -> str:
    return f"{mean.speedup:.2f} ({mean.ci95[0]:.2f} to {mean.ci95[1]:.2f})"


def _shown(value: float | int | str) -> str:
    return value if isinstance(value, str) else number_text(float(value))
