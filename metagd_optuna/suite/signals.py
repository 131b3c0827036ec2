"""Which rates that a probe tells go with the rate that is best for a workload, on the exploring half."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np

from metagd_optuna.analysis.ranks import rank_correlation
from metagd_optuna.contracts import Context, Curve, FloatArray, MetaGDError, Observation, Probe, TrainingJob
from metagd_optuna.files import make_folder, read_text, write_texts
from metagd_optuna.given import counted
from metagd_optuna.models import Model, Row, checked
from metagd_optuna.policy import MetaPolicy
from metagd_optuna.policy.controller import PolicyController, PolicyState
from metagd_optuna.policy.probes import PROBED_RATES, probe_steps, probed_rate
from metagd_optuna.report.blocks import Prose, Table
from metagd_optuna.report.markdown import markdown
from metagd_optuna.suite.exploration import BOOTSTRAP_SEED, explored_wholly, log_objective, rate_table
from metagd_optuna.suite.opened import open_workload
from metagd_optuna.suite.rate_settings import PRESENT, RATES
from metagd_optuna.suite.runs import SuiteRun, append, read_runs, runs_file
from metagd_optuna.suite.seeds import CHOOSING, JUDGING
from metagd_optuna.suite.workloads import EXPLORE, Workload, workloads_of
from metagd_optuna.training.device import Device, prepare_device, repeatable

# A rule that looks at a few early probes is what they are for; later ones tell less.
PROBES = 5
SEEDS = (*CHOOSING, *JUDGING)
DRAWS, LARGEST = 1000, 1e30
# What is on no scale of a rate, and what a probe also tells.
OTHERS: Mapping[str, Callable[[Probe], float]] = {
    "loss / gradient^2": lambda probe: probe.loss / probe.gradient**2 if probe.gradient else nan,
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
        probes: how many of the first ones it is the mean of.
        rank: Spearman's correlation; low, high: its 95% interval, by a bootstrap over workloads.
    """

    signal: str
    probes: int
    rank: float
    low: float
    high: float


