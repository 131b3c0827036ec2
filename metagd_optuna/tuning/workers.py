"""Where the trainings of a study run: in this process, or on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given
from metagd_optuna.tasks import Task
from metagd_optuna.tuning.flow import Flow
from metagd_optuna.tuning.progress import Progress
from metagd_optuna.tuning.task_trainer import TaskTrainer, open_task_trainer
from metagd_optuna.tuning.worker import Opening

if TYPE_CHECKING:
    from metagd_optuna.training.device import Device
    from metagd_optuna.training.network import BuildNetwork

MOST_WORKERS = 256  # processes of one machine


class Workers(Protocol):
    """Whatever trains the jobs of a study."""

    @property
    def device(self) -> str:
        """What trains, in words."""

    def open(self, opening: Opening, task: Task) -> Flow[TaskTrainer]:
        """Return what trains on a task."""

    def look(self) -> None:
        """Look after them while they train."""

    def cancel(self) -> None:
        """Drop what was asked for: the study ends."""

    def summary(self) -> list[str]:
        """Return who did how much, in lines for people."""


@dataclass(frozen=True)
class Places:
    """Where a study is to train; at most one of the three is given.

    Args:
        workers: processes to start on this machine; 0 trains in this one.
        cluster: the address or the scheduler file of a running Dask cluster.
        client: a client of one.

    Raises:
        MetaGDError: if more than one is given, or one is none of those.
    """

    workers: int = 0
    cluster: str | Path | None = None
    client: Any = None

    def __post_init__(self) -> None:
        if type(self.workers) is not int or not 0 <= self.workers <= MOST_WORKERS:
            raise MetaGDError(
                f"workers is {as_given(self.workers)}; give 0 to train in this process, or how many worker processes "
                f"this machine is to run, up to {MOST_WORKERS}"
            )
        given = [name for name in ("workers", "cluster", "client") if getattr(self, name)]
        if len(given) > 1:
            raise MetaGDError(
                f"{' and '.join(given)} are given; a study trains in one place: on workers of this machine, on a "
                "running cluster, or on that of a client"
            )


HERE = Places()


class ThisProcess:
    """Trains each job at once, here."""

    def __init__(self, device: Device, build: BuildNetwork, progress: Progress) -> None:
        self.device = device.name
        self._device = device
        self._build = build
        self._progress = progress

    def open(self, opening: Opening, task: Task) -> Flow[TaskTrainer]:
        """Return what trains on a task."""
        yield from ()
        return open_task_trainer(
            task,
            opening.spec,
            self._device,
            complexity=opening.complexity,
            population=opening.population,
            build_network=self._build,
            log=self._progress.log,
        )

    def look(self) -> None:
        """There is nobody to look after."""

    def cancel(self) -> None:
        """A job that is asked for is done."""

    def summary(self) -> list[str]:
        """Nobody else did anything."""
        return []


@contextmanager
def open_workers(places: Places, build: BuildNetwork, progress: Progress) -> Iterator[Workers]:
    """Make ready whatever is to train a study.

    Args:
        places: where it trains.
        build: makes the network, for trainings in this process.
        progress: where to say what is going on.

    Raises:
        MetaGDError: if the extra ``cluster`` is not installed; if a worker cannot train the study.
    """
    if not (places.workers or places.cluster or places.client is not None):
        from metagd_optuna.training.device import prepare_device, repeatable

        device = prepare_device()
        with repeatable(device):
            yield ThisProcess(device, build, progress)
        return
    try:
        from metagd_optuna.tuning.clients import check_client, joined_client, local_client
        from metagd_optuna.tuning.cluster import Cluster
    except ImportError as error:
        raise MetaGDError(
            f"several workers need Dask, and it cannot be loaded ({error}); install it: pip install "
            "'metagd-optuna[cluster]'"
        ) from error
    if places.client is not None:
        check_client(places.client)
        yield Cluster(places.client, progress)
        return
    if places.workers:
        with local_client(places.workers) as (client, restart_lost):
            yield Cluster(client, progress, restart_lost)
        return
    with joined_client(places.cluster or "") as client:
        yield Cluster(client, progress)
