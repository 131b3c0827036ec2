"""The method checks itself: A/A studies and power, resampled from recorded curves. Nothing is trained.

make verify-method        writes docs/method.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from pools import Pool, accelerated, load_pools
from resample import Design, studies
from write import document

DOCUMENT = Path(__file__).parents[2] / "docs" / "method.md"
SEED = 20_261_122
AA_DESIGNS = (Design(3, 10), Design(7, 10), Design(3, 20))
AA_STUDIES = 2000
POWER_SEEDS = (10, 20)
SPEEDUPS = (1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0)
POWER_STUDIES = 200
CHUNK = 25


def main() -> None:
    """Run all resampled studies and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=AA_STUDIES, help="A/A studies per design")
    parser.add_argument("--power-studies", type=int, default=POWER_STUDIES, help="studies per point of a power curve")
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    began = time.perf_counter()
    pools = load_pools()
    with ProcessPoolExecutor() as workers:
        false = {}
        for design in AA_DESIGNS:
            false[design] = count(labels_of(workers, [(p, p) for p in pools], design, options.studies))
            print(f"A/A, {design.baselines} baselines, {design.seeds} seeds: {false[design]}", flush=True)
        power: dict[tuple[str, int], list[float]] = {}
        for pool in pools:
            for seeds in POWER_SEEDS:
                curves = [[(pool, accelerated(pool, speedup))] for speedup in SPEEDUPS]
                found = [labels_of(workers, pair, Design(3, seeds), options.power_studies) for pair in curves]
                power[pool.task, seeds] = [share_faster(labels) for labels in found]
                print(f"power, {pool.task}, {seeds} seeds: {power[pool.task, seeds]}", flush=True)
    text = document(pools, false, options.studies, SPEEDUPS, power, options.power_studies)
    options.out.write_text(text, encoding="utf-8")
    print(f"wrote {options.out}, {time.perf_counter() - began:.0f} s")


def labels_of(
    workers: ProcessPoolExecutor, pools: Sequence[tuple[Pool, Pool]], design: Design, count: int
) -> list[list[str]]:
    """Return the labels of ``count`` reports; the same whatever the number of processes."""
    seeds = np.random.SeedSequence(SEED).spawn(count)
    chunks = [seeds[i : i + CHUNK] for i in range(0, count, CHUNK)]
    return [labels for found in workers.map(partial(studies, pools, design), chunks) for labels in found]


def count(reports: Iterable[Sequence[str]]) -> dict[str, int]:
    """Return how many reports hold a false claim of either kind, and of any."""
    found = list(reports)
    return {
        "faster": sum("faster" in labels for labels in found),
        "slower": sum("slower" in labels for labels in found),
        "any": sum(set(labels) != {"tie"} for labels in found),
    }


def share_faster(reports: Sequence[Sequence[str]]) -> float:
    """Return the share of one-task reports that say faster."""
    return sum(labels == ["faster"] for labels in reports) / len(reports)


if __name__ == "__main__":
    main()
