"""Benchmarks: ours against what a competent user of Optuna and Keras writes, both sides in one run.

    make bench                          all parts, under an hour
    make bench PARTS="throughput"       some of them: throughput, optimizers, batches, members, networks,
                                        batch_norm, memory, startup, reading, overhead, quality,
                                        samplers
    make bench PARTS="ablation"         what each saving of the search is worth; only on request, half an hour
    make bench PARTS="batch_norm_rates" what one rate costs with either statistics of batch normalisation; on request
    make bench PARTS="asks soak"        what a trial of a long search costs beside its training, and what the search
                                        holds; only on request, an hour
    make bench PARTS="cluster"          what more workers are worth, and what they cost the coordinator; on request,
                                        a quarter of an hour

Each part's raw samples go to runs/bench/results.json, with the headline figures at its top level. A part that is run
alone replaces its own entry and keeps the others.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from headlines import ON_REQUEST, PARTS, headlines

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow prints a page otherwise


def main() -> None:
    """Run the parts and write their results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    allowed = (*PARTS, *ON_REQUEST)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(allowed)}; by default {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/results.json"))
    options = parser.parse_args()
    unknown = set(options.parts) - set(allowed)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(allowed)}")
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    parts: dict[str, Any] = results.get("parts", {})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for part in options.parts or PARTS:
        print(f"{part} ...", flush=True)
        began = time.perf_counter()
        module = importlib.import_module(part)
        measured = module.measure(parts) if part in ON_REQUEST else module.measure()
        parts[part] = measured | {"took_seconds": time.perf_counter() - began}
        results = headlines(parts) | {"machine": machine(), "parts": parts}
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(headlines(parts), indent=1))


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    import importlib.metadata

    packages = ("tensorflow", "keras", "optuna", "optuna-integration", "numpy")
    cpus = Path("/proc/cpuinfo")  # of Linux
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    model = [line for line in lines if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


if __name__ == "__main__":
    main()
