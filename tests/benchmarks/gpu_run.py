"""Run, check and time the exported rate updates on a machine with a GPU, JAX and NumPy, beside what its users write.

    python tests/benchmarks/gpu_run.py DIR --out gpu.json

DIR is what ``gpu_export.py`` wrote. A rate update that TensorFlow compiles is an XLA program, and JAX brings an XLA of
its own, so kilobytes travel and not TensorFlow. The results are written after every case, so that what was measured
stays if time runs out. A case that fails is told and recorded, and the others go on.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gpu_cases
import gpu_peers
import jax
import numpy as np
from jax._src.lib import xla_client  # JAX has no public way to run a program that comes as HLO

KERAS_STEPS_PER_EXECUTION = (1, gpu_cases.STEPS)


class Inputs:
    """What all programs share, on the device.

    Args:
        folder: where the export lies.
    """

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "inputs.npz") as arrays:
            self.start = arrays["start"]
            self._images, self._labels = jax.device_put((arrays["images"], arrays["labels"]))
        self._folder = folder

    def expected(self, batch: int) -> gpu_cases.Arrays:
        """Return what eight members come to."""
        with np.load(self._folder / f"expected-b{batch}.npz") as arrays:
            return dict(arrays)

    def data(self) -> list[Any]:
        """Return images and labels."""
        return [self._images, self._labels]

    def weights(self, population: int) -> Any:
        """Return everyone's initial weights, (P, D)."""
        return jax.device_put(np.tile(self.start, (population, 1)))

    def program(self, case: gpu_cases.Case) -> bytes:
        """Return a serialized XLA program."""
        return (self._folder / f"{case.name}.hlo").read_bytes()


def exported(case: gpu_cases.Case, inputs: Inputs) -> Callable[[Any], tuple[Any, Any]]:
    """Compile an exported rate update; return it as a function of the rates (steps, P) to weights and mean loss."""
    device = jax.devices()[0]
    computation = xla_client.XlaComputation(inputs.program(case))
    module = xla_client._xla.mlir.xla_computation_to_mlir_module(computation)
    executable = device.client.compile_and_load(module, xla_client.DeviceList((device,)), xla_client.CompileOptions())
    weights = inputs.weights(case.population)
    zeros = jax.device_put(np.zeros_like(weights))
    begin, batches = jax.device_put((np.int32(0), gpu_cases.batches_of(case.batch)))

    def run(rates: Any) -> tuple[Any, Any]:
        # The network has no state besides its weights, and arrays of no numbers are no inputs of a program.
        given = [*inputs.data(), weights, zeros, zeros, begin, batches, rates]
        shards = executable.execute_sharded(given).disassemble_into_single_device_arrays()
        ended, _, _, _, loss, _ = (shard for [shard] in shards)
        return ended, loss

    return run


def vmapped(case: gpu_cases.Case, inputs: Inputs) -> Callable[[Any], tuple[Any, Any]]:
    """Compile the peer in plain JAX."""
    weights = inputs.weights(case.population)
    batches = jax.device_put(gpu_cases.batches_of(case.batch))
    given = [*inputs.data(), weights, batches]
    shape = jax.ShapeDtypeStruct((gpu_cases.STEPS, case.population), np.float32)
    tick = gpu_peers.vmapped_tick(case.compute).lower(*given, shape).compile()
    return lambda rates: tick(*given, rates)


def measure(
    case: gpu_cases.Case, compiled: Callable[..., Callable[[Any], tuple[Any, Any]]], inputs: Inputs, repeat: int
) -> dict[str, Any]:
    """Compile, check and time one case."""
    began = time.perf_counter()
    run = compiled(case, inputs)
    compile_seconds = time.perf_counter() - began
    checked, timed = (jax.device_put(gpu_cases.rates_of(case.population, checked=flag)) for flag in (True, False))
    weights, loss = map(np.asarray, run(checked))
    check = gpu_cases.departure(loss, weights, inputs.start, inputs.expected(case.batch), case.compute)
    jax.block_until_ready(run(timed))
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        jax.block_until_ready(run(timed))
        seconds.append(time.perf_counter() - began)
    examples = case.population * case.batch * gpu_cases.STEPS
    return check | {"compile_seconds": compile_seconds, **speed(examples, seconds)}


def speed(examples: int, seconds: Sequence[float]) -> dict[str, Any]:
    """Return examples/s: the median, the slowest and the fastest of several runs."""
    return {
        "examples_per_second": examples / statistics.median(seconds),
        "slowest": examples / max(seconds),
        "fastest": examples / min(seconds),
        "seconds": list(seconds),
    }


def fit(batch: int, steps_per_execution: int, repeat: int) -> dict[str, Any]:
    """Time Keras' ``fit`` of one network."""
    seconds = gpu_peers.keras_fit(batch, epochs=repeat, steps_per_execution=steps_per_execution)
    return speed(gpu_cases.EXAMPLES, seconds)


Job = tuple[dict[str, Any], Callable[[], dict[str, Any]]]


