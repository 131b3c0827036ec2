"""Disjoint seeds for the phases of a study."""

from __future__ import annotations

import hashlib

# Calibration, search, shortlist and confirmation share no seed, because the winner of a search is lucky on its own.
_PHASE_OFFSETS = {"calibrate": 0, "search": 10_000, "shortlist": 20_000, "confirm": 30_000}
_SEEDS_PER_STUDY = 100_000


def phase_seeds(study_seed: int, phase: str, count: int) -> tuple[int, ...]:
    """Return the training seeds of a phase.

    >>> phase_seeds(0, "shortlist", 2), phase_seeds(1, "calibrate", 2)
    ((20000, 20001), (100000, 100001))
    """
    begin = study_seed * _SEEDS_PER_STUDY + _PHASE_OFFSETS[phase]
    return tuple(range(begin, begin + count))


def sampler_seed(study_seed: int, study_name: str, number: int) -> int:
    """Return the sampler's seed for one trial of a study."""
    digest = hashlib.sha256(f"{study_seed}/{study_name}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
