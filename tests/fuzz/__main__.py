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
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).parents[1]))  # for the small study

from hypothesis import HealthCheck, Phase, given, seed, settings
from targets import TARGETS, Target

from metagd_optuna.contracts import MetaGDError, MetaGDWarning

SCREEN_CHARACTERS, SCREEN_LINES = 2_000, 25
SLOW_SECONDS = 10.0
AT_ONCE = 1_000  # inputs that Hypothesis draws in one go; it remembers what it drew


class Findings:
    """What is wrong with a target, by the place where it went wrong.

    Args:
        read: reads one input.
    """

    def __init__(self, read: Callable[[Any], object]) -> None:
        self._read = read
        self.inputs = self.taken = 0
        self.found: dict[str, tuple[int, Any, str]] = {}

    def try_one(self, given: Any) -> None:
        """Read an input, and note what should not have happened."""
        self.inputs += 1
        began = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", MetaGDWarning)
                # Raised inside Keras whenever a variable becomes an array; see pyproject.toml.
                warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
                self._read(given)
            self.taken += 1
        except MetaGDError as error:
            text = str(error)
            if len(text) > SCREEN_CHARACTERS or text.count("\n") >= SCREEN_LINES or not text.strip():
                self._note(f"an error of {len(text):,} characters: {text[:60]!r}", given, text)
        except Exception as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "metagd_optuna/" in f.filename]
            place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
            self._note(f"{type(error).__name__} at {place}", given, traceback.format_exc())
        seconds = time.perf_counter() - began
        if seconds > SLOW_SECONDS:
            self._note("slow", given, f"{seconds:.0f} s")

    def _note(self, what: str, given: Any, said: str) -> None:
        size = len(repr(given))
        if what not in self.found or size < self.found[what][0]:
            self.found[what] = (size, given, said)


def fuzz(target: Target, inputs: int, first_seed: int, folder: Path) -> Findings:
    """Return what was found with so many inputs of a target.

    Args:
        target: a row of ``TARGETS``.
        inputs: how many.
        first_seed: of the draws; the same gives the same inputs.
        folder: an empty one for its files.
    """
    inputs_of, read = target(folder)
    findings = Findings(read)
    for batch in range(-(-inputs // AT_ONCE)):

        @settings(
            max_examples=min(AT_ONCE, inputs - batch * AT_ONCE),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @seed(first_seed * 1_000_003 + batch)
        @given(inputs_of)
        def run(given: Any) -> None:
            findings.try_one(given)

        run()
    return findings


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
        with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
            os.environ["METAGD_CACHE_DIR"] = str(Path(folder) / "cache")
            found = fuzz(TARGETS[name], options.inputs, options.seed, Path(folder))
        wrong += len(found.found)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name}: {found.inputs:,} inputs, {found.taken:,} taken as valid, {len(found.found)} findings, "
            f"{time.perf_counter() - began:.0f} s, at most {most:,.0f} MB",
            flush=True,
        )
        for number, (what, (_, smallest, said)) in enumerate(found.found.items()):
            options.out.mkdir(parents=True, exist_ok=True)
            place = options.out / f"{name}-{number}.txt"
            place.write_text(f"{what}\n\n{smallest!r}\n\n{said}\n", encoding="utf-8", errors="backslashreplace")
            print(f"  {what}: {place}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
