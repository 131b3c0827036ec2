"""Exact copies among images, and copies that carry contradictory labels."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Fingerprints(NamedTuple):
    """One fingerprint and one label per image of a part."""

    keys: Sequence[bytes]
    labels: Sequence[int]


def fingerprints(images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Fingerprints:
    """Return a 128-bit hash of the bytes of every image; equal hashes are taken as equal images."""
    keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    return Fingerprints(keys, [int(label) for label in labels])


def copies_within(part: Fingerprints) -> int:
    """Return how many images of a part copy an earlier image of it."""
    return len(part.keys) - len(set(part.keys))


def copies_across(earlier: Fingerprints, later: Fingerprints) -> int:
    """Return how many images of the later part copy an image of the earlier one."""
    known = set(earlier.keys)
    return sum(key in known for key in later.keys)


def contradictions_within(part: Fingerprints) -> int:
    """Return how many images of a part have a copy in it with another label."""
    labels = _labels_by_key(part)
    return sum(len(labels[key]) > 1 for key in part.keys)


def contradictions_across(earlier: Fingerprints, later: Fingerprints) -> int:
    """Return how many images of the later part have a copy in the earlier one with another label."""
    known = _labels_by_key(earlier)
    return sum(key in known and known[key] != {label} for key, label in zip(later.keys, later.labels, strict=True))


def contradictory_rows(train: Fingerprints, others: Sequence[Fingerprints]) -> npt.NDArray[np.bool_]:
    """Return which training images have a copy with another label, in training or in the other parts.

    All training copies of such an image are marked, because it is unknown which label is right.
    """
    labels = _labels_by_key(train, *others)
    return np.array([len(labels[key]) > 1 for key in train.keys], dtype=bool)


def duplicate_rows(train: Fingerprints, others: Sequence[Fingerprints]) -> npt.NDArray[np.bool_]:
    """Return which training images copy, with the same label, an earlier one or one of the other parts."""
    seen = {pair for part in others for pair in zip(part.keys, part.labels, strict=True)}
    marked = []
    for pair in zip(train.keys, train.labels, strict=True):
        marked.append(pair in seen)
        seen.add(pair)
    return np.array(marked, dtype=bool)


def _labels_by_key(*parts: Fingerprints) -> dict[bytes, set[int]]:
    labels: defaultdict[bytes, set[int]] = defaultdict(set)
    for part in parts:
        for key, label in zip(part.keys, part.labels, strict=True):
            labels[key].add(label)
    return dict(labels)
