"""What the training runs on, prepared once per process."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

import tensorflow as tf

# TensorFlow's public configuration can switch op determinism on, but neither ask for it nor switch it off.
from tensorflow.python.framework import config as tf_config

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.training.compile_cache import keep_compiled_programs

# Who has asked for determinism, which is the process's, and how it was before.
_asking = Lock()
_askers: list[object] = []
_before: list[bool] = []


@dataclass(frozen=True, slots=True)
class Device:
    """The device that trains.

    Args:
        name: in words, for reports, e.g. ``CPU: AMD EPYC, 2 cores``.
        compiled: whether rate updates are compiled by XLA (on a GPU; on a CPU TensorFlow's own kernels are faster).
        lanes: populations that train side by side, on a core each.
        layout: how populations are laid out, see ``FusedNetwork``: what TensorFlow's own CPU kernels are fast at, or
            what XLA turns into matrix products of tensor cores, which also every CPU can do.
    """

    name: str
    compiled: bool
    lanes: int
    layout: str = "grouped"


def _processor() -> str:
    """Return the processor's name as the operating system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_count() -> int:
    """Return how many GPUs this process sees; none of them is touched."""
    return len(tf.config.list_physical_devices("GPU"))


def share_gpus() -> None:
    """Let TensorFlow take a GPU's memory only as it needs it; a process that has used them keeps its settings."""
    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)


def prepare_device(lanes: int | None = None) -> Device:
    """Describe the best device there is, and set TensorFlow up for it.

    A GPU is told to take memory only as it needs it, to leave room for others, and has one lane. On a CPU every
    operation keeps to one core, so that what a training computes does not depend on how many there are. In a process
    that has already used TensorFlow, its settings stay as they are.

    Args:
        lanes: populations that train side by side on a CPU; None for as many as there are cores to use. A process that
            shares the machine with others takes fewer.

    Raises:
        MetaGDError: if ``lanes`` is below 1.
    """
    if lanes is not None and lanes < 1:
        raise MetaGDError(f"lanes: {lanes} is not allowed; give a whole number from 1, or None for one per core")
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        with suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)
        layout = "grouped" if _trains_groups() else "patches"
        name = f"CPU: {_processor()}, {usable_cores()} cores"
        return Device(name, compiled=False, lanes=lanes or usable_cores(), layout=layout)
    share_gpus()
    details = tf.config.experimental.get_device_details(gpus[0])
    name = f"GPU: {details.get('device_name', gpus[0].name)}"
    keep_compiled_programs(name)
    return Device(name, compiled=True, lanes=1, layout="patches")


@cache
def _trains_groups() -> bool:
    """Return whether grouped convolutions have a gradient here: on a CPU it is oneDNN that brings it.

    TensorFlow may be built without, or loaded before this package could switch it on.
    """
    try:
        with tf.device("CPU"), tf.GradientTape() as tape:
            kernels = tf.ones((1, 1, 1, 2))
            tape.watch(kernels)
            answers = tf.nn.conv2d(tf.ones((1, 2, 2, 2)), kernels, 1, "VALID")
        tape.gradient(answers, kernels)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
        return False
    return True


@contextmanager
def repeatable(device: Device) -> Iterator[None]:
    """Let TensorFlow's operations give the same bits every time, as long as the context lasts.

    On a GPU nothing is changed: XLA has no deterministic gradient of max-pooling and would refuse to compile.
    The setting is the whole process's and forbids unseeded random operations, so it is taken back at the end, for
    whatever else the process does; where several threads ask for it, when the last of them is through.
    """
    if device.compiled:
        yield
        return
    with _asking:
        if not _askers:
            _before.append(tf_config.is_op_determinism_enabled())
            tf.config.experimental.enable_op_determinism()
        _askers.append(device)
    try:
        yield
    finally:
        with _asking:
            _askers.pop()
            if not _askers and not _before.pop():
                tf_config.disable_op_determinism()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