def jobs(names: Sequence[str], inputs: Inputs, options: argparse.Namespace) -> list[Job]:
    """Return what is to be measured, described, in the order of what one wants to know first."""
    found: list[Job] = []
    present = {case.name: case for case in gpu_cases.cases(options.populations, options.batches)}
    ours = [present[name] for name in names if name in present]
    repeat: int = options.repeat
    for batch in sorted({case.batch for case in ours}):
        for steps in KERAS_STEPS_PER_EXECUTION if importlib.util.find_spec("keras") else ():
            row = {"name": f"b{batch}-keras-{steps}", "side": f"keras fit, {steps} steps per execution", "batch": batch}
            found.append((row | {"population": 1, "compute": "float32"}, partial(fit, batch, steps, repeat)))
        for case in (case for case in ours if case.batch == batch):
            row = {"batch": batch, "population": case.population, "compute": case.compute}
            side = f"metagd, {case.layout}"
            found.append((row | {"name": case.name, "side": side}, partial(measure, case, exported, inputs, repeat)))
            if case.layout == gpu_cases.LAYOUTS[0]:
                peer = row | {"name": case.name.replace(case.layout, "vmap"), "side": "jax vmap"}
                found.append((peer, partial(measure, case, vmapped, inputs, repeat)))
    return [(row, job) for row, job in found if not options.only or any(part in row["name"] for part in options.only)]


def compared(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with their ratio to plain ``fit`` at the same batch size, None where that was not measured."""
    plain = {row["batch"]: row.get("examples_per_second") for row in rows if row["side"].startswith("keras fit, 1 ")}
    return [
        row | {"times_fit": row["examples_per_second"] / plain[row["batch"]]}
        if row.get("examples_per_second") and plain.get(row["batch"])
        else row | {"times_fit": None}
        for row in rows
    ]


def best(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return our fastest right row of every batch size, with the ratio to the fastest ``fit`` as well."""
    found = {}
    for batch in sorted({row["batch"] for row in rows}):
        done = [row for row in rows if row["batch"] == batch and "examples_per_second" in row]
        ours = [row for row in done if row["side"].startswith("metagd") and row["right"]]
        fits = [row["examples_per_second"] for row in done if row["side"].startswith("keras")]
        if ours:
            row = max(ours, key=lambda row: row["examples_per_second"])
            picked = {key: row[key] for key in ("side", "population", "compute", "examples_per_second", "times_fit")}
            found[str(batch)] = picked | {"times_fastest_fit": row["examples_per_second"] / max(fits) if fits else None}
    return found


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    head = f"| {row['batch']} | {row['side']} | {row['population']} | {row['compute']} "
    if "failed" in row:
        return f"{head}| failed: {row['failed'].splitlines()[0][:100]} | | | | |"
    spread = f"{row['slowest']:,.0f} to {row['fastest']:,.0f}"
    times = "" if row["times_fit"] is None else f"{row['times_fit']:.1f}"
    compiled = f"{row['compile_seconds']:.1f}" if "compile_seconds" in row else ""
    right = {True: "yes", False: "NO", None: ""}[row.get("right")]
    off = f" ({row['loss_off']:.1e} nats, {row['weights_off']:.1e})" if row.get("finite") else ""
    return f"{head}| {row['examples_per_second']:,.0f} | {spread} | {times} | {compiled} | {right}{off} |"


TITLE = (
    "| batch | side | P | multiplied in | examples/s | spread | x fit | compile, s | right (loss off, weights off) |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def write(path: Path, about: dict[str, Any], rows: Sequence[dict[str, Any]], left: Sequence[dict[str, Any]]) -> None:
    """Write what is known so far."""
    table = compared(rows)
    path.write_text(json.dumps(about | {"best": best(table), "rows": table, "not_started": left}, indent=1) + "\n")


def main() -> None:
    """Measure everything that time allows, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/gpu.json"))
    parser.add_argument("--limit-seconds", type=float, default=420, help="start nothing after this")
    parser.add_argument("--repeat", type=int, default=7, help="timed runs per case, after one to warm up")
    parser.add_argument("--populations", type=int, nargs="+", default=gpu_cases.POPULATIONS)
    parser.add_argument("--batches", type=int, nargs="+", default=gpu_cases.BATCHES)
    parser.add_argument("--only", nargs="+", metavar="PART", help="cases whose name has one of these in it")
    options = parser.parse_args()
    began = time.perf_counter()
    manifest = json.loads((options.folder / "manifest.json").read_text())
    device = jax.devices()[0]
    about = {
        "device": f"{device.platform}: {device.device_kind}",
        "jax": jax.__version__,
        "keras": bool(importlib.util.find_spec("keras")),
        "tensorflow_of_the_export": manifest["tensorflow"],
    }
    print(json.dumps(about), flush=True)
    if not about["keras"]:
        print("Keras is not installed here: its rows are left out, and ratios to it are null", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    left: list[dict[str, Any]] = []
    for row, job in jobs(manifest["cases"], Inputs(options.folder), options):
        if time.perf_counter() - began > options.limit_seconds:
            left.append(row)
            continue
        try:
            rows.append(row | job())
        except Exception as failure:  # one case out of memory must not cost the others; it is in the results
            rows.append(row | {"failed": f"{type(failure).__name__}: {failure}"})
        print(line(compared(rows)[-1]), flush=True)
        write(options.out, about, rows, left)
    write(options.out, about, rows, left)
    table = compared(rows)
    print("\n".join(["", TITLE, *map(line, table)]))
    print(json.dumps(best(table), indent=1))
    if left:
        print(f"{len(left)} cases were not started for want of time; choose with --only, --batches and --populations")


if __name__ == "__main__":
    main()
