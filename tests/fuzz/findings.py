"""What is found with a target: foreign exceptions, long errors, slow inputs, and no valid one any more."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from targets import Target

from metagd_optuna.contracts import MetaGDError, MetaGDWarning

SCREEN_CHARACTERS, SCREEN_LINES = 2_000, 25
SLOW_SECONDS = 10.0
AT_ONCE = 1_000  # inputs that Hypothesis draws in one go; it remembers what it drew
TOLD_EVERY = 10_000


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
        began = time.process_time()  # a machine that others use, or that was halted, is no finding
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
                self.note(f"an error of {len(text):,} characters: {text[:60]!r}", given, text)
        except Exception as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "metagd_optuna/" in f.filename]
            place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
            self.note(f"{type(error).__name__} at {place}", given, traceback.format_exc())
        seconds = time.process_time() - began
        if seconds > SLOW_SECONDS:
            self.note("slow", given, f"{seconds:.0f} s")

    def note(self, what: str, given: Any, said: str) -> None:
        """Keep a finding, and of several of its kind the smallest input."""
        size = len(repr(given))
        if what not in self.found or size < self.found[what][0]:
            self.found[what] = (size, given, said)


def fuzz(
    target: Target, inputs: int, first_seed: int, folder: Path, tell: Callable[[Findings], None] = lambda _: None
) -> Findings:
    """Return what was found with so many inputs of a target.

    Args:
        target: a row of ``TARGETS``.
        inputs: how many.
        first_seed: of the draws; the same gives the same inputs.
        folder: an empty one for its files.
        tell: called with what there is so far, every 10,000 inputs, so that a run that is cut off has told something.
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

        taken = findings.taken
        run()
        # Of every target's inputs more than one in a hundred is valid. One that takes none is stuck, and tries nothing.
        if findings.taken == taken and findings.inputs % AT_ONCE == 0:
            findings.note("stuck", batch, f"none of {AT_ONCE:,} inputs was taken as valid")
        if findings.inputs % TOLD_EVERY == 0 and findings.inputs < inputs:
            tell(findings)
    return findings
