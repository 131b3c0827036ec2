"""A study whose trainings are made up, on the workers of a real Dask cluster: processes that can be killed.

Workers are forked from one process that has loaded the package and not TensorFlow, so another one is there at once.
"""

import json
import math
import os
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import dask
import distributed
import numpy as np
import optuna
from children import CHILDREN
from distributed import get_worker
from made_up import METADATA, TASK, MadeUpTrainer, task_state
from rich.console import Console

from metagd_optuna.contracts import Curve, MetaGDError, RunRecord
from metagd_optuna.policy import default_candidate
from metagd_optuna.training.plan import plan_run
from metagd_optuna.tuning.clients import WATCHED_LESS, closed_at_the_end, restart_lost
from metagd_optuna.tuning.cluster import Cluster
from metagd_optuna.tuning.flow import to_the_end
from metagd_optuna.tuning.jobs import Job, StoppingRule
from metagd_optuna.tuning.methods import methods_of
from metagd_optuna.tuning.phases import run_phases
from metagd_optuna.tuning.phases.search import Search
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.settings import StudySpec
from metagd_optuna.tuning.storage import open_storage
from metagd_optuna.tuning.stored_trials import runs_of
from metagd_optuna.tuning.task_trainer import TaskTrainer
from metagd_optuna.tuning.worker import Answer, Introduction, Opening, Outcome, decisive_versions
from metagd_optuna.tuning.write_ahead import write_ahead

PLAN = plan_run(train_examples=320, epochs=10, batch_size=32, evaluations=8, rate_updates_per_evaluation=1)
EPOCHS = PLAN.epochs(PLAN.evaluation_steps)
SPEC = StudySpec(
    name="s",
    tasks=("breast_cancer",),
    baselines=("adam-constant",),
    trials=8,
    trials_at_once=4,
    calibration_seeds=1,
    shortlist_trials=2,
    shortlist_seeds=1,
    confirmation_seeds=2,
    median_pruning=True,
)


@dataclass(frozen=True)
class Faults:
    """What goes wrong on workers.

    Args:
        seconds: how long each training takes.
        begun: a folder where every training leaves a file as it begins.
        raises_on: names of workers on which every training raises; "*" for all.
        without_data: names of workers that cannot open the task; "*" for all.
        dies: beginning of the names of candidates whose training ends its process.
        fails: beginning of the names of candidates whose training raises.
        newer: names of workers that are of another kind.
        mentions: what every training says, "" for nothing.
    """

    seconds: float = 0.0
    begun: Path | None = None
    raises_on: tuple[str, ...] = ()
    without_data: tuple[str, ...] = ()
    dies: str = ""
    fails: str = ""
    newer: tuple[str, ...] = ()
    mentions: str = ""


NONE = Faults()
OUT_OF_REACH = 0.99  # no training gets so far, so that each has its full budget


def here(names):
    """Return whether this worker is meant."""
    return "*" in names or (bool(names) and str(get_worker().name) in names)


@dataclass(frozen=True)
class MadeUpTraining:
    """Scores that rise with a speed of the rate's own, best at 0.003, and noise of seed and candidate."""

    faults: Faults = Faults()
    log: list = field(default_factory=list, compare=False)

    def __call__(self, jobs, *, seed, test=False, watch=None):
        return [self._record(place, job, seed, test, watch) for place, job in enumerate(jobs)]

    def _record(self, place, job, seed, test, watch):
        if self.faults.begun:
            (self.faults.begun / f"{job.name}@{seed}@{time.monotonic_ns()}").touch()
        if here(self.faults.raises_on):
            raise ValueError("this machine is broken")  # at once, so that it always has time for more
        if self.faults.fails and job.name.startswith(self.faults.fails):
            raise ValueError(f"{job.name} cannot be trained")
        if self.faults.dies and job.name.startswith(self.faults.dies):
            time.sleep(self.faults.seconds)
            os._exit(1)
        if self.faults.mentions:
            self.log.append(self.faults.mentions)
        rate = float(np.mean(getattr(job.controller, "lr0", 0.002)))
        rng = np.random.default_rng([seed, sum(job.name.encode())])
        speed = math.exp(-abs(math.log(max(rate, 1e-6) / 3e-3))) * rng.uniform(0.7, 1)
        scores = 0.5 + 0.45 * (1 - np.exp(-speed * EPOCHS)) + rng.normal(scale=0.01, size=EPOCHS.size)
        for evaluation in range(1, EPOCHS.size + 1):
            shown = tuple(scores[:evaluation].tolist())
            steps = PLAN.evaluation_steps[:evaluation]
            curve = Curve(steps, shown, shown, shown, shown)
            time.sleep(self.faults.seconds / EPOCHS.size)
            if watch is not None and place in watch({place: curve}):
                break
        taken = steps[-1]
        return RunRecord(
            job.name, seed, PLAN.steps, taken, curve, curve if test else None, steps, shown, shown, (rate,) * taken
        )


