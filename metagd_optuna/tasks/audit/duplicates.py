"""Exact copies among cases, and copies that carry contradictory labels."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Marks = npt.NDArray[np.bool_]


class Fingerprints(NamedTuple):
    """One fingerprint and one label per image of a part."""

    keys: Sequence[bytes]
    labels: Sequence[int]


def fingerprints(images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Fingerprints:
    """Return a 128-bit hash of the bytes of every image; equal hashes are taken as equal images."""
    keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    return Fingerprints(keys, [int(label) for label in labels])


def copies_within(part: Fingerprints) -> Marks:
    """Return which images of a part copy an earlier image of it, shape (n,)."""
    seen: set[bytes] = set()
    marked = []
    for key in part.keys:
        marked.append(key in seen)
        seen.add(key)
    return np.array(marked, dtype=bool)


def copies_across(earlier: Fingerprints, later: Fingerprints) -> Marks:
    """Return which images of the later part copy an image of the earlier one, shape (n,)."""
    known = set(earlier.keys)
    return np.array([key in known for key in later.keys], dtype=bool)


def contradictions_within(part: Fingerprints) -> Marks:
    """Return which images of a part have a copy in it with another label, shape (n,)."""
    labels = _labels_by_key(part)
    return np.array([len(labels[key]) > 1 for key in part.keys], dtype=bool)


def contradictions_across(earlier: Fingerprints, later: Fingerprints) -> Marks:
    """Return which images of the later part have a copy in the earlier one with another label, shape (n,)."""
    known = _labels_by_key(earlier)
    pairs = zip(later.keys, later.labels, strict=True)
    return np.array([key in known and known[key] != {label} for key, label in pairs], dtype=bool)


def contradictory_rows(train: Fingerprints, others: Sequence[Fingerprints]) -> Marks:
    """Return which training images have a copy with another label, in training or in the other parts.

    All training copies of such an image are marked, because it is unknown which label is right.
    """
    labels = _labels_by_key(train, *others)
    return np.array([len(labels[key]) > 1 for key in train.keys], dtype=bool)


def duplicate_rows(train: Fingerprints, others: Sequence[Fingerprints]) -> Marks:
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