class _Recording(PolicyController):
    """Keeps every probe that it sees."""

    def __init__(self, policy: MetaPolicy) -> None:
        super().__init__(policy)
        self.seen: list[dict[str, Any]] = []

    def stops(self, running: Mapping[int, Curve]) -> list[int]:
        """Return whose training ends: that of all after the last probe."""
        return list(running) if len(self.seen) == PROBES else []

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
    """Probe what is missing of the exploring half, the beginnings of four trainings a workload, and report on it.

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
    probed = {each.name: read_probes(signals_file(out, each.name)) for each in workloads}
    lacking = [name for name, runs in explored.items() if not explored_wholly(runs)]
    if lacking:
        raise MetaGDError(
            f"{out} lacks runs of {', '.join(lacking)}; run metagd suite run explore with this folder first"
        )
    return _write(correlations(explored, probed), len(workloads), out)


def _probe_missing(
    workload: Workload, device: Device, out: Path, data_dir: Path | None, log: Callable[[str], None]
) -> None:
    file = signals_file(out, workload.name)
    stored = read_probes(file)
    if any(tuple(each.step for each in run.probes) != probe_steps(PROBES) for run in stored):
        raise MetaGDError(
            f"{file} holds probes behind other steps than {', '.join(map(str, probe_steps(PROBES)))}, of another "
            "version of this package; remove the file, to probe anew"
        )
    left = sorted(set(SEEDS) - {run.seed for run in stored})
    if not left:
        return
    make_folder(file.parent)
    opened = open_workload(workload, device, out, data_dir=data_dir, log=log)
    still: dict[str, float | int | str] = {
        "lr0": PRESENT.rate,
        "probed": "critical",
        "b": 0,
        "probes": PROBES,
        "least": 1,
        "most": 1,
    }
    for seed in left:
        controller = _Recording(MetaPolicy(PRESENT.optimizer, "probed", {"lr0": PRESENT.rate, **still}))
        job = TrainingJob("probed", controller, PRESENT.optimizer)
        opened.engine.train([job], seed=seed, watch=controller.stops)
        append(ProbedRun.model_validate({"seed": seed, "probes": controller.seen}).model_dump_json() + "\n", file)
        log(f"  {workload.name}: {len(controller.seen)} probes with seed {seed}")


def signals_file(out: Path, workload: str) -> Path:
    """Return where the probes of a workload are kept."""
    return out / "signals" / f"{workload}.jsonl"


def read_probes(file: Path) -> list[ProbedRun]:
    """Return the probed trainings of a file; none if it is not there."""
    if not file.is_file():
        return []
    lines = read_text(file).splitlines()
    return [checked(ProbedRun, json.loads(line), f"{file}, line {number}") for number, line in enumerate(lines, 1)]


def probed_wholly(runs: Sequence[ProbedRun]) -> bool:
    """Return whether a workload has all of its probed trainings, each with probes behind the same steps."""
    steps = probe_steps(PROBES)
    return sorted(run.seed for run in runs) == sorted(SEEDS) and all(
        tuple(each.step for each in run.probes) == steps for run in runs
    )


def mean_signal(name: str, probes: Sequence[ProbedStep]) -> float:
    """Return what some probes say under a name: the geometric mean of rates, the mean of others.

    Probes that tell no rate are passed over; where none does, it is the usual one, which moves nothing.
    """
    values = np.array([signal_of(name, each.probe) for each in probes])
    if name not in PROBED_RATES:
        return float(values.mean())
    told = values[np.isfinite(values)]
    return float(np.exp(np.log(told).mean())) if told.size else PROBED_RATES[name].usual


def signal_of(name: str, probe: Probe) -> float:
    """Return what a probe says under a name; NaN where that is nothing."""
    found = probed_rate(name, probe) if name in PROBED_RATES else OTHERS[name](probe)
    return nan if found is None or not isfinite(found) else found


def correlations(
    explored: Mapping[str, Sequence[SuiteRun]], probed: Mapping[str, Sequence[ProbedRun]]
) -> list[Correlation]:
    """Return how the mean of every signal over the first probes goes with the best constant rate, over workloads.

    The best rate has the lowest mean log J over all seeds that were explored. A signal is that of every training by
    itself, as a rule meets it: the correlation is the mean over the seeds.

    Args:
        explored: runs at constant rates, by workload.
        probed: trainings with probes, of the same workloads.
    """
    table = rate_table(explored, PRESENT.family, log_objective)
    best = np.log([RATES[place] for place in (table.choosing + table.judging).argmin(axis=1)])
    draws = np.random.default_rng(BOOTSTRAP_SEED).integers(len(best), size=(DRAWS, len(best)))
    found = []
    for name in SIGNALS:
        for count in range(1, PROBES + 1):
            values = signals_of(name, count, [probed[workload] for workload in table.workloads])
            rank = float(rank_correlation(values.T, np.broadcast_to(best, values.T.shape)).mean())
            drawn = np.mean([rank_correlation(column[draws], best[draws]) for column in values.T], axis=0)
            low, high = np.nanpercentile(drawn, [2.5, 97.5]) if np.isfinite(drawn).any() else (np.nan, np.nan)
            found.append(Correlation(name, count, rank, float(low), float(high)))
    return found


def signals_of(name: str, count: int, probed: Sequence[Sequence[ProbedRun]]) -> FloatArray:
    """Return the mean of a signal over the first probes of every training, shape (workloads, seeds)."""
    return np.array([[mean_signal(name, run.probes[:count]) for run in runs] for runs in probed])


def _write(rows: Sequence[Correlation], workloads: int, out: Path) -> Path:
    heads = ["signal", *(counted(count, "probe") for count in range(1, PROBES + 1))]
    cells = [
        [name, *(f"{row.rank:+.2f} ({row.low:+.2f} to {row.high:+.2f})" for row in rows if row.signal == name)]
        for name in SIGNALS
    ]
    lead = (
        f"{workloads} workloads, trained by ScheduleFreeAdamW (r = 1) at the constant {PRESENT.rate:g}. Spearman's "
        "rank correlation of the mean over the first probes with the best constant rate of the workload: the mean over "
        f"{len(SEEDS)} trainings, and its 95% interval over workloads. Probes are behind "
        f"{', '.join(map(str, probe_steps(PROBES)))} steps."
    )
    text = f"# What probes tell of the best rate\n\n{markdown([Prose(lead), Table(heads, cells, numbers_from=1)])}"
    write_texts({out / "signals.md": text})
    return out / "signals.md"
