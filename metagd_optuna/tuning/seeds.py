"""Disjoint seeds for the phases of a study."""

from __future__ import annotations

import hashlib

_SEEDS_PER_STUDY = 100_000
_SEEDS_PER_LOOK = 20_000
MOST_LOOKS = 4  # before they would run into another study's seeds


def phase_seeds(study_seed: int, first_seed: int, count: int, look: int = 1) -> tuple[int, ...]:
    """Return the training seeds of a phase.

    Phases share no seed, because the winner of a search is lucky on its own.

    Args:
        study_seed: of the study.
        first_seed: of the phase, in a study of seed 0.
        count: how many.
        look: which look at a confirmation it belongs to; every one has seeds of its own.

    >>> phase_seeds(0, 20_000, 2), phase_seeds(1, 0, 2), phase_seeds(0, 30_000, 2, look=2)
    ((20000, 20001), (100000, 100001), (50000, 50001))
    """
    begin = study_seed * _SEEDS_PER_STUDY + first_seed + (look - 1) * _SEEDS_PER_LOOK
    return tuple(range(begin, begin + count))


def sampler_seed(study_seed: int, study_name: str, number: int) -> int:
    """Return the sampler's seed for one trial of a study."""
    digest = hashlib.sha256(f"{study_seed}/{study_name}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