@dataclass(frozen=True)
class MadeUpOpening:
    """How a worker opens the made-up task; the names are those of ``Opening``."""

    token: str
    faults: Faults = Faults()
    versions: dict = field(default_factory=decisive_versions)
    spec: StudySpec = SPEC
    task: str = TASK
    population: int = 1
    complexity: float = 0.5
    network: str = ""

    def packed(self):
        return self

    @property
    def device(self):
        return "newer, 64 cores" if here(self.faults.newer) else "made up, 2 cores"

    def open(self, log):
        if self.faults.begun:
            (self.faults.begun / f"opened@{os.getpid()}").touch()
        if here(self.faults.without_data):
            raise MetaGDError("/data/t.npz: there is no such file")
        return made_up_trainer(self.faults, log)


def made_up_trainer(faults, log=None):
    """Return what makes trainings up in this process."""
    return TaskTrainer(
        MadeUpTrainer(MadeUpTraining(faults, [] if log is None else log), PLAN), "auc", 0.5, 0.5, (0.5, 0.5)
    )


@dataclass(frozen=True)
class MadeUpTask:
    """What a cluster asks of a task."""

    name: str = TASK
    class_frequencies: tuple = (0.5, 0.5)


def introduced():
    """Say that this worker has what it needs."""
    return Introduction(decisive_versions(), "here", "made up, 16 cores")


@contextmanager
def processes(count, failures=20, patience=3):
    """A cluster of worker processes, each forked.

    Args:
        count: how many.
        failures: how many of them a job may end.
        patience: seconds after which a scheduler that does not answer is taken to be gone.
    """
    workers = {f"w{i}": _worker() for i in range(count)}
    with dask.config.set(
        WATCHED_LESS
        | {
            "distributed.worker.multiprocessing-method": CHILDREN.get_start_method(),
            "distributed.scheduler.allowed-failures": failures,
            "distributed.nanny.pre-spawn-environ": {},
            "distributed.comm.timeouts.connect": f"{patience}s",
        }
    ):
        cluster = distributed.SpecCluster(
            workers=workers,
            worker=_worker(),
            scheduler={
                "cls": distributed.Scheduler,
                "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
            },
            silence_logs=50,
        )
        with closed_at_the_end(cluster), distributed.Client(cluster, timeout=patience, set_as_default=False) as client:
            client.wait_for_workers(len(workers))
            yield client


def _worker():
    options = {"nthreads": 1, "host": "127.0.0.1", "memory_limit": 0, "silence_logs": 50, "dashboard": False}
    return {"cls": distributed.Nanny, "options": options}


class Said(Progress):
    """Progress that keeps its lines."""

    def __init__(self):
        super().__init__(Console(quiet=True))
        self.lines = []

    def log(self, line):
        self.lines.append(line)


class Folder:
    """Where a study is kept: a folder for its snapshots, and a storage, which without a database is in memory."""

    def __init__(self, path, database=False):
        self.path = path
        self.storage = optuna.storages.InMemoryStorage()
        if database:
            self.storage = open_storage(path / "optuna.db", must_exist=False)
            write_ahead(self.storage)


def study_here(kept, spec=SPEC, faults=NONE):
    """Run the study in this process; return what it stored."""
    return _study(kept, spec, made_up_trainer(faults), None, Said())


