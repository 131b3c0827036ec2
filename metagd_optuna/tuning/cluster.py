"""A study's trainings on the workers of a Dask cluster: of this machine, or of one that is running.

Dask places jobs, moves them away from workers that die, and hands the answers back. What is left to do here is to tell
a job that fails everywhere from a machine on which everything fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from functools import partial
from itertools import count
from time import monotonic, sleep
from typing import Any

import distributed
from distributed.scheduler import KilledWorker

from metagd_optuna.analysis.scores import chance_level
from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import counted, shortened
from metagd_optuna.tasks import Task
from metagd_optuna.tuning.flow import Flow, all_done
from metagd_optuna.tuning.jobs import Job
from metagd_optuna.tuning.on_cluster import OnCluster, WallClock
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.task_trainer import TaskTrainer
from metagd_optuna.tuning.worker import (
    Answer,
    Introduction,
    Opening,
    Outcome,
    decisive_versions,
    introduce,
    kind_of,
    version_differences,
    work,
)

ATTEMPTS = 3  # on as many workers, until a job that raises is taken to raise everywhere
LOOK_EVERY = 2.0  # seconds between two looks at who is there

NOT_ONE_KIND = "so who trains what decides the last digits"
SAME_COMMAND = "What was trained is kept: go on with the same command"


class Cluster:
    """The workers of a Dask cluster, as a study sees them.

    Args:
        client: Dask's; it stays the caller's.
        progress: where to say who comes, goes and fails.
        restart_lost: starts anew the workers that are lost, where the study started them.
        introduction: what every worker says of itself.

    Raises:
        MetaGDError: if a worker has other versions of what a training depends on, or cannot load TensorFlow.
    """

    def __init__(
        self,
        client: distributed.Client,
        progress: Progress,
        restart_lost: Callable[[], None] = lambda: None,
        introduction: Callable[[], Introduction] = introduce,
    ) -> None:
        self._client = client
        self._restart_lost = restart_lost
        self._progress = progress
        self._versions = decisive_versions()
        self._names: dict[str, str] = {}
        self._unfit: dict[str, set[str]] = {}  # token to workers that cannot train that task
        self._fit: set[tuple[str, str]] = set()
        # Answers are fetched in the background: if their worker dies meanwhile, nobody but their job waits for it.
        self._executor = client.get_executor()
        self._asked: dict[str, Future[Answer]] = {}
        self._only: dict[Future[Answer], frozenset[str]] = {}  # who alone may do a job; all may do one that is not here
        self._stranded: set[Future[Answer]] = set()
        self._joined: Future[None] = Future()
        self._gone = False
        self._looked = -LOOK_EVERY
        self.jobs: Counter[str] = Counter()
        self._throughput = WallClock()
        self.devices = self._introduced(introduction)
        self._say_who()

    @property
    def device(self) -> str:
        """What trains, in words: every kind once."""
        return " and ".join(sorted(set(self.devices.values())))

    @property
    def throughput(self) -> WallClock:
        """What has been trained so far, on all tasks."""
        return self._throughput

    @property
    def width(self) -> int:
        """How many jobs the workers train at once."""
        return sum(self._threads().values())

    def open(self, opening: Opening, task: Task) -> Flow[TaskTrainer]:
        """Return what trains on a task, as soon as a worker has opened it.

        Args:
            opening: how workers open it.
            task: its data, as they are here.
        """
        opening = opening.packed()
        answer = yield from self.answer(opening, None, f"opening task {task.name!r}")
        known = answer.known
        assert known is not None
        there = OnCluster(self, replace(opening, population=known.population, network=known.fingerprint), known)
        metric = opening.spec.metric
        return TaskTrainer(
            known,
            metric,
            chance_level(metric, task.class_frequencies),
            opening.complexity,
            task.class_frequencies,
            elsewhere=there,
        )

    def answer(self, opening: Opening, job: Job | None, what: str) -> Flow[Answer]:
        """Ask for a job until some worker has done it.

        Args:
            opening: of its task.
            job: what is trained; None asks what the network is.
            what: the job in words, for errors.

        Raises:
            MetaGDError: if it fails on several workers, or on all; if no worker can open the task; if it ended several
                workers' processes; if the scheduler is gone.
        """
        key = f"open-{opening.token}" if job is None else job.key(opening.token)
        failed: list[Answer] = []
        killed = 0
        for attempt in count():
            apart = self._unfit.setdefault(opening.token, set()) | {each.worker for each in failed}
            while apart and not self._threads().keys() - apart:
                yield from all_done([self._joined])
            # A study that lost its storage for a while asks again for what is being trained.
            asked = self._asked.get(key) or self._ask(f"{key}-{attempt}", opening, job, apart, failed)
            self._asked[key] = asked
            yield from all_done([asked])
            del self._asked[key]
            self._only.pop(asked, None)
            if asked in self._stranded:  # all who could do it left
                self._stranded.remove(asked)
                continue
            try:
                answer = self._result(asked, what)
            except KilledWorker as error:
                # Dask also holds against a job that it waited on a worker that died.
                killed += 1
                if killed == ATTEMPTS:
                    raise self._ended(error, what) from error
                continue
            self._say(answer, by_name=job is not None)
            if answer.outcome is Outcome.DONE:
                self._fit.add((opening.token, answer.worker))
                if job is not None:
                    self.jobs[answer.worker] += 1
                return answer
            if answer.outcome is Outcome.UNFIT:
                self._leave_out(opening, answer)
            else:
                failed.append(answer)
                self._check_tries(failed, what)
        raise AssertionError("unreachable")

    def look(self) -> None:
        """Say who joined and who left, and what every worker has to do; called again and again while jobs train.

        Raises:
            MetaGDError: if the scheduler does not answer.
        """
        if monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = monotonic()
        processing: Mapping[str, Sequence[str]] = self._scheduler(self._client.processing)
        self._restart_lost()
        for asked, only in list(self._only.items()):
            if not only & processing.keys() and not asked.done():
                self._stranded.add(asked)
                asked.cancel()
        for address in processing.keys() - self._names.keys():
            self._names[address] = self._name(address)
            self._progress.log(f"worker {self._names[address]} joined")
            joined, self._joined = self._joined, Future()
            joined.set_result(None)
        for address in self._names.keys() - processing.keys():
            self._progress.log(f"worker {self._names.pop(address)} left; what it was training is trained elsewhere")
            if not self._names:
                self._progress.notice("no worker is left; waiting for one to join (Ctrl-C stops, and nothing is lost)")
        self._progress.workers({self._names[address]: len(keys) for address, keys in processing.items()})

    def cancel(self) -> None:
        """Drop all jobs that have not begun; one that trains ends by itself."""
        asked, self._asked = list(self._asked.values()), {}
        for future in asked if not self._gone else ():
            future.cancel()

    def summary(self) -> list[str]:
        """Return how many jobs every worker did, a line each."""
        return [
            f"  {self._names.get(address, address)}: {counted(count, 'job')}"
            for address, count in self.jobs.most_common()
        ]

    def _say_who(self) -> None:
        for address, device in self.devices.items():
            self._progress.log(f"worker {self._names[address]}: {device}")
        if len(set(map(kind_of, self.devices.values()))) > 1:
            self._progress.log(f"note: these workers are not of one kind, {NOT_ONE_KIND}")
        self._progress.log(f"Dask's dashboard: {self._client.dashboard_link}")

    def _say(self, answer: Answer, by_name: bool) -> None:
        """Repeat what a worker said as it opened a task or trained, and what is new about its device."""
        name = self._names.get(answer.worker, answer.worker)
        for line in answer.log:
            self._progress.log(f"worker {name}: {line}" if by_name else line)
        if answer.worker in self.devices or not answer.device:
            return
        if kind_of(answer.device) not in map(kind_of, self.devices.values()):
            self._progress.log(f"note: worker {name} is of another kind, {answer.device}, {NOT_ONE_KIND}")
        self.devices[answer.worker] = answer.device

    def _introduced(self, introduction: Callable[[], Introduction]) -> dict[str, str]:
        """Return the device of every worker that is there, by address; wait for one if nobody is."""
        devices: dict[str, str] = {}
        problems: list[str] = []
        waiting = False
        while not devices and not problems:
            self._restart_lost()
            if not self._threads():
                if not waiting:
                    self._progress.notice("no worker is there yet; waiting for one to join (Ctrl-C stops)")
                waiting = True
                sleep(LOOK_EVERY)
                continue
            found = self._scheduler(partial(self._client.run, introduction, on_error="return"))
            for address, each in found.items():
                if isinstance(each, OSError):  # it died meanwhile, or does not answer; its answers say what it is
                    continue
                name = self._names[address] = self._name(address)
                if isinstance(each, BaseException):
                    problems.append(f"{name}: {type(each).__name__}: {shortened(str(each))}")
                elif difference := each.problem or version_differences(self._versions, each.versions):
                    problems.append(f"{name}: {difference}")
                else:
                    devices[address] = each.device
        if problems:
            number = counted(len(problems), "worker")
            raise MetaGDError(
                f"{number} of {len(found)} cannot train this study: {'; '.join(problems[:5])}. "
                "Install the same versions everywhere, with one constraints file, or take those workers out"
            )
        return devices

    def _name(self, address: str) -> str:
        info = self._scheduler(partial(self._client.scheduler_info, n_workers=-1))
        found = info["workers"].get(address, {})
        name = str(found.get("name", address))
        return address if name == address else f"{name} ({address})"

    def _threads(self) -> Mapping[str, int]:
        found: Mapping[str, int] = self._scheduler(self._client.nthreads)
        return found

    def _scheduler(self, call: Callable[[], Any]) -> Any:
        """Ask the scheduler something.

        Raises:
            MetaGDError: if it does not answer, or the client was closed.
        """
        try:
            return call()
        except (OSError, TimeoutError, CancelledError, RuntimeError, AttributeError) as error:
            raise self._lost() from error

    def _ask(
        self, key: str, opening: Opening, job: Job | None, apart: Collection[str], failed: Collection[Answer]
    ) -> Future[Answer]:
        where: dict[str, Any] = {}
        if apart:
            left = [address for address in self._threads() if address not in apart]
            hosts = {_host(each.worker) for each in failed}
            others = [address for address in left if _host(address) not in hosts]
            # An idle worker would take the job over from a busy one if it were only asked not to.
            where = {"workers": others or left}
        submit = partial(self._executor.submit, work, opening, job, key=key, pure=False, **where)
        asked: Future[Answer] = self._scheduler(submit)
        if where:
            self._only[asked] = frozenset(where["workers"])
        return asked

    def _result(self, asked: Future[Answer], what: str) -> Answer:
        try:
            return asked.result()
        except KilledWorker:
            raise
        except (CancelledError, OSError, TimeoutError) as error:
            raise self._lost() from error
        except Exception as error:  # of Dask: what a job is to blame for is an answer
            problem = f"{type(error).__name__}: {shortened(str(error))}"
            raise MetaGDError(f"{what}: the cluster failed ({problem}). {SAME_COMMAND}") from error

    def _ended(self, error: KilledWorker, what: str) -> MetaGDError:
        return MetaGDError(
            f"{what} ended one worker's process after another, the last on {error.last_worker.address}; look into "
            f"that worker's log. A lack of memory is the usual reason: give a worker fewer threads or more memory. "
            f"{SAME_COMMAND}"
        )

    def _lost(self) -> MetaGDError:
        self._gone = True
        address = self._client.scheduler.address if self._client.scheduler else "of the cluster"
        return MetaGDError(
            f"the scheduler {address} does not answer any more, or its client was closed; start it again. "
            f"{SAME_COMMAND}"
        )

    def _leave_out(self, opening: Opening, answer: Answer) -> None:
        """Give a worker no more jobs of a task; an error if nobody is left who could do them."""
        unfit = self._unfit[opening.token]
        name = self._names.get(answer.worker, answer.worker)
        if answer.worker not in unfit:
            unfit.add(answer.worker)
            self._progress.log(
                f"worker {name} on {answer.host} cannot train task {opening.task!r}, so others do: {answer.problem}"
            )
        anybody = any(token == opening.token for token, _ in self._fit)
        if not anybody and not self._threads().keys() - unfit:
            raise MetaGDError(
                f"no worker can train task {opening.task!r}: {name} on {answer.host}: {answer.problem}"
            ) from _remote(answer)

    def _check_tries(self, failed: list[Answer], what: str) -> None:
        last = failed[-1]
        tried = {each.worker for each in failed}
        name = self._names.get(last.worker, last.worker)
        if len(tried) < ATTEMPTS and self._threads().keys() - tried:
            self._progress.log(f"note: {what} failed on {name}, {last.host}, and is tried elsewhere: {last.problem}")
            return
        raise MetaGDError(
            f"{what} failed on {counted(len(tried), 'worker')}, the last one {name} on {last.host}: {last.problem}. "
            f"What other jobs trained is kept: go on with the same command once this is mended"
        ) from _remote(last)


def _host(address: str) -> str:
    return address.partition("://")[2].rpartition(":")[0]


class _RemoteError(Exception):
    """An error of a worker, with its traceback as text."""


def _remote(answer: Answer) -> _RemoteError | None:
    return _RemoteError(f"\n{answer.trace}") if answer.trace else None
