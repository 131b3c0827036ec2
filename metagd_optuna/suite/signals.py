"""Which rates that a probe tells go with the rate that is best for a workload, on the exploring half."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from metagd_optuna.analysis.ranks import rank_correlation
from metagd_optuna.contracts import Context, FloatArray, Observation, Probe, TrainingJob
from metagd_optuna.files import make_folder, read_text, write_texts
from metagd_optuna.models import Model, Row, checked
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.policy.controller import PolicyController, PolicyState
from metagd_optuna.policy.probes import PROBED_RATES, probed_rate
from metagd_optuna.report.blocks import Prose, Table
from metagd_optuna.report.markdown import markdown
from metagd_optuna.suite.exploration import BOOTSTRAP_SEED, log_objective, rate_table
from metagd_optuna.suite.opened import open_workload
from metagd_optuna.suite.rate_settings import PRESENT, RATES
from metagd_optuna.suite.runs import SuiteRun, append, read_runs, runs_file
from metagd_optuna.suite.seeds import CHOOSING
from metagd_optuna.suite.workloads import EXPLORE, Workload, workloads_of
from metagd_optuna.training.device import Device, prepare_device, repeatable

DRAWS, LARGEST = 2000, 1e30
# What is on no scale of a rate, and what a probe also tells.
OTHERS: Mapping[str, Callable[[Probe], float]] = {
    "1 / gradient": lambda probe: 1 / probe.gradient,
    "1 / direction": lambda probe: 1 / probe.direction,
    "loss / gradient^2": lambda probe: probe.loss / probe.gradient**2,
    "agreement": lambda probe: probe.agreement,
    "distance": lambda probe: probe.distance,
}
SIGNALS = (*PROBED_RATES, *OTHERS)


class ProbedStep(Model):
    """A probe and the step that it was made behind."""

    step: int
    loss: float
    rates: Row[float]
    losses: Row[float]
    gradient: float
    direction: float
    slope: float
    agreement: float
    distance: float

    @property
    def probe(self) -> Probe:
        """The probe alone."""
        return Probe(**{name: value for name, value in dict(self).items() if name != "step"})


class ProbedRun(Model):
    """The probes of one training at the constant 0.0025."""

    seed: int
    probes: Row[ProbedStep]


@dataclass(frozen=True, slots=True)
class Correlation:
    """How a signal goes with the best rate over workloads.

    Args:
        signal: one of ``SIGNALS``.
        number: of the probe, from 1.
        rank: Spearman's correlation; low, high: its 95% interval, by a bootstrap over workloads.
    """

    signal: str
    number: int
    rank: float
    low: float
    high: float


class _Recording(PolicyController):
    """Keeps every probe that it sees."""

    def __init__(self, policy: MetaPolicy) -> None:
        super().__init__(policy)
        self.seen: list[dict[str, Any]] = []

    def start(self, context: Context) -> PolicyState:
        """Return the state before any observation; what was seen before is forgotten."""
        self.seen = []
        return super().start(context)

    def rates(self, state: PolicyState, observation: Observation, steps: int) -> tuple[FloatArray, PolicyState]:
        """Return the rates, which no probe moves."""
        if observation.probe is not None:
            held = asdict(observation.probe)
            # No rule tells a loss beyond all bounds from an infinite one, which JSON has no number for.
            held["losses"] = tuple(min(loss, LARGEST) for loss in observation.probe.losses)
            self.seen.append({"step": observation.step, **held})
        return super().rates(state, observation, steps)


def run_signals(
    out: Path, *, data_dir: Path | None = None, names: Sequence[str] = (), log: Callable[[str], None] = print
) -> Path:
    """Probe what is missing of the exploring half, two trainings a workload, and report on it.

    Args:
        out: folder that holds the runs of ``run_suite("explore")``, from which the best rates are taken.
        data_dir: where data files are looked for.
        names: workloads; all of the half if none is named.
        log: called with a line at a time.

    Returns:
        the path of the page, in Markdown.

    Raises:
        MetaGDError: for a workload that there is not, whose data are not to be had, or that was not explored.
    """
    workloads = workloads_of(EXPLORE, names)
    device = prepare_device()
    with repeatable(device):
        for workload in workloads:
            _probe_missing(workload, device, out, data_dir, log)
    explored = {each.name: read_runs(runs_file(out, each.name)) for each in workloads}
    probed = {each.name: read_probes(_file(out, each.name)) for each in workloads}
    return _write(correlations(explored, probed), len(workloads), out)


def _probe_missing(
    workload: Workload, device: Device, out: Path, data_dir: Path | None, log: Callable[[str], None]
) -> None:
    file = _file(out, workload.name)
    left = sorted(set(CHOOSING) - {run.seed for run in read_probes(file)})
    if not left:
        return
    make_folder(file.parent)
    opened = open_workload(workload, device, out, data_dir=data_dir, log=log)
    still: dict[str, float | str] = {"lr0": PRESENT.rate, "probed": "critical", "b": 0, "half_life": 0, "most": 1}
    for seed in left:
        controller = _Recording(MetaPolicy(PRESENT.optimizer, "probed", still))
        opened.engine.train([TrainingJob("probed", controller, PRESENT.optimizer)], seed=seed)
        append(ProbedRun.model_validate({"seed": seed, "probes": controller.seen}).model_dump_json() + "\n", file)
        log(f"  {workload.name}: {len(controller.seen)} probes with seed {seed}")


def _file(out: Path, workload: str) -> Path:
    return out / "signals" / f"{workload}.jsonl"


def read_probes(file: Path) -> list[ProbedRun]:
    """Return the probed trainings of a file; none if it is not there."""
    if not file.is_file():
        return []
    lines = read_text(file).splitlines()
    return [checked(ProbedRun, json.loads(line), f"{file}, line {number}") for number, line in enumerate(lines, 1)]


def signal_of(name: str, probe: Probe) -> float:
    """Return what a probe says under a name; NaN where that is nothing."""
    found = probed_rate(name, probe) if name in PROBED_RATES else OTHERS[name](probe)
    return float("nan") if found is None or not isfinite(found) else found


def correlations(
    explored: Mapping[str, Sequence[SuiteRun]], probed: Mapping[str, Sequence[ProbedRun]]
) -> list[Correlation]:
    """Return how every signal at every probe goes with the best constant rate, over workloads.

    The best rate has the lowest mean log J over all seeds that were explored. A signal is the median over trainings;
    where a training had fewer probes, its last.

    Args:
        explored: runs at constant rates, by workload.
        probed: trainings with probes, of the same workloads.
    """
    table = rate_table(explored, PRESENT.family, log_objective)
    best = np.log([RATES[place] for place in (table.choosing + table.judging).argmin(axis=1)])
    draws = np.random.default_rng(BOOTSTRAP_SEED).integers(len(best), size=(DRAWS, len(best)))
    found = []
    for name in SIGNALS:
        for number in range(1, max(len(run.probes) for runs in probed.values() for run in runs) + 1):
            values = np.array(
                [
                    np.median([signal_of(name, run.probes[min(number, len(run.probes)) - 1].probe) for run in runs])
                    for runs in (probed[workload] for workload in table.workloads)
                ]
            )
            drawn = [rank for rows in draws if isfinite(rank := rank_correlation(values[rows], best[rows]))]
            low, high = np.percentile(drawn or [float("nan")], [2.5, 97.5])
            found.append(Correlation(name, number, rank_correlation(values, best), float(low), float(high)))
    return found


def _write(rows: Sequence[Correlation], workloads: int, out: Path) -> Path:
    numbers = sorted({row.number for row in rows})
    heads = ["signal", *(f"probe {number}" for number in numbers)]
    cells = [
        [name, *(f"{row.rank:+.2f} ({row.low:+.2f} to {row.high:+.2f})" for row in rows if row.signal == name)]
        for name in SIGNALS
    ]
    lead = (
        f"{workloads} workloads, trained by ScheduleFreeAdamW (r = 1) at the constant {PRESENT.rate:g}. Spearman's "
        "rank correlation with the best constant rate of the workload, and its 95% interval over workloads. Probes are "
        "behind the first rate updates from 4, 16, 64 and so on steps on."
    )
    text = f"# What probes tell of the best rate\n\n{markdown([Prose(lead), Table(heads, cells, numbers_from=1)])}"
    write_texts({out / "signals.md": text})
    return out / "signals.md"
