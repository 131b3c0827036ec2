"""What the training runs on, prepared once per process."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

# Members trained together. On a CPU a few share one mini-batch and one kernel launch per layer; more only
# cost cache. A GPU is not filled by one small CNN, so there the population is larger.
CPU_POPULATION = 4
GPU_POPULATION = 64


@dataclass(frozen=True, slots=True)
class Device:
    """The device that trains.

    Args:
        name: in words, for reports, e.g. ``CPU: AMD EPYC, 2 cores``.
        compiled: whether ticks are compiled by XLA (on a GPU; on a CPU TensorFlow's own kernels are faster).
        population: members to train together unless a study says otherwise.
    """

    name: str
    compiled: bool
    population: int


def _processor() -> str:
    """Return the processor's name as the operating system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def prepare_device() -> Device:
    """Set TensorFlow up for repeatable training on the best device there is, and describe it.

    Switches on op determinism, so that a study is repeatable to the bit on one machine, and memory growth
    on GPUs, so that a study leaves room for others. Both are settings of the whole process.
    """
    tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        cores = tf.config.threading.get_intra_op_parallelism_threads() or _cores()
        return Device(name=f"CPU: {_processor()}, {cores} cores", compiled=False, population=CPU_POPULATION)
    for gpu in gpus:
        if not tf.config.experimental.get_memory_growth(gpu):
            tf.config.experimental.set_memory_growth(gpu, True)
    details = tf.config.experimental.get_device_details(gpus[0])
    return Device(name=f"GPU: {details.get('device_name', gpus[0].name)}", compiled=True, population=GPU_POPULATION)


def _cores() -> int:
    """Return how many cores this process may use."""
    import os

    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