def study_on(client, kept, spec=SPEC, faults=NONE, progress=None, look=lambda: None):
    """Run the study on a cluster; return what it stored."""
    progress = progress or Said()
    cluster = Cluster(client, progress, partial(restart_lost, client.cluster), introduced)
    opening = MadeUpOpening(f"{uuid.uuid4()}", faults, spec=spec)
    trainer = to_the_end(cluster.open(opening, MadeUpTask()), cluster.look)

    def looked():
        look()
        cluster.look()

    try:
        return _study(kept, spec, trainer, looked, progress)
    finally:
        cluster.cancel()


def searched_on(client, kept, trials, at_once, faults):
    """Run the searches of four methods on a cluster, a run per trial.

    Returns:
        how many runs there are, and the seconds and CPU seconds of this process that the searches took.
    """
    spec = StudySpec(
        name="s",
        tasks=("breast_cancer",),
        trials=trials,
        trials_at_once=at_once,
        seeds_per_trial=1,
        shortlist_trials=1,
        pruning=False,
    )
    cluster = Cluster(client, Said(), introduction=introduced)
    trainer = to_the_end(cluster.open(MadeUpOpening(f"{uuid.uuid4()}", faults, spec=spec), MadeUpTask()), cluster.look)
    state = task_state(spec, trainer, kept.path, kept.storage, search_target=OUT_OF_REACH)
    state.store.note_metadata(METADATA)
    state.store.note_search_target(OUT_OF_REACH)
    wall, cpu = time.perf_counter(), time.process_time()
    to_the_end(Search().run(state, {TASK: state}), cluster.look)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return sum(len(state.store.trials(method.name)) for method in methods_of(spec)), wall, cpu


def travelling():
    """Return what is sent for a job of a search, and what comes back, at the size that a study of 1,900 steps has."""
    plan = plan_run(train_examples=4000, epochs=15, batch_size=32, evaluations=40, rate_updates_per_evaluation=3)
    spec = StudySpec(name="s", tasks=("breast_cancer",), trials=64)
    opening = Opening(str(uuid.uuid4()), spec, TASK, None, "0" * 64, 0.5, 1, None, False, decisive_versions())
    policy = default_candidate("keras-adam")
    rule = StoppingRule(np.linspace(0.5, 0.9, 26), ((1.0,),), 2, 3.0, 0.5, True, np.zeros((64, 40)), 10)
    shown = tuple(np.random.default_rng(0).uniform(size=40).tolist())
    curve = Curve(plan.evaluation_steps, shown, shown, shown, shown)
    losses = tuple(np.random.default_rng(1).uniform(size=len(plan.update_steps)).tolist())
    rates = tuple(np.random.default_rng(2).uniform(size=plan.steps).tolist())
    record = RunRecord("m", 1, plan.steps, plan.steps, curve, None, plan.update_steps, losses, losses, rates)
    return {
        "task_and_settings": opening,
        "job": Job((policy,), 1, stop=replace(rule, earlier=np.empty((0, 40)))),
        "job_with_median_pruning": Job((policy,), 1, stop=rule),
        "answer": Answer(Outcome.DONE, "tcp://10.0.0.1:40000", "node1", [record]),
    }


def _study(kept, spec, trainer, look, progress):
    state = task_state(spec, trainer, kept.path, kept.storage)
    state.progress = progress
    to_the_end(run_phases([state], spec.scope), look)
    return stored(state.store)


def stored(store):
    """Return all that decides of what a study stored, and that no run is there twice."""
    parts, whole = {}, store.study.storage.get_trial
    for part in ("calibrate", "adam-constant", "meta-policy", "shortlist", "confirm"):
        trials = [whole(trial._trial_id) for trial in store.trials(part)]
        rows = [(t.params, t.state.name, t.values, t.user_attrs.get("seed"), runs_of(t)) for t in trials]
        if part in ("calibrate", "shortlist", "confirm"):  # stored in the order in which they are finished
            rows.sort(key=lambda row: (row[3], row[0]["candidate"]))
        parts[part] = rows
    return json.loads(json.dumps(parts))  # as a database would hold it
