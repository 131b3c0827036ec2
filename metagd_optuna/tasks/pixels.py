"""Pixels of more than 8 bits, scaled by one rule, and images fitted into a square."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

DEPTHS = (8, 10, 12, 14, 16)


def depth_of(images: npt.NDArray[np.uint16]) -> int:
    """Return with how many bits images were stored: the smallest of 8, 10, 12, 14 and 16 that holds all their values.

    >>> depth_of(np.array([0, 3000], np.uint16))
    12
    """
    largest = int(images.max())
    return next(bits for bits in DEPTHS if largest < 2**bits)


def scaled(images: npt.NDArray[np.uint16], bits: int) -> npt.NDArray[np.float32]:
    """Return images of so many bits as numbers that training uses as they are: pixel / (2^bits - 1).

    The bits are those of the training part, for all parts, so that a number means the same everywhere.
    """
    return np.asarray(images, np.float32) / np.float32(2**bits - 1)


def fitted(image: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return an image of any size in a square, whole and undistorted.

    Its longer side becomes ``size``, by Pillow's bilinear filter, which averages where it makes images smaller. It is
    set in the middle of zeros; an odd pixel of them is at the right or at the bottom.

    Args:
        image: uint8 or uint16 of shape (h, w, c).
        size: pixels on each side.

    Returns:
        the same dtype, shape (size, size, c).
    """
    from PIL import Image

    height, width, channels = image.shape
    scale = size / max(height, width)
    tall, wide = max(round(height * scale), 1), max(round(width * scale), 1)
    square = np.zeros((size, size, channels), image.dtype)
    top, left = (size - tall) // 2, (size - wide) // 2
    inside = square[top : top + tall, left : left + wide]
    if (tall, wide) == (height, width):
        inside[:] = image
        return square
    for channel in range(channels):
        plane = Image.fromarray(np.asarray(image[..., channel], np.float32))
        resized = np.asarray(plane.resize((wide, tall), Image.Resampling.BILINEAR))
        inside[..., channel] = np.rint(resized).astype(image.dtype)
    return square
