"""Run the suite, half by half: what is missing is trained, and its cost is said first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metagd_optuna.contracts import MetaGDError, TrainingJob
from metagd_optuna.files import make_folder
from metagd_optuna.policy import Policy, load_policy, with_provenance
from metagd_optuna.suite.confirmation import confirmed
from metagd_optuna.suite.exploration import tuned_constant
from metagd_optuna.suite.opened import Opened, open_workload
from metagd_optuna.suite.page import write_page
from metagd_optuna.suite.rate_settings import (
    CONSTANTS,
    PRESENT,
    SCALED_MEMORY,
    SCHEDULE_FREE,
    SCHEDULED,
    RateSetting,
)
from metagd_optuna.suite.runs import Batch, SuiteRun, measured_speed, missing, read_runs, runs_file, train_missing
from metagd_optuna.suite.seeds import CHOOSING, CONFIRMING, JUDGING
from metagd_optuna.suite.workloads import EXPLORE, Workload, workloads_of
from metagd_optuna.training.device import prepare_device, repeatable

Log = Callable[[str], None]
Batches = Callable[[Workload, Sequence[SuiteRun]], list[Batch]]


@dataclass(frozen=True, slots=True)
class Phase:
    """Trainings of one kind on every workload of a half.

    Args:
        name: what it is called.
        batches: (a workload, what is stored of it) -> what it has to have.
    """

    name: str
    batches: Batches


def _on(candidates: Sequence[RateSetting], seeds: Sequence[int]) -> Batches:
    def batches(workload: Workload, stored: Sequence[SuiteRun]) -> list[Batch]:
        size = workload.batch_size
        jobs = tuple(each.job(size) for each in candidates if each.at(size) == each)
        return [Batch(jobs, seed) for seed in seeds if jobs]

    return batches


def phases_of(half: str, policies: Mapping[str, Policy]) -> list[Phase]:
    """Return what is trained on one half, in order.

    Args:
        half: ``explore`` or ``confirm``.
        policies: rules to train as well, by name.
    """
    rules = tuple(TrainingJob(name, rule.controller(), rule.optimizer) for name, rule in policies.items())
    if half == EXPLORE:
        seeds = (*CHOOSING, *JUDGING)
        return [
            Phase("constant rates", _on(CONSTANTS, seeds)),
            Phase("schedules", _on(SCHEDULED, seeds)),
            Phase("memory by batch size", _on(SCALED_MEMORY, seeds)),
            *([Phase("rules", lambda workload, stored: [Batch(rules, seed) for seed in seeds])] if rules else []),
        ]

    def confirmation(workload: Workload, stored: Sequence[SuiteRun]) -> list[Batch]:
        jobs = [PRESENT.job(workload.batch_size), *rules]
        tuned = tuned_constant(stored)
        if tuned != PRESENT:
            jobs.append(tuned.job(workload.batch_size))
        return [Batch(tuple(jobs), seed, test=True) for seed in CONFIRMING]

    # Adam's are not needed: nothing is compared with them there, and the better optimizer sets the target.
    schedule_free = [each for each in CONSTANTS if each.optimizer == SCHEDULE_FREE]
    return [Phase("constant rates", _on(schedule_free, CHOOSING)), Phase("confirmation", confirmation)]


def run_suite(
    half: str,
    out: Path,
    *,
    data_dir: Path | None = None,
    names: Sequence[str] = (),
    policies: Sequence[str | Path] = (),
    log: Log = print,
) -> Path:
    """Train what is missing of one half of the suite, going on wherever an earlier call stopped, and report on it.

    Args:
        half: ``explore`` or ``confirm``.
        out: folder that runs are kept in, created if it is not there.
        data_dir: where data files are looked for.
        names: workloads; all of the half if none is named.
        policies: rules to train as well, stored policies by name or paths of their files; called by name or stem.
        log: called with a line at a time.

    Returns:
        the path of the page; the same is beside it in Markdown, and rules that were confirmed on the whole half are in
        ``confirmed``, with what was found of them.

    Raises:
        MetaGDError: for a workload that there is not, or whose data are not to be had, a rule that is not valid, or one
            whose name other runs have.
    """
    rules = {Path(place).stem: load_policy(place) for place in policies}
    if len(rules) < len(policies):
        raise MetaGDError(f"{', '.join(map(str, policies))}: two rules have one name; rename a file, or leave one out")
    workloads = workloads_of(half, names)
    files = sorted(runs_file(out, "any").parent.glob("*.jsonl"))  # of every workload, whichever are named now
    _keep_rules(rules, {run.candidate for file in files for run in read_runs(file)}, out)
    device = prepare_device()
    opened: dict[str, Opened] = {}

    def ready(workload: Workload) -> Opened:
        # Opened once for all phases: an engine keeps the programs that it has traced.
        if workload.name not in opened:
            opened[workload.name] = open_workload(workload, device, out, data_dir=data_dir, log=log)
        return opened[workload.name]

    with repeatable(device):
        for phase in phases_of(half, rules):
            _run_phase(phase, workloads, ready, out, log)
    runs = {each.name: read_runs(runs_file(out, each.name)) for each in workloads}
    if half != EXPLORE and not names:
        _save_with_results(rules, runs, out / "confirmed")
    return write_page(half, runs, out)


def _keep_rules(rules: Mapping[str, Policy], trained: Collection[str], out: Path) -> None:
    """Keep each rule beside its runs, which name it only.

    Raises:
        MetaGDError: if the runs of that name are of another rule, or nobody knows of which.
    """
    make_folder(out / "trained")
    for name, rule in rules.items():
        file, plain = out / "trained" / f"{name}.json", with_provenance(rule, {})
        if file.is_file() and load_policy(file) != plain and name in trained:
            raise MetaGDError(
                f"{out} has runs of another rule called {name}, which is kept in {file}; give your file another name, "
                "or another folder with --out"
            )
        if not file.is_file() and name in trained:
            raise MetaGDError(
                f"{out} has runs of a rule called {name}, and {file}, which would say of which, is not there; put "
                "that rule's file there, or give yours another name, or another folder with --out"
            )
        plain.save(file)


def _save_with_results(rules: Mapping[str, Policy], runs: Mapping[str, Sequence[SuiteRun]], folder: Path) -> None:
    """Write rules that were confirmed, with what was found of them, as policies for one's own training."""
    make_folder(folder)
    for found in confirmed(runs):
        if found.name in rules:
            rule = rules[found.name]
            with_provenance(rule, {**rule.provenance, **found.provenance()}).save(folder / f"{found.name}.json")


