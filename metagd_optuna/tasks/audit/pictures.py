"""Images that show nothing, or that end before their time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BLANK_SHARE = 0.02  # of the range of the training part, between the 1st and the 99th percentile
CUT_SHARE, CUT_RARE = 0.25, 0.05  # of an image's rows, and of the images

Marks = npt.NDArray[np.bool_]


def constant_cases(images: npt.NDArray[Any]) -> Marks:
    """Return which images have one value everywhere, shape (n,)."""
    rows = images.reshape(len(images), -1)
    return np.asarray(rows.min(axis=1) == rows.max(axis=1))


def blank_images(images: npt.NDArray[Any], pixel_range: tuple[float, float]) -> Marks:
    """Return which images are not constant, but nearly: 98% of their pixels within 2% of the range, shape (n,).

    Args:
        images: (n, h, w) or (n, h, w, c).
        pixel_range: smallest and largest pixel of the training part.
    """
    rows = images.reshape(len(images), -1)
    low, high = np.percentile(rows, (1, 99), axis=1)
    near = (high - low) <= BLANK_SHARE * (pixel_range[1] - pixel_range[0])
    return np.asarray(near & ~constant_cases(images))


def cut_off_images(images: npt.NDArray[Any]) -> Marks:
    """Return which images end in one flat area, as a file does that was cut off, shape (n,).

    A quarter of an image's rows or more, from the lowest up, have one value, and fewer have at its top. Where more than
    5% of the images are so, it is how these images are.

    Args:
        images: (n, h, w) or (n, h, w, c).
    """
    pixels = images.reshape(*images.shape[:2], -1)
    flat = (pixels == pixels[:, -1:, -1:]).all(axis=2)
    below = flat[:, ::-1].cumprod(axis=1).sum(axis=1)
    above = (pixels == pixels[:, :1, :1]).all(axis=2).cumprod(axis=1).sum(axis=1)
    height = images.shape[1]
    cut = (below >= CUT_SHARE * height) & (above < below / 2) & (below < height)
    return np.asarray(cut if cut.mean() <= CUT_RARE else np.zeros(len(images), bool))
