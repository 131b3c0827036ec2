"""What runs on a worker of a cluster: a task is opened once per process, and its jobs are trained there.

A worker opens no storage, and writes nothing but its caches. What goes wrong is an answer like any other, so that the
coordinator knows where it happened.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.metadata
import platform
import re
import socket
import time
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from metagd_optuna.contracts import MetaGDError, RunPlan, RunRecord
from metagd_optuna.given import shortened
from metagd_optuna.tasks import Task, fingerprint
from metagd_optuna.tasks.download import md5_of
from metagd_optuna.tuning.jobs import Job
from metagd_optuna.tuning.opening import load_study_task, study_network
from metagd_optuna.tuning.phases.calibrate import calibration_candidates
from metagd_optuna.tuning.settings import StudySpec
from metagd_optuna.tuning.task_trainer import TaskTrainer, open_task_trainer

if TYPE_CHECKING:
    from metagd_optuna.training.device import Device
    from metagd_optuna.training.network import BuildNetwork

# What a training depends on.
DECISIVE = ("metagd-optuna", "tensorflow", "keras", "numpy")
MOST_TRACED = 4000  # characters
MOST_OF_OTHERS = 2  # tasks of other runs that a worker keeps open, which may be those that ended


class Outcome(Enum):
    """How a job ended on a worker."""

    DONE = "done"
    FAILED = "failed"  # the training raised
    UNFIT = "unfit"  # this worker cannot train this task at all: other versions, no data


@dataclass(frozen=True, slots=True)
class Known:
    """What a worker found out about a task's network when it opened it.

    Args:
        plan: the timetable of every run.
        population: members that share one program.
        weights: how many the network has.
        fingerprint: what tells the network from others.
        speed: training examples per second of one job, evaluations included.
    """

    plan: RunPlan
    population: int
    weights: int
    fingerprint: str
    speed: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker says of a job.

    Args:
        outcome: how it ended.
        worker: the worker's address.
        host: its machine.
        records: one per candidate.
        known: what was asked about the network.
        seconds: wall-clock of the training, without opening.
        opened: whether the task had to be opened for it, and so its data to be read.
        log: lines for people: of a job without trainings how the task was opened, of others what came up in training.
        device: what trains there, in words.
        problem: what went wrong, in words.
        trace: the traceback of an error that is no ``MetaGDError``.
    """

    outcome: Outcome
    worker: str
    host: str
    records: list[RunRecord] | None = None
    known: Known | None = None
    seconds: float = 0.0
    opened: bool = False
    log: tuple[str, ...] = ()
    device: str = ""
    problem: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a worker says of itself before it is given work.

    Args:
        versions: of what a training depends on.
        host: its machine.
        device: what trains there, in words; empty if TensorFlow cannot be loaded.
        problem: why it cannot be.
    """

    versions: Mapping[str, str]
    host: str
    device: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a worker opens a task of a study.

    Args:
        token: the same for all jobs of the task in one run of the study.
        spec: the study's settings, with paths that work from any folder.
        task: its name.
        data_dir: where data files are looked for, where that folder exists.
        fingerprint: of the data as the coordinator sees them.
        complexity: of the task.
        population: members that share one program; 0 to find out.
        build_network: trained instead of the network that the study file names, as bytes on its way to a worker; None
            for that one.
        allow_code: whether a function that the study file names may be run.
        versions: of the coordinator.
        network_md5: of the network's file; None if there is none.
        network: fingerprint of the network, "" before a worker has found it out.
    """

    token: str
    spec: StudySpec
    task: str
    data_dir: Path | None
    fingerprint: str
    complexity: float
    population: int
    build_network: BuildNetwork | bytes | None
    allow_code: bool
    versions: Mapping[str, str]
    network_md5: str | None = None
    network: str = ""

    def packed(self) -> Opening:
        """Return it with the network's function as bytes, so that a worker that lacks its module can say so.

        Raises:
            MetaGDError: if the function cannot be sent.
        """
        if self.build_network is None or isinstance(self.build_network, bytes):
            return self
        import cloudpickle  # of Dask's

        try:
            return replace(self, build_network=cloudpickle.dumps(self.build_network))
        except Exception as error:  # of whatever kind: it is the user's own function
            raise MetaGDError(
                f"build_network cannot be sent to workers ({type(error).__name__}: {shortened(str(error))}); define it "
                "as a function of a module that they can import, without data of its own"
            ) from error

    def open(self, log: list[str]) -> TaskTrainer:
        """Return what trains on the task in this process.

        Raises:
            MetaGDError: if data or network are not here, or are others than elsewhere; if the network cannot be built.
        """
        device = worker_device()
        task = self._data(log)
        given, file = self.build_network, self.spec.network_file
        if file is not None and (not file.is_file() or md5_of(file) != self.network_md5):
            raise MetaGDError(f"{file}: the network's file is not here, or is another one; give all machines the same")
        if isinstance(given, bytes):
            import cloudpickle

            given = cloudpickle.loads(given)
        build, name = study_network(self.spec, given, allow_code=self.allow_code)
        trainer = open_task_trainer(
            task,
            self.spec,
            device,
            complexity=self.complexity,
            population=self.population,
            build_network=build,
            log=log.append,
        )
        if self.network not in ("", trainer.trainer.fingerprint):
            raise MetaGDError(
                f"the network {name} is another one here than on the worker that opened task {self.task!r} first; give "
                "all machines the same code and the same settings of Keras, and start workers anew after a change"
            )
        return trainer

    @property
    def device(self) -> str:
        """What trains in this process, in words."""
        return worker_device().name

    def _data(self, log: list[str]) -> Task:
        folder = self.data_dir if self.data_dir is not None and self.data_dir.is_dir() else None
        task = load_study_task(self.spec, self.task, folder, log.append)
        found = fingerprint(task)
        if found != self.fingerprint:
            raise MetaGDError(
                f"the data of task {self.task!r} ({self.spec.task_locations[self.task]}) differ from the coordinator's "
                f"(fingerprint {found[:12]} here, {self.fingerprint[:12]} there); give both the same files"
            )
        return task


