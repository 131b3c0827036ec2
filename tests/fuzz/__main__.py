"""Hostile input for every parser: valid documents are mutated, and any exception but the package's own is a finding.

    make fuzz                                             all targets, for an hour or so
    make fuzz FUZZ="--target policy --inputs 100000"      one of them; --seed N draws others

Each target's line says how many inputs it had, how many of them were taken as valid, and what was found. A finding is
an exception that is neither a MetaGDError nor a MetaGDWarning, an error that is longer than a screen, or an input that
takes longer than ten seconds. The smallest input of each finding is kept in runs/fuzz.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from contextlib import redirect_stderr
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).parents[1]))  # for the small study

from findings import Findings, fuzz
from targets import TARGETS


def main(arguments: list[str] | None = None) -> int:
    """Run the targets, print what was found, and return 1 if anything was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", action="append", choices=TARGETS, help="one or several; by default all")
    parser.add_argument("--inputs", type=int, default=1_000, help="for each target; 1,000 by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    options = parser.parse_args(arguments)
    wrong = 0
    for name in options.target or TARGETS:
        began = time.perf_counter()

        def tell(found: Findings, name: str = name, began: float = began) -> None:
            print(
                f"{name}: {found.inputs:,} inputs, {found.taken:,} taken as valid, {len(found.found)} findings, "
                f"{time.perf_counter() - began:.0f} s",
                flush=True,
            )

        with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
            os.environ["METAGD_CACHE_DIR"] = str(Path(folder) / "cache")
            found = fuzz(TARGETS[name], options.inputs, options.seed, Path(folder), tell)
        wrong += len(found.found)
        tell(found)
        print(f"  at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB", flush=True)
        for number, (what, (_, smallest, said)) in enumerate(found.found.items()):
            options.out.mkdir(parents=True, exist_ok=True)
            place = options.out / f"{name}-{number}.txt"
            place.write_text(f"{what}\n\n{smallest!r}\n\n{said}\n", encoding="utf-8", errors="backslashreplace")
            print(f"  {what}: {place}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
