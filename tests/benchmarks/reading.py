"""Reading many image files: ours beside a plain loop over processes, and again from the cache."""

from __future__ import annotations

import os
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sides import summary

FILES, SIDE = 10_000, 224
SAMPLES = 3


def write_files(folder: Path, count: int = FILES) -> list[Path]:
    """Write grey PNG files with the structure of a scan: a smooth image under light noise."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.hanning(SIDE), np.hanning(SIDE)) * 100
    files = []
    for number in range(count):
        kind = folder / ("well", "ill")[number % 2]
        kind.mkdir(parents=True, exist_ok=True)
        pixels = np.uint8(ramp + rng.integers(0, 24, (SIDE, SIDE)))
        Image.fromarray(pixels).save(kind / f"{number:05d}.png")
        files.append(kind / f"{number:05d}.png")
    return files


def pixels_of(file: Path) -> Any:
    """What one writes: open, make it grey, make it an array."""
    return np.asarray(Image.open(file).convert("L"))


def plain_loop(files: list[Path]) -> float:
    """Return the seconds of a pool with a process for each core that returns all images as one array."""
    began = time.perf_counter()
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        images = np.stack(pool.map(pixels_of, files, chunksize=64))
    assert images.shape == (len(files), SIDE, SIDE)
    return time.perf_counter() - began


def ours(folder: Path, files: int, cache_gib: float) -> float:
    """Return the seconds in which the package reads the folder as cases, before they are dealt into parts."""
    from metagd_optuna.tasks.readers.pictures import read_pictures

    os.environ["METAGD_IMAGE_CACHE_GIB"] = str(cache_gib)
    began = time.perf_counter()
    found = read_pictures(sorted(folder.rglob("*.png")), "bench")
    assert found.images.shape == (files, SIDE, SIDE, 1)
    return time.perf_counter() - began


def measure() -> dict[str, Any]:
    """Return the seconds of every side, in turn, and their ratios to the plain loop."""
    sides: dict[str, list[float]] = {"plain_loop": [], "without_cache": [], "into_cache": [], "from_cache": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "scans"
        files = write_files(folder)
        plain_loop(files)  # so that every side finds the files in the system's own cache
        for sample in range(SAMPLES):
            os.environ["METAGD_CACHE_DIR"] = str(Path(place) / f"cache{sample}")
            sides["plain_loop"].append(plain_loop(files))
            sides["without_cache"].append(ours(folder, len(files), 0))
            sides["into_cache"].append(ours(folder, len(files), 4))
            sides["from_cache"].append(ours(folder, len(files), 4))
    found: dict[str, Any] = {side: summary(seconds) for side, seconds in sides.items()}
    for side in found.keys() - {"plain_loop"}:
        found[side]["ratio"] = float(np.median(np.divide(sides[side], sides["plain_loop"])))
    return found
