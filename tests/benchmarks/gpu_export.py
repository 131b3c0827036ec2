"""Export the compiled rate updates for a GPU machine that need not have TensorFlow.

    python tests/benchmarks/gpu_export.py DIR

writes one serialized XLA program per case, the inputs that all of them share, and what eight members are to come to,
trained by TensorFlow on the CPU without XLA. ``gpu_run.py`` is the other side.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow prints a page otherwise
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as a study does: without it CPUs refuse grouped convolutions

import gpu_cases
import numpy as np
import tensorflow as tf

from metagd_optuna.policy.optimizers import OPTIMIZERS
from metagd_optuna.training.cnn import article_cnn
from metagd_optuna.training.fused.network import FusedNetwork
from metagd_optuna.training.network import Start
from metagd_optuna.training.programs import steps_of


def model() -> Any:
    """Return the article's CNN for these images, the same at every call."""
    return article_cnn((gpu_cases.SIDE, gpu_cases.SIDE, 1), gpu_cases.CLASSES, seed=0)


def arguments(population: int, batch: int, *, start: Start, data: gpu_cases.Arrays) -> tuple[Any, ...]:
    """Return what a rate update of a checked run takes."""
    weights = tf.repeat(start.weights[None], population, axis=0)
    return (
        tf.constant(data["images"]),
        tf.constant(data["labels"]),
        weights,
        OPTIMIZERS["adam"].rule().slots(weights),
        tf.zeros((population, 0)),
        (),
        tf.constant(0),
        tf.constant(gpu_cases.batches_of(batch)),
        tf.constant(gpu_cases.rates_of(population, checked=True)),
    )


def expected(batch: int, start: Start, data: gpu_cases.Arrays) -> gpu_cases.Arrays:
    """Return loss (8,) and weights (8, D) of a checked run, by the kernels that the tests hold against Keras."""
    tick = tf.function(steps_of(FusedNetwork(model()), OPTIMIZERS["adam"].rule()), autograph=False)
    weights, _, _, _, loss, _ = tick(*arguments(len(gpu_cases.RATES), batch, start=start, data=data))
    return {"loss": loss.numpy(), "weights": weights.numpy()}


def serialized(case: gpu_cases.Case, start: Start, data: gpu_cases.Arrays) -> bytes:
    """Return the XLA program of a case, before the optimisations of any device; P is fixed in it.

    TensorFlow without CUDA refuses ``platform_name="CUDA"``, so it is traced for the CPU, but calls nothing of a CPU
    (tested).
    """
    network = FusedNetwork(model(), layout=case.layout, compute=case.compute)
    tick = tf.function(steps_of(network, OPTIMIZERS["adam"].rule()), autograph=False, jit_compile=True)
    inputs = arguments(case.population, case.batch, start=start, data=data)
    program = tick.experimental_get_compiler_ir(*inputs)(stage="hlo_serialized")
    assert isinstance(program, bytes)
    return program


def main() -> None:
    """Write the programs, their inputs and what is expected of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--populations", type=int, nargs="+", default=gpu_cases.POPULATIONS)
    parser.add_argument("--batches", type=int, nargs="+", default=gpu_cases.BATCHES)
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    start, data = Start.of(model()), gpu_cases.data()
    np.savez_compressed(folder / "inputs.npz", start=start.weights, **data)
    for batch in options.batches:
        began = time.perf_counter()
        np.savez_compressed(folder / f"expected-b{batch}.npz", **expected(batch, start, data))
        print(f"expected at batch {batch}: {time.perf_counter() - began:.1f} s", flush=True)
    names = []
    for case in gpu_cases.cases(options.populations, options.batches):
        began = time.perf_counter()
        program = serialized(case, start, data)
        (folder / f"{case.name}.hlo").write_bytes(program)
        names.append(case.name)
        print(f"{case.name}: {len(program):,} bytes, {time.perf_counter() - began:.1f} s", flush=True)
    manifest = {"tensorflow": tf.__version__, "cases": names}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
