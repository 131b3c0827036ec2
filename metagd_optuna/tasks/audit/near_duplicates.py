"""Images that are nearly the same: a perceptual hash, and how many of its bits may differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

GRID, FREQUENCIES = 32, 12
BITS = FREQUENCIES**2 - 1  # without the mean
MOST_BITS = 8
_CHUNK = 4096  # images compared at a time
_FLAT = 1e-3  # of an image's largest pixel: below this a frequency is rounding, and its sign says nothing

Hashes = npt.NDArray[np.float32]


def perceptual_hashes(images: npt.NDArray[Any]) -> Hashes:
    r"""Return 143 bits of what each image looks like: the signs of its lowest frequencies.

    An image becomes grey and is averaged over a grid of 32 x 32; the signs of its 12 x 12 lowest frequencies (cosine
    transform), without the mean, are its hash. Brightness and contrast hardly change it, nor does storing it anew or
    resizing it; a shift of a few percent does.

    Args:
        images: (n, h, w) or (n, h, w, c), any real dtype, finite.

    Returns:
        +1 and -1, float32 of shape (n, 143); zeros for an image without structure, which is like no other.
    """
    grey = np.asarray(images, np.float32).reshape(*images.shape[:3], -1).mean(axis=3)
    rows, columns = (_frequencies(side) for side in grey.shape[1:])
    found = np.einsum("ih,nhw,jw->nij", rows, grey, columns, optimize=True).reshape(len(grey), -1)[:, 1:]
    largest = np.maximum(np.abs(grey).max(axis=(1, 2)), 1e-12) * GRID
    signs = np.where(found > 0, np.float32(1), np.float32(-1))
    signs[np.abs(found).max(axis=1) < _FLAT * largest] = 0
    return signs


def nearest(earlier: Hashes, later: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for every image of the later part which of the earlier one is the most alike, and how many bits differ.

    Args:
        earlier: of (n, 143), n at least 1.
        later: of (m, 143).

    Returns:
        two arrays of shape (m,): places in the earlier part, and differing bits.
    """
    best, most = np.zeros(len(later), np.int64), np.full(len(later), -np.inf, np.float32)
    for begin in range(0, len(earlier), _CHUNK):
        for start in range(0, len(later), _CHUNK):
            alike = later[start : start + _CHUNK] @ earlier[begin : begin + _CHUNK].T
            place, rows = alike.argmax(axis=1), slice(start, start + _CHUNK)
            value = alike[np.arange(len(alike)), place]
            closer = value > most[rows]
            best[rows] = np.where(closer, place + begin, best[rows])
            most[rows] = np.maximum(value, most[rows])
    return best, np.asarray(np.rint((BITS - most) / 2), np.int64)


def _frequencies(side: int) -> npt.NDArray[np.float32]:
    """Return the map from pixels along a side to frequencies, (12, side): means over 32 cells, then cosines."""
    edges, pixels = np.linspace(0, side, GRID + 1), np.arange(side)
    overlap = np.minimum(edges[1:, np.newaxis], pixels + 1) - np.maximum(edges[:-1, np.newaxis], pixels)
    cells = np.clip(overlap, 0, None) * GRID / side
    waves = np.cos(np.pi * np.arange(FREQUENCIES)[:, np.newaxis] * (2 * np.arange(GRID) + 1) / (2 * GRID))
    return np.asarray(waves @ cells / np.sqrt(GRID), np.float32)