def _run_phase(
    phase: Phase, workloads: Sequence[Workload], ready: Callable[[Workload], Opened], out: Path, log: Log
) -> None:
    def left(workload: Workload) -> list[Batch]:
        stored = read_runs(runs_file(out, workload.name))
        return missing(phase.batches(workload, stored), stored)

    begun = {workload: left(workload) for workload in workloads}
    waiting = [workload for workload in workloads if begun[workload]]
    if not waiting:
        log(f"{phase.name}: all runs are stored")
        return
    opened = [ready(workload) for workload in waiting]
    log(f"{phase.name}: {_cost(opened, [begun[each.workload] for each in opened])}")
    for each in opened:
        train_missing(each, begun[each.workload], out, log)


def _cost(opened: Sequence[Opened], batches: Sequence[Sequence[Batch]]) -> str:
    """Return what is about to be trained, in words: runs, examples, and hours at the speed measured on each."""
    runs = examples = 0
    seconds = 0.0
    for each, left in zip(opened, batches, strict=True):
        count = sum(len(batch.jobs) for batch in left)
        plan = each.engine.plan
        runs, examples = runs + count, examples + count * plan.steps * plan.batch_size
        seconds += count * plan.steps * plan.batch_size / measured_speed(each, left[0].jobs[: each.engine.lanes])
    return f"to train: {runs:,} runs, {examples / 1e6:.1f} million examples, about {seconds / 3600:.1f} h"
