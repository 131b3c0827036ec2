"""Cheap properties of a task, measured without training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict


class TaskProperties(TypedDict):
    """What is known about a task before any training.

    Args:
        complexity: c, in [0, 1].
        classes: number of classes K.
        train_images: size of the training part.
        balance: entropy of the class frequencies over log K, in [0, 1]; 1 is balanced.
    """

    complexity: float
    classes: int
    train_images: int
    balance: float


def task_properties(complexity: float, class_frequencies: Sequence[float], train_images: int) -> TaskProperties:
    """Return the properties of a task.

    Args:
        complexity: as ``measure_complexity`` measures it.
        class_frequencies: share of every class among the training labels, shape (K,), K at least 2.
        train_images: size of the training part.

    >>> task_properties(0.4, (0.5, 0.5), 546)
    {'complexity': 0.4, 'classes': 2, 'train_images': 546, 'balance': 1.0}
    """
    entropy = -sum(share * math.log(share) for share in class_frequencies if share > 0)
    return {
        "complexity": complexity,
        "classes": len(class_frequencies),
        "train_images": train_images,
        "balance": round(entropy / math.log(len(class_frequencies)), 4),
    }
