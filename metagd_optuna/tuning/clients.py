"""Dask's clients: of workers that are started on this machine, and of a cluster that is running."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
import distributed
from distributed.core import Status
from distributed.utils import silence_logging_cmgr

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.files import read_text
from metagd_optuna.given import as_given, shortened

CONNECT_SECONDS = 30
# What Dask watches by default costs the coordinator a tenth of a core with sixteen idle workers: every process fifty
# times a second whether its loop keeps up, twice its memory and files, and every worker a hundred times what it does.
WATCHED_LESS = {
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.profile.enabled": False,
}


@contextmanager
def local_client(workers: int) -> Iterator[tuple[distributed.Client, Callable[[], None]]]:
    """Start workers of this machine, and end them at the end: one GPU each, or else its cores shared out.

    With the client comes what starts anew the workers that are lost, to be called now and then.

    They talk to the coordinator over an encrypted connection with a certificate that lasts as long as they do, because
    whoever reaches a worker can run code as its user, and a machine may have several users.

    Args:
        workers: how many processes.

    Raises:
        MetaGDError: if there are fewer GPUs.
    """
    security = distributed.Security.temporary()
    options: dict[str, Any] = {"protocol": "tls://", "host": "127.0.0.1", "security": security}
    quiet: dict[str, Any] = {"silence_logs": logging.CRITICAL}  # who dies and joins is said by the study
    with (
        dask.config.set(WATCHED_LESS),
        closed_at_the_end(_local_cluster(workers, options, quiet, security)) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        while len(client.nthreads()) < workers:  # one may die as it starts
            restart_lost(cluster)
            time.sleep(0.2)
        yield client, partial(restart_lost, cluster)


def _local_cluster(
    workers: int, options: dict[str, Any], quiet: dict[str, Any], security: distributed.Security
) -> distributed.SpecCluster:
    try:
        return distributed.SpecCluster(
            workers={
                f"local-{number}": {"cls": distributed.Nanny, "options": {**options, **quiet, **own}}
                for number, own in enumerate(_shares(workers))
            },
            scheduler={
                "cls": distributed.Scheduler,
                "options": {**options, "dashboard": True, "dashboard_address": "127.0.0.1:0"},
            },
            security=security,
            **quiet,
        )
    except RuntimeError as error:
        raise MetaGDError(
            f"worker processes cannot be started ({shortened(str(error))}); in a script, call run_study below "
            'if __name__ == "__main__":, because every worker reads the script first'
        ) from error


@contextmanager
def closed_at_the_end(cluster: distributed.SpecCluster) -> Iterator[distributed.SpecCluster]:
    """Close a cluster at the end, even if one of its workers is just being started."""
    try:
        yield cluster
    finally:
        try:
            cluster.close()
        except AssertionError:  # Dask (2026.8) joins the worker's process before it is one
            cluster.close()


def restart_lost(cluster: distributed.SpecCluster) -> None:
    """Start anew the workers whose nanny gave up: it restarts one that dies, but not one that dies as it starts."""
    lost = [name for name, nanny in list(cluster.workers.items()) if nanny.status in (Status.closed, Status.failed)]
    for name in lost:
        del cluster.workers[name]
    if lost or len(cluster.workers) < len(cluster.worker_spec):
        cluster.scale(len(cluster.worker_spec))


def _shares(workers: int) -> list[dict[str, Any]]:
    """Return what every worker process of this machine has of it."""
    from metagd_optuna.training import device

    gpus = device.gpu_count()
    if not gpus:
        return [{"nthreads": max(1, device.usable_cores() // workers), "memory_limit": 0}] * workers
    if workers > gpus:
        raise MetaGDError(f"--workers {workers}: a worker has a GPU of its own, and this machine has {gpus} of them")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    return [{"nthreads": 1, "memory_limit": 0, "env": {"CUDA_VISIBLE_DEVICES": gpu}} for gpu in visible[:workers]]


@contextmanager
def joined_client(address: str | Path) -> Iterator[distributed.Client]:
    """Join a running cluster; certificates are those of Dask's own configuration.

    Args:
        address: ``tcp://HOST:PORT``, ``tls://HOST:PORT``, or the path of a scheduler file.

    Raises:
        MetaGDError: if no scheduler answers there.
    """
    text = str(address)
    where = text if "://" in text else _scheduler_in(Path(text))
    try:
        client = distributed.Client(where, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise MetaGDError(
            f"--cluster {text}: no scheduler answers there ({shortened(str(error))}); start one with: dask scheduler, "
            "and workers with: dask worker ADDRESS --nthreads 1"
        ) from error
    except (TypeError, RuntimeError) as error:  # all that Dask says of certificates that are missing
        raise MetaGDError(
            f"--cluster {text}: cannot be joined ({shortened(str(error))}); name key and certificates in Dask's own "
            "configuration, distributed.comm.tls, as docs/scale.md shows"
        ) from error
    # What happens to the connection is said by the study, not by pages of tracebacks.
    with silence_logging_cmgr(logging.CRITICAL), client:
        yield client


def _scheduler_in(file: Path) -> str:
    """Return the address in a scheduler file."""
    remedy = f"start one with: dask scheduler --scheduler-file {file}, or give its address, such as tcp://HOST:8786"
    try:
        found = json.loads(read_text(file))
    except FileNotFoundError:
        raise MetaGDError(f"--cluster {file}: there is no such scheduler file; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MetaGDError(f"--cluster {file}: is no scheduler file ({shortened(str(error))}); {remedy}") from error
    address = found.get("address") if isinstance(found, dict) else None
    if not isinstance(address, str):
        raise MetaGDError(f"--cluster {file}: is no scheduler file, because it names no address; {remedy}")
    return address


def check_client(given: object) -> None:
    """Refuse what is no client that a study can use.

    Raises:
        MetaGDError: if it is none of Dask's, is closed, or is one for ``async`` code.
    """
    fits = isinstance(given, distributed.Client) and not given.asynchronous and given.status == "running"
    if not fits:
        raise MetaGDError(
            f"client is {as_given(given)}; give an open distributed.Client that is not asynchronous, or the address "
            "with cluster="
        )
