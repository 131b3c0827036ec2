"""How many members share one program: measured at the first use on a device, then remembered."""

from __future__ import annotations

import importlib.metadata
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# TensorFlow has no public name for how much memory a GPU may give.
from tensorflow.python.client import device_lib

from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.training.architecture import network_fingerprint
from metagd_optuna.training.device import Device
from metagd_optuna.training.engine import Engine
from metagd_optuna.training.lanes import open_lanes
from metagd_optuna.training.population_cache import cache_file, read_sizes, write_sizes

# What a doubling has to gain. Less is within the noise, and a second measurement should give the same answer.
LEAST_GAIN = 1.1
LARGEST = 512
TIMINGS = 3
SECONDS_PER_TIMING = 0.15
GPU_SHARE = 0.8  # of all of its memory
CPU_SHARE = 0.25  # of the memory that is free

Log = Callable[[str], None]


class PopulationSize(NamedTuple):
    """Members that share one program, and in words where the number comes from."""

    members: int
    origin: str


def population_size(engine: Engine, device: Device, log: Log) -> PopulationSize:
    """Return the size at which the engine trains most members' examples per second.

    It is measured once per user, device, network and batch size; see ``population_cache``. A cache that cannot be
    read or written costs a measurement and a line, and never the study.

    Args:
        engine: opened for ``device``.
        device: what trains.
        log: called with a line about whatever does not go as usual.
    """
    if engine.network.most_members == 1:
        return PopulationSize(1, f"cannot be fused: {engine.unfused}")
    file, key = cache_file(), cache_key(engine, device)
    sizes: dict[str, int] = {}
    try:
        sizes = read_sizes(file)
    except (OSError, ValueError) as error:
        log(f"  {file} cannot be read ({_reason(error)}); it is measured and written anew")
    if key in sizes:
        return PopulationSize(sizes[key], "measured earlier")
    members = measured_size(engine, device, log)
    with suppress(OSError, ValueError):
        # Measuring takes minutes, in which another process may have added its own; a file that cannot be read was told.
        sizes = read_sizes(file)
    _remember(file, sizes | {key: members}, log)
    return PopulationSize(members, "measured")


def _remember(file: Path, sizes: dict[str, int], log: Log) -> None:
    try:
        write_sizes(file, sizes)
    except OSError as error:
        log(f"  {file} cannot be written ({_reason(error)}); the next study measures again")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def cache_key(engine: Engine, device: Device) -> str:
    """Return everything that the fastest size depends on, in words."""
    images = engine.images.train[0]
    return "; ".join(
        (
            device.name,
            f"metagd-optuna {importlib.metadata.version('metagd-optuna')}",
            f"tensorflow {tf.__version__}",
            # Without oneDNN a CPU has no gradient of grouped convolution.
            f"oneDNN {os.environ.get('TF_ENABLE_ONEDNN_OPTS', 'default')}",
            f"lanes {engine.lanes}",
            f"XLA {'yes' if engine.compiled else 'no'}",
            f"{engine.layout} {engine.compute}",
            f"batch {engine.plan.batch_size}",
            f"images {'x'.join(map(str, images.shape[1:]))} {images.dtype.name}",
            f"network {network_fingerprint(engine.model)}",
        )
    )


def measured_size(engine: Engine, device: Device, log: Log) -> int:
    """Return the fastest size that fits in memory, measured now; 1 where grouped convolution has no gradient."""
    taken, limit = _memory_meter(device)
    most = 0
    if device.compiled:
        log("  measuring how many members should share a program; every size is compiled, so this takes a while, once")

    def speed(members: int) -> float:
        nonlocal most
        if most and limit is not None and taken() * members / most > limit:
            return 0.0
        try:
            found = member_examples_per_second(engine, members)
        except tf.errors.ResourceExhaustedError:
            return 0.0
        except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError) as error:
            if members != 2:
                raise
            reason = re.sub(r"\{\{.*?\}\} *", "", str(error).splitlines()[0])  # without the names of graph nodes
            log(f"  grouped convolution has no gradient on this device ({reason})")
            return 0.0
        most = max(most, members)
        return found

    return fastest_size(speed)


def fastest_size(speed: Callable[[int], float], largest: int = LARGEST) -> int:
    """Return the power of two up to which every doubling pays.

    Args:
        speed: a size -> members' examples per second; 0 for a size that does not fit.
        largest: the largest size to try.

    >>> fastest_size({1: 100.0, 2: 190.0, 4: 350.0, 8: 360.0, 16: 9999.0}.__getitem__)
    4
    """
    size, best = 1, speed(1)
    while 2 * size <= largest:
        doubled = speed(2 * size)
        if doubled < LEAST_GAIN * best or doubled == 0.0:
            break
        # Other work on the machine while the smaller size was timed must not pass for a gain.
        if doubled < LEAST_GAIN * speed(size):
            break
        size, best = 2 * size, doubled
    return size


def member_examples_per_second(engine: Engine, members: int) -> float:
    """Return how many examples all members together take in per second, every lane busy; the best of a few timings.

    The engine's own program for Adam runs on real mini-batches, in rate updates as long as those of a training, because
    XLA compiles every length anew. Rates of 0 keep the weights where they are.

    Raises:
        tf.errors.ResourceExhaustedError: that many members do not fit in memory.
        tf.errors.OpError: the device cannot run the program.
    """
    lengths = np.diff((0, *engine.plan.update_steps))
    steps = int(np.bincount(lengths).argmax())
    train_steps = engine.programs.train_steps("adam", engine.plan.batch_size)
    batches = tf.constant(engine.plan.batches(0)[:steps])
    rates = tf.zeros((steps, members))
    start = engine.start(0)

    def population() -> tuple[Any, ...]:
        weights = tf.repeat(start.weights[None], members, axis=0)
        state = tf.repeat(start.state[None], members, axis=0)
        noise = tuple(tf.constant(array) for array in start.noise)
        return weights, OPTIMIZERS["adam"].rule().slots(weights), state, noise

    def examples_per_second(population: tuple[Any, ...], seconds: float) -> float:
        chunks, elapsed, began = 0, 0.0, time.perf_counter()
        while chunks == 0 or elapsed < seconds:
            *_, accuracy = train_steps(*population, tf.constant(0), batches, rates)
            accuracy.numpy()  # waits for the device
            chunks += 1
            elapsed = time.perf_counter() - began
        return chunks * steps * engine.plan.batch_size * members / elapsed

    populations = [population() for _ in range(engine.lanes)]
    with open_lanes(engine.lanes) as lanes:

        def timed(seconds: float) -> float:
            return sum(lanes.map(lambda members: examples_per_second(members, seconds), populations))

        timed(0.0)  # traces, compiles and fills the caches
        return max(timed(SECONDS_PER_TIMING) for _ in range(TIMINGS))


def _memory_meter(device: Device) -> tuple[Callable[[], int], float | None]:
    """Return what tells the bytes taken since now at the most, and the bytes that may be; None if nothing tells."""
    if device.compiled:
        tf.config.experimental.reset_memory_stats("GPU:0")
        sizes = [found.memory_limit for found in device_lib.list_local_devices() if found.device_type == "GPU"]
        limit = GPU_SHARE * sizes[0] if sizes else None
        return lambda: int(tf.config.experimental.get_memory_info("GPU:0")["peak"]), limit
    before = _peak_bytes()
    free = _free_bytes()
    return lambda: _peak_bytes() - before, None if free is None else CPU_SHARE * free


def _peak_bytes() -> int:
    """Return the most memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _free_bytes() -> int | None:
    """Return how much memory is free; None where the operating system does not say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