@cache
def worker_device() -> Device:
    """Set this process up for training, once: one thread a job, and the same bits every time on a CPU."""
    from metagd_optuna.training.startup import check_backend, load_tensorflow

    check_backend()
    load_tensorflow()
    from metagd_optuna.training.device import prepare_device, repeatable

    device = prepare_device(lanes=1)
    for_good = repeatable(device)
    for_good.__enter__()
    atexit.register(for_good.__exit__, None, None, None)
    return device


@dataclass(frozen=True, slots=True)
class _Open:
    """A task that this process trains on.

    Args:
        trainer: trains.
        device: what it trains on, in words.
        log: lines of its engine that nobody has been told yet.
    """

    trainer: TaskTrainer
    device: str
    log: list[str]


_OPENED: OrderedDict[str, _Open] = OrderedDict()
_opening, _taking = Lock(), Lock()  # jobs may be threads of one process


def decisive_versions() -> dict[str, str]:
    """Return the versions of what a training depends on, and what the package's own modules hold."""
    found = {package: importlib.metadata.version(package) for package in DECISIVE}
    found["metagd-optuna"] += f" ({_code()[:8]})"
    return {"python": platform.python_version(), **found}


@cache
def _code() -> str:
    """Return a digest of the package's modules: two checkouts may differ under one version."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def introduce() -> Introduction:
    """Say what this worker is; TensorFlow is loaded for it."""
    host = socket.gethostname()
    try:
        return Introduction(decisive_versions(), host, worker_device().name)
    except (MetaGDError, ImportError, OSError) as error:
        return Introduction({}, host, problem=f"{type(error).__name__}: {shortened(str(error))}")


def work(opening: Opening, job: Job | None) -> Answer:
    """Train a job, or without one find out about the network; what the job or this machine is to blame for is answered.

    Args:
        opening: how its task is opened, if this process has not done so.
        job: what is trained.
    """
    from distributed import get_worker

    worker, host = get_worker().address, socket.gethostname()
    try:
        _check_versions(opening.versions)
        open_task, opened = _opened(opening)
    except Exception as error:  # of whatever kind: it may come from the user's own network
        return Answer(Outcome.UNFIT, worker, host, problem=_problem(error), trace=_trace(error))
    trainer, said, device = open_task.trainer, open_task.log, open_task.device
    try:
        if opened and job is not None:  # how it was opened has been said when the first worker did so
            _taken(said)
        if job is None:
            speed = trainer.measured_speed(next(iter(calibration_candidates().values())), trainer.trainer.population)
            network = trainer.trainer
            known = Known(network.plan, network.population, network.weights, network.fingerprint, speed)
            return Answer(Outcome.DONE, worker, host, known=known, opened=opened, log=_taken(said), device=device)
        began = time.perf_counter()
        records = trainer.run(job)
        seconds = time.perf_counter() - began
        return Answer(Outcome.DONE, worker, host, records, None, seconds, opened, _taken(said), device)
    except Exception as error:  # likewise, or from a form of f or g that the user registered
        return Answer(Outcome.FAILED, worker, host, log=_taken(said), problem=_problem(error), trace=_trace(error))


def _taken(lines: list[str]) -> tuple[str, ...]:
    """Take all lines out of a list that other threads add to and take from."""
    with _taking:
        taken = tuple(lines)
        del lines[: len(taken)]
    return taken


def _opened(opening: Opening) -> tuple[_Open, bool]:
    with _opening:
        known = _OPENED.get(opening.token)
        if known is None:
            log: list[str] = []
            _OPENED[opening.token] = _Open(opening.open(log), opening.device, log)
            others = [token for token in _OPENED if _run(token) != _run(opening.token)]
            for token in others[:-MOST_OF_OTHERS]:
                del _OPENED[token]
        _OPENED.move_to_end(opening.token)
        return _OPENED[opening.token], known is None


def _run(token: str) -> str:
    return token.partition("/")[0]


def _check_versions(wanted: Mapping[str, str]) -> None:
    if differences := version_differences(wanted, decisive_versions()):
        raise MetaGDError(f"{differences}; install the coordinator's versions on this worker")


def version_differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Return in words what differs from the coordinator's versions, "" if nothing does.

    >>> version_differences({"tensorflow": "2.21.0", "keras": "3.15.1"}, {"tensorflow": "2.20.0", "keras": "3.15.1"})
    'tensorflow is 2.20.0, the coordinator has 2.21.0'
    """
    return ", ".join(
        f"{package} is {found.get(package, 'missing')}, the coordinator has {version}"
        for package, version in wanted.items()
        if found.get(package) != version
    )


def kind_of(device: str) -> str:
    """Return what decides the last digits of a training: the device, or all of a cluster, without numbers of cores.

    >>> kind_of("CPU: AMD EPYC, 16 cores and CPU: AMD EPYC, 2 cores")
    'CPU: AMD EPYC'
    """
    return " and ".join(sorted({re.sub(r", \d+ cores$", "", one) for one in device.split(" and ")}))


def _problem(error: Exception) -> str:
    said = shortened(str(error))
    return str(error) if isinstance(error, MetaGDError) else f"{type(error).__name__}: {said}"


def _trace(error: Exception) -> str:
    """Return the traceback of an error that does not say everything itself."""
    return "" if isinstance(error, MetaGDError) else "".join(traceback.format_exception(error))[-MOST_TRACED:]
